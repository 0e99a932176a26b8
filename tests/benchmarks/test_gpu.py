"""The comparison as a dry run: the CPU with itself, on a tiny log; what it measures is not asserted."""

import json
import os
import subprocess
import sys

import pytest

from benchmarks import gpu

TINY = ["--device", "cpu", "--sessions", "400", "--set", "threads=1", "--set", "ranking.min_positives=1000000"]


def test_a_dry_run(tmp_path, capsys):
    assert gpu.main([*TINY, "--steps", "device", "gpu", "cpu", "--out", str(tmp_path)]) == 0, capsys.readouterr().out
    result = json.loads((tmp_path / "gpu-dry-run.json").read_text())
    assert result["gpu"] == "dry run" and result["environment"]["cores"] >= 1
    assert all(step["ok"] for step in result["steps"].values())
    found = result["runs"]["400"]
    assert {"events", "matrices", "candidates", "features", "predictions", "submission"} <= set(found["stages"])
    assert found["recall"]["gpu"] == found["recall"]["cpu"]
    assert found["lists"]["same_places"] == 1 and found["lists"]["rows"] > 0
    assert "times" in capsys.readouterr().out


def test_a_step_that_fails_does_not_stop_the_others(tmp_path, capsys):
    wrong = [*TINY, "--set", "no.such=1", "--steps", "gpu", "device", "--out", str(tmp_path)]
    assert gpu.main(wrong) == 1
    done = json.loads((tmp_path / "gpu-dry-run.json").read_text())["steps"]
    assert not done["gpu"]["ok"] and "no" in done["gpu"]["output"] and done["device"]["ok"]
    assert "gpu: FAILED" in capsys.readouterr().out


def test_a_step_ends_at_its_limit():
    done = gpu.step("sleep", ["sh", "-c", "echo first; sleep 60"], 1)
    assert not done["ok"] and done["seconds"] < 30 and done["output"].startswith("first")


def test_agreement(tmp_path):
    one, other = tmp_path / "one.csv", tmp_path / "other.csv"
    one.write_text("session_type,labels\n7_clicks,1 2 3\n7_carts,4\n")
    other.write_text("session_type,labels\n7_clicks,1 3 9\n7_carts,4 5\n")
    assert gpu.agreement(one, other) == {"rows": 2, "same_entries": 3 / 5, "same_places": 2 / 5}
    other.write_text("session_type,labels\n8_clicks,1 3 9\n7_carts,4 5\n")
    with pytest.raises(ValueError, match="different rows: 7_clicks, 8_clicks"):
        gpu.agreement(one, other)


def test_the_shell_script_names_its_options():
    command, environment = ["bash", "benchmarks/on_gpu.sh", "--help"], os.environ | {"PYTHON": sys.executable}
    done = subprocess.run(command, cwd=gpu.ROOT, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0 and "--sessions" in done.stdout

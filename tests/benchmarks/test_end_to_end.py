"""The benchmark of the whole pipeline runs; what it measures is not asserted."""

import json

import pytest

from benchmarks import end_to_end
from otto_gpu.pipeline import STAGES


def test_it_runs_every_stage_and_writes_what_it_found(tmp_path, capsys):
    out = tmp_path / "results" / "end_to_end.json"
    kept = tmp_path / "runs"
    changes = ["--set", "ranking.folds=2", "--set", "features.families=[recall]"]
    assert end_to_end.main(["--events", "5000", *changes, "--folder", str(kept), "--out", str(out)]) == 0
    result = json.loads(out.read_text())
    assert result["log"]["events"] > 1000 and result["changes"] == changes[1::2]
    way = result["ways"]["one process"]
    assert list(way["stages"]) == list(STAGES)
    spent = sum(t["median_s"] for t in way["stages"].values())
    assert 0 < spent < way["all"]["median_s"]
    assert 0 < result["test"]["weighted"] < 1
    assert (kept / "one process 0" / "submission.csv").is_file()
    assert end_to_end.main(["--events", "5000", "--folder", str(kept)]) == 2  # what is there would take no time
    assert "is not empty" in capsys.readouterr().err


def test_ways_that_differ_are_told(tmp_path, monkeypatch):
    lists = iter("aabc")
    monkeypatch.setattr(end_to_end, "run", lambda *_: {"lists": next(lists)})
    with pytest.raises(end_to_end.UserError, match="the lists differ between one process and cluster local:2"):
        end_to_end.compare(300, "local:2", 1, [], tmp_path)


@pytest.mark.parametrize("arguments", [["--events", "5"], ["--repeats", "0"]])
def test_wrong_arguments_are_one_line_and_exit_code_2(arguments, capsys):
    assert end_to_end.main(arguments) == 2
    assert capsys.readouterr().err.count("\n") == 1

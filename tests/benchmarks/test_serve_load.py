"""The benchmark runs, on a small run; what it measures is not asserted."""

import json

import pytest

from otto_gpu import run_pipeline
from tests.runs import small

pytest.importorskip("uvicorn", reason="uvicorn is not installed: pip install 'otto_gpu[serve]'")
from benchmarks import serve_load


def test_it_runs_and_writes_what_it_found(tmp_path, capsys):
    run_pipeline(small(300), run_dir=tmp_path / "run")
    out = tmp_path / "load.json"
    options = ["--run", str(tmp_path / "run"), "--sessions", "30", "--seconds", "0.2", "--repeats", "2", "--out", str(out)]
    assert serve_load.main(options) == 0, capsys.readouterr().err
    result = json.loads(out.read_text())
    assert list(result["loads"]) == [load.name for load in serve_load.LOADS] and result["asked"]["sessions"] == 30
    for found in result["loads"].values():
        assert found["requests"] > 0 and len(found["rounds_per_s"]) == 2
        assert 0 < found["p50_ms"] <= found["p95_ms"] <= found["p99_ms"] <= found["max_ms"]
        assert found["sessions_per_s"] == pytest.approx(found["requests_per_s"] * found["sessions"])
    assert "clients, one session a request" in capsys.readouterr().out


def test_a_run_that_is_none(tmp_path, capsys):
    assert serve_load.main(["--run", str(tmp_path)]) == 2
    assert capsys.readouterr().err.startswith("error: ")

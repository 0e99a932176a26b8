"""The benchmark runs, on a log of a few thousand events; what it measures is not asserted."""

import json
from dataclasses import replace

from benchmarks import reading
from otto_gpu.events.synthetic import write_log


def test_it_runs_and_writes_what_it_found(tmp_path, capsys):
    out = tmp_path / "reading.json"
    assert reading.main(["--events", "3000", "--repeats", "2", "--out", str(out)]) == 0, capsys.readouterr().err
    result = json.loads(out.read_text())
    assert result["environment"]["cores"] >= 1
    assert result["log"]["events"] > 1000
    assert list(result["engines"]) == list(reading.ENGINES)
    for found in result["engines"].values():
        assert len(found["all_s"]) == 2
        assert found["events_per_s"] > 0
        assert 0 < found["before_gb"] <= found["peak_gb"]


def test_an_engine_that_reads_another_log_is_found_out(tmp_path, capsys, monkeypatch):
    def wrong(file):
        log = reading.with_orjson(file)
        return replace(log, ts=log.ts + 1)

    monkeypatch.setitem(reading.ENGINES, "orjson", wrong)
    assert reading.main(["--events", "3000", "--repeats", "1"]) == 1
    assert "read_log and orjson read different logs" in capsys.readouterr().err


def test_what_counts_as_the_same_log(tmp_path):
    write_log(tmp_path / "log.jsonl", 50, format="jsonl")
    log = reading.with_read_log(tmp_path / "log.jsonl")
    assert reading.same(log, reading.with_pandas(tmp_path / "log.jsonl"))
    for name in ("session", "aid", "ts", "type"):
        changed = getattr(log, name).copy()
        changed[-1] += 1
        assert not reading.same(log, replace(log, **{name: changed}))
    assert not reading.same(log, replace(log, items=log.items.slice(1)))

"""The benchmark of crawlers runs; what it measures is not asserted."""

import json

import numpy as np

from benchmarks import crawlers
from otto_gpu.events.synthetic import synthetic_log


def test_it_runs_and_writes_what_it_found(tmp_path, capsys):
    out = tmp_path / "crawlers.json"
    assert crawlers.main(["--events", "3000", "--repeats", "1", "--out", str(out)]) == 0, capsys.readouterr().err
    result = json.loads(out.read_text())
    assert result["most_events"] == 1000 and list(result["logs"]) == ["none", *crawlers.CRAWLERS]
    assert result["logs"]["wide"]["events"] - result["logs"]["none"]["events"] == 3000
    assert crawlers.main(["--repeats", "0"]) == 2 and capsys.readouterr().err.count("\n") == 1


def test_a_crawlers_sessions_come_behind_the_others():
    log = synthetic_log(50, seed=3)
    more = crawlers.with_crawlers(log, 400, sessions=2, items=70, span=1000_000)
    assert np.array_equal(more.starts[: log.n_sessions + 1], log.starts) and more.span == log.span
    assert np.diff(more.starts)[log.n_sessions :].tolist() == [400, 400]

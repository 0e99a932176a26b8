"""Sessions with more events than are looked at: counted, told, and no more of them than the setting says in what is made."""

import json

import numpy as np
import pandas as pd
import pyarrow as pa

from otto_gpu.cooccurrence.build import build_matrix
from otto_gpu.cooccurrence.matrix import Matrix
from otto_gpu.cooccurrence.rule import RULES
from otto_gpu.events.long_sessions import facts, known_lengths, tell
from otto_gpu.events.stage import SPLITS, load_ids, load_period
from otto_gpu.pipeline import run_pipeline
from otto_gpu.run.directory import write_table
from otto_gpu.run.progress import Reporter
from tests.runs import frame, of_file, write_parquet

MOST = 200


def test_a_run_counts_and_tells_them(tmp_path):
    """Two crawlers: one in what is known, one whose history lies in the test period."""
    log = frame(300)
    begin, end = log["ts"].min(), log["ts"].max()
    for session, first, last in (("known", begin, begin + 10**9), ("asked", end - 5 * 10**8, end)):
        mine = {"session": session, "aid": np.resize(log["aid"].unique(), 900), "type": "clicks"}
        log = pd.concat([log, pd.DataFrame(mine | {"ts": np.linspace(first, last, 900).astype(int)})])
    data = write_parquet(tmp_path / "log.parquet", log.assign(session=log["session"].astype(str)))
    bound = {"most_events": MOST}
    config = of_file(matrices=bound, candidates=bound)
    run_pipeline(config, data, tmp_path / "run", to_stage="candidates")
    told = (tmp_path / "run/run.log").read_text()
    own = load_ids(tmp_path / "run", "sessions").to_pylist()
    for stage in ("matrices", "candidates"):
        manifest = json.loads((tmp_path / f"run/manifests/{stage}.json").read_text())
        for split in SPLITS:
            period = load_period(tmp_path / "run", split)
            events = pd.Series(period.known.session if stage == "matrices" else period.history.session).value_counts()
            long = events[events > MOST]
            if not len(long):
                assert split not in manifest["long_sessions"]
                continue
            found = manifest["long_sessions"][split]
            assert found["sessions"] == len(long) and found["events"] == events.sum()
            assert found["left_out"] == (long - MOST).sum() and found["its_events"] == long.max()
            assert found["longest"] == own[long.idxmax()] and found["longest"] in ("known", "asked")
            assert f"{found['longest']!r} the most: {long.max():,}" in told and f"({stage}.most_events)" in told
        assert manifest["left_out"] == sum(found["left_out"] for found in manifest["long_sessions"].values()) > 0
        assert f"{manifest['left_out']:,} left_out" in told
    known = load_period(tmp_path / "run", "test").known
    assert (known_lengths(tmp_path / "run", "test") == np.bincount(known.session)).all()
    made = Matrix.load(tmp_path / "run/matrices/test/decay_6h.parquet")
    expected = build_matrix(known, RULES["decay_6h"], "pairs", "cpu", most_events=MOST)
    assert (made.neighbours == expected.neighbours).mean() > 0.99 and len(made) == len(expected)


def test_exactly_at_the_bound_nothing_is_said(tmp_path):
    (tmp_path / "events").mkdir()
    write_table(pa.table({"id": pa.array(["a", "b", "c"])}), tmp_path / "events/sessions.parquet")
    reporter = Reporter(tmp_path / "log", quiet=True)
    lengths = np.array([3, 9, 5])
    for most in (9, 10, None):
        assert tell(lengths, most, tmp_path, "matrices", "test", reporter) == {}
    assert not (tmp_path / "log").exists() and facts({"validation": {}, "test": {}}) == {}
    found = tell(lengths, 4, tmp_path, "matrices", "test", reporter)
    assert found == {"sessions": 2, "events": 17, "left_out": 6, "longest": "b", "its_events": 9}
    assert facts({"validation": {}, "test": found}) == {"left_out": 6, "long_sessions": {"test": found}}
    assert "2 sessions have more than 4 events in what is known in the test period, 'b' the most: 9. " in (
        (tmp_path / "log").read_text()
    )

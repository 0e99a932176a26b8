"""Numbers at the edge of what their types hold: right, or refused, never wrapped."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from otto_gpu import EventLog
from otto_gpu.candidates.lookup import Histories
from otto_gpu.candidates.settings import CandidatesConfig
from otto_gpu.config import load_config
from otto_gpu.cooccurrence import rowwise, selfmerge
from otto_gpu.cooccurrence.rule import RULES, MatrixRule, PairWeight
from otto_gpu.errors import UserError
from otto_gpu.events import ids
from otto_gpu.events.ids import dense_ids
from otto_gpu.events.times import YEAR_2200_MS, suspicious_unit, to_milliseconds
from otto_gpu.features.catalogue import saturating_cast
from otto_gpu.features.weightings import HistoryItems
from tests.cooccurrence.compare import assert_follows, assert_same, assert_well_formed
from tests.cooccurrence.oracle import oracle
from tests.trust.extremes import extremes, tried
from tests.trust.machine import half_written, mistake


@pytest.mark.parametrize("words", [[5, 6, 7], ["a", "b", "c"], [2**62, 0, -(2**62)]])
def test_more_ids_than_int32_counts_are_refused(monkeypatch, words):
    monkeypatch.setattr(ids, "MOST_IDS", 3)
    assert dense_ids(pa.array(words), "aid")[0].tolist() == np.argsort(np.argsort(words)).tolist()
    more = [*words, 8 if isinstance(words[0], int) else "d"]
    with pytest.raises(UserError, match="'aid': 4 different ids; at most 3"):
        dense_ids(pa.array(more), "aid")
    with pytest.raises(UserError, match="different ids"):
        dense_ids(pa.chunked_array([words, more]), "aid")


@pytest.mark.parametrize("seconds", [2**62, 2**63 - 1, 1_659_304_800 + 2**61, -(2**62)])
def test_timestamps_in_seconds_do_not_wrap(seconds):
    column = pa.array([seconds, 1_659_304_800], pa.int64()).view(pa.timestamp("s"))
    ts, valid = to_milliseconds(column, "ms")
    assert valid.all() and ts[1] == 1_659_304_800_000
    assert ts[0] >= YEAR_2200_MS if seconds > 0 else ts[0] < 0  # both ends are rejected


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
@pytest.mark.parametrize("value", [2**63 - 1, -(2**63), 2**62, 2**53 + 1])
def test_integers_of_any_size_are_times_or_rejected(unit, value):
    ts, valid = to_milliseconds(pa.array([value], pa.int64()), unit)
    exact = value * 1000 if unit == "s" else value // {"ms": 1, "us": 10**3, "ns": 10**6}[unit]
    assert valid[0] and (ts[0] == exact or (exact >= YEAR_2200_MS <= ts[0]) or (exact < 0 > ts[0]))


def test_a_frame_of_the_far_future_is_refused():
    frame = pd.DataFrame({"session": [1], "aid": [1], "ts": [2**63 - 1], "type": [0]})
    with pytest.raises(UserError, match="year 2200"):
        EventLog.from_frame(frame)
    assert len(EventLog.from_frame(frame.assign(ts=YEAR_2200_MS - 1))) == len(EventLog.from_frame(frame.assign(ts=0))) == 1


@pytest.mark.parametrize(
    ("ts", "unit", "told"),
    [
        ([1_659_304_800, 1_661_000_000], "ms", "unit to 's'"),
        ([1_659_304_800_000, 1_661_000_000_000], "us", "unit to 'ms'"),
        ([1_659_304_800_000, 1_661_000_000_000], "ns", "unit to 'ms'"),
        ([20_260_101, 20_260_131], "ms", "format to '%Y%m%d'"),
        ([20_260_101, 20_260_131], "s", "format to '%Y%m%d'"),
        ([20_260_101, 20_269_999], "ms", None),
        ([1_659_304_800_000, 1_661_000_000_000], "ms", None),
        ([1_659_304_800, 1_661_000_000], "s", None),
        ([0, 2_419_200_000], "ms", None),  # a clock that begins at 0
        ([], "ms", None),
        ([0], "iso", None),
    ],
)
def test_a_unit_that_may_be_another_is_told(ts, unit, told):
    ms, _ = to_milliseconds(pa.array(ts, pa.int64()), unit)
    found = suspicious_unit(ms, unit)
    assert found is None if told is None else f"set events.ts_{told}" in found


def test_a_session_with_more_events_of_an_item_than_int16_counts():
    n = 40_000
    log = EventLog.from_arrays(np.zeros(n), np.zeros(n), np.arange(n), np.zeros(n), n_sessions=1, n_items=1)
    histories = Histories.of(log, CandidatesConfig(most_events=None))
    items = HistoryItems.of(histories, np.array([n]), np.ones(3, np.float32))
    assert items.counts.tolist() == [[32_767, 0, 0]] and items.weights[0, 0] == n


def test_what_does_not_fit_a_column_stops_at_its_end():
    values = np.array([-1, 0, 255, 256, 32_767, 32_768, 100_000, -40_000], np.float32)
    assert saturating_cast(values, "int16").tolist() == [-1, 0, 255, 256, 32_767, 32_767, 32_767, -32_768]
    assert saturating_cast(values, "uint8").tolist() == [0, 0, 255, 255, 255, 255, 255, 0]
    assert saturating_cast(values, "float32").tolist() == values.tolist()


def test_much_memory_makes_no_piece_of_text_too_large():
    assert load_config({"memory_limit": 10_000}).sized().events.chunk_bytes == 1 << 30
    assert load_config({"memory_limit": 0.5}).sized().events.chunk_bytes == 2 << 20


def log_at(ts: list[int]) -> EventLog:
    n = len(ts)
    random = np.random.default_rng(1)
    return EventLog.from_arrays(
        random.integers(0, 4, n), random.integers(0, 6, n), ts, random.integers(0, 3, n), n_sessions=4, n_items=6
    )


@pytest.mark.parametrize("span", [2**31 - 1, 2**31, 2**32 - 1, 2**32, 2**32 + 1, YEAR_2200_MS - 1])
@pytest.mark.parametrize("name", ["time_decay", "adjacent", "mine"])
def test_matrices_of_logs_of_any_length(span, name):
    """Times are kept in 4 bytes where they fit; weights of events centuries apart vanish and stay numbers."""
    mine = MatrixRule(keep=5, weight=PairWeight(half_life_hours=1e-3, recency=(1.0, 3.0)), once_per=None)
    rule = mine if name == "mine" else RULES[name].model_copy(update={"since_days": None})
    log = log_at([*np.linspace(0, span, 60).astype(np.int64).tolist(), *[0, span, span // 2] * 5])
    assert np.ptp(log.ts) == span
    matrix = rowwise.build(log, rule)
    assert_well_formed(matrix, rule, log.n_items)
    assert_follows(matrix, oracle(log, rule), rule)
    assert_same(matrix, selfmerge.build(log, rule))


@pytest.mark.long
@pytest.mark.parametrize("engine", [rowwise, selfmerge])
def test_an_item_with_a_million_neighbours(engine):
    n = 1_000_000
    session = np.repeat(np.arange(n), 2)
    aid = np.column_stack([np.zeros(n, np.int64), np.arange(1, n + 1)]).ravel()
    ts = np.tile([0, 1000], n)
    log = EventLog.from_arrays(session, aid, ts, np.zeros(2 * n), n_sessions=n, n_items=n + 1)
    matrix = engine.build(log, MatrixRule(keep=20))
    assert matrix.neighbours[:20].tolist() == list(range(1, 21)) and (matrix.weights == 1).all()
    assert np.diff(matrix.pointer).tolist() == [20] + [1] * n


@pytest.mark.long
def test_numbers_of_the_configuration_at_their_ends(tmp_path):
    """Each of them alone: the run ends well, or in one line."""
    for i, change in enumerate(extremes()):
        folder = tmp_path / str(i)
        folder.mkdir()
        done = tried(change, folder)
        if done.code:
            mistake(done)
        assert half_written(folder) == [], change

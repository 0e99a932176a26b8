import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from otto_gpu.errors import UserError
from otto_gpu.events.log import EventLog

FRAME = {"session": [7, 7, 5], "aid": ["b", "a", "b"], "ts": [30, 10, 20], "type": ["carts", "clicks", "orders"]}


def rows(log: EventLog) -> list[tuple]:
    return list(zip(log.session.tolist(), log.aid.tolist(), log.ts.tolist(), log.type.tolist(), strict=True))


def test_from_frame_sorts_and_keeps_the_users_ids():
    log = EventLog.from_frame(pd.DataFrame(FRAME))
    assert rows(log) == [(0, 1, 20, 2), (1, 0, 10, 0), (1, 1, 30, 1)]
    assert log.sessions.to_pylist() == [5, 7]
    assert log.items.to_pylist() == ["a", "b"]
    assert log.starts.tolist() == [0, 1, 3]
    back = log.to_frame()
    assert back["session"].tolist() == [5, 7, 7]
    assert back["aid"].tolist() == ["b", "a", "b"]


@pytest.mark.parametrize(
    "kind", [[1, 0, 2], pd.Categorical(["carts", "clicks", "orders"]), np.array(["carts", "clicks", "orders"], object)]
)
def test_from_frame_takes_types_as_codes_names_or_categories(kind):
    log = EventLog.from_frame(pd.DataFrame(FRAME | {"type": kind}))
    assert log.type.tolist() == [2, 0, 1]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"type": ["carts", "clicks", "sale"]}, "unknown type 'sale'"),
        ({"type": [0, 1, 3]}, "unknown type 3"),
        ({"type": [0, -1, 2]}, "unknown type -1"),
        ({"type": [0.0, 1.0, 2.0]}, "type must be"),
        ({"ts": [1.5, 2.0, 3.0]}, "ts must be integer milliseconds"),
        ({"ts": [1, -2, 3]}, "ts must not be negative"),
        ({"ts": pd.to_datetime(["2022-08-01"] * 3)}, "ts must be integer milliseconds"),
        ({"aid": [1.0, 2.0, 3.0]}, "'aid': ids must be integers or strings"),
        ({"aid": ["a", None, "b"]}, "'aid' has 1 missing value"),
        ({"aid": ["a", {}, "b"]}, "column 'aid'"),
        ({"session": [True, False, True]}, "'session': ids must be integers or strings"),
    ],
)
def test_from_frame_says_what_it_cannot_take(change, message):
    with pytest.raises(UserError, match=message):
        EventLog.from_frame(pd.DataFrame(FRAME | change))


def test_from_frame_names_the_missing_column():
    with pytest.raises(UserError, match="missing column 'ts'"):
        EventLog.from_frame(pd.DataFrame(FRAME).drop(columns="ts"))


EVENT = st.tuples(st.integers(0, 3), st.integers(0, 2), st.integers(0, 3), st.integers(0, 2))


@given(st.lists(EVENT, max_size=30))
def test_from_arrays_is_a_stable_sort_without_repeats(events):
    session, aid, ts, kind = (np.array(c, np.int64) for c in (zip(*events, strict=True) if events else [[]] * 4))
    extra = pa.table({"n": np.arange(len(events))})
    log = EventLog.from_arrays(session, aid, ts, kind, n_sessions=4, n_items=3, extra=extra)
    first = list(dict.fromkeys(events))
    expected = sorted(first, key=lambda e: (e[0], e[2]))
    assert rows(log) == expected
    assert log.extra["n"].to_pylist() == [events.index(e) for e in expected]


def test_a_saved_log_comes_back(tmp_path):
    log = EventLog.from_frame(pd.DataFrame(FRAME))
    log.save(tmp_path / "log.parquet")
    back = EventLog.load(tmp_path / "log.parquet")
    assert rows(back) == rows(log)
    assert (back.n_sessions, back.n_items, back.types) == (2, 2, ("clicks", "carts", "orders"))


def test_parts_of_a_log_keep_its_ids():
    log = EventLog.from_frame(pd.DataFrame(FRAME))
    late = log.where(log.ts >= 20)
    assert rows(late) == [(0, 1, 20, 2), (1, 1, 30, 1)]
    assert rows(log.of_sessions(1, 2)) == [(1, 0, 10, 0), (1, 1, 30, 1)]
    assert rows(log.of_sessions(1, 2).merged_with(log.of_sessions(0, 1))) == rows(log)


def test_the_newest_events_of_every_session():
    session, ts = np.repeat([0, 1, 3], [4, 2, 3]), np.arange(9) * 10
    log = EventLog.from_arrays(session, np.arange(9), ts, np.zeros(9), n_sessions=5, n_items=9)
    for most, kept in ((1, [3, 5, 8]), (2, [2, 3, 4, 5, 7, 8]), (3, [1, 2, 3, 4, 5, 6, 7, 8])):
        newest = log.newest(most)
        assert newest.aid.tolist() == kept and newest.span == (0, 80) and newest.n_sessions == 5
        assert np.diff(newest.starts).max() == most
    assert log.newest(4) is log and log.newest(None) is log
    none = log.where(np.zeros(9, bool))
    assert none.newest(1) is none


def test_a_frame_of_cudf_is_read_as_a_frame_of_pandas():
    """Of cuDF's columns only what is asked of them; nulls of integers stay nulls."""
    Column = type("Series", (), {"__module__": "cudf.core.series", "to_arrow": lambda self: self.values})

    def column(values):
        made = Column()
        made.values = values
        return made

    kinds = pa.array(["clicks", "orders"]).dictionary_encode()
    frame = {"session": pa.array([7, 7]), "aid": pa.array(["a", "b"]), "ts": pa.array([1, 2]), "type": kinds}
    log = EventLog.from_frame({name: column(values) for name, values in frame.items()})
    same = EventLog.from_frame(pd.DataFrame({name: values.to_pylist() for name, values in frame.items()}))
    assert log.to_frame().equals(same.to_frame())
    with pytest.raises(UserError, match="column 'ts' has 1 missing values"):
        EventLog.from_frame({name: column(values) for name, values in (frame | {"ts": pa.array([1, None])}).items()})

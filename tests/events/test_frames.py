"""Whatever holds events in memory is read like the frame that it comes from."""

import dataclasses
from itertools import pairwise

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.dataset
import pytest

from otto_gpu import EventLog
from otto_gpu.errors import UserError
from otto_gpu.events.frames import as_table
from otto_gpu.events.incoming import Reader
from otto_gpu.events.settings import EventsConfig, TargetsConfig

EVENTS = pd.DataFrame(
    {
        "session": [5, 5, 9], "aid": [1, 2, 7], "ts": [1, 2, 3], "type": ["clicks", "carts", "clicks"],
        "notes": [[1], "x", None],  # which Arrow has no kind for, and nobody asks for
    }
)  # fmt: skip
PLAIN = EVENTS.drop(columns="notes")
TABLE = pa.Table.from_pandas(PLAIN, preserve_index=False)
SESSION = EVENTS["session"]


def reader(**columns) -> Reader:
    return Reader(pa.array([1, 2, 3]), EventsConfig(columns=columns), TargetsConfig())


def read(events, sessions=None, **columns) -> tuple:
    """(ids of sessions, items by session, unknown events by session)."""
    found = reader(**columns).read(events, sessions)
    items = [found.log.aid[a:b].tolist() for a, b in pairwise(found.log.starts)]
    return found.sessions.to_pylist(), items, found.unknown.tolist()


EXPECTED = ([5, 9], [[0, 1], []], [0, 1])


def refused(events, **columns) -> str:
    with pytest.raises(UserError) as caught:
        reader(**columns).read(events)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@dataclasses.dataclass
class Exported:
    """Speaks Arrow's C interface and nothing else, as frames of many libraries do; one way or the other."""

    table: pa.Table

    def __arrow_c_stream__(self, requested_schema=None):
        return self.table.__arrow_c_stream__(requested_schema)


class OneBatch:
    def __arrow_c_array__(self, requested_schema=None):
        return TABLE.to_batches()[0].__arrow_c_array__(requested_schema)


class Later:
    """Computes its frame when it is asked to, as dask's do."""

    def compute(self):
        return EVENTS


FRAMES = {
    "pandas": EVENTS,
    "categories": EVENTS.astype({"aid": "category", "session": "category", "type": "category"}),
    "pandas on Arrow": PLAIN.convert_dtypes(dtype_backend="pyarrow"),
    "nullable": PLAIN.astype({"aid": "Int64", "session": "UInt32", "ts": "Int64", "type": "string"}),
    "table": TABLE,
    "chunks": pa.concat_tables([TABLE.slice(0, 1), TABLE.slice(1)]),
    "batch": TABLE.to_batches()[0],
    "structs": TABLE.to_struct_array(),
    "dataset": pa.dataset.dataset(TABLE),
    "scanner": pa.dataset.dataset(TABLE).scanner(),
    "views": TABLE.set_column(3, "type", TABLE["type"].cast(pa.string_view())),
    "stream": Exported(TABLE),
    "array": OneBatch(),
    "later": Later(),
    "dicts": TABLE.to_pylist(),
    "columns": TABLE.to_pydict(),
    "arrays": {name: column.to_numpy() for name, column in PLAIN.items()},
    "records": np.rec.fromrecords([(5, 1, 1, "clicks"), (5, 2, 2, "carts"), (9, 7, 3, "clicks")], names=list(PLAIN)),
    "index": EVENTS.set_index("session"),
    "levels": EVENTS.set_index(["session", "ts"]),
    "index and column": EVENTS.set_index("session", drop=False),
    "index with a name of its own": EVENTS.rename_axis("row"),
}


@pytest.mark.parametrize("name", FRAMES)
def test_one_log_in_any_frame(name):
    assert read(FRAMES[name]) == EXPECTED


def test_what_is_read_once_is_read():
    assert read(TABLE.to_reader(1)) == read(iter(TABLE.to_pylist())) == EXPECTED


def test_frames_of_polars_and_relations_of_duckdb():
    polars, duckdb = (pytest.importorskip(n, reason=f"pip install 'otto_gpu[bench]': {n}") for n in ("polars", "duckdb"))
    frame = polars.from_arrow(TABLE)
    for one in (frame, frame.lazy(), frame.with_columns(polars.col("type").cast(polars.Categorical))):
        assert read(one) == EXPECTED
    assert read(duckdb.from_arrow(TABLE)) == EXPECTED


def test_integers_among_text_are_the_same_ids():
    mixed = EVENTS.assign(aid=[1, "2", "x"], session=["a", 5, 5.0])
    assert read(mixed) == (["5", "a"], [[1], [0]], [1, 0])


def test_a_frame_without_rows_has_no_sessions_and_no_events_are_one():
    for nothing in (EVENTS[:0], TABLE[:0], EVENTS[:0].set_index("session"), {"session": [], "aid": []}):
        assert read(nothing) == ([], [], [])
        assert read(nothing, sessions=[4]) == ([4], [[]], [0])
    for nothing in ([], EVENTS[:0].drop(columns="session"), pd.DataFrame()):
        assert read(nothing) == ([0], [[]], [0])
    one = EVENTS.drop(columns="session")
    assert read(one) == read(one.assign(price=1)) == ([0], [[0, 1]], [1])


@pytest.mark.parametrize(
    "name", ["sesion", "Session", "session_id", "SESSIONS", "user_id", "visitor", "customer_id", "visitId", "uid"]
)
def test_a_column_that_may_be_the_sessions_is_told(name):
    for frame in (EVENTS.rename(columns={"session": name}), TABLE.rename_columns([name, "aid", "ts", "type"])):
        assert f"no column 'session'; if {name!r} says whose events they are, rename it" in refused(frame)
    assert "no column 'visit'; if 'visits'" in refused(EVENTS.rename(columns={"session": "visits"}), session="visit")


def test_an_index_that_may_be_the_sessions_is_told():
    assert "the index is called 'who': name it 'session'" in refused(EVENTS.set_index("session").rename_axis("who"))
    differs = EVENTS.set_index(pd.Index([1, 2, 3], name="session"))
    assert "'session' is the name of a column and of the index, and they differ" in refused(differs)


def test_columns_by_path_and_by_place():
    nested = [{"user": {"id": event["session"]}, **event} for event in TABLE.to_pylist()]
    for event in nested:
        del event["session"]
    assert read(nested, session="user.id") == read(pa.Table.from_pylist(nested), session="user.id") == EXPECTED


def test_sessions_of_several_columns():
    parts = EVENTS.assign(shop=["a", "a", "b"]).rename(columns={"session": "visit"})
    sessions, *rest = read(parts, session=["shop", "visit"])
    assert len(sessions) == 2 and rest == [[[0, 1], []], [0, 1]]
    for frame in (
        parts.set_index(["shop", "visit"]),
        parts.set_index("shop"),
        pa.Table.from_pandas(parts.drop(columns="notes")),
    ):
        assert read(frame, session=["shop", "visit"]) == (sessions, *rest)
    told = refused(parts.drop(columns="shop"), session=["shop", "visit"])
    assert told == "events: missing column 'shop', which makes up the session with shop, visit"
    by_place = pd.DataFrame(PLAIN.to_numpy(), columns=range(4))
    assert read(by_place, session=0, aid=1, ts=2, type=3) == EXPECTED


@pytest.mark.parametrize(
    ("events", "said"),
    [
        ("log", "got str: files are read by the commands"),
        (TABLE.to_pylist()[0], "got a dict: put one event into a list"),
        (EVENTS.iloc[0], "got Series"),
        (EVENTS.to_numpy(), "got ndarray"),
        (pd.DataFrame, "got type"),
        (None, "got NoneType"),
        ([1, 2], "got list"),
        (TABLE["aid"], "a ChunkedArray that is no table"),
        ({"aid": [1, 2], "ts": [1]}, "column 'ts' has 1 values, another one 2"),
        (EVENTS.assign(aid=[1, {"a": 1}, 2]), "column 'aid' holds values of more than one kind"),
        (pd.concat([EVENTS, EVENTS[["aid"]]], axis=1), "several columns 'aid'"),
        (TABLE.append_column("aid", TABLE["aid"]), "several columns 'aid'"),
        (EVENTS.set_axis(range(5), axis=1), "missing column 'aid'; there are: 0, 1, 2, 3, 4"),
    ],
)
def test_what_is_no_frame_of_events_is_one_line(events, said):
    assert said in refused(events)


def test_a_log_from_any_frame():
    expected = EventLog.from_frame(PLAIN).to_frame()
    for name, frame in FRAMES.items():
        pd.testing.assert_frame_equal(EventLog.from_frame(frame).to_frame(), expected, check_dtype=False, obj=name)
    with pytest.raises(UserError, match=r"from_frame: missing column 'ts'; needed: .*; there are: session, aid, type, notes"):
        EventLog.from_frame(EVENTS.drop(columns="ts"))
    with pytest.raises(UserError, match=r"EventLog.from_frame.* must be a data frame.* got int"):
        EventLog.from_frame(3)


def test_columns_that_nobody_asks_for_are_named_alone():
    table = as_table(EVENTS, {"aid"})
    assert table.column_names == list(EVENTS) and table["notes"].null_count == table["ts"].null_count == 3

"""Context columns: read, kept with their events through everything that a log can do, and taken from new sessions."""

import json

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from otto_gpu.config import load_config
from otto_gpu.errors import UserError
from otto_gpu.events.incoming import Reader
from otto_gpu.events.log import EventLog
from otto_gpu.events.read import read_log
from otto_gpu.events.settings import EventsConfig, TargetsConfig
from otto_gpu.events.stage import load_period
from otto_gpu.events.typed import load_dictionaries
from otto_gpu.pipeline import run_pipeline
from tests.events.logs import HEADER, T0, random_events, read, write_csv, write_parquet

KINDS = {"device": "code", "zip": "code", "seconds": "number"}
DEVICES, ZIPS = ["phone", None, "tablet", "10"], [10, 9, None, 2]
TARGETS = TargetsConfig()


def events_with_context(n=300, seed=3) -> list[tuple]:
    """No two of the same session, aid, ts and type."""
    rng = np.random.default_rng(seed)
    seconds = [None, 1.5, -2.0, 1e6]
    return [
        (*event, DEVICES[rng.integers(4)], ZIPS[rng.integers(4)], seconds[rng.integers(4)])
        for event in dict.fromkeys(random_events(n, seed))
    ]


def write_nested(path, events, flat=False):
    lines, names = [], [*HEADER, *KINDS]
    for event in events:
        fields = {k: v for k, v in zip(names, event, strict=True) if v is not None}
        lines.append(fields if flat else {"session": fields.pop("session"), "events": [fields]})
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


WRITERS = {
    "csv": lambda path, events: write_csv(path, [["" if v is None else v for v in e] for e in events], [*HEADER, *KINDS]),
    "parquet": lambda path, events: write_parquet(path, events, [*HEADER, *KINDS]),
    "jsonl": write_nested,
    "flat": lambda path, events: write_nested(path, events, flat=True),
}


def said(log: EventLog, words: dict, items=None, sessions=None) -> list[tuple]:
    """(session, aid, ts, type, device, zip, seconds) of every event, in order; None where missing."""
    sessions, items = (sessions or log.sessions).to_pylist(), (items or log.items).to_pylist()
    own = {n: [None if c < 0 else words[n][c].as_py() for c in log.context[n].tolist()] for n in ("device", "zip")}
    seconds = [None if v != v else v for v in log.context["seconds"].tolist()]
    return [
        (sessions[s], items[a], t, log.types[k], *more)
        for s, a, t, k, *more in zip(
            *(c.tolist() for c in (log.session, log.aid, log.ts, log.type)), *own.values(), seconds, strict=True
        )
    ]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    events = events_with_context()
    result = read(WRITERS["parquet"](tmp_path_factory.mktemp("c") / "log.parquet", events), context=KINDS)
    return sorted(events, key=lambda e: (e[0], e[2])), result


@pytest.mark.parametrize("form", WRITERS)
def test_columns_are_read_with_their_events(tmp_path, form, whole):
    events = events_with_context()
    result = read(
        WRITERS[form](tmp_path / f"log.{form if form != 'flat' else 'jsonl'}", events), context=KINDS, chunk_bytes=2048
    )
    assert said(result.log, result.context) == whole[0]
    assert {name: c.to_pylist() for name, c in result.context.items()} == {
        "device": ["10", "phone", "tablet"],
        "zip": [2, 9, 10],
    }
    kinds = {name: values.dtype for name, values in result.log.context.items()}
    assert kinds == {"device": np.int32, "zip": np.int32, "seconds": np.float32} and not result.counts["rejected"]


def test_they_stay_with_their_events(whole, tmp_path):
    expected, result = whole
    log, words = result.log, result.context

    def told(part):
        return said(part, words, log.items, log.sessions)

    mask = np.random.default_rng(0).random(len(log)) < 0.5
    assert told(log.where(mask)) == [e for e, kept in zip(expected, mask, strict=True) if kept]
    assert told(log.take(np.array([5, 3, 3]))) == [expected[i] for i in (5, 3, 3)]
    first, last = log.starts[2], log.starts[7]
    assert told(log.of_sessions(2, 7)) == expected[first:last]
    even = log.session % 2 == 0
    assert told(log.where(even).merged_with(log.where(~even))) == expected
    log.save(tmp_path / "log.parquet")
    again = EventLog.load(tmp_path / "log.parquet")
    assert told(again) == expected and again.extra is None
    assert all(column.flags.writeable for column in (again.aid, *again.context.values()))
    shuffled = np.random.default_rng(1).permutation(len(log))
    twice = np.concatenate([shuffled, shuffled[:50]])  # what stands twice goes
    columns = (getattr(log, name)[twice] for name in HEADER)
    made = EventLog.from_arrays(
        *columns, context={n: c[twice] for n, c in log.context.items()}, n_sessions=log.n_sessions, n_items=log.n_items
    )
    assert sorted(map(repr, told(made))) == sorted(map(repr, expected))


def test_a_run_keeps_them_in_every_period(tmp_path):
    events = events_with_context()
    settings = {"events": {"context": KINDS}, "split": {"by": "session", "cut": "every", "test_fraction": 0.3}}
    run_pipeline(settings, data=WRITERS["csv"](tmp_path / "log.csv", events), run_dir=tmp_path / "run", to_stage="events")
    words = load_dictionaries(tmp_path / "run/events/context.json")
    ids = {n: pa.array(pd.read_parquet(tmp_path / f"run/events/{n}.parquet").id) for n in ("items", "sessions")}
    there = {repr(e[1:]) for e in events}
    for split in ("validation", "test"):
        period = load_period(tmp_path / "run", split)
        for log in (period.train, period.history):
            assert {repr(e[1:]) for e in said(log, words, **ids)} <= there and len(log)


def test_new_sessions_bring_them_or_not(whole):
    log, words = whole[1].log, whole[1].context
    reader = Reader(log.items, EventsConfig(context=KINDS), TARGETS, words)
    event = {"session": 1, "aid": 3, "ts": T0, "type": "clicks"}
    given = [
        event | {"device": "phone", "zip": "10", "seconds": 3},
        event | {"device": "fridge", "zip": "9", "ts": T0 + 1},
        event | {"device": None, "seconds": None, "ts": T0 + 2, "aid": 2**40},
        event | {"ts": T0 + 3},
    ]
    frame = pd.DataFrame(given)
    for events in (frame, given, frame.to_dict("records"), pa.Table.from_pandas(frame.assign(zip=[10.0, 9.0, np.nan, np.nan]))):
        found = reader.read(events).log.context
        assert found["device"].tolist() == [1, -1, -1] and found["zip"].tolist() == [2, 1, -1]
        assert np.array_equal(found["seconds"], [3, np.nan, np.nan], equal_nan=True)
        assert found["zip"].dtype == np.int32 and found["seconds"].dtype == np.float32
    bare = reader.read([event]).log.context
    assert bare["device"].tolist() == bare["zip"].tolist() == [-1] and np.isnan(bare["seconds"]).all()
    assert [len(c) for c in reader.read([]).log.context.values()] == [0, 0, 0]
    # a log with codes of its own
    other = EventLog.from_arrays([0], [0], [T0], [0], n_sessions=1, n_items=1, items=pa.array([3]), sessions=pa.array([1]))
    own = {"device": np.array([1], np.int32), "zip": np.array([-1], np.int32), "seconds": np.array([2], np.float32)}
    found = reader.of_log(
        EventLog(**{**vars(other), "context": own}), {"device": pa.array(["a", "tablet"]), "zip": pa.array([1])}
    )
    assert [values.tolist() for values in found.log.context.values()] == [[2], [-1], [2]]
    some = log.of_sessions(0, 3)
    again = reader.of_log(some).log.context  # without dictionaries the codes are the run's
    assert all(np.array_equal(again[name], values, equal_nan=True) for name, values in some.context.items())
    with pytest.raises(UserError, match=r"column 'device' .*a code is an integer or text, got list"):
        reader.read([event | {"device": [1]}])


@pytest.mark.parametrize(
    ("context", "message"),
    [
        ({"nothing": "code"}, "missing column 'nothing'.*set events.context"),
        ({"seconds": "code"}, "column 'seconds' .events.context.: a code is an integer or text, got fractions such as 1.5"),
    ],
)
def test_a_column_that_is_not_there_or_of_another_kind_is_one_line(tmp_path, context, message):
    with pytest.raises(UserError, match=message):
        read(WRITERS["parquet"](tmp_path / "log.parquet", events_with_context()), context=context)


def test_what_is_no_number_is_counted_and_files_of_new_sessions_may_lack_them(tmp_path, whole):
    events = [(*e[:4], "phone", 1, "long") for e in events_with_context(20)]
    result = read(WRITERS["csv"](tmp_path / "log.csv", events), context=KINDS)
    assert result.counts["no_numbers"] == len(events) and np.isnan(result.log.context["seconds"]).all()
    write_csv(tmp_path / "bare.csv", [e[:4] for e in events])
    bare = read_log(tmp_path / "bare.csv", EventsConfig(context=KINDS), TARGETS, bare=True)
    assert (bare.log.context["zip"] == -1).all() and not len(bare.context["zip"])
    Reader(whole[1].log.items, EventsConfig(context=KINDS), TARGETS, whole[1].context).of_log(bare.log, bare.context)


def test_names_are_the_columns_own(tmp_path):
    with pytest.raises(UserError, match=r"events.context: the log has a column 'ts' already"):
        load_config({"events": {"context": {"ts": "number"}}})
    with pytest.raises(UserError, match=r"'item' is named in columns.aid and in context"):
        load_config({"events": {"columns": {"aid": "item"}, "context": {"item": "code"}}})
    with pytest.raises(UserError, match="'device' is named in extra and in context"):
        load_config({"events": {"extra": ["device"], "context": {"device": "code"}}})
    with pytest.raises(UserError, match="a generated log has no column 'device'"):
        run_pipeline(
            {"events": {"format": "synthetic", "context": {"device": "code"}}}, run_dir=tmp_path / "run", to_stage="events"
        )


def test_from_a_frame_integers_are_codes_and_floats_numbers():
    frame = pd.DataFrame(
        {"session": [1, 0, 0], "aid": [1, 2, 2], "ts": [5, 7, 6], "type": 0, "c": [3, -1, 2], "n": [0.5, np.nan, 2]}
    )
    with pytest.raises(UserError, match="context column 'n' must be there, as integer codes or floats"):
        EventLog.from_frame(frame.assign(n=list("abc")), context=("c", "n"))
    log = EventLog.from_frame(frame, context=("c", "n"))
    assert log.context["c"].tolist() == [2, -1, 3] and np.array_equal(log.context["n"], [2, np.nan, 0.5], equal_nan=True)
    assert log.context["c"].dtype == np.int32 and log.context["n"].dtype == np.float32

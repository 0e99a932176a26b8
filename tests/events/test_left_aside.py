"""Rows that are no events on purpose: types that are left out, words that mean nothing; forms of types, repeats, visits."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from otto_gpu import EventLog
from otto_gpu.config import load_config
from otto_gpu.errors import UserError
from otto_gpu.events.incoming import Reader
from otto_gpu.events.settings import EventsConfig
from otto_gpu.events.visits import cut_visits, last_visits
from tests.events.logs import GOOD, T0, TARGETS, WRITE, read, rejected, rows, write_csv, write_parquet

SHOP = {"view": "clicks", "cart": "carts", "buy": "orders", "remove": None}
MINUTE = 60_000


@pytest.mark.parametrize("format", ["csv", "parquet", "jsonl"])
def test_types_that_are_left_out_are_no_faults_whatever_else_is_wrong(tmp_path, format):
    events = [(1, 5, T0, "view"), (1, 6, T0, "remove"), (2, 7, -5, "remove"), (2, 8, T0, "buy"), (2, 9, T0, "zoom")]
    result = read(WRITE[format](tmp_path / f"log.{format}", events), types=SHOP)
    assert rows(result) == [(1, 5, T0, "clicks"), (2, 8, T0, "orders")]
    assert [reason for _, reason in rejected(result)] == ["unknown type"]
    assert (result.counts["left_out"], result.counts["read"]) == ({"remove": 2}, 5)


def test_events_of_otto_that_are_left_out_and_ids_beyond_int64(tmp_path):
    path = tmp_path / "log.jsonl"
    more = (
        f'{{"aid":null,"ts":"x","type":"zoom"}},{{"aid":5.0,"ts":{T0},"type":"carts"}},{{"aid":null,"ts":{T0},"type":"carts"}}'
    )
    path.write_text(f'{GOOD}\n{{"session":{2**64 - 1},"events":[{more}]}}\n')
    types = {"clicks": "clicks", "carts": "carts", "zoom": None}
    result = read(path, types=types)
    assert rows(result) == [(1, 1, 1, "clicks"), (2**64 - 1, 5, T0, "carts")]
    assert rejected(result) == [(2, "missing aid")]
    assert result.counts["left_out"] == {"zoom": 1}
    assert read(path, types=types, missing=[""], max_rejected=0).counts["missing"] == {"aid": 1}


def test_rows_without_an_item_or_a_type(tmp_path):
    events = [(1, 5, T0, "view"), (1, "", T0, "remove"), (1, "", T0, "view"), (1, 5, T0, ""), (1, 5, "", "")]
    path = write_csv(tmp_path / "log.csv", events)
    assert [reason for _, reason in rejected(read(path, types=SHOP))] == ["missing aid", "missing type", "missing ts"]
    result = read(path, types=SHOP | {"": None}, missing=[""], max_rejected=0)
    assert (result.counts["left_out"], result.counts["missing"]) == ({"": 2, "remove": 1}, {"aid": 1})
    assert read(path, types=SHOP | {None: "carts"}).counts["types"]["carts"] == 1


def test_an_unknown_type_is_told_with_those_known_and_the_way_to_leave_it_out(tmp_path):
    path = write_csv(tmp_path / "log.csv", [(1, 5, T0, "view"), (1, 5, T0, "views"), (1, 5, T0, "views"), (1, "", T0, "view")])
    said = (
        r"log\.csv:3: unknown type 'views'; events\.types knows view, cart, buy, remove; did you mean 'view'\?; to leave such "
        r"rows out: events\.types: \{views: null\}; 3 of 4 rows are bad .*: unknown type 2, missing aid 1"
    )
    with pytest.raises(UserError, match=said):
        read(path, types=SHOP, max_rejected=0)


@pytest.mark.parametrize(
    ("types", "column", "found"),
    [
        ({True: "orders", False: "clicks"}, pa.array([True, False]), ["orders", "clicks"]),
        ({"true": "orders", "false": "clicks"}, pa.array(["True", "FALSE"]), ["orders", "clicks"]),
        ({True: "orders", False: "clicks"}, pa.array(["t", "f"]), ["orders", "clicks"]),
        ({True: "orders", False: "clicks"}, pa.array([1, 0]), ["orders", "clicks"]),
        ({True: "orders", False: "clicks"}, pa.array(["yes", "no"]), ["orders", "clicks"]),
        ({1: "orders", 0: "clicks"}, pa.array([True, False]), ["orders", "clicks"]),
        ({1: "orders", 0: "clicks"}, pa.array([1.0, 0.0]), ["orders", "clicks"]),
        ({1: "orders", 0: "clicks"}, pa.array(["1.0", " 0"]), ["orders", "clicks"]),
        ({1.0: "orders", "0.0": "clicks"}, pa.array([1, 0]), ["orders", "clicks"]),
        (None, pa.array([2.0, 0.0]), ["orders", "clicks"]),
        ({"buy": "orders", "view": "clicks"}, pa.array([b"buy\0", b"view"], pa.binary(4)), ["orders", "clicks"]),
        ({"1": "orders", "1.0": "clicks"}, pa.array(["1", "1.0"]), ["orders", "clicks"]),
    ],
)
def test_forms_of_the_type(tmp_path, types, column, found):
    path = write_parquet(tmp_path / "log.parquet", [(1, 5, T0, ""), (2, 5, T0, "")], type=column)
    assert [row[3] for row in rows(read(path, types=types, max_rejected=0))] == found


@pytest.mark.parametrize("format", ["csv", "parquet"])
@pytest.mark.parametrize("word", ["NULL", "\\N", "None", "nan", "(null)", "undefined", "none", "-"])
def test_words_that_mean_nothing_are_no_session_and_no_item(tmp_path, format, word):
    events = [("a", "x", T0, "clicks"), (word, "x", T0, "clicks"), (word, "y", T0, "clicks"), ("b", word, T0, "clicks")]
    path = WRITE[format](tmp_path / f"log.{format}", events)
    result = read(path, max_rejected=0)
    assert rows(result) == [("a", "x", T0, "clicks")]
    assert result.counts["missing"] == {"session": 2, "aid": 1}
    assert result.counts["rejected"] == 0
    assert len(read(path, missing=[], max_rejected=0).log) == 4


def test_numbers_may_mean_nothing_too(tmp_path):
    path = write_parquet(tmp_path / "log.parquet", [(0, 5, T0, "clicks"), (1, 5, T0, "clicks"), (-1, 5, T0, "clicks")])
    assert read(path).counts["missing"] == {}
    assert [row[0] for row in rows(read(path, missing=[0, -1], max_rejected=0))] == [1]
    assert EventsConfig(missing=[None, "x"]).missing == ["", "NULL", "null", "x"]


def test_what_is_handed_over_may_hold_what_the_log_leaves_out():
    config = EventsConfig(types=SHOP)
    reader = Reader(pa.array([5, 6]), config, TARGETS)
    found = reader.read(
        [
            {"session": "c", "aid": 5, "ts": T0, "type": "remove"},
            {"session": "b", "aid": 6, "ts": T0, "type": "view"},
            {"session": "NULL", "aid": 6, "ts": T0, "type": "view"},
        ]
    )
    assert found.sessions.to_pylist() == ["b", "c"]
    assert np.diff(found.log.starts).tolist() == [1, 0]
    alone = reader.read([{"aid": 5, "ts": T0, "type": "remove"}])
    assert (alone.sessions.to_pylist(), len(alone.log)) == ([0], 0)
    with pytest.raises(UserError, match=r"row 0: unknown type.*events.types knows view"):
        reader.read([{"aid": 5, "ts": T0, "type": "zoom"}])


# ---------------------------------------------------------------- repeats
def test_repeats_stay_where_they_are_to_be_kept(tmp_path):
    events = [(1, 5, T0, "clicks"), (1, 6, T0, "clicks"), (1, 5, T0, "clicks"), (2, 5, T0, "carts")]
    path = write_csv(tmp_path / "log.csv", events)
    dropped, kept = read(path), read(path, duplicates="keep")
    assert (len(dropped.log), dropped.counts["duplicates"]) == (3, 1)
    assert (rows(kept), kept.counts["duplicates"]) == (events, 0)
    table = pa.table(dict(zip(["session", "aid", "ts", "type"], map(list, zip(*events, strict=True)), strict=True)))
    assert len(EventLog.from_frame(table)) == 3
    assert len(EventLog.from_frame(table, duplicates="keep")) == 4


# ---------------------------------------------------------------- visits
USERS = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 400)), min_size=1, max_size=30)


@given(USERS, st.sampled_from([1, 30, 60.5]))
@settings(max_examples=40, deadline=None)
def test_visits_are_cut_at_pauses(events, minutes):
    user, ts = (np.array(column) for column in zip(*events, strict=True))
    ts = ts * MINUTE
    visit, ids = cut_visits(user, ts, pa.array(["a", "b", "a#1", "d"]), minutes)
    names, last = [None] * len(ts), np.zeros(len(ts), bool)
    for one in set(user.tolist()):  # event by event, as one would do it by hand
        before, number, mine = None, 0, []
        for i in sorted(np.flatnonzero(user == one), key=lambda i: ts[i]):
            if before is None or ts[i] - before > minutes * MINUTE:
                number, mine = number + 1, []
            names[i], before = f"{['a', 'b', 'a#1', 'd'][one]}#{number}", ts[i]
            mine.append(i)
        last[mine] = True
    assert ids.take(pa.array(visit)).to_pylist() == names
    assert ids.to_pylist() == sorted(set(names), key=str.encode)
    assert last_visits(user, ts, minutes).tolist() == last.tolist()


def test_a_log_of_users_is_one_of_visits(tmp_path):
    events = [(7, 1, T0 + 40 * MINUTE, "clicks"), (7, 2, T0, "clicks"), (8, 1, T0, "clicks"), (7, 3, T0 + 20 * MINUTE, "carts")]
    result = read(write_csv(tmp_path / "log.csv", events), visit_minutes=20)
    assert [(row[0], row[1]) for row in rows(result)] == [("7#1", 2), ("7#1", 3), ("7#1", 1), ("8#1", 1)]
    result = read(tmp_path / "log.csv", visit_minutes=19)
    assert [(row[0], row[1]) for row in rows(result)] == [("7#1", 2), ("7#2", 3), ("7#3", 1), ("8#1", 1)]
    live = Reader(result.log.items, EventsConfig(visit_minutes=19), TARGETS).of_log(read(tmp_path / "log.csv").log)
    assert live.sessions.to_pylist() == [7, 8]
    assert live.log.items is None
    assert [result.log.items[int(aid)].as_py() for aid in live.log.aid] == [1, 1]  # of 7 the last visit


@pytest.mark.parametrize(
    "events", [{"types": {"view": "click"}}, {"duplicates": "merge"}, {"visit_minutes": 0}, {"missing": "NULL"}]
)
def test_settings_that_cannot_be(events):
    with pytest.raises(UserError, match="events"):
        load_config({"events": events})

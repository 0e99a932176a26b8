"""JSONL with one event a line, under names of one's own."""

import json

import pytest

from otto_gpu.errors import UserError
from tests.events.logs import T0, TYPES, in_order, random_events, read, rejected, rows

OWN = {"session": "user.id", "aid": "sku", "ts": "time", "type": "action"}


def write(path, events, make=lambda s, a, t, k: {"user": {"id": s, "x": [1]}, "sku": a, "time": t, "action": k, "more": {}}):
    path.write_text("".join(json.dumps(make(*event)) + "\n" for event in events))
    return path


@pytest.mark.parametrize("ids", [lambda i: i, "s{}".format, lambda i: f"00{i}", lambda i: i if i % 2 else f"x{i}"])
@pytest.mark.parametrize("chunk_bytes", [1 << 10, 1 << 20])
def test_names_of_ones_own_and_paths(tmp_path, ids, chunk_bytes):
    events = random_events(150, ids=ids)
    path = write(tmp_path / "log.jsonl", events)
    expected = events if len({type(e[0]) for e in events}) == 1 else [(str(s), str(a), t, k) for s, a, t, k in events]
    assert rows(read(path, columns=OWN, chunk_bytes=chunk_bytes, max_rejected=0)) == in_order(expected)
    listed = tmp_path / "log.json"  # all of them in one list
    listed.write_text(json.dumps([json.loads(line) for line in path.read_text().splitlines()], indent=1))
    assert rows(read(listed, columns=OWN, chunk_bytes=chunk_bytes, max_rejected=0)) == in_order(expected)


def test_a_key_may_hold_a_dot_and_further_keys_travel_along(tmp_path):
    events = random_events(30)
    path = write(
        tmp_path / "log.ndjson",
        events,
        lambda s, a, t, k: {"user.id": s, "sku": a, "time": t, "action": k, "n": t - T0, "m": t - T0},
    )
    result = read(path, columns=OWN, extra=["n"], context={"m": "number"}, max_rejected=0)
    assert rows(result) == in_order(events)
    assert result.log.extra["n"].to_pylist() == result.log.context["m"].tolist() == (result.log.ts - T0).tolist()


def test_bad_lines_are_found_and_the_others_stay(tmp_path):
    line = '{"session":1,"aid":%s,"ts":5,"type":"clicks"}\n'
    bad = ["{\n", "[1]\n", '{"session":1,"ts":5,"type":"clicks"}\n', "\n", line % "null", line.replace("5", "-5") % 3]
    (tmp_path / "log.jsonl").write_text(line % 1 + "".join(bad) + line % 2)
    result = read(tmp_path / "log.jsonl")
    reasons = ["broken JSON", "not an object", "missing aid", "missing aid", "ts is negative"]
    assert sorted(rejected(result)) == list(zip([2, 3, 4, 6, 7], reasons, strict=True))
    assert [e[1] for e in rows(result)] == [1, 2]


def test_times_as_text_and_types_by_number(tmp_path):
    path = tmp_path / "log.jsonl"
    path.write_text('{"session":"a","aid":"2026-01-01","ts":"2022-07-31T22:00:00Z","type":1}\n')
    assert rows(read(path, ts_unit="iso")) == [("a", "2026-01-01", T0, TYPES[1])]


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (
            {},
            r"missing key 'session'; one event a line has: user, sku, time, action, more; set events.columns.session",
        ),
        (OWN | {"session": 0}, r"events.columns.session is a place, 0: the keys of JSON have names only"),
        (OWN | {"type": "kind"}, r"missing key 'kind'.*set events.columns.type"),
    ],
)
def test_keys_that_no_line_has(tmp_path, columns, message):
    with pytest.raises(UserError, match=message):
        read(write(tmp_path / "log.jsonl", random_events(5)), columns=columns)

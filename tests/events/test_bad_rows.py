"""What a log may hold that is no event: each such row is counted, told with its reason, and left out."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from otto_gpu.events.read import TooManyRejected
from tests.events.logs import GOOD, T0, read, rejected, rows, write_csv


def event(**fields) -> str:
    return json.dumps({"session": 1, "events": [{"aid": 1, "ts": 1, "type": "clicks"} | fields]})


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ('{"session":1,"events":[{"aid":1', "broken JSON"),
        (GOOD + GOOD, "broken JSON"),
        ('{"session":007,"events":[]}', "broken JSON"),
        ("[1]", "not an object"),
        ("null", "not an object"),
        ('{"events":[]}', "missing session"),
        ('{"session":null,"events":[]}', "missing session"),
        ('{"session":1}', "missing events"),
        ('{"session":1,"events":{}}', "events is not a list"),
        ('{"session":1,"events":[null]}', "event is not an object"),
        ('{"session":1.5,"events":[]}', "session: id is not an integer as the others are"),
        ('{"session":true,"events":[]}', "session: id is not an integer as the others are"),
        ('{"session":"1","events":[]}', "session: id is not an integer as the others are"),
        ('{"session":18446744073709551616,"events":[]}', "session: id outside int64"),
        ('{"session":99999999999999999999999,"events":[]}', "session: id outside int64"),
        (event(aid=None), "missing aid"),
        (event(aid=[1]), "aid: id is not an integer as the others are"),
        (event(aid=-(2**63) - 1), "aid: id outside int64"),
        ('{"session":1,"events":[{"aid":1,"type":"clicks"}]}', "missing ts"),
        (event(ts="1"), "ts is not a time"),
        (event(ts=True), "ts is not a time"),
        (event(ts=2**63), "ts is at or after the year 2200 (see events.ts_unit)"),
        (event(ts=-1), "ts is negative"),
        (event(ts=7_258_118_400_000), "ts is at or after the year 2200 (see events.ts_unit)"),
        (event(ts=1e300), "ts is at or after the year 2200 (see events.ts_unit)"),
        (event(type="views"), "unknown type"),
        (event(type=""), "missing type"),
        (event(type=1), "unknown type"),
        ('{"session":1,"events":[{"aid":1,"ts":1}]}', "missing type"),
    ],
)
def test_bad_lines_of_json(tmp_path, line, reason):
    path = tmp_path / "log.jsonl"
    path.write_text(f"{GOOD}\n{line}\n" + event(aid=2) + "\n")
    result = read(path)
    assert rejected(result) == [(2, reason)]
    assert [e[1] for e in rows(result)] == [1, 2]
    assert result.counts["rejected"] == 1
    assert result.rejected["file"].to_pylist() == [str(path)]
    assert result.rejected["text"][0].as_py()


def test_the_good_events_of_a_line_stay_and_empty_sessions_are_no_error(tmp_path):
    path = tmp_path / "log.jsonl"
    events = [
        {"aid": 5, "ts": 1, "type": "clicks"},
        {"aid": "x", "ts": 2, "type": "clicks"},
        {"aid": 6, "ts": 3, "type": "zoom"},
    ]
    events.append({"aid": 7, "ts": 4, "type": "carts"})
    path.write_text('{"session":3,"events":[]}\n' + json.dumps({"session": 4, "events": events}) + "\n")
    result = read(path)
    assert rows(result) == [(4, 5, 1, "clicks"), (4, 7, 4, "carts")]
    assert sorted(rejected(result)) == [(2, "aid: id is not an integer as the others are"), (2, "unknown type")]
    assert "zoom" in "".join(result.rejected["text"].to_pylist())


def test_bytes_that_are_not_utf8(tmp_path):
    path = tmp_path / "log.jsonl"
    note = GOOD.replace('"session"', '"n\u00f6te":1,"session"').encode()
    path.write_bytes(note + b"\n" + GOOD.replace("clicks", "cl#").encode().replace(b"#", b"\xff") + b"\n")
    assert rejected(read(path)) == [(2, "not UTF-8")]
    table = tmp_path / "log.csv"
    table.write_bytes(
        b"session,aid,ts,type,note\n1,1,1,clicks,\xc3\xb6\xc3\xb6\xc3\xb6\n\xff,1,1,clicks,a\n1,\xff,2,clicks,a\n1,3,3,clicks,\xff\n"
    )
    result = read(table)
    assert rejected(result) == [(3, "session: not UTF-8"), (4, "aid: not UTF-8")]
    assert [e[1] for e in rows(result)] == [1, 3]  # a column that nobody reads may be anything
    assert rejected(read(table, extra=["note"])) == [(3, "not UTF-8"), (4, "not UTF-8"), (5, "not UTF-8")]


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (",1,1,clicks", "missing session"),
        ('1,"",1,clicks', "missing aid"),
        ("1,1,,clicks", "missing ts"),
        ("1,1,1,", "missing type"),
        ("1,1,soon,clicks", "ts is not a time"),
        ("1,1,nan,clicks", "missing ts"),
        ("1,1,0x10,clicks", "ts is not a time"),
        ("1,1,-5,clicks", "ts is negative"),
        ("1,1,7258118400000,clicks", "ts is at or after the year 2200 (see events.ts_unit)"),
        ("1,1,99999999999999999999999,clicks", "ts is at or after the year 2200 (see events.ts_unit)"),
        ("1,1,1,Clicks", "unknown type"),
        ("1,1,1", "wrong number of columns"),
    ],
)
def test_bad_rows_of_csv(tmp_path, row, reason):
    path = tmp_path / "log.csv"
    path.write_text(f"session,aid,ts,type\n1,1,1,clicks\n{row}\n1,2,1659304800000,clicks\n")
    result = read(path)
    assert rejected(result) == [(3, reason)]
    assert rows(result) == [(1, 1, 1, "clicks"), (1, 2, T0, "clicks")]


def test_bad_rows_of_parquet(tmp_path):
    columns = {
        "session": pa.array([1, None, 1, 1, 1, 1, 1], pa.int32()),
        "aid": pa.array([1, 1, 1.5, 1, 1, 1, 3], pa.float64()),
        "ts": pa.array([1, 1, 1, -1, None, 1, 5], pa.int64()),
        "type": ["clicks", "clicks", "clicks", "clicks", "clicks", None, "carts"],
    }
    pq.write_table(pa.table(columns), tmp_path / "log.parquet")
    result = read(tmp_path / "log.parquet", chunk_bytes=1 << 10)
    expected = [
        (1, "missing session"),
        (2, "aid: id is no whole number"),
        (3, "ts is negative"),
        (4, "missing ts"),
        (5, "missing type"),
    ]
    assert rejected(result) == expected
    assert rows(result) == [(1, 1, 1, "clicks"), (1, 3, 5, "carts")]


def test_line_numbers_and_counts_hold_across_pieces(tmp_path):
    lines = [event(aid=i) for i in range(400)]
    bad = {7: "{", 150: event(type="x"), 151: "", 399: event(ts=-1)}
    for i, line in bad.items():
        lines[i] = line
    path = tmp_path / "log.jsonl"
    path.write_text("\n".join(lines) + "\n")
    result = read(path, chunk_bytes=1 << 10)
    assert rejected(result) == [(8, "broken JSON"), (151, "unknown type"), (400, "ts is negative")]
    assert [e[1] for e in rows(result)] == [i for i in range(400) if i not in bad]


def test_too_many_bad_rows_stop_the_run_with_the_table_at_hand(tmp_path):
    path = tmp_path / "log.csv"
    write_csv(path, [(1, i, T0 + i, "clicks" if i % 10 else "zoom") for i in range(100)])
    with pytest.raises(
        TooManyRejected, match=r"log\.csv:2: unknown type 'zoom'; .* 10 of 100 rows .*10 %.*allows 9 %"
    ) as caught:
        read(path, max_rejected=0.09)
    assert caught.value.rejected.num_rows == 10
    assert caught.value.rejected["row"].to_pylist() == list(range(2, 102, 10))
    assert read(path, max_rejected=0.1).counts["rejected"] == 10


def test_the_share_of_bad_rows_does_not_depend_on_what_is_kept(tmp_path):
    path = write_csv(tmp_path / "log.csv", [(i, 1, T0 + i, "zoom" if i == 0 else "clicks") for i in range(1000)])
    assert read(path, max_rejected=0.001, sample_sessions=0.01).counts["rejected"] == 1
    assert read(path, max_rejected=0.001, before="2022-07-31T22:00:00.005Z").counts["events"] == 4

"""Ids as databases and tools write them: which integers or texts they are, in every kind of column and file."""

import json
import uuid
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from otto_gpu.errors import UserError
from otto_gpu.events.incoming import Reader
from otto_gpu.events.own import joined, own_ids_of
from otto_gpu.events.settings import EventsConfig
from tests.events.logs import T0, TARGETS, read, rejected, rows, write_csv, write_parquet

UUIDS = [uuid.UUID(int=7), uuid.UUID("12345678-1234-5678-1234-56789abcdeff")]
BIG = 13_064_056_694_810_536_062


def of_column(tmp_path, column: pa.Array, **config):
    """The items that a Parquet log with this column of items has, row by row, and the result."""
    n = len(column)
    columns = {"session": range(n), "aid": column, "ts": [T0] * n, "type": ["clicks"] * n}
    pq.write_table(pa.table(columns), tmp_path / "log.parquet")
    result = read(tmp_path / "log.parquet", **config)
    return [row[1] for row in rows(result)], result


@pytest.mark.parametrize(
    ("column", "items"),
    [
        (pa.array([b"sku7", "käse".encode()], pa.binary()), ["sku7", "käse"]),
        (pa.array([b"a", b"b"], pa.large_binary()), ["a", "b"]),
        (pa.array([b"a", b"b"], pa.binary_view()), ["a", "b"]),
        (pa.array(["a", "b"], pa.string_view()), ["a", "b"]),
        (pa.array([b"ab\0\0", b"abcd"], pa.binary(4)), ["ab", "abcd"]),
        (pa.array([u.bytes for u in UUIDS], pa.binary(16)), [str(u) for u in UUIDS]),
        (pa.array([u.bytes for u in UUIDS], pa.uuid()), [str(u) for u in UUIDS]),
        (pa.array([b"abcdefghijklmnop"] * 2, pa.uuid()), ["61626364-6566-6768-696a-6b6c6d6e6f70"] * 2),
        (pa.array([b"\xff\x00\x01", b"\xfe\x00\x01"], pa.binary()), ["ff0001", "fe0001"]),
        (pa.array([Decimal(5), Decimal(-7)], pa.decimal128(38, 0)), [5, -7]),
        (pa.array([Decimal("5.00"), Decimal("7.00")], pa.decimal128(10, 2)), [5, 7]),
        (pa.array([Decimal(5), Decimal(BIG)], pa.decimal256(50, 0)), [5, BIG]),
        (pa.array([Decimal(10) ** 30, Decimal(2)], pa.decimal128(38, 0)), [str(10**30), "2"]),
        (pa.array([5, BIG], pa.uint64()), [5, BIG]),
        (pa.array([5, 7], pa.uint64()), [5, 7]),
        (pa.array([27.0, -3.0], pa.float64()), [27, -3]),
        (pa.array([27.0, 1e19], pa.float64()), [27, 10**19]),
        (pa.array(np.array([27.0, 3.0], np.float16)), [27, 3]),
        (pa.array([b"x", b"y"], pa.binary()).dictionary_encode(), ["x", "y"]),
        (pa.array([Decimal(5), Decimal(7)], pa.decimal128(38, 0)).dictionary_encode(), [5, 7]),
        (pa.array(["7", "8"], pa.string()), ["7", "8"]),
    ],
)
def test_every_kind_of_id(tmp_path, column, items):
    found, result = of_column(tmp_path, column, max_rejected=0)
    assert found == items
    assert result.counts["rejected"] == 0
    live = Reader(result.log.items, EventsConfig(), TARGETS).read(
        pa.table({"aid": column, "ts": [T0] * len(column), "type": ["clicks"] * len(column)})
    )
    assert not live.unknown.any()  # what is handed over in the log's kind is the same item


@pytest.mark.parametrize(
    ("column", "reason"),
    [
        (pa.array([27.0, None]), "missing aid"),
        (pa.array([27.0, float("nan")]), "missing aid"),
        (pa.array([27.0, 27.5]), "aid: id is no whole number"),
        (pa.array([27.0, float("inf")]), "aid: id is no whole number"),
        (pa.array([Decimal("27.00"), Decimal("27.50")]), "aid: id is no whole number"),
        (pa.array([27, None]), "missing aid"),
        (pa.array(["27", ""]), "missing aid"),
    ],
)
def test_ids_that_are_none(tmp_path, column, reason):
    found, result = of_column(tmp_path, column)
    assert [int(aid) for aid in found] == [27]
    assert rejected(result) == [(1, reason)]


@pytest.mark.parametrize(
    ("column", "said"),
    [
        (pa.array([True]), r"column 'aid' \(events.columns.aid\) holds bool; ids must be integers or strings"),
        (pa.array([[{"id": 1, "n": 2}]]), r"holds records \(id, n\); .*name the field"),
        (pa.array([{"id": 1}]), r"holds records \(id\)"),
        (pa.array([[[1]]]), "holds lists of int64"),
    ],
)
def test_kinds_that_are_no_ids_are_told(tmp_path, column, said):
    with pytest.raises(UserError, match=rf"log\.parquet: .*{said}"):
        of_column(tmp_path, column)


def test_a_column_that_is_all_missing(tmp_path):
    with pytest.raises(UserError, match=r"no events to work with.*1 rows rejected"):
        of_column(tmp_path, pa.nulls(1))


@pytest.mark.parametrize("format", ["csv", "jsonl"])
@pytest.mark.parametrize(
    ("given", "items"),
    [
        (["27", "27.0", "3"], [27, 27, 3]),
        (["27.0", "3.0"], [27, 3]),
        (["27.0", "x"], ["27.0", "x"]),
        (["5", str(BIG)], [5, BIG]),
        (["-5", str(BIG)], ["-5", str(BIG)]),
        (["007", "7"], ["007", "7"]),
    ],
)
def test_ids_that_come_as_text(tmp_path, format, given, items):
    path = tmp_path / f"log.{format}"
    if format == "csv":
        write_csv(path, [(i, aid, T0, "clicks") for i, aid in enumerate(given)])
    else:
        number = [aid for aid in given if aid in ("x", "007")]
        told = [json.dumps(aid) if number else aid for aid in given]
        lines = (f'{{"session":{i},"aid":{aid},"ts":{T0},"type":"clicks"}}' for i, aid in enumerate(told))
        path.write_text("\n".join(lines))
    assert [row[1] for row in rows(read(path, max_rejected=0, chunk_bytes=1 << 10))] == items


def test_parts_of_several_kinds_are_one_column(tmp_path):
    kinds = [pa.array([1, 2], pa.int32()), pa.array([1, 2**40], pa.int64()), pa.array(["2", "3"]), pa.array([3.0, None])]
    for i, column in enumerate(kinds):
        write_parquet(tmp_path / f"{i}.parquet", [(i, 0, T0, "clicks"), (i, 0, T0 + 1, "clicks")], aid=column)
    result = read(tmp_path)
    assert [row[1] for row in rows(result)] == [1, 2, 1, 2**40, 2, 3, 3]
    assert len(result.notes) == 1
    assert "all are read as integers" in result.notes[0]


@pytest.mark.parametrize("kind", [pa.list_, pa.large_list, lambda inner: pa.list_(inner, 2), pa.list_view])
def test_a_row_of_several_items_is_an_event_each(tmp_path, kind):
    column = pa.array([[7, 8], [8, 9]], kind(pa.int64()))
    path = write_parquet(tmp_path / "log.parquet", [(1, 0, T0, "orders"), (2, 0, T0 + 1, "carts")], aid=column, page=["a", "b"])
    result = read(path, extra=["page"], max_rejected=0)
    assert rows(result) == [(1, 7, T0, "orders"), (1, 8, T0, "orders"), (2, 8, T0 + 1, "carts"), (2, 9, T0 + 1, "carts")]
    assert result.log.extra["page"].to_pylist() == ["a", "a", "b", "b"]


def test_lists_may_be_empty_or_missing(tmp_path):
    column = pa.array([[], [7, None], None, [8]], pa.list_(pa.int64()))
    found, result = of_column(tmp_path, column)
    assert found == [7, 8]
    assert rejected(result) == [(0, "missing aid"), (1, "missing aid"), (2, "missing aid")]


# ---------------------------------------------------------------- sessions of several columns
PART = st.one_of(st.text(st.sampled_from(":\\ab1"), min_size=1, max_size=4), st.integers(-3, 12).map(str))


@given(st.lists(st.tuples(PART, PART), min_size=1, max_size=12))
@settings(max_examples=40, deadline=None)
def test_joined_ids_are_the_same_where_all_parts_are(pairs):
    parts = [own_ids_of(pa.array(list(part)), "x").ids for part in zip(*pairs, strict=True)]
    ids = joined(parts).to_pylist()
    for one, two in zip(ids, pairs, strict=True):
        assert [one == other for other in ids] == [two == other for other in pairs]


def test_a_session_of_several_columns(tmp_path):
    path = write_csv(
        tmp_path / "log.csv",
        [("u", 1, 5, T0, "clicks"), ("u", 2, 5, T0, "clicks"), ("v:1", 1.0, 5, T0, "clicks"), ("NULL", 3, 5, T0, "clicks")],
        header=["user", "visit", "aid", "ts", "type"],
    )
    names = {"columns": {"session": ["user", "visit"]}}
    result = read(path, **names)
    assert [row[0] for row in rows(result)] == ["u:1", "u:2", "v\\:1:1"]
    assert result.counts["missing"] == {"session": 1}
    reader = Reader(result.log.items, EventsConfig(**names), TARGETS)
    apart = reader.read([{"user": "u", "visit": 2, "aid": 5, "ts": T0, "type": "clicks"}])
    whole = reader.read([{"session": "u:2", "aid": 5, "ts": T0, "type": "clicks"}])
    assert apart.sessions.to_pylist() == whole.sessions.to_pylist() == ["u:2"]

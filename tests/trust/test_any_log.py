"""The logs that people have: files and columns in the forms that tools write them, each as a tiny log of six events."""

import json
import os
import uuid
from datetime import UTC, datetime
from decimal import Decimal

import pyarrow as pa
import pytest

from otto_gpu.events.answers import read_answers
from otto_gpu.events.incoming import Reader
from otto_gpu.events.settings import EventsConfig, TargetsConfig
from tests.trust.tiny import (
    EVENTS,
    FIRST,
    LAST,
    NAMES,
    OWN,
    PLACES,
    T0,
    WHOLE,
    columns,
    counted,
    lines,
    linked,
    of_column,
    packed,
    result_of,
    said_in,
    table,
    with_column,
    write,
    zipped,
)

ITEMS = [[{"id": "a"}, {"id": "b"}], [], None, [{"id": None}], [{"id": "c"}], [None]]
C = table()
JSON_OWN = lines(names=list(OWN.values()))

FILES = {
    "utf-16 with cr and semicolons in gz": said_in(
        WHOLE, {"log.csv.gz": packed("gz", b"\xff\xfe" + table(delimiter=";", end="\r").encode("utf-16-le"))}
    ),
    "jsonl with crlf in xz": said_in(WHOLE, {"log.jsonl.xz": packed("xz", lines(end="\r\n"))}),
    "gz of several streams": said_in(WHOLE, {"log.csv.gz": packed("gz", table(FIRST)) + packed("gz", table(LAST, None))}),
    "bz2 of several streams": said_in(WHOLE, {"log.csv.bz2": packed("bz2", table(FIRST)) + packed("bz2", table(LAST, None))}),
    "zst of several frames": said_in(WHOLE, {"log.csv.zst": packed("zstd", table(FIRST)) + packed("zstd", table(LAST, None))}),
    "xz of several streams": said_in(WHOLE, {"log.csv.xz": packed("xz", table(FIRST)) + packed("xz", table(LAST, None))}),
    "lz4": said_in(WHOLE, {"log.csv.lz4": packed("lz4", C)}),
    "gz in name only": said_in(WHOLE, {"log.csv.gz": C}),
    "gz in content only": said_in(WHOLE, {"log": packed("gz", C)}),
    "gz of Parquet": said_in(
        WHOLE, {"log.parquet.gz": lambda f: (write(f, columns()), f.write_bytes(packed("gz", f.read_bytes())))}
    ),
    "zip": said_in(WHOLE, {"log.zip": zipped({"a/log.csv": C, "__MACOSX/a": "x", ".DS_Store": "\0"})}),
    "csv named parquet": said_in(WHOLE, {"log.parquet": C}),
    "csv named jsonl": said_in(WHOLE, {"log.jsonl": C}),
    "jsonl named csv": said_in(WHOLE, {"log.csv": lines()}),
    "parquet named jsonl": said_in(WHOLE, {"log.jsonl": columns()}),
    "a folder as Spark writes it": said_in(
        WHOLE,
        {
            "log.parquet/part-0.snappy.parquet": columns(FIRST),
            "log.parquet/part-1.snappy.parquet": columns(LAST),
            "log.parquet/_SUCCESS": "",
            "log.parquet/.part-0.snappy.parquet.crc": b"crc\0",
            "log.parquet/_metadata": b"PAR1",
        },
        "log.parquet",
    ),
    "a Delta table": said_in(WHOLE, {"t/part-0.parquet": columns(), "t/_delta_log/0.json": '{"a": 1}'}, "t"),
    "empty parts": said_in(WHOLE, {"d/a.csv": "", "d/b.csv.gz": packed("gz", ""), "d/c.csv": C, "d/d.csv": table([])}, "d"),
    "an empty part of Parquet": said_in(
        WHOLE, {"d/a.parquet": b"", "d/b.parquet": columns(), "d/c.parquet": {"x": pa.nulls(0)}}, "d"
    ),
    "empty parts of jsonl": said_in(WHOLE, {"d/a.jsonl": "", "d/b.jsonl": lines(), "d/c.jsonl": "\n\n"}, "d"),
    "a header in the first part only": said_in(WHOLE, {"d/a.csv": table(FIRST), "d/b.csv": table(LAST, None)}, "d"),
    "columns in another order": said_in(
        WHOLE, {"d/a.csv": table(FIRST), "d/b.csv": table([row[::-1] for row in LAST], NAMES[::-1])}, "d"
    ),
    "another delimiter in each part": said_in(
        WHOLE, {"d/a.csv": table(FIRST), "d/b.csv.gz": packed("gz", table(LAST, delimiter="|"))}, "d"
    ),
    "a linked part": said_in(WHOLE, {"d/a.csv": linked("real.csv", C)}, "d"),
    "a linked folder": said_in(WHOLE, {"d/link": linked("real/a.csv", C)}, "d"),
    "folders that go round": said_in(WHOLE, {"d/s/a.csv": C, "d/s/loop": lambda f: os.symlink(f.parent, f)}, "d"),
    "a pattern of folders": said_in(WHOLE, {"d/2026-01/a.csv": table(FIRST), "d/2026-02/b.csv": table(LAST)}, "d/2026-*"),
    "a pattern at any depth": said_in(WHOLE, {"d/x/a.csv": table(FIRST), "d/y/z/b.csv": table(LAST)}, "d/**"),
    "the type in the folder's name": said_in(
        WHOLE | {"types": [3, 0, 3]},
        {f"log/type={t}/p.parquet": columns(part, type=None) for t, part in (("clicks", FIRST), ("orders", LAST))},
        "log",
    ),
    "a folder's name with %20, and none": said_in(
        {"events": 3, "sessions": [1, 2], "left_out": {"": 3}},
        {
            "log/type=add%20to%20cart/p.parquet": columns(FIRST, type=None),
            "log/type=__HIVE_DEFAULT_PARTITION__/p.parquet": columns(LAST, type=None),
        },
        "log",
        types={"add to cart": "carts", "": None},
    ),
    "the session in the folder's name": said_in(
        {"events": 6, "sessions": ["007", "8"]},
        {f"log/session={s}/p.csv": table([row[1:] for row in part], NAMES[1:]) for s, part in (("007", FIRST), ("8", LAST))},
        "log",
    ),
    "the day in the folder's name": said_in(
        WHOLE,
        {
            f"log/ts=2026-01-0{i + 1}/p.jsonl": lines([(r[0], r[1], r[3]) for r in part], ["session", "aid", "type"])
            for i, part in enumerate((FIRST, LAST))
        },
        "log",
        ts_unit="iso",
    ),
    "a list of objects in one line": said_in(
        WHOLE, {"log.json": json.dumps([json.loads(line) for line in JSON_OWN.splitlines()])}, columns=OWN
    ),
    "a list of objects over many lines": said_in(
        WHOLE, {"log.json": json.dumps([json.loads(line) for line in JSON_OWN.splitlines()], indent=2)}, columns=OWN
    ),
    "objects without line ends": said_in(WHOLE, {"log.jsonl": lines(end="")}),
    "objects over many lines": said_in(
        WHOLE, {"log.jsonl": "\n".join(json.dumps(json.loads(line), indent=2) for line in JSON_OWN.splitlines())}, columns=OWN
    ),
    "objects with commas": said_in(WHOLE, {"log.jsonl": lines(end=",\n")}),
    "objects as a JSON text sequence": said_in(WHOLE, {"log.jsonl": "".join(f"\x1e{line}\n" for line in lines().splitlines())}),
    "objects of which the last is cut": said_in(
        {"events": 5, "rejected": 1}, {"log.jsonl": lines(end="")[:-9]}, max_rejected=1
    ),
    "jsonl with dotted paths": said_in(
        WHOLE,
        {
            "log.jsonl": "\n".join(
                json.dumps({"u": {"v": {"id": s}}, "sku": a, "at": {"ms": t}, "do": k}) for s, a, t, k in EVENTS
            )
        },
        columns={"session": "u.v.id", "aid": "sku", "ts": "at.ms", "type": "do"},
    ),
    "jsonl of MongoDB": said_in(
        {"events": 6, "sessions": ["f1", "f2", "f3"], "items": [10, 11, 12]},
        {
            "log.jsonl": lines(
                [
                    (
                        {"$oid": f"f{s}"},
                        {"$numberLong": str(a)},
                        {"$date": datetime.fromtimestamp(t / 1000, UTC).isoformat()},
                        k,
                    )
                    for s, a, t, k in EVENTS
                ]
            )
        },
        columns={"session": "session.$oid", "aid": "aid.$numberLong", "ts": "ts.$date"},
        ts_unit="iso",
    ),
    "NaN as Python writes it": said_in(
        {"events": 5, "sessions": [1, 2, 3], "missing": {"session": 1}},
        {"log.jsonl": lines(with_column(0, [1, float("nan"), 2, 2, 3, 3]))},
        missing=[""],
    ),
    "utf-16 without a mark": said_in(WHOLE, C.encode("utf-16-be")),
    "two marks": said_in(WHOLE, "\ufeff\ufeff" + C),
    "cp1252": said_in(
        {"events": 6, "items": ["10", "11", "Röck"]}, table(with_column(1, [10, 11, 10, "Röck", 11, "Röck"])).encode("cp1252")
    ),
    "cyrillic by name": said_in(
        {"events": 6, "items": ["шина"]}, table(with_column(1, ["шина"] * 6)).encode("cp1251"), encoding="cp1251"
    ),
    "mixed line ends": said_in(WHOLE, table(FIRST, end="\r\n") + "\r\n" + table(LAST, None, end="\r")),
    "quotes around everything": said_in(
        WHOLE, "".join(",".join(f'"{v}"' for v in line.split(",")) + "\n" for line in C.splitlines())
    ),
    "spaces around everything": said_in(WHOLE, C.replace(",", " , ")),
    "a comma after every row": said_in(WHOLE, C.replace("\n", ",\n")),
    "a column of row numbers": said_in(WHOLE, "".join(f"{i or ''},{line}\n" for i, line in enumerate(C.splitlines()))),
    "Excel's sep": said_in(WHOLE, "sep=;\n" + C.replace(",", ";")),
    "Hive's delimiter, no header": said_in(WHOLE, {"000000_0": table(names=None, delimiter="\x01")}, columns=PLACES),
    "two colons, no header": said_in(WHOLE, {"ratings.dat": table(names=None, delimiter="::")}, columns=PLACES),
    "a title of several lines": said_in(WHOLE, table([(f'"a\n,""{s}"', s, *rest) for s, *rest in EVENTS], ["title", *NAMES])),
}

TWICE = [1, 1, 2, 2, 3, 3]
UUIDS = [uuid.UUID(int=2**127 + i) for i in TWICE]


COLUMNS = {
    "a dictionary of uint64": of_column(
        counted(sessions=[5, 7, 2**63 + 1]),
        "session",
        pa.DictionaryArray.from_arrays([2, 2, 1, 1, 0, 0], pa.array([5, 7, 2**63 + 1], pa.uint64())),
    ),
    "UUIDs in Parquet and as text": said_in(
        {"events": 6, "duplicates": 6, "sessions": sorted({str(u) for u in UUIDS})},
        {
            "d/a.parquet": columns(session=pa.array([u.bytes for u in UUIDS], pa.uuid())),
            "d/b.parquet": columns(session=[str(u) for u in UUIDS]),
        },
        "d",
    ),
    "parts of integers, text, decimals and floats": said_in(
        counted(duplicates=18),
        {
            "d/a.parquet": columns(),
            "d/b.parquet": columns(session=[str(s) for s in TWICE]),
            "d/c.parquet": columns(session=[Decimal(s) for s in TWICE]),
            "d/d.parquet": columns(session=[float(s) for s in TWICE]),
        },
        "d",
    ),
    "27.0 in one part of CSV": said_in(
        counted(duplicates=1), {"d/a.csv": C, "d/b.csv": table([("1.0", "10.0", *EVENTS[0][2:])])}, "d"
    ),
    "zeros before the id in one part": said_in(
        {"events": 7, "sessions": ["0001", "1", "2", "3"]}, {"d/a.csv": C, "d/b.csv": table([("0001", *EVENTS[0][1:])])}, "d"
    ),
    "ids of 20 and of 25 digits": said_in(
        {"events": 6, "sessions": [1, 12345678901234567890], "items": ["1234567890123456789012345", "7"]},
        table(
            [
                (s, a, *row[2:])
                for row, s, a in zip(EVENTS, [1, 12345678901234567890] * 3, ["1234567890123456789012345", 7] * 3, strict=True)
            ]
        ),
    ),
    "emoji": said_in({"events": 6, "items": ["💶"]}, table(with_column(1, ["💶"] * 6))),
    "a session that is 0.0 and -0.0": of_column(counted(sessions=[0, 2, 3]), "session", [-0.0, 0.0, 2.0, 2.0, 3.0, 3.0]),
    "missing words in text": said_in(
        {"events": 2, "sessions": [3], "missing": {"session": 4}}, table(with_column(0, ["NULL", "\\N", "None", "NaN", 3, 3]))
    ),
    "numbers that mean nothing": of_column(
        {"events": 4, "sessions": [2, 3], "missing": {"session": 2}}, "session", [0.0, 0.0, 2.0, 2.0, 3.0, 3.0], missing=[0]
    ),
    "two columns, one of them missing": said_in(
        {"events": 4, "sessions": ["u:1", "v:1"], "missing": {"session": 2}},
        {"log.parquet": columns(session=None, user=["u", None, "u", "v", "v", "NULL"], no=[1, 1, 1, 1, 1, 1])},
        columns={"session": ["user", "no"]},
        missing=["", "NULL"],
    ),
    "two columns without a header": said_in(
        {"events": 6, "sessions": ["1:x", "2:x", "3:x"]},
        table([(s, "x", *rest) for s, *rest in EVENTS], None),
        columns={"session": [0, 1], "aid": 2, "ts": 3, "type": 4},
    ),
    "a column and the folder's day": said_in(
        {"events": 6, "sessions": ["1:2026-01-01", "2:2026-01-01", "2:2026-01-02", "3:2026-01-02"]},
        {f"log/day=2026-01-0{i + 1}/p.parquet": columns(part) for i, part in enumerate((FIRST, LAST))},
        "log",
        columns={"session": ["session", "day"]},
    ),
    "lists, empty lists and none": of_column(
        {"events": 5, "items": [1, 2, 3, 4, 5], "missing": {"aid": 3}, "duplicates": 1},
        "aid",
        [[1, 2], [3], [], None, [4, 4], [None, 5]],
        missing=[""],
    ),
    "lists as text": said_in(
        {"events": 6, "items": [1, 2, 3, 10], "rejected": 1, "duplicates": 1},
        table(with_column(1, ['"[1, 2]"', '"[""3""]"', "['10']", "[]", "[10]", '"[1,1]"'])),
        max_rejected=1,
    ),
    "lists of words as text": said_in(
        {"events": 7, "items": ["a", "b c"]},
        {"log.parquet": columns(aid=["['a', 'b c']", '["a"]', "['a']", "[a]", "['a']", "['b c']"])},
    ),
    "words in brackets": said_in({"events": 6, "items": ["[a", "[a]", "[b]"]}, table(with_column(1, ["[a]", "[b]", "[a"] * 2))),
    "lists of words": of_column(
        {"events": 6, "items": ["a", "b", "c", "d", "e", "f"], "missing": {"aid": 1}},
        "aid",
        [["a", "b"], ["c"], ["d"], ["NULL"], ["e"], ["f"]],
    ),
    "lists of records": said_in(
        {"events": 3, "items": ["a", "b", "c"], "missing": {"aid": 4}},
        {"log.parquet": columns(aid=None, items=ITEMS)},
        columns={"aid": "items.id"},
        missing=[""],
    ),
    "lists of records within a record": said_in(
        {"events": 3, "items": ["a", "b", "c"], "rejected": 4},
        {"log.parquet": columns(aid=None, shop=[{"items": i, "n": 1} for i in ITEMS])},
        columns={"aid": "shop.items.id"},
        max_rejected=1,
    ),
    "lists of objects in jsonl": said_in(
        {"events": 3, "items": ["a", "b", "c"], "missing": {"aid": 4}},
        {"log.jsonl": lines(with_column(1, ITEMS), ["session", "items", "ts", "type"])},
        columns={"aid": "items.id"},
        missing=[""],
    ),
    "fields of records": said_in(
        WHOLE, {"log.parquet": columns(aid=None, item=[{"id": row[1]} for row in EVENTS])}, columns={"aid": "item.id"}
    ),
    "a name with a dot": said_in(
        WHOLE, {"log.parquet": columns(aid=None, **{"item.id": [row[1] for row in EVENTS]})}, columns={"aid": "item.id"}
    ),
    "users": said_in({"events": 6, "sessions": ["1#1", "1#2", "2#1", "2#2", "3#1", "3#2"]}, C, visit_minutes=0.5),
    "users with equal times": said_in(
        {"events": 4, "sessions": ["1#1", "2#1", "3#1"], "duplicates": 2},
        table([(s, 10, T0, "clicks") if s < 3 else (s, a, T0, k) for s, a, _, k in EVENTS]),
        visit_minutes=1,
    ),
    "users of two columns": said_in(
        {"events": 6, "sessions": ["1:x#1", "2:x#1", "3:x#1"]},
        table([(s, "x", *rest) for s, *rest in EVENTS], ["user", "shop", *NAMES[1:]]),
        columns={"session": ["user", "shop"]},
        visit_minutes=30,
    ),
    "repeats that are real": said_in({"events": 8, "sessions": [1, 2, 3]}, table([*EVENTS, *EVENTS[:2]]), duplicates="keep"),
    "types of numbers": of_column(WHOLE | {"types": [2, 2, 2]}, "type", [0.0, 1.0, 2.0] * 2),
    "types of bool": of_column(
        WHOLE | {"types": [3, 0, 3]}, "type", [True, False] * 3, types={"true": "orders", "false": "clicks"}
    ),
    "types of text for bool": said_in(
        WHOLE | {"types": [3, 0, 3]},
        table(with_column(3, ["TRUE", "f", "1", "no", "t", "0.0"])),
        types={True: "orders", False: "clicks"},
    ),
    "types of bytes with spaces": of_column(WHOLE | {"types": [3, 3, 0]}, "type", [b" carts ", b"clicks"] * 3),
    "no types at all": of_column(WHOLE | {"types": [6, 0, 0]}, "type", pa.nulls(6), types={"": "clicks"}),
    "types left out on purpose": said_in(
        {"events": 5, "left_out": {"carts": 1}}, C, types={"clicks": "clicks", "carts": None, "orders": "orders"}
    ),
    "rows without an item left out on purpose": said_in(
        {"events": 5, "left_out": {"search": 1}},
        table([*EVENTS[1:], (1, "", T0, "search")]),
        types={"clicks": "clicks", "carts": "carts", "orders": "orders", "search": None},
    ),
}


@pytest.mark.parametrize("name", [*FILES, *COLUMNS])
def test_logs_that_people_have(tmp_path, name):
    expected, files, path, config = (FILES | COLUMNS)[name]
    result = result_of(tmp_path, files, path, config)
    counts = result.counts | {
        "sessions": result.log.sessions.to_pylist(),
        "items": result.log.items.to_pylist(),
        "types": [*result.counts["types"].values()],
    }
    usual = dict.fromkeys(("rejected", "duplicates"), 0) | {"left_out": {}, "missing": {}}
    assert {key: counts[key] for key in usual | expected} == usual | expected


def test_new_events_come_as_the_log_has_them():
    """Within records and lists of records, as text and with own names."""
    config = EventsConfig(columns={"session": "user.id", "aid": "items.id"}, ts_format="%d.%m.%Y")
    reader = Reader(pa.array(["a", "b", "c"]), config, TargetsConfig())
    rest = {"ts": "01.01.2026", "type": "clicks"}
    ways = (
        {"user": {"id": 7}, "items": [{"id": "a"}, {"id": "c"}]},
        {"user.id": 7, "items.id": ["a", "c"]},
        {"session": 7, "aid": ["a", "c"]},
    )
    for way in ways:
        new = reader.read([way | rest])
        assert (new.sessions.to_pylist(), new.log.aid.tolist(), new.log.ts.tolist()) == ([7], [0, 2], [T0, T0])


TEXTS = {
    "csv": [table(delimiter=d, end=e) for d in (",", ";", "\t", "|", "\x01", "::") for e in ("\n", "\r\n", "\r")],
    "jsonl": [lines(end=e) for e in ("\n", "\r\n", ",\n", "")],
    "json": [json.dumps([json.loads(line) for line in lines().splitlines()], indent=i) for i in (None, 1)],
}


@pytest.mark.parametrize("codec", ["", "gz", "bz2", "xz", "zstd", "lz4", "zip"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_any_packing_of_any_encoding_of_any_text(tmp_path, codec, encoding):
    """With a name that says the format, and with one that says nothing."""
    for ending, texts in TEXTS.items():
        text = texts[len(codec + encoding) % len(texts)].encode(encoding)
        content = zipped({f"a.{ending}": text}) if codec == "zip" else packed(codec, text) if codec else text
        for name in (f"log.{ending}", f"log-of-{ending}"):
            result = result_of(tmp_path, {name: content}, None, {})
            assert (len(result.log), result.log.items.to_pylist(), result.counts["rejected"]) == (6, [10, 11, 12], 0), name


@pytest.mark.parametrize("file", ["answers.jsonl", "answers.parquet", "answers.csv"])
def test_answers_come_as_the_log_has_them(tmp_path, file):
    rows = [{"user": {"id": s, "n": 1}, "sku": a, "type": "orders"} for s, a in ((7, "a"), (8, "b"))]
    held = {"session": "user.id", "aid": "sku"} if file != "answers.csv" else PLACES
    if file.endswith("jsonl"):
        content = "".join(json.dumps(row) + "\n" for row in rows)
    elif file.endswith("parquet"):
        content = {name: [row[name] for row in rows] for name in rows[0]}
    else:  # where the log has no header, the columns of its answers are called as OTTO's
        content = "session,aid,type\n7,a,orders\n8,b,orders\n"
    write(tmp_path / file, content)
    answers = read_answers(tmp_path / file, EventsConfig(columns=held), TargetsConfig())
    assert (answers.session.to_pylist(), answers.aid.to_pylist(), answers.type.tolist()) == ([7, 8], ["a", "b"], [2, 2])

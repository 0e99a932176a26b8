"""Times as people write them, and what is said of logs that are none."""

import json
import re
from datetime import UTC, date, datetime
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pyarrow.feather
import pyarrow.orc
import pytest

from otto_gpu.errors import UserError
from tests.trust.tiny import (
    EVENTS,
    NAMES,
    PLACES,
    T0,
    columns,
    lines,
    of_column,
    packed,
    result_of,
    said_in,
    table,
    tarred,
    with_column,
    write,
    zipped,
)

C, DAY = table(), date(2026, 1, 1)
SPELT = [
    "2026-01-01T00:00:00,000",
    "2026-01-01T02:00:00+0200",
    "2026-01-01 00:00:00 UTC",
    "20260101",
    "20260101T000000Z",
    "2026-1-1 0:0",
    "2026/01/01 00:00",
    "2026-01-01T00:00:00.000000000Z",
    "2026-01-01T01:00:00+01:00[Europe/Berlin]",
    "2026-01-01 00:00:00 +0000 UTC",
    " 2026-01-01 00:00:00 ",
    "2026-01-01 01:00:00.000 Europe/Berlin",
]
FORMED = {
    "01.01.2026": "%d.%m.%Y",
    "1/1/2026 12:00 AM": "%m/%d/%Y %I:%M %p",
    "01/Jan/2026:00:00:00 +0000": "%d/%b/%Y:%H:%M:%S %z",
    "Thu Jan  1 00:00:00 2026": "%a %b %d %H:%M:%S %Y",
    "Thu Jan 01 00:00:00 +0000 2026": "%a %b %d %H:%M:%S %z %Y",
    "2026-01-01 12:00:00 AM": "%Y-%m-%d %I:%M:%S %p",
}
NUMBERS = {
    "s": ["1767225600", "1767225600.000", "1767225600,0", "1.7672256E9"],
    "us": [str(T0 * 1000)],
    "ns": [str(T0 * 10**6)],
}
TIMES = [(said, {"ts_unit": "iso"}) for said in SPELT]
TIMES += [(said, {"ts_format": form}) for said, form in FORMED.items()]
TIMES += [(said, {"ts_unit": unit}) for unit, many in NUMBERS.items() for said in many]
TIMES += [
    ("2026-01-01 01:00", {"ts_unit": "iso", "timezone": "Europe/Berlin"}),
    ("2025-12-31", {"ts_unit": "iso", "timezone": "-24:00"}),
][:1]
KINDS = [
    pa.array([datetime(2026, 1, 1)] * 6, pa.timestamp("ns")),
    pa.array([datetime(2026, 1, 1, tzinfo=UTC)] * 6, pa.timestamp("s", "Europe/Berlin")),
    pa.array([DAY] * 6),
    pa.array([DAY] * 6, pa.date64()),
    pa.array([float(T0)] * 6),
    pa.array([Decimal(T0)] * 6),
    pa.array([T0] * 6, pa.uint64()),
    pa.array([str(T0)] * 6).dictionary_encode(),
    pa.array([str(T0).encode()] * 6),
]

BIN = b"\x1b\x81\x03\x00\xfc\xff\x00\xd6\xa5,\x04\n" * 9
MESSAGES = {
    "a tar": said_in("a tar archive: unpack it", {"log.tar.gz": packed("gz", tarred(C))}),
    "a zip of two": said_in("a ZIP archive, which holds a.csv, b.csv", {"log.zip": zipped({"a.csv": C, "b.csv": C})}),
    "a workbook": said_in(
        "an Excel workbook: save it as CSV", {"log.xlsx": zipped({"[Content_Types].xml": "", "xl/a.xml": ""})}
    ),
    "Feather": said_in(
        "Arrow .* write it as Parquet", {"log.feather": lambda f: pa.feather.write_feather(pa.table(columns()), f)}
    ),
    "Feather in a folder": said_in(
        "Arrow .* write it as Parquet", {"d/log.feather": lambda f: pa.feather.write_feather(pa.table(columns()), f)}, "d"
    ),
    "ORC": said_in("an ORC file: write it as Parquet", {"log.orc": lambda f: pa.orc.write_table(pa.table(columns()), f)}),
    "a stream of Arrow": said_in("a stream of Arrow: write it as Parquet", {"log.arrows": b"\xff\xff\xff\xff\x10\1\0\0" * 9}),
    "a pickle": said_in("a pickle, which is never loaded", {"log.pkl": b"\x80\x05\x95" + b"x" * 99}),
    "a cut gz": said_in("log.csv.gz: cannot be read as csv", {"log.csv.gz": packed("gz", C)[:-9]}),
    "a cut Parquet": said_in(
        "log.parquet: cannot be read as parquet",
        {"log.parquet": lambda f: (write(f, columns()), f.write_bytes(f.read_bytes()[:-40]))},
    ),
    "what is no text": said_in("the first line is no header of a CSV, and hardly text", BIN),
    "a folder of others": said_in(
        "holds no jsonl, csv, parquet file; there is a.bin, b.bin", {"d/a.bin": b"PK", "d/b.bin": b"MZ"}, "d"
    ),
    "several formats": said_in(
        "files of more than one format: a.csv .csv., b.parquet .parquet.; set events.format",
        {"d/a.csv": C, "d/b.parquet": columns()},
        "d",
    ),
    "another delimiter": said_in(r"set events.delimiter to '\^'", C.replace(",", "^")),
    "spaces between": said_in("set events.delimiter to ' '", C.replace(",", " ")),
    "the wrong delimiter": said_in("set events.delimiter to ',', not ';'", C, delimiter=";"),
    "no header": said_in("name the columns by their places, such as events.columns.session=0", table(names=None)),
    "a place that is not there": said_in(
        "no column at place 9 .events.columns.type.: there are 4", table(names=None), columns=PLACES | {"type": 9}
    ),
    "a name in capitals": said_in(
        "missing column 'session'; the first row is: Session, AID", table(names=["Session", "AID", "TS", "Type"])
    ),
    "a name twice": said_in("more than one column 'aid'", table([(*row, 5) for row in EVENTS], [*NAMES, "aid"])),
    "rows that are longer": said_in("wrong number of columns '1,10,.*'; a row has as many values", C.replace("s\n", "s,5,6\n")),
    "the wrong encoding": said_in(
        "aid: not UTF-8 .*set events.encoding", table(with_column(1, ["Röck"] * 6)).encode("cp1252"), encoding="utf-8"
    ),
    "an encoding of less": said_in(
        "cannot be read as ascii.*set events.encoding", table(with_column(1, ["Röck"] * 6)), encoding="ascii"
    ),
    "a key that is elsewhere": said_in(
        r"missing key 'sku'; one event a line has: session, item, ts, type; .*what is within item as item\.NAME",
        {"log.jsonl": lines(with_column(1, [{"sku": 1}] * 6), ["session", "item", "ts", "type"])},
        columns={"aid": "sku"},
    ),
    "objects in an object": said_in(
        "missing key 'session'; one event a line has: data", {"log.json": json.dumps({"data": [{"session": 1}]}, indent=1)}
    ),
    "text for times, a session a line": said_in(
        "ts is not a time '2026-01-01'; .*set events.ts_unit: iso",
        {"log.jsonl": '{"session": 1, "events": [{"aid": 1, "ts": "2026-01-01", "type": "clicks"}]}'},
    ),
    "other keys, a session a line": said_in(
        "an event aid, ts and type; here there are item, at", {"log.jsonl": '{"session": 1, "events": [{"item": 1, "at": 2}]}'}
    ),
    "objects in one called events": said_in(
        "a session a line has the keys session and events, .* here there are events",
        {"log.json": json.dumps({"events": [{"session": 1, "aid": 2}]})},
    ),
    "records for ids": of_column(r"holds records \(id\).*name the field that holds the id", "aid", [{"id": 1}] * 6),
    "days for ids": of_column("holds date32.*ids must be integers or strings", "session", [DAY] * 6),
    "a fraction": of_column("session: id is no whole number 1.5", "session", [1.5, 1, 2, 2, 3, 3]),
    "no session at all": of_column("missing session; .*name '' in events.missing", "session", pa.nulls(6)),
    "no type at all": of_column("missing type; .*set events.types: {'': null}", "type", pa.nulls(6)),
    "no time at all": of_column("missing ts", "ts", pa.nulls(6)),
    "an unknown type": said_in(
        "unknown type 'view'; events.types knows clicks, .*: {view: null}", table(with_column(3, ["view"] * 6))
    ),
    "everything left out": said_in("0 rows rejected, 6 left out", table(with_column(0, ["NULL"] * 6))),
    "milliseconds as seconds": said_in("looks like a time in ms: set events.ts_unit: ms", C, ts_unit="s"),
    "numbers as iso": said_in("'1767225600000'; .*set events.ts_unit: ms", C, ts_unit="iso"),
    "text as numbers": said_in("'2026-01-01'.*set events.ts_unit: iso", table(with_column(2, ["2026-01-01"] * 6))),
    "a day that may be two": said_in(
        "set events.ts_format: '%d/%m/%Y' or '%m/%d/%Y'", table(with_column(2, ["01/02/2026"] * 6)), ts_unit="iso"
    ),
    "a time of day": of_column("ts is not a time", "ts", [datetime(2026, 1, 1, 9).time()] * 6),
} | {
    f"the format of {said}": said_in(
        f"set events.ts_format: .*{re.escape(repr(form))}",
        table([(s, a, f'"{said}"', k) for s, a, _, k in EVENTS]),
        ts_unit="iso",
    )
    for said, form in FORMED.items()
}


@pytest.mark.parametrize(("said", "config"), TIMES)
def test_times_that_people_write(tmp_path, said, config):
    log = result_of(tmp_path, {"log.tsv": table(with_column(2, [said] * 6), delimiter="\t")}, None, config).log
    assert np.unique(log.ts).tolist() == [T0]


@pytest.mark.parametrize("column", KINDS, ids=lambda column: str(column.type))
def test_kinds_of_times(tmp_path, column):
    assert np.unique(result_of(tmp_path, {"log.parquet": columns(ts=column)}, None, {}).log.ts).tolist() == [T0]


@pytest.mark.parametrize("name", MESSAGES)
def test_what_is_said_of_others(tmp_path, name):
    said, files, path, config = MESSAGES[name]
    with pytest.raises(UserError, match=said) as error:
        result_of(tmp_path, files, path, config)
    assert "\n" not in str(error.value)


def test_files_in_folders_within_the_folder_are_told(tmp_path):
    files = {"d/a.csv": C, "d/old/b.csv": C, "d/run/c.parquet": columns()}
    folder = tmp_path / "d"
    said = f"{folder}: files in folders within it are not read, such as old/b.csv (1 in all): '{folder}/**' takes them too"
    assert result_of(tmp_path, files, "d", {}).notes == [said]

"""The items file: read row by row by plain Python, and compared."""

import csv
import gzip
import json

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from otto_gpu.errors import UserError
from otto_gpu.events.attributes import by_item, read_items, with_ids
from otto_gpu.events.items import NO_TIME, Items
from otto_gpu.events.settings import ItemsConfig
from otto_gpu.events.stage import load_ids, load_period
from otto_gpu.pipeline import run_pipeline
from tests.events.logs import T0, random_events, read, write_csv, write_jsonl, write_parquet

ROWS = [  # id, category, words, made, title
    (7, 10, 3, T0, "a, b\nc"),
    (2, 9, None, T0 - 5, None),
    (999, None, 0.5, None, "new"),  # no event has it
    (3, 10, -1, T0 + 9, "d"),
    (-4, 2, 1e3, T0, "ü"),  # nor this one
]
COLUMNS = {"category": "code", "words": "number", "made": "time", "title": "text"}
NAMES = ["id", *COLUMNS]
CONFIG = ItemsConfig(file="items.csv", id="id", columns=COLUMNS)


def write_items(path, table=ROWS, names=NAMES):
    if path.suffix == ".csv":
        with open(path, "w", newline="") as file:
            csv.writer(file).writerows([names, *[["" if v is None else v for v in row] for row in table]])
    elif path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(dict(zip(names, row, strict=True))) + "\n" for row in table))
    else:
        pq.write_table(
            pa.table({name: list(values) for name, values in zip(names, zip(*table, strict=True), strict=True)}), path
        )
    return path


def said(items: Items, dictionaries: dict) -> list[tuple]:
    """Per dense id (category, words, made, title), None where missing."""
    found = []
    for i in range(items.n_items):
        code, number, time = items.codes["category"][i], items.numbers["words"][i], items.times["made"][i]
        category = None if code < 0 else dictionaries["category"][int(code)].as_py()
        number = None if np.isnan(number) else float(number)
        found.append((category, number, None if time == NO_TIME else int(time), items.texts["title"][i].as_py()))
    return found


@pytest.mark.parametrize("log_format", [write_csv, write_parquet, write_jsonl])
@pytest.mark.parametrize("suffix", [".csv", ".parquet", ".jsonl"])
def test_attributes_come_to_their_dense_ids_and_new_items_get_some(tmp_path, suffix, log_format):
    log = read(log_format(tmp_path / "log", random_events(200)), format=log_format.__name__.removeprefix("write_")).log
    told = []
    table = read_items(write_items(tmp_path / f"items{suffix}"), CONFIG, told.append)
    wider = with_ids(log, table.ids)
    own = sorted({row[0] for row in ROWS} | set(log.items.to_pylist()))
    assert wider.items.to_pylist() == own and wider.n_items == len(own) and wider.aid.dtype == np.int32
    assert wider.items.take(pa.array(wider.aid)).equals(log.items.take(pa.array(log.aid)).cast(wider.items.type))
    expected = dict.fromkeys(own, (None, None, None, None)) | {row[0]: row[1:] for row in ROWS}
    items = by_item(table, wider)
    assert said(items, table.dictionaries) == [expected[i] for i in own]
    assert table.dictionaries["category"].to_pylist() == [2, 9, 10] and not told
    (tmp_path / "events").mkdir()
    items.save(tmp_path / "events/attributes.parquet")
    again = Items.load(tmp_path, len(own))
    assert said(again, table.dictionaries) == [expected[i] for i in own] and again.codes["category"].dtype == np.int32


def test_7_and_text_7_are_one_item_and_other_text_makes_text_of_all(tmp_path):
    log = read(write_csv(tmp_path / "log.csv", random_events(50))).log
    table = read_items(write_items(tmp_path / "i.csv", [("7", 1), ("x", 2)], ["id", "c"]), two := config("c", "code"), print)
    wider = with_ids(log, table.ids)
    assert wider.items.to_pylist() == sorted({"7", "x", *map(str, log.items.to_pylist())}) and two.columns
    assert sorted(wider.items.take(pa.array(wider.aid)).to_pylist()) == sorted(
        map(str, log.items.take(pa.array(log.aid)).to_pylist())
    )


def config(name="c", kind="number", **more):
    return ItemsConfig(file="items.csv", id="id", columns={name: kind}, **more)


@pytest.mark.parametrize(
    ("column", "kind", "unit", "message"),
    [
        (
            [T0 * 1000, T0 * 1000],
            "time",
            "ms",
            r"column 'c' .*2 of 2 values are no times .*unit 'ms', such as .*set items.time_unit",
        ),
        (["soon", "2022-01-01"], "time", "ms", "no times"),
        ([1.5, 2.0], "code", "ms", "a code is an integer or text, got fractions such as 1.5"),
        ([[1], [2]], "code", "ms", "a code is an integer or text, got list"),
        ([[1], [2]], "number", "ms", "expected numbers, got list"),
        ([[1], [2]], "text", "ms", "expected text, got list"),
    ],
)
def test_a_column_of_another_kind_is_one_line(tmp_path, column, kind, unit, message):
    path = tmp_path / "items.parquet"
    pq.write_table(pa.table({"id": [1, 2], "c": column}), path)
    with pytest.raises(UserError, match=message) as error:
        read_items(path, config(kind=kind, time_unit=unit), print)
    assert "\n" not in str(error.value)


def test_what_is_wrong_with_single_rows_is_counted_and_said(tmp_path):
    table = [(1, "3"), (1, "4"), (None, "5"), (2, "many"), (3, "1e999"), (4, "5")]
    told = []
    found = read_items(write_items(tmp_path / "items.csv", table, ["id", "c"]), config(), told.append)
    assert found.ids.to_pylist() == [1, 2, 3, 4]
    assert np.array_equal(found.items.numbers["c"], np.array([3, np.nan, np.nan, 5], np.float32), equal_nan=True)
    assert [line.split(": ", 1)[1] for line in told] == [
        "1 of 6 rows have no 'id': left out",
        "1 of 6 rows repeat an item: its first row counts",
        "2 of 4 values of 'c' are no numbers: counted as missing",
    ]


def test_a_time_column_in_a_larger_unit_is_said(tmp_path):
    told = []
    read_items(
        write_items(tmp_path / "items.csv", [(1, T0 // 1000), (2, T0 // 1000)], ["id", "c"]), config(kind="time"), told.append
    )
    assert len(told) == 1 and "set items.time_unit to 's'" in told[0]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("id,d\n1,2\n", "missing column 'c' .items.columns.c.; the file has: id, d"),
        ("id,c,c\n1,2,3\n", r"more than one column 'c' \(items.columns.c\)$"),
        ("id,c\n,2\n", "no row has a value of 'id'"),
        ("id,c\n1,2,3\n", "cannot be read as csv"),
        ("", "cannot be read as csv"),
    ],
)
def test_an_unfit_file_is_one_line(tmp_path, text, message):
    (tmp_path / "items.csv").write_text(text)
    with pytest.raises(UserError, match=message) as error:
        read_items(tmp_path / "items.csv", config(), print)
    assert "\n" not in str(error.value)


def settings(**more) -> dict:
    return {"events": {"max_rejected": 0}, "split": {"by": "session"}, "items": CONFIG.model_dump()} | more


def test_a_run_reads_it_from_the_data_folder_and_not_as_a_log(tmp_path):
    data = tmp_path / "data"
    data.mkdir()
    write_csv(data / "log.csv", random_events(300))
    write_items(data / "items.csv")
    run_pipeline(settings(), data=data, run_dir=tmp_path / "run", to_stage="events")
    own = load_ids(tmp_path / "run", "items").to_pylist()
    items = Items.load(tmp_path / "run", len(own))
    assert {-4, 999} <= set(own) and items.texts["title"][own.index(999)].as_py() == "new"
    assert json.loads((tmp_path / "run/events/attribute_codes.json").read_text()) == {"category": [2, 9, 10]}
    assert load_period(tmp_path / "run", "test").known.n_items == len(own)
    # the same again is unchanged; another items file is another run
    assert run_pipeline(settings(), data=data, run_dir=tmp_path / "run", to_stage="events").ran == []
    write_items(data / "items.csv", ROWS[:3])
    assert run_pipeline(settings(), data=data, run_dir=tmp_path / "run", to_stage="events").ran == ["events"]
    write_items(data / "items.csv", [(f"n{i}", *row[1:]) for i, row in enumerate(ROWS)])
    with pytest.raises(UserError, match=r"no item of the log is there: .*such as 'n0', the log such as 0"):
        run_pipeline(settings(), data=data, run_dir=tmp_path / "run", to_stage="events")
    elsewhere = {**CONFIG.model_dump(), "file": "itemz.csv"}
    with pytest.raises(
        UserError, match=r"itemz.csv: no such file \(items.file\)"
    ):  # not a column that items.csv lacks as a log
        run_pipeline(settings(items=elsewhere), data=data, run_dir=tmp_path / "none")
    assert not (tmp_path / "none").exists()
    with pytest.raises(UserError, match="a generated log has no items file"):
        run_pipeline(settings(events={"format": "synthetic"}), run_dir=tmp_path / "other", to_stage="events")
    assert pd.read_parquet(tmp_path / "run/events/items.parquet").id.is_monotonic_increasing


@pytest.mark.parametrize(
    ("name", "pack"),
    [
        ("items.csv.gz", lambda text: gzip.compress(text.encode())),
        ("items.csv", lambda text: gzip.compress(text.encode("utf-16"))),
        ("items.txt", lambda text: text.replace(",", ";").replace("\n", "\r").encode("cp1252")),
        ("items.tsv", lambda text: text.replace(",", "\t").replace("\n", "\r\n").encode("utf-8-sig")),
        ("items.csv", lambda text: text.replace(",", " , ").encode()),
        ("items.json", lambda text: b'[{"id": 7, "c": "\xc3\xbc"}, {"id": 8, "c": "y"}]'),
    ],
)
def test_items_files_are_packed_encoded_and_delimited_as_logs_may_be(tmp_path, name, pack):
    (tmp_path / name).write_bytes(pack("id,c\n7,ü\n8,y\n"))
    table = read_items(tmp_path / name, ItemsConfig(file=name, id="id", columns={"c": "code"}), print)
    assert table.ids.to_pylist() == [7, 8]
    assert [table.dictionaries["c"][int(code)].as_py() for code in table.items.codes["c"]] == ["ü", "y"]

"""Which files are the log: folders of parts, folders whose names are values, patterns, train and test files."""

import gzip
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from otto_gpu.errors import UserError
from otto_gpu.events.readers.files import data_files
from otto_gpu.events.settings import EventsConfig
from tests.events.logs import WRITE, in_order, random_events, read, rows, write_csv, write_jsonl, write_parquet

OTTO = yaml.safe_load((Path(__file__).parents[3] / "configs/otto.yaml").read_text())["events"]


def put(write, path, events, **how):
    path.parent.mkdir(parents=True, exist_ok=True)
    return write(path, events, **how)


@pytest.mark.parametrize("format", WRITE)
def test_folders_in_folders_and_what_lies_there_besides(tmp_path, format):
    events = random_events(40)
    for i in range(4):
        put(WRITE[format], tmp_path / f"year=2026/month={i // 2}/part-{i}.snappy.{format}", events[i * 10 : i * 10 + 10])
    for name in ("_SUCCESS", "_metadata/x.csv", f"year=2026/.part-0.{format}", f"_temporary/0.{format}", "README.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("")
    for path in (tmp_path, f"{tmp_path}/**/*.{format}", f"{tmp_path}/year=*", f"{tmp_path}/year=2026/*/*"):
        result = read(path, max_rejected=0)
        assert rows(result) == in_order(events)
        assert result.counts["files"] == 4
    put(WRITE[format], tmp_path / f"top.{format}", events[:5])  # what lies on top hides what lies below, as ever
    assert read(tmp_path).counts["files"] == 1


@pytest.mark.parametrize("format", ["csv", "parquet", "jsonl"])
def test_the_names_of_folders_are_columns(tmp_path, format):
    def without(path, events):
        if format == "jsonl":
            path.write_text("".join(json.dumps({"session": s, "aid": a, "ts": t}) + "\n" for s, a, t, _ in events))
            return path
        return WRITE[format](path, [e[:3] for e in events], header=["session", "aid", "ts"])

    events = random_events(60)
    for kind in ("clicks", "carts", "orders"):
        own = [e for e in events if e[3] == kind]
        put(without, tmp_path / f"shop=a%20b/date=2026-01-0{len(kind) - 4}/type={kind}/x.{format}", own)
    result = read(tmp_path, context={"shop": "code"}, extra=["date"], max_rejected=0)
    assert sorted(rows(result)) == sorted(set(events))
    assert result.context["shop"].to_pylist() == ["a b"]
    dates = {(k, d) for (_, _, _, k), d in zip(rows(result), result.log.extra["date"].to_pylist(), strict=True)}
    assert dates == {("clicks", "2026-01-02"), ("carts", "2026-01-01"), ("orders", "2026-01-02")}
    with pytest.raises(UserError, match=r"missing (column|key) 'device'"):
        read(tmp_path, extra=["device"])


def test_parquet_without_rows_and_columns_within_columns(tmp_path):
    events = random_events(20)
    user = pa.array([{"id": e[0], "name": "x"} for e in events])
    write_parquet(tmp_path / "a.parquet", [e[1:] for e in events], header=["aid", "ts", "type"], user=user)
    pq.write_table(pa.table({name: pa.nulls(0) for name in ("user", "aid", "ts", "type")}), tmp_path / "b.parquet")
    pq.write_table(pa.table({"other": pa.array([], pa.int8())}), tmp_path / "c.parquet")
    (tmp_path / "d.parquet").write_bytes(b"")
    result = read(tmp_path, columns={"session": "user.id"}, max_rejected=0)
    assert rows(result) == in_order(events)


def test_a_log_of_nothing_but_empty_files(tmp_path):
    for name in ("a.csv", "b.csv"):
        (tmp_path / name).write_text("session,aid,ts,type\n")
    with pytest.raises(UserError, match=r"no events to work with in 2 file\(s\): the files are empty"):
        read(tmp_path)


TRAIN = [(1, 5, 10, "clicks"), (2, 6, 20, "carts")]
TEST = [(8, 5, 30, "orders")]


def chunks(file, events):
    for i, event in enumerate(events):
        write_parquet(file / f"{i:09}.parquet", [event])


@pytest.mark.parametrize(
    ("write", "train", "test", "truncated"),
    [
        (write_jsonl, "train.jsonl", "test.jsonl", True),
        (write_jsonl, "train.jsonl.gz", "test.jsonl.gz", True),
        (write_jsonl, "train_sessions.jsonl", "test_sessions.jsonl", True),
        (write_jsonl, "otto-recsys-train.jsonl", "otto-recsys-test.jsonl", False),
        (write_jsonl, "otto-recsys-train.jsonl.gz", "otto-recsys-test.jsonl.gz", False),
        (chunks, "train_parquet", "test_parquet", True),
        (write_parquet, "train.parquet", "test.parquet", True),
        (write_jsonl, "train.jsonl", None, False),
    ],
)
def test_the_otto_log_under_all_its_names(tmp_path, write, train, test, truncated):
    for name, events in ((train, TRAIN), (test, TEST)):
        if name is None:
            continue
        if write is chunks:
            (tmp_path / name).mkdir()
        write(tmp_path / name, events)
        if name.endswith(".gz"):
            (tmp_path / name).write_bytes(gzip.compress((tmp_path / name).read_bytes()))
    (tmp_path / "sample_submission.csv").write_text("session_type,labels\n")
    result = read(tmp_path, **OTTO, max_rejected=0)
    assert rows(result) == (TRAIN + TEST if test else TRAIN)
    assert (result.from_test_file is not None) == truncated
    if truncated:
        assert result.from_test_file.tolist() == [False, False, True]


def test_train_and_test_files_are_files_folders_or_patterns(tmp_path):
    put(write_csv, tmp_path / "a/x.csv", TRAIN[:1])
    put(write_csv, tmp_path / "b/y.csv", TEST)
    put(write_csv, tmp_path / "c-1.csv", TRAIN[1:])

    def named(**config):
        return [str(f.relative_to(tmp_path)) for f in data_files(tmp_path, EventsConfig(**config))]

    assert named(train_file=["none", "a"], test_file=["nothing", "b/*.csv"]) == ["a/x.csv", "b/y.csv"]
    assert named(train_file="*/*.csv", test_file="b") == ["a/x.csv", "b/y.csv"]
    assert named(train_file="c-*") == ["c-1.csv"]
    with pytest.raises(UserError, match=r"no file 'd' or 'e\*' \(events.train_file\); the folder holds: a, b, c-1.csv"):
        named(train_file=["d", "e*"])


def test_formats_that_only_the_content_shows(tmp_path):
    write_parquet(tmp_path / "events", TRAIN)
    write_jsonl(tmp_path / "lines.log", TRAIN)
    write_csv(tmp_path / "table.dat", TRAIN)
    write_parquet(tmp_path / "called.csv", TRAIN)
    write_jsonl(tmp_path / "lines.csv", TRAIN)
    write_csv(tmp_path / "table.json", TRAIN)
    for name in ("events", "lines.log", "table.dat", "called.csv", "lines.csv", "table.json"):
        assert rows(read(tmp_path / name, max_rejected=0)) == TRAIN, name
    with pytest.raises(UserError, match=r"the file is Parquet and no csv: set events.format to parquet"):
        read(tmp_path / "called.csv", format="csv")
    (tmp_path / "notes.txt").write_text("Dear all,\nthis is no log.\n")
    with pytest.raises(UserError, match=r"the format shows neither in the name nor in how the file begins"):
        read(tmp_path / "notes.txt")

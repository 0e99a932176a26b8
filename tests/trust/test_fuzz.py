"""Random input for the readers, the configuration, official files and new sessions: an answer or a UserError, nothing else.

OTTO_FUZZ sets how many examples each test tries; `make trust` sets it high.
"""

import json
import os
from contextlib import suppress

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from otto_gpu.config import Config, load_config
from otto_gpu.errors import UserError
from otto_gpu.evaluate import evaluate_files, evaluate_wide
from otto_gpu.events.incoming import Reader
from otto_gpu.events.settings import EventsConfig, TargetsConfig
from tests.events.logs import TYPES, in_order, read, rows

EXAMPLES = int(os.environ.get("OTTO_FUZZ", "60"))
TOO_LATE = 7_258_118_400_000
fuzzed = settings(max_examples=EXAMPLES, suppress_health_check=list(HealthCheck))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("fuzz")


# ----------------------------------------------------------------------------------------------------------- mutations
@st.composite
def mutated(draw, lines: st.SearchStrategy[bytes]):
    """Lines, some of whose bytes were changed, left out, doubled or put in; line ends stay where they are."""
    found = draw(st.lists(lines, min_size=1, max_size=8))
    for _ in range(draw(st.integers(0, 4))):
        i = draw(st.integers(0, len(found) - 1))
        line = found[i]
        at, length = draw(st.integers(0, len(line))), draw(st.integers(0, 4))
        inserted = draw(
            st.one_of(st.binary(max_size=3), st.sampled_from([b'"', b"\\", b"{", b"}", b"1", b"-", b".", b"e9", b" ", b"\t"]))
        )
        found[i] = (line[:at] + inserted + line[at + length :]).replace(b"\n", b"")
    return found


ids_ = st.integers(-(2**63), 2**63 - 1) | st.integers(0, 5)
times = st.integers(0, 10) | st.integers(1_659_304_800_000, 1_661_000_000_000) | st.sampled_from([TOO_LATE - 1, TOO_LATE, -1])
event = st.fixed_dictionaries({"aid": ids_, "ts": times, "type": st.sampled_from(TYPES)})
session = st.fixed_dictionaries({"session": ids_, "events": st.lists(event, max_size=3)})
json_line = session.flatmap(lambda s: st.sampled_from([json.dumps(s), json.dumps(s, separators=(",", ":"))])).map(str.encode)


def whole(value) -> bool:
    return type(value) is int and -(2**63) <= value < 2**63


def expected_of_jsonl(lines: list[bytes]) -> tuple[list, int]:
    """(events, rejected) by the book, with the standard library's parser."""
    events, rejected = [], 0
    for line in lines:
        try:
            text = line.decode()
            if not text.strip(" \t\r\n"):
                continue
            record = json.loads(text, parse_constant=lambda _: 1 / 0)
        except (ValueError, ZeroDivisionError, RecursionError):
            rejected += 1
            continue
        if not isinstance(record, dict) or not whole(record.get("session")) or not isinstance(record.get("events"), list):
            rejected += 1
            continue
        for event in record["events"]:
            good = isinstance(event, dict) and whole(event.get("aid")) and event.get("type") in TYPES
            ts = event.get("ts") if good else None
            if not good or type(ts) not in (int, float) or not 0 <= ts < TOO_LATE:
                rejected += 1
                continue
            events.append((record["session"], event["aid"], round(ts), event["type"]))
    return events, rejected


def odd_to_python(line: bytes) -> bool:
    """Where the two parsers may see things differently, which both are right to do: lone surrogates, numbers of any size and
    fractions of milliseconds."""
    return any(word in line for word in (b"\\u", b"E", b"e9", b".")) or b"\x00" in line


@fuzzed
@given(lines=mutated(json_line), chunk=st.sampled_from([1 << 10, 1 << 20]))
def test_mutated_jsonl(folder, lines, chunk):
    lines = [b'{"session":1,"events":[{"aid":1,"ts":1,"type":"clicks"}]}', *lines]  # says what kinds the ids are of
    (folder / "log.jsonl").write_bytes(b"\n".join(lines) + b"\n")
    result = read(folder / "log.jsonl", chunk_bytes=chunk)
    if any(map(odd_to_python, lines)):
        return
    events, rejected = expected_of_jsonl(lines)
    assert rows(result) == in_order(events)
    assert result.counts["rejected"] == rejected


csv_line = st.tuples(ids_, ids_, times, st.sampled_from(TYPES)).map(lambda row: ",".join(map(str, row)).encode())


@fuzzed
@given(lines=mutated(csv_line), chunk=st.sampled_from([1 << 10, 1 << 20]))
@example(lines=[b'"1', b'",2,3,clicks'], chunk=1 << 10)
def test_mutated_csv(folder, lines, chunk):
    """Every line that is what it should be, in a file of quotes that close, is read."""
    (folder / "log.csv").write_bytes(b"session,aid,ts,type\n9,9,9,orders\n" + b"\n".join(lines) + b"\n")
    result = read(folder / "log.csv", chunk_bytes=chunk)
    found = {tuple(map(str, row)) for row in rows(result)}
    assert ("9", "9", "9", "orders") in found
    if not any(b'"' in line for line in lines):
        for line in lines:
            parts = line.decode(errors="replace").split(",")
            plain = len(parts) == 4 and line.isascii() and all(p.lstrip("-").isdecimal() for p in parts[:3])
            if plain and parts[3] in TYPES and not parts[2].startswith("-") and int(parts[2]) < TOO_LATE:
                assert (parts[0], parts[1], str(int(parts[2])), parts[3]) in found
    assert result.counts["rejected"] + result.counts["events"] + result.counts["duplicates"] <= len(lines) + 1


KINDS = [
    pa.int8(), pa.int16(), pa.int32(), pa.int64(), pa.uint8(), pa.uint32(), pa.uint64(), pa.float16(), pa.float32(),
    pa.float64(),
    pa.string(), pa.large_string(), pa.binary(), pa.large_binary(), pa.string_view(), pa.bool_(), pa.date32(), pa.date64(),
    pa.timestamp("s"), pa.timestamp("ms"), pa.timestamp("us", "UTC"), pa.timestamp("ns"), pa.time64("us"), pa.duration("ms"),
    pa.decimal128(20, 2), pa.null(), pa.list_(pa.int64()), pa.struct([("a", pa.int64())]),
    pa.dictionary(pa.int8(), pa.string()), pa.dictionary(pa.int32(), pa.int64()),
]  # fmt: skip


def column(kind: pa.DataType, numbers: list[int | None]) -> pa.Array:
    values = kind.value_type if pa.types.is_dictionary(kind) else kind
    for source in (pa.array(numbers, pa.int64()), pa.array([None if n is None else str(n) for n in numbers], pa.string())):
        with suppress(pa.ArrowException, NotImplementedError):
            made = source.cast(values, safe=False)
            return made.dictionary_encode().cast(kind) if values != kind else made
    return pa.array([None] * len(numbers), kind)


numbers = st.none() | st.integers(-5, 120) | st.integers(-(2**63), 2**63 - 1)


@fuzzed
@given(kinds=st.tuples(*[st.sampled_from(KINDS)] * 4), values=st.lists(st.tuples(*[numbers] * 4), min_size=1, max_size=6))
def test_parquet_of_any_kind(folder, kinds, values):
    columns = [column(kind, [row[i] for row in values]) for i, kind in enumerate(kinds)]
    try:
        pq.write_table(pa.table(dict(zip(["session", "aid", "ts", "type"], columns, strict=True))), folder / "log.parquet")
    except pa.ArrowException:
        return
    with suppress(UserError):
        result = read(folder / "log.parquet")
        assert len(result.log) + result.counts["rejected"] + result.counts["duplicates"] == len(values)
        assert ((result.log.ts >= 0) & (result.log.ts < TOO_LATE)).all()


# ------------------------------------------------------------------------------------------------------- configuration
def keys_of(model, depth: int = 0) -> set[str]:
    found = set()
    for name, field in model.model_fields.items():
        found.add(name)
        for kind in (field.annotation, *getattr(field.annotation, "__args__", ())):
            if hasattr(kind, "model_fields") and depth < 3:
                found |= keys_of(kind, depth + 1)
    return found


KEYS = [*sorted(keys_of(Config)), "clicks", "carts", "time_decay", "binary", "history"]
scalars = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8), st.dates(), st.binary(max_size=4),
    st.sampled_from(["clicks", "orders", "auto", "matrix", "fusion", "2022-08-01", "..", "", "rank:pairwise"]),
)  # fmt: skip
documents = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(KEYS) | st.text(max_size=4) | st.integers(), inner, max_size=4)
    ),
    max_leaves=12,
)


@settings(parent=fuzzed, max_examples=3 * EXAMPLES)
@given(
    values=st.dictionaries(st.sampled_from(sorted(Config.model_fields)), documents, max_size=3) | documents,
    change=st.text(max_size=20),
)
def test_any_document_is_a_configuration_or_refused(folder, values, change):
    (folder / "config.yaml").write_text(yaml.safe_dump(values, allow_unicode=True), encoding="utf-8")
    for changes in ([], [change], [f"{change}=1"]):
        with suppress(UserError):
            config = load_config(folder / "config.yaml", changes)
            assert isinstance(config, Config)
            again = load_config(yaml.safe_load(yaml.safe_dump(config.model_dump(mode="json"))))
            assert again.model_dump(mode="json") == config.model_dump(mode="json")


@settings(parent=fuzzed, max_examples=2 * EXAMPLES)
@given(content=st.binary(max_size=60) | st.text(alphabet="{}[]:,-&*!|> \n\t'\"#%@`ab01", max_size=40).map(str.encode))
def test_any_bytes_are_a_configuration_or_refused(folder, content):
    (folder / "config.yaml").write_bytes(content)
    with suppress(UserError):
        assert isinstance(load_config(folder / "config.yaml"), Config)


# --------------------------------------------------------------------------------------------------------- new sessions
READERS = [
    Reader(pa.array(items), EventsConfig(**config), TargetsConfig())
    for items in ([1, 2, 5], ["1", "b", "ä"])
    for config in ({}, {"default_type": "carts"}, {"ts_unit": "iso"}, {"ts_unit": "s", "columns": {"aid": "sku"}})
]
cells = st.one_of(
    st.none(), st.integers(-1, 9), st.integers(), st.floats(), st.text(max_size=3), st.booleans(), st.binary(max_size=2),
    st.sampled_from(["clicks", "carts", "2022-08-01", "1", 1_659_304_800_000, np.int8(1), np.float32("nan"), pd.NaT]),
    st.datetimes(), st.lists(st.integers(), max_size=2),
)  # fmt: skip
names = st.sampled_from(["session", "aid", "sku", "ts", "type", "more"])
dicts = st.lists(st.dictionaries(names, cells, max_size=5), max_size=4)


@pytest.mark.filterwarnings("ignore:Constructing a DataFrame:Warning")  # of rows that differ in length
@settings(parent=fuzzed, max_examples=3 * EXAMPLES)
@given(
    reader=st.sampled_from(READERS),
    events=dicts | cells | st.lists(cells, max_size=2),
    form=st.sampled_from(["dicts", "frame", "arrow"]),
    sessions=st.none() | st.lists(st.integers(0, 5) | st.text(max_size=2), max_size=2),
)
def test_any_events_are_read_or_refused(reader, events, form, sessions):
    if form != "dicts":
        try:
            events = pd.DataFrame(events)
            events = events if form == "frame" else pa.Table.from_pandas(events)
        except (ValueError, TypeError, OverflowError, AttributeError, NotImplementedError, pa.ArrowException):
            return  # nobody can hand this over
    with suppress(UserError):
        found = reader.read(events, sessions)
        assert len(found.first_seen) == len(found.unknown) == len(found.sessions) == len(found)
        assert ((found.log.aid >= 0) & (found.log.aid < 3)).all()


# ------------------------------------------------------------------------------------------------------- official files
LABEL = b'{"session": 1, "labels": {"clicks": 2, "carts": [3, 4], "orders": [5]}}'
ROW = b"1_clicks,2 3 4"


@fuzzed
@given(
    labels=mutated(st.sampled_from([LABEL, LABEL.replace(b"1", b"7"), b'{"session": 3, "labels": {}}'])),
    predictions=mutated(st.sampled_from([ROW, ROW.replace(b"clicks", b"carts"), b'1_orders,"5"', b"7_orders,"])),
    quirks=st.booleans(),
)
def test_mutated_official_files(folder, labels, predictions, quirks):
    (folder / "labels.jsonl").write_bytes(b"\n".join(labels) + b"\n")
    (folder / "lists.csv").write_bytes(b"session_type,labels\n" + b"\n".join(predictions) + b"\n")
    with suppress(UserError):
        figures = evaluate_files(folder / "labels.jsonl", folder / "lists.csv", TargetsConfig(), quirks, bootstrap=5)
        assert all(value is None or 0 <= value <= 1 for value in figures["recall@20"].values())


@fuzzed
@given(
    answers=mutated(st.sampled_from([b"1,10", b"2,20", b"3,30", b'"a",b'])),
    rows=mutated(st.sampled_from([b"1,10,11,12", b"2,,20,", b"9,1,2,3", b'"a",b,"c,d",'])),
)
def test_mutated_wide_files(folder, answers, rows):
    (folder / "answers.csv").write_bytes(b"user_id,item\n" + b"\n".join(answers) + b"\n")
    (folder / "wide.csv").write_bytes(b"user_id,article_1,article_2,article_3\n" + b"\n".join(rows) + b"\n")
    targets = TargetsConfig(types=["answers"], weights={"answers": 1.0}, next_only=[], k=3, metric="mrr")
    with suppress(UserError):
        figures = evaluate_wide(folder / "answers.csv", folder / "wide.csv", targets, bootstrap=5)
        assert 0 <= figures["mrr@3"]["answers"] <= 1

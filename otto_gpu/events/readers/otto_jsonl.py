"""The official OTTO format, one session per line, as pieces of raw columns.

{"session": ..., "events": [{"aid": ..., "ts": ..., "type": ...}, ...]}: plain lines go through the compiled scanner,
every other line through orjson, which says what is wrong with it. A line may be one event as well: {"session": ..., "aid": ...,
"ts": ..., "type": ...}. Where events have a context, orjson reads every line.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import orjson
import pyarrow as pa

from otto_gpu.columns import AID, SESSION, TS, TYPE
from otto_gpu.events.checks import Piece
from otto_gpu.events.ids import alike
from otto_gpu.events.readers.reading import Reading
from otto_gpu.events.readers.records import BROKEN_JSON, NOT_AN_OBJECT, json_pieces
from otto_gpu.events.readers.scan import scan
from otto_gpu.events.readers.text import is_utf8, json_column, split_lines
from otto_gpu.events.rejections import LATE_TS, NOT_A_TIME, NOT_UTF8, OUTSIDE_INT64, UNKNOWN_TYPE, missing
from otto_gpu.events.settings import EventsConfig
from otto_gpu.events.typed import decoded

INT64 = np.iinfo(np.int64)
INTEGER = re.compile("0|-?[1-9][0-9]*")
ARROW = {int: pa.int64(), str: pa.string()}


@dataclass(frozen=True)
class Kinds:
    """What the ids, types (None: the file has none) and times of a file are: integers or text. left: types whose events are
    left out whatever else they are; none: events without an id are left out, and no faults."""

    session: type = int
    aid: type = int
    type: type | None = str
    iso: bool = False
    left: frozenset[str] = frozenset()
    none: bool = False

    @classmethod
    def of(cls, config: EventsConfig, *kinds) -> Kinds:
        left = frozenset(value for value, name in (config.types or {}).items() if name is None)
        return cls(*kinds, iso=config.ts_unit == "iso" or config.ts_format is not None, left=left, none="" in config.missing)

    def leaves(self, event: dict) -> bool:
        return bool(self.left) and str(event.get(TYPE)) in self.left

    @classmethod
    def sniff(cls, text: bytes, config: EventsConfig) -> Kinds | None:
        """From the first good line that has an event."""
        for line in io.BytesIO(text):
            try:
                record = orjson.loads(line)
                event = _events(record)[0]
                kinds = type(record[SESSION]), type(event[AID])
                typed = config.columns.type is not None and (TYPE in event or config.default_type is None)
                kind = type(event[TYPE]) if typed else None
            except (orjson.JSONDecodeError, LookupError, TypeError):
                continue
            if {*kinds} <= {int, str} and kind in (int, str, None):
                return cls.of(config, *kinds, kind)
        return None


def read_sessions(file: Path, reading: Reading) -> Iterator[Piece]:
    """Ids of another kind than those of the first good line are rejected."""
    config, kinds = reading.config, None
    for first, text in json_pieces(file, config.chunk_bytes, reading.opening(quoted=False)):
        kinds = kinds or Kinds.sniff(text, config)
        if kinds is None or kinds.iso or config.context or not is_utf8(text):
            lines = split_lines(text)
            numbers = list(range(first, first + len(lines)))
            yield _parse(lines, numbers, kinds or Kinds.of(config), tuple(config.context))
            continue
        plain, odd = _scan(text, first, kinds, config)
        if len(odd):
            rest = _parse([text[start:end] for start, end, _ in odd], [first + line for _, _, line in odd], kinds)
            plain = _in_order(plain, rest)
        yield plain


def _scan(text: bytes, first: int, kinds: Kinds, config: EventsConfig) -> tuple[Piece, list]:
    values = list(config.types) if kinds.type is not None else []
    if kinds.type is int:  # a type that is no integer cannot stand there without quotes
        values = [value for value in values if INTEGER.fullmatch(value)]
    spelled = [orjson.dumps(value) if kinds.type is str else value.encode() for value in values]
    found = scan(text, kinds.session is str, kinds.aid is str, spelled, kinds.type is not None)
    columns = {SESSION: pa.DictionaryArray.from_arrays(pa.array(found.owner), found.session), AID: found.aid}
    columns[TS] = pa.array(found.ts)
    if kinds.type is not None:
        columns[TYPE] = pa.DictionaryArray.from_arrays(pa.array(found.type), pa.array(values, pa.string()))
    return Piece(columns, found.line[found.owner] + np.int64(first)), found.odd.tolist()


def _events(record):
    """A line's events; one that is an event itself has that one."""
    return [record] if "events" not in record and AID in record else record["events"]


def _parse(lines: list[bytes], rows: list[int], kinds: Kinds, further: tuple[str, ...] = ()) -> Piece:
    names = [AID, TS] + ([TYPE] if kinds.type else [])
    values, context = {name: [] for name in names}, {name: [] for name in further}
    sessions, owner, owner_rows, rejected = [], [], [], []
    for row, line in zip(rows, lines, strict=True):
        if not line.strip():
            continue
        try:
            record = orjson.loads(line)
        except orjson.JSONDecodeError:
            reason = BROKEN_JSON if is_utf8(line) else NOT_UTF8
            rejected.append((row, reason, line.decode(errors="replace")))
            continue
        if reason := _fault_of_record(record, kinds):
            rejected.append((row, reason, line.decode()))
            continue
        for event in _events(record):
            if reason := _fault_of_event(event, kinds):
                rejected.append((row, reason, orjson.dumps({SESSION: record.get(SESSION), "event": event}).decode()))
                continue
            left = kinds.leaves(event)
            values[AID].append(None if left else _whole(event.get(AID)))
            values[TS].append(None if left else event[TS])
            if kinds.type:
                values[TYPE].append(event[TYPE])
            for name in further:
                context[name].append(event.get(name))
            owner.append(len(sessions))
            owner_rows.append(row)
        sessions.append(_whole(record.get(SESSION)))
    columns = {SESSION: pa.DictionaryArray.from_arrays(pa.array(owner, pa.int32()), _ids(sessions, kinds.session))}
    columns[AID] = _ids(values[AID], kinds.aid)
    columns[TS] = _times(values[TS], kinds)
    if kinds.type:
        columns[TYPE] = pa.array([str(value) for value in values[TYPE]], pa.string())
    found = {name: json_column(column) for name, column in context.items()}
    return Piece(columns, np.array(owner_rows, np.int64), rejected, context=found)


def _ids(values: list, kind: type) -> pa.Array:
    try:
        return pa.array(values, ARROW[kind])
    except OverflowError:  # beyond int64
        if min(value for value in values if value is not None) >= 0:
            return pa.array(values, pa.uint64())
        return pa.array([None if value is None else str(value) for value in values], pa.string())


def _whole(value):
    """27.0 is 27."""
    return int(value) if type(value) is float else value


def _times(values: list, kinds: Kinds) -> pa.Array:
    if kinds.iso:
        return pa.array(values, pa.string())
    if any(type(ts) is float for ts in values):
        return pa.array(np.array(values, np.float64))
    return pa.array(values, pa.int64())


def _in_order(plain: Piece, rest: Piece) -> Piece:
    """Both pieces' rows in the order of the file."""
    rows = np.concatenate([plain.rows, rest.rows])
    order = pa.array(np.argsort(rows, kind="stable"))
    columns = {}
    for name, column in plain.columns.items():
        other = rest.columns[name]
        if name == TS and pa.types.is_floating(other.type):
            column = column.cast(other.type, safe=False)
        elif name in (SESSION, AID) and column.type != other.type:
            column, other = alike(decoded(column), decoded(other))
        elif pa.types.is_dictionary(column.type) and not pa.types.is_dictionary(other.type):
            column = column.dictionary_decode()
        columns[name] = pa.chunked_array([column, other]).unify_dictionaries().combine_chunks().take(order)
    return Piece(columns, rows[order.to_numpy()], rest.rejected)


def _fault_of_record(record, kinds: Kinds) -> str | None:
    if not isinstance(record, dict):
        return NOT_AN_OBJECT
    if "events" not in record and AID in record:
        return _fault_of_id(record.get(SESSION), SESSION, kinds.session, kinds.none)
    if record.get("events") is None:
        return missing("events")
    if not isinstance(record["events"], list):
        return "events is not a list"
    return _fault_of_id(record.get(SESSION), SESSION, kinds.session, kinds.none)


def _fault_of_event(event, kinds: Kinds) -> str | None:
    if not isinstance(event, dict):
        return "event is not an object"
    if kinds.leaves(event):
        return None
    if reason := _fault_of_id(event.get(AID), AID, kinds.aid, kinds.none):
        return reason
    ts = event.get(TS)
    if ts is None:
        return missing(TS)
    if type(ts) not in ((str,) if kinds.iso else (int, float)):
        return NOT_A_TIME
    if type(ts) is int and not _fits(ts):
        return LATE_TS  # orjson knows no smaller integers than those of int64
    if kinds.type is None:
        return None
    if event.get(TYPE) is None:
        return missing(TYPE)
    return None if type(event[TYPE]) is kinds.type else UNKNOWN_TYPE


def _fault_of_id(value, name: str, kind: type, may_miss: bool) -> str | None:
    if value is None:
        return None if may_miss else missing(name)
    if type(value) is float and abs(value) >= 2.0**63:
        return f"{name}: {OUTSIDE_INT64}"  # orjson makes a float of an integer of more than 64 bits
    if kind is int and type(value) is float and value.is_integer():
        return None
    if type(value) is not kind:
        return f"{name}: id is not {'an integer' if kind is int else 'text'} as the others are"
    return None


def _fits(value: int) -> bool:
    return INT64.min <= value <= INT64.max

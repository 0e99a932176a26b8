"""JSONL with one event a line, {"user": {"id": 7}, "sku": "a", ...}, under any names, as pieces of raw columns.

A piece is parsed by pyarrow where all of its lines are of one kind; one that it refuses is read again line by line with orjson,
which finds every bad line and keeps the others.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json

from otto_gpu.columns import AID, EVENT_COLUMNS
from otto_gpu.errors import UserError
from otto_gpu.events.checks import Piece
from otto_gpu.events.readers.columns import NAMES_SHOWN, Wanted, piece_of, wanted_columns
from otto_gpu.events.readers.reading import Reading
from otto_gpu.events.readers.text import Opening, is_utf8, json_column, last_line, line_pieces, split_lines
from otto_gpu.events.rejections import NOT_UTF8

BROKEN_JSON = "broken JSON"
NOT_AN_OBJECT = "not an object"
BLOCK = 4 << 20
DECODER = json.JSONDecoder()
BETWEEN = re.compile(r"[\s,\x1e]*")  # what stands between objects; the last is of JSON text sequences
LOOKED_AT = 1_000  # lines, for the names
KINDS = {int: pa.int64(), str: pa.string(), float: pa.float64(), bool: pa.bool_()}
Keys = tuple[str, ...]


def json_pieces(file: Path, size: int, how: Opening) -> Iterator[tuple[int, bytes]]:
    """(number of its first line, from 1; whole lines), also of a file that is one list, or of objects that are not one a line:
    the elements then are the lines."""
    pieces = line_pieces(file, size, last_line, how)
    for first, text in pieces:
        begins = text.lstrip()[:1] if first == 1 else b""
        if begins == b"[" or (begins in (b"{", b"\x1e") and not any(objects_of(text))):
            text = _elements(text + b"".join(more for _, more in pieces))
        if text:
            yield first, text


def _elements(text: bytes) -> bytes:
    """The elements of one list, or objects that stand one after the other in any way (over several lines, without a line end,
    with commas between them), one a line; the text itself where it is neither, and its rest from where it is no more."""
    try:
        found = orjson.loads(text)
        return b"\n".join(map(orjson.dumps, found)) if isinstance(found, list) else orjson.dumps(found)
    except orjson.JSONDecodeError:
        pass
    try:
        rest = text.decode()
    except UnicodeDecodeError:
        return text
    lines, at = [], 0
    while (match := BETWEEN.match(rest, at)).end() < len(rest):
        try:
            element, at = DECODER.raw_decode(rest, match.end())
        except (ValueError, RecursionError):
            lines.append(rest[match.end() :].encode())
            break
        try:
            lines.append(orjson.dumps(element))
        except TypeError:  # integers of more than 64 bits
            lines.append(json.dumps(element).encode())
    return b"\n".join(lines) if len(lines) > 1 else text


def first_object(text: bytes) -> dict | None:
    """The first one that stands there in whole."""
    rest = text.decode(errors="replace")
    try:
        return DECODER.raw_decode(rest, rest.index("{"))[0]
    except (ValueError, RecursionError):
        return None


def _parsed(line: bytes):
    """The line's value. Python's own json, which most logs come from, writes NaN; ValueError for what is no JSON."""
    try:
        return orjson.loads(line)
    except orjson.JSONDecodeError:
        if b"NaN" not in line and b"Infinity" not in line:
            raise
        return json.loads(line)


def objects_of(text: bytes, most: int = LOOKED_AT) -> Iterator[dict]:
    """The good ones of the first lines."""
    for line in text.split(b"\n", most)[:most]:
        try:
            found = _parsed(line)
        except ValueError:
            continue
        if isinstance(found, dict):
            yield found


def read_records(file: Path, reading: Reading) -> Iterator[Piece]:
    wanted, paths = wanted_columns(reading), None
    folders = reading.folders.get(file, {})
    for first, text in json_pieces(file, reading.config.chunk_bytes, reading.opening(quoted=False)):
        if paths is None:
            looked_at = list(objects_of(text)) or list(islice(objects_of(text, text.count(b"\n") + 1), LOOKED_AT))
            if not looked_at:  # nothing but what is to be rejected
                yield _by_line(text, first, {key: (str(column),) for key, column in wanted.columns.items()}, {}, reading)
                continue
            paths, given = _paths(file, looked_at, wanted, folders)
            schema = _schema(looked_at, paths.values())
        yield _at_once(text, first, paths, schema, given, reading) or _by_line(text, first, paths, given, reading)


def _paths(file: Path, lines: list[dict], wanted: Wanted, folders: dict) -> tuple[dict[str, Keys], dict]:
    """({key: where its value is in a line}, what the folders give). UserError where no line has it."""
    paths, given = {}, {}
    for key, column in wanted.columns.items():
        if isinstance(column, int) and key in EVENT_COLUMNS and any(key in line for line in lines):
            column = key  # new sessions of a run whose log had no header
        if isinstance(column, int):
            raise UserError(f"{file}: {wanted.settings[key]} is a place, {column}: the keys of JSON have names only")
        path = next((path for path in dict.fromkeys([(column,), tuple(column.split("."))]) if _there(lines, path)), None)
        if path is not None:
            paths[key] = path
        elif column in folders:
            given[key] = folders[column]
        elif key not in wanted.optional:
            names = list(dict.fromkeys(name for line in lines for name in line))
            shown = ", ".join(names[:NAMES_SHOWN]) + (", ..." if len(names) > NAMES_SHOWN else "")
            nested = next((n for n in names if any(isinstance(line.get(n), dict) for line in lines)), None)
            hint = f" (what is within {nested} as {nested}.NAME)" if nested else ""
            what = "one event a line" if key in EVENT_COLUMNS else "the lines"
            raise UserError(f"{file}: missing key {column!r}; {what} has: {shown}; set {wanted.settings[key]}{hint}")
    return paths, given


def _there(lines: list[dict], path: Keys) -> bool:
    return any(value_at(line, path) is not None for line in lines) or any(_has(line, path) for line in lines)


def _has(line: dict, path: Keys) -> bool:
    within = value_at(line, path[:-1]) if path[:-1] else line
    return any(isinstance(one, dict) and path[-1] in one for one in (within if isinstance(within, list) else [within]))


def value_at(line: dict, path: Keys):
    """What stands there; of a list on the way, a list of what its elements have there."""
    for i, name in enumerate(path):
        if isinstance(line, list):
            return [value_at(one, path[i:]) for one in line]
        line = line.get(name) if isinstance(line, dict) else None
    return line


def _schema(lines: list[dict], paths) -> pa.Schema | None:
    """What pyarrow shall find, as the first lines have it; None where they differ."""
    tree: dict = {}
    for path in paths:
        if any(isinstance(value_at(line, path[:i]), list) for i in range(1, len(path)) for line in lines):
            return None
        values = [value for value in (value_at(line, path) for line in lines) if value is not None]
        lists = {type(value) is list for value in values}
        kinds = {type(v) for value in values for v in (value if type(value) is list else [value])} - {type(None)}
        kind = KINDS.get(float if kinds == {int, float} else next(iter(kinds), None)) if len(kinds - {int}) <= 1 else None
        if kind is None or len(lists) > 1 or (len(kinds) > 1 and kinds != {int, float}):
            return None
        within = tree
        for name in path[:-1]:
            within = within.setdefault(name, {})
            if not isinstance(within, dict):  # named as a value and as what holds one
                return None
        if isinstance(within.get(path[-1]), dict):
            return None
        within[path[-1]] = pa.list_(kind) if lists == {True} else kind
    return pa.schema(_fields(tree))


def _fields(tree: dict) -> list[pa.Field]:
    return [pa.field(name, pa.struct(_fields(kind)) if isinstance(kind, dict) else kind) for name, kind in tree.items()]


def _at_once(text: bytes, first: int, paths: dict[str, Keys], schema, given: dict, reading: Reading) -> Piece | None:
    if schema is None or not is_utf8(text):
        return None
    n = text.count(b"\n") + (not text.endswith(b"\n"))
    try:
        table = pa.json.read_json(
            pa.BufferReader(text),
            read_options=pa.json.ReadOptions(block_size=BLOCK),
            parse_options=pa.json.ParseOptions(explicit_schema=schema, unexpected_field_behavior="ignore"),
        )
    except pa.ArrowException:
        return None
    if table.num_rows != n:  # a blank line
        return None
    columns = {}
    for key, (name, *fields) in paths.items():
        column = table[name].combine_chunks()
        columns[key] = pc.struct_field(column, fields) if fields else column
    return piece_of(columns, reading.config, np.arange(first, first + n, dtype=np.int64), [], given)


def _by_line(text: bytes, first: int, paths: dict[str, Keys], given: dict, reading: Reading) -> Piece:
    values: dict[str, list] = {key: [] for key in paths}
    rows, rejected = [], []
    for row, line in enumerate(split_lines(text), first):
        if not line.strip():
            continue
        try:
            record = _parsed(line)
        except ValueError:
            rejected.append((row, BROKEN_JSON if is_utf8(line) else NOT_UTF8, line.decode(errors="replace")))
            continue
        if not isinstance(record, dict):
            rejected.append((row, NOT_AN_OBJECT, line.decode()))
            continue
        rows.append(row)
        for key, path in paths.items():
            values[key].append(value_at(record, path))
    columns = {key: _column(key, column) for key, column in values.items()}
    return piece_of(columns, reading.config, np.array(rows, np.int64), rejected, given)


def _column(key: str, values: list) -> pa.Array:
    if key == AID and any(isinstance(value, list) for value in values):  # several items, or one
        try:
            return pa.array([value if isinstance(value, list) or value is None else [value] for value in values])
        except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError):
            pass
    return json_column(values)

"""CSV with one event per row, as pieces of raw columns.

It is parsed piece by piece with pyarrow; a piece that it refuses, or whose rows are not its lines, is read again row by
row, which finds every bad row and keeps the others.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv

from otto_gpu.errors import UserError
from otto_gpu.events.checks import NOT_UTF8, Piece
from otto_gpu.events.readers.columns import FURTHER, find_columns, piece_of
from otto_gpu.events.readers.text import is_utf8, last_row, line_pieces, split_lines
from otto_gpu.events.settings import EventsConfig

BLOCK = 4 << 20  # what one thread of pyarrow parses at a time
WRONG_COLUMNS = "wrong number of columns"
LONGEST_ROW = 100  # lines that one quoted CSV row may span


def read_csv(file: Path, config: EventsConfig, bare: bool = False) -> Iterator[Piece]:
    """A header and one event per row; every column comes as bytes, extra and context columns as text. bare: as read_log's."""
    wanted, width = None, 0
    for first, text in line_pieces(file, config.chunk_bytes, last_row):
        if wanted is None:
            blank = len(text) - len(text.lstrip(b"\r\n"))
            head = split_lines(text[blank:])[:1] or [b""]
            names = _header(file, head[0].decode(errors="replace").rstrip("\r"), config.delimiter)
            wanted, width = find_columns(file, names, config, bare), len(names)
            first += text.count(b"\n", 0, blank) + 1
            text = text[blank + len(head[0]) + 1 :]
        if text:
            yield _csv_at_once(text, first, wanted, width, config) or _csv_by_line(text, first, wanted, width, config)
    if wanted is None:
        raise UserError(f"{file}: the file is empty; a CSV log begins with a header")


def _header(file: Path, line: str, delimiter: str) -> list[str]:
    try:
        return next(csv.reader([line], delimiter=delimiter), [])
    except csv.Error:  # a lone carriage return, a null: hardly text
        raise UserError(f"{file}: the first line is no header of a CSV; see events.format") from None


def _csv_at_once(text: bytes, first: int, wanted: dict[str, int], width: int, config: EventsConfig) -> Piece | None:
    numbers = [str(i) for i in range(width)]
    used = sorted({str(i) for i in wanted.values()})
    try:
        table = pa.csv.read_csv(
            pa.BufferReader(text),
            read_options=pa.csv.ReadOptions(column_names=numbers, block_size=BLOCK),
            parse_options=pa.csv.ParseOptions(delimiter=config.delimiter),
            convert_options=pa.csv.ConvertOptions(include_columns=used, column_types=dict.fromkeys(used, pa.binary())),
        )
    except pa.ArrowInvalid:
        return None
    # an empty line, or a row of several lines: the rows' numbers are not those of the lines
    if table.num_rows != text.count(b"\n") + (not text.endswith(b"\n")):
        return None
    columns = {name: table[str(i)].combine_chunks() for name, i in wanted.items()}
    try:
        columns |= {name: c.cast(pa.string()) for name, c in columns.items() if name.startswith(FURTHER)}
    except pa.ArrowInvalid:
        return None
    return piece_of(columns, config, np.arange(first, first + table.num_rows, dtype=np.int64), [])


def _csv_by_line(text: bytes, first: int, wanted: dict[str, int], width: int, config: EventsConfig) -> Piece:
    records, rows, rejected = [], [], []
    lines = split_lines(text)
    i = 0
    while i < len(lines):
        taken, record, reason = _csv_record(lines, i, width, config.delimiter)
        if record:
            records.append(record)
            rows.append(first + i)
        elif reason:
            rejected.append((first + i, reason, lines[i].decode(errors="replace")))
        i += taken
    columns = {name: pa.array([record[place] for record in records], pa.string()) for name, place in wanted.items()}
    return piece_of(columns, config, np.array(rows, np.int64), rejected)


def _csv_record(lines: list[bytes], i: int, width: int, delimiter: str) -> tuple[int, list[str] | None, str | None]:
    """(lines taken, the row, the reason why it is none) of the row that begins with line i; an empty line is neither."""
    text = b""
    for taken in range(1, min(LONGEST_ROW, len(lines) - i) + 1):
        text += lines[i + taken - 1] + b"\n"
        if not is_utf8(text):
            return 1, None, NOT_UTF8
        if not text.strip():
            return 1, None, None
        try:
            parsed = list(csv.reader(io.StringIO(text.decode(), newline=""), delimiter=delimiter, strict=True))
        except csv.Error:  # an open quote: the row may go on in the next line
            if b'"' in text:
                continue
            break
        if len(parsed) == 1 and len(parsed[0]) == width:
            return taken, parsed[0], None
        break
    return 1, None, WRONG_COLUMNS if text.count(b'"') % 2 == 0 else "open quote"

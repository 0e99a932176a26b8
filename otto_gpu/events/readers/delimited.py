"""CSV with one event per row, with any delimiter, as pieces of raw columns.

It is parsed piece by piece with pyarrow; a piece that it refuses, or whose rows are not its lines, is read again row by
row, which finds every bad row and keeps the others.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from otto_gpu.columns import TS
from otto_gpu.errors import UserError
from otto_gpu.events.checks import Piece
from otto_gpu.events.readers.columns import (
    FURTHER,
    HOW_BY_PLACE,
    Places,
    Wanted,
    find_columns,
    missing_keys,
    piece_of,
    plain_name,
    wanted_columns,
)
from otto_gpu.events.readers.delimiters import ONE_SIGN, TABS, cells_of, delimiter_of, first_lines, header_of, order_of, plainly
from otto_gpu.events.readers.reading import Reading
from otto_gpu.events.readers.text import is_utf8, last_row, line_pieces, split_lines
from otto_gpu.events.rejections import NOT_UTF8, WRONG_COLUMNS
from otto_gpu.events.settings import EventsConfig

SUFFIXES = ("csv", "psv", *TABS)
BLOCK = 4 << 20  # what one thread of pyarrow parses at a time
LONGEST_ROW = 100  # lines that one quoted CSV row may span
EXCEL = re.compile(r"sep=(.)")  # a first line that Excel knows
SHOWN, LITTLE = 200, 40  # signs of a first row; of one that is hardly text
EMPTY = (b"", b'""')  # lines; the second is what pandas writes of a table without columns


@dataclass(frozen=True)
class Layout:
    """places: of the wanted columns; width: columns of a row; delimiter: one sign, for which `instead` stands in the file where
    that is several; spaced: the values have spaces around them; rows: lines before the first event."""

    places: Places
    width: int
    delimiter: str
    instead: bytes | None
    spaced: bool
    rows: int

    def plain(self, text: bytes) -> bytes:
        return text if self.instead is None else text.replace(self.instead, ONE_SIGN.encode())


def read_csv(file: Path, reading: Reading) -> Iterator[Piece]:
    """One event per row; every column comes as bytes, extra and context columns as text."""
    layout = None
    for first, text in line_pieces(file, reading.config.chunk_bytes, last_row, reading.opening(quoted=True)):
        if layout is None:
            while text and text[: _end(text)].strip() in EMPTY:
                text, first = text[_end(text) :], first + 1
            if not text:
                continue
            layout = _layout(file, text, reading)
            for _ in range(layout.rows):
                text, first = text[_end(text) :], first + 1
        if text:
            text = layout.plain(text)
            yield _at_once(text, first, layout, reading.config) or _by_line(text, first, layout, reading.config)


def _end(text: bytes) -> int:
    return text.find(b"\n") + 1 or len(text)


def _layout(file: Path, text: bytes, reading: Reading) -> Layout:
    """From the file's first lines, of which the first is not blank."""
    lines = first_lines(text)
    excel = EXCEL.fullmatch(lines[0].strip('"'))
    rows, delimiter = (1, reading.config.delimiter or excel[1]) if excel else (0, reading.config.delimiter)
    lines = lines[rows:] or [""]
    return _Chosen(file, lines, wanted_columns(reading), reading.folders.get(file, {}), reading).layout(delimiter, rows)


@dataclass(frozen=True)
class _Chosen:
    """Whether a file has a header, and which delimiter."""

    file: Path
    lines: list[str]
    wanted: Wanted
    folders: dict[str, pa.Scalar]
    reading: Reading

    def layout(self, set_to: str | None, rows: int) -> Layout:
        delimiter = set_to or self._delimiter()
        cells = header_of(self.file, self.lines[0], delimiter)
        cells = self._with_one_more(cells, delimiter)
        names = self._names(cells, set_to)
        width, instead = len(names or cells), None
        places = find_columns(self.file, names or cells, self.wanted, self.folders, "the first row is")
        spaced = places.spaced or self._spaced(self.lines[names is cells :], delimiter)
        if names is cells:
            rows += 1
            self.reading.header = self.reading.header or names
        if set_to is None and delimiter != order_of(self.file)[0]:
            self.reading.say(f"{self.file.name}: between its values stands {delimiter!r} (events.delimiter)")
        if len(delimiter) > 1:
            delimiter, instead = ONE_SIGN, delimiter.encode()
        return Layout(places, width, delimiter, instead, spaced, rows)

    def _delimiter(self) -> str:
        def fits(cells: list[str]) -> bool:
            return not self.wanted.by_place and not missing_keys(cells, self.wanted, self.folders)

        least = max([column + 1 for column in self.wanted.columns.values() if isinstance(column, int)], default=2)
        return delimiter_of(self.file, self.lines, fits, least)

    def _with_one_more(self, cells: list[str], delimiter: str) -> list[str]:
        """The first row; where all others have one value more, with the place that they have and it does not: at the end, where
        they end with a delimiter, else at the beginning, as of tables that number their rows (R)."""
        try:
            rows = [cells_of(line, delimiter) for line in self.lines[1:]]
        except csv.Error:
            return cells
        if {len(row) for row in rows} != {len(cells) + 1}:
            return cells
        return ["", *cells] if any(row[-1].strip() for row in rows) else [*cells, ""]

    def _spaced(self, rows: list[str], delimiter: str) -> bool:
        """Whether a space stands beside every delimiter of these rows."""
        beside = re.compile(f" {re.escape(delimiter)}|{re.escape(delimiter)} ")
        return any(rows) and all(0 < row.count(delimiter) == len(beside.findall(row)) for row in rows)

    def _names(self, cells: list[str], delimiter: str | None) -> list[str] | None:
        """The names of the columns; None: they are found by place, and the first row is an event."""
        header, file, wanted = self.reading.config.header, self.file, self.wanted
        if wanted.by_place:
            return cells if header is True or (header == "auto" and self._is_header(cells)) else None
        if header is False:
            raise UserError(f"{file}: events.header is false: {HOW_BY_PLACE}")
        lacking = missing_keys(cells, wanted, self.folders)
        if not lacking:
            return cells
        known = self.reading.header
        if header == "auto" and known is not None and len(known) == len(cells) and not self._is_header(cells, known):
            self.reading.say("files without a header have the columns of the first one (events.header)")
            return known
        self._missing(cells, lacking[0], delimiter)

    def _is_header(self, cells: list[str], names: list[str] | None = None) -> bool:
        """Whether a row is one, though it may name other columns: no time is without a digit."""
        column = self.wanted.columns[TS]
        if names is not None:
            plain = [plain_name(name) for name in names]
            column = plain.index(column) if column in plain else None
        if column is None or column >= len(cells):
            return not any(any(sign.isdigit() for sign in cell) for cell in cells)
        return not any(sign.isdigit() for sign in cells[column])

    def _between_names(self) -> str | None:
        """What stands between the names that are wanted, where it is always the same."""
        found = set(re.findall(r"[^\w\"]+", self.lines[0].strip()))
        there = all(str(self.wanted.columns[key]) in self.lines[0] for key in self.wanted.needed())
        return found.pop() if there and len(found) == 1 and max(map(len, found)) <= 3 else None

    def _missing(self, cells: list[str], key: str, delimiter: str | None) -> None:
        other = plainly(self.lines[:1]) if len(cells) == 1 and delimiter is not None else None
        if len(cells) == 1 and other is None:
            other = self._between_names()
        if other is not None:
            one, but = f"the first row is one value, {self.lines[0][:SHOWN]!r}", f", not {delimiter!r}" if delimiter else ""
            raise UserError(f"{self.file}: {one}: set events.delimiter to {other!r}{but}")
        if "\ufffd" in self.lines[0] or any(ord(sign) < 32 for cell in cells for sign in cell.strip()):
            line = repr(self.lines[0][:LITTLE])
            raise UserError(f"{self.file}: the first line is no header of a CSV, and hardly text: {line}; see events.format")
        try:
            find_columns(self.file, cells, self.wanted, self.folders, "the first row is")
        except UserError as error:
            if any(any(sign.isdigit() for sign in cell) for cell in cells) and not self._is_header(cells, cells):
                raise UserError(f"{error}; if that is no header, {HOW_BY_PLACE}") from None
            raise


def _at_once(text: bytes, first: int, layout: Layout, config: EventsConfig) -> Piece | None:
    if layout.spaced and b'"' in text:  # a quote after a space opens one too
        return None
    places = layout.places.columns
    numbers = [str(i) for i in range(layout.width)]
    used = sorted({str(i) for i in places.values()})
    try:
        table = pa.csv.read_csv(
            pa.BufferReader(text),
            read_options=pa.csv.ReadOptions(column_names=numbers, block_size=BLOCK),
            parse_options=pa.csv.ParseOptions(delimiter=layout.delimiter),
            convert_options=pa.csv.ConvertOptions(include_columns=used, column_types=dict.fromkeys(used, pa.binary())),
        )
    except pa.ArrowInvalid:
        return None
    rows = _rows(text, first, table.num_rows)
    if rows is None:
        return None
    columns = {name: table[str(i)].combine_chunks() for name, i in places.items()}
    try:
        if layout.spaced:
            columns = {name: pc.utf8_trim_whitespace(c.cast(pa.string())) for name, c in columns.items()}
        columns |= {name: c.cast(pa.string()) for name, c in columns.items() if name.startswith(FURTHER)}
    except pa.ArrowInvalid:
        return None
    return piece_of(columns, config, rows, [], layout.places.given)


def _rows(text: bytes, first: int, n: int) -> np.ndarray | None:
    """int64 [n]: the lines on which the n rows stand; None where a row may span several."""
    if n == text.count(b"\n") + (not text.endswith(b"\n")):
        return np.arange(first, first + n, dtype=np.int64)
    if b'"' in text:
        return None
    ends = np.flatnonzero(np.frombuffer(text, np.uint8) == ord("\n"))
    starts = np.append(0, ends + 1)
    lengths = np.append(ends, len(text)) - starts
    some = (lengths > 1) | ((lengths == 1) & (np.frombuffer(text + b"\r", np.uint8)[starts] != ord("\r")))
    rows = np.flatnonzero(some)
    return rows + np.int64(first) if len(rows) == n else None


def _by_line(text: bytes, first: int, layout: Layout, config: EventsConfig) -> Piece:
    records, rows, rejected = [], [], []
    lines = split_lines(text)
    i = 0
    while i < len(lines):
        taken, record, reason = _record(lines, i, layout)
        if record:
            records.append(record)
            rows.append(first + i)
        elif reason:
            rejected.append((first + i, reason, lines[i].decode(errors="replace")))
        i += taken
    columns = {name: pa.array([record[i] for record in records], pa.string()) for name, i in layout.places.columns.items()}
    if layout.spaced:
        columns = {name: pc.utf8_trim_whitespace(column) for name, column in columns.items()}
    return piece_of(columns, config, np.array(rows, np.int64), rejected, layout.places.given)


def _record(lines: list[bytes], i: int, layout: Layout) -> tuple[int, list[str] | None, str | None]:
    """(lines taken, the row, the reason why it is none) of the row that begins with line i; an empty line is neither."""
    text = b""
    for taken in range(1, min(LONGEST_ROW, len(lines) - i) + 1):
        text += lines[i + taken - 1] + b"\n"
        if not is_utf8(text):
            return 1, None, NOT_UTF8
        if not text.strip():
            return 1, None, None
        read = io.StringIO(text.decode(), newline="")
        try:
            parsed = list(csv.reader(read, delimiter=layout.delimiter, skipinitialspace=layout.spaced, strict=True))
        except csv.Error:  # an open quote: the row may go on in the next line
            if b'"' in text:
                continue
            break
        if len(parsed) == 1 and len(parsed[0]) == layout.width:
            return taken, parsed[0], None
        break
    return 1, None, WRONG_COLUMNS if text.count(b'"') % 2 == 0 else "open quote"

"""The formats of a log: whoever adds one writes a file here and a line in READERS."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from otto_gpu.errors import UserError
from otto_gpu.events.checks import Piece
from otto_gpu.events.readers import delimited, otto_jsonl, parquet, records
from otto_gpu.events.readers.delimiters import LINES, plainly
from otto_gpu.events.readers.opening import FAULTS, HEAD, PACKED, head_of
from otto_gpu.events.readers.reading import Reading
from otto_gpu.events.readers.text import AUTO, Opening, blocks
from otto_gpu.events.settings import EventsConfig

JSON = re.compile(rb'[\s\x1e]*(\[\s*\{|\{\s*["}])')  # not the first row of a CSV, which may be [session],[item]
SESSIONS = re.compile(rb'"events"\s*:\s*\[')  # a line of the official format


@dataclass(frozen=True)
class Reader:
    """name: what the user knows it by; suffixes: how its files' names end; text_ids: its ids come as text whether they are
    integers or not; extra: it has further columns; read(file, reading): the file's pieces."""

    name: str
    suffixes: tuple[str, ...]
    text_ids: bool
    read: Callable[[Path, Reading], Iterator[Piece]]
    extra: bool = True


READERS = {
    "jsonl": Reader("jsonl", ("jsonl", "json", "ndjson", "jsonlines", "jl"), False, otto_jsonl.read_sessions, extra=False),
    "records": Reader("jsonl", (), True, records.read_records),
    "csv": Reader("csv", delimited.SUFFIXES, True, delimited.read_csv),
    "parquet": Reader("parquet", parquet.SUFFIXES, False, parquet.read_parquet),
}
FORMATS = tuple(dict.fromkeys(reader.name for reader in READERS.values()))


def format_of(file: Path) -> str | None:
    """A reader's name, as the file's name ends; None where that says nothing."""
    while file.suffix.lower() in PACKED:
        file = file.with_suffix("")
    suffix = file.suffix[1:].lower()
    return next((reader.name for reader in READERS.values() if suffix in reader.suffixes), None)


def shown_format(file: Path, encoding: str = AUTO) -> str | None:
    """A reader's name as the content begins, None where that says nothing: a key of READERS."""
    if head_of(file).startswith(parquet.MAGIC):
        return "parquet"
    text = next(blocks(file, HEAD, Opening(encoding)), b"")
    whole = text[: text.rfind(b"\n") + 1] or text
    if JSON.match(text):
        some = any(records.objects_of(whole)) or records.first_object(text) is not None
        return "jsonl" if SESSIONS.search(text) or not some else "records"
    if text.lstrip()[:1] in (b"{", b"["):
        return None
    lines = [line.decode(errors="replace") for line in whole.splitlines()[:LINES] if line.strip()]
    return "csv" if lines and plainly(lines) else None


def reader_of(file: Path, config: EventsConfig) -> Reader:
    """The one that reads this file: that of events.format, else as its name ends or, where that says nothing or says what it
    plainly is not, as its content begins. UserError where neither says it."""
    named = config.format if config.format in FORMATS else format_of(file)
    shown = shown_format(file, config.encoding)
    if shown == "parquet" and config.format == named != shown:
        raise UserError(f"{file}: the file is Parquet and no {named}: set events.format to parquet, or to auto")
    if shown == "records" and named == "jsonl":
        return READERS[shown]
    if shown is not None and config.format not in FORMATS:
        return READERS[shown]
    if named is None:
        raise unknown_format(file, "events.format")
    return READERS[named]


def pieces_of(file: Path, reader: Reader, reading: Reading) -> Iterator[Piece]:
    """UserError where the file is broken."""
    try:
        yield from reader.read(file, reading)
    except FAULTS as error:
        raise UserError(f"{file}: cannot be read as {reader.name}: {str(error).splitlines()[0]}") from error


def unknown_format(file: Path, key: str) -> UserError:
    return UserError(
        f"{file}: the format shows neither in the name nor in how the file begins; set {key} to {', '.join(FORMATS[:-1])} or "
        f"{FORMATS[-1]}"
    )

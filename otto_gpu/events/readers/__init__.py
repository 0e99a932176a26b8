"""The formats of a log: whoever adds one writes a file here and a line in READERS."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from otto_gpu.events.checks import Piece
from otto_gpu.events.readers.delimited import read_csv
from otto_gpu.events.readers.otto_jsonl import read_jsonl
from otto_gpu.events.readers.parquet import read_parquet
from otto_gpu.events.settings import EventsConfig


@dataclass(frozen=True)
class Reader:
    """suffixes: how its files' names end; text_ids: its ids come as text whether they are integers or not; read(file, config,
    bare): the file's pieces, bare as read_log's."""

    name: str
    suffixes: tuple[str, ...]
    text_ids: bool
    read: Callable[[Path, EventsConfig, bool], Iterator[Piece]]


READERS = {
    reader.name: reader
    for reader in (
        Reader("jsonl", ("jsonl", "json", "ndjson"), False, read_jsonl),
        Reader("csv", ("csv",), True, read_csv),
        Reader("parquet", ("parquet", "pq"), False, read_parquet),
    )
}


def format_of(file: Path) -> str | None:
    """The reader's name, as the file's name ends; None where that says nothing."""
    suffix = Path(file.stem).suffix if file.suffix == ".gz" else file.suffix
    found = next((name for name, reader in READERS.items() if suffix[1:].lower() in reader.suffixes), None)
    return None if file.suffix == ".gz" and found == "parquet" else found

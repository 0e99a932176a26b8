"""What the files of one log share while they are read."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote

import pyarrow as pa

from otto_gpu.events.readers.text import Opening
from otto_gpu.events.settings import EventsConfig

NO_VALUE = "__HIVE_DEFAULT_PARTITION__"  # as Hive and Spark write a missing one


@dataclass
class Reading:
    """config: how the log is read; bare: the columns of events.context need not be there; notes: what was found in the files
    that the user should know, each sentence once; header: the first row of the first CSV that has one; folders: by file, the
    values of the folders that it lies in, date=2026-01-01, which stand for columns that it lacks itself."""

    config: EventsConfig
    bare: bool = False
    notes: dict[str, None] = field(default_factory=dict)
    header: list[str] | None = None
    folders: dict[Path, dict[str, pa.Scalar]] = field(default_factory=dict)

    @classmethod
    def of(cls, files: Iterable[Path], config: EventsConfig, bare: bool = False) -> Reading:
        return cls(config, bare, folders=_folders(files))

    def say(self, note: str) -> None:
        self.notes[note] = None

    def opening(self, quoted: bool) -> Opening:
        return Opening(self.config.encoding, quoted, self.say)


def _folders(files: Iterable[Path]) -> dict[Path, dict[str, pa.Scalar]]:
    """Integers where all values of a name are some, as readers of such folders take them; else text."""
    found, integers = {}, {}
    for file in files:
        parts = dict(part.split("=", 1) for part in file.parts[:-1] if part.find("=") > 0)
        found[file] = {name: None if value == NO_VALUE else unquote(value) for name, value in parts.items()}
        for name, value in found[file].items():
            integers[name] = integers.get(name, True) and (value is None or _is_integer(value))
    return {
        file: {
            name: pa.scalar(int(value), pa.int64()) if integers[name] and value is not None else pa.scalar(value, pa.string())
            for name, value in values.items()
        }
        for file, values in found.items()
    }


def _is_integer(text: str) -> bool:
    return text.isascii() and text.lstrip("-").isdigit() and str(int(text)) == text and abs(int(text)) < 2**63

"""Which files hold the log, and which lie beside it: a file, a folder or a pattern."""

from __future__ import annotations

import glob
from collections.abc import Collection, Iterable
from pathlib import Path

from otto_gpu.errors import UserError
from otto_gpu.events.readers import READERS, Reader, format_of
from otto_gpu.events.settings import EventsConfig, ItemsConfig


def data_files(path: Path | str, config: EventsConfig, beside: Collection[Path] = ()) -> list[Path]:
    """The files that hold the log, sorted; the test file, where there is one, last. beside: files that lie there and are no
    part of it. Raises UserError if there are none."""
    beside = {file.resolve() for file in beside}
    path = Path(path)
    if path.is_file():
        return [path]
    if path.is_dir():
        files = _files_of_folder(path, config, beside)
    elif glob.has_magic(str(path)):
        files = [Path(name) for name in sorted(glob.glob(str(path), recursive=True)) if Path(name).is_file()]
        files = [file for file in files if file.resolve() not in beside]
        if not files:
            raise UserError(f"{path}: no file fits this pattern")
    else:
        raise UserError(f"{path}: no such file or folder; give a file, a folder or a pattern such as 'logs/*.parquet'")
    reader_of(files, config)
    return files


def _files_of_folder(folder: Path, config: EventsConfig, beside: set[Path]) -> list[Path]:
    test = test_file_of(folder, config)
    if config.train_file is not None:
        train = [folder / config.train_file]
        if not train[0].is_file():
            there = ", ".join(sorted(f.name for f in folder.iterdir())[:10]) or "nothing"
            raise UserError(f"{folder}: no file {config.train_file!r} (events.train_file); the folder holds: {there}")
    else:
        wanted = [config.format] if config.format in READERS else list(READERS)
        train = [f for f in sorted(folder.iterdir()) if f.is_file() and not f.name.startswith(".") and format_of(f) in wanted]
        train = [f for f in train if f != test and f.resolve() not in beside]
        if not train:
            raise UserError(f"{folder}: the folder holds no {', '.join(wanted)} file; give a file or a pattern")
    return train + ([test] if test is not None else [])


def test_file_of(path: Path | str, config: EventsConfig) -> Path | None:
    if config.test_file is None or not Path(path).is_dir():
        return None
    file = Path(path) / config.test_file
    return file if file.is_file() else None


def reader_of(files: list[Path], config: EventsConfig) -> Reader:
    """The one that reads all of these files: that of events.format, else as their names end. UserError where they differ."""
    if config.format in READERS:
        return READERS[config.format]
    found = {format_of(file): file for file in reversed(files)}
    if None in found:
        raise UserError(f"{found[None]}: the format does not show in the name; set events.format to jsonl, csv or parquet")
    if len(found) > 1:
        names = ", ".join(f"{file.name} ({kind})" for kind, file in sorted(found.items()))
        raise UserError(f"{files[0].parent}: files of more than one format: {names}; set events.format to the one to read")
    return READERS[next(iter(found))]


def beside(data: Path | str, name: str) -> Path:
    """Where a file `name` of the data folder lies; of a single file or a pattern, in the folder that holds it."""
    folder = Path(data)
    if not folder.is_dir():
        folder = folder.parent
        while glob.has_magic(str(folder)):
            folder = folder.parent
    return folder / name


def files_beside(data: Path | str, events: EventsConfig, items: ItemsConfig | None, further: Iterable[str] = ()) -> list[Path]:
    """The files among the data that are no part of the log; further: names of others."""
    names = [events.test_answers, items and items.file, *further]
    return [beside(data, name) for name in names if name is not None]


def file_beside(data: Path | str | None, name: str, key: str) -> Path:
    """A file of the data folder that a setting, `key`, names. UserError where it is not there."""
    if data is None:
        raise UserError(f"{key}: a generated log has no data folder where {name} could lie; leave this setting out")
    file = beside(data, name)
    if not file.is_file():
        raise UserError(f"{file}: no such file ({key})")
    return file

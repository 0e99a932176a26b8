"""Which files hold the log, and which lie beside it: a file, a folder or a pattern."""

from __future__ import annotations

import glob
import os
from collections.abc import Collection, Iterable
from contextlib import suppress
from pathlib import Path

from otto_gpu.errors import UserError
from otto_gpu.events.readers import FORMATS, Reader, format_of, reader_of, shown_format, unknown_format
from otto_gpu.events.readers.opening import FAULTS
from otto_gpu.events.settings import EventsConfig, ItemsConfig

NO_LOG = (".", "_")  # names that begin so are others' marks, as _SUCCESS
SHOWN = 10  # names of files in a message


def data_files(path: Path | str, config: EventsConfig, beside: Collection[Path] = ()) -> list[Path]:
    """The files that hold the log, sorted; those of events.test_file, where there are any, last. beside: files that lie there
    and are no part of it. Raises UserError if there are none."""
    beside = {file.resolve() for file in beside}
    path = Path(path)
    if path.is_file():
        return [path]
    if path.is_dir():
        files = _files_of_data(path, config, beside)
    elif glob.has_magic(str(path)):
        files = _files_of_pattern(path, config, beside)
        if not files:
            raise UserError(f"{path}: no file fits this pattern")
    else:
        raise UserError(f"{path}: no such file or folder; give a file, a folder or a pattern such as 'logs/*.parquet'")
    _check_names(files, config)
    return files


def test_files_of(path: Path | str, config: EventsConfig) -> list[Path]:
    """The files of events.test_file; none where it is not set or not there."""
    return _first_of(Path(path), config.test_file, config) if Path(path).is_dir() else []


def left_below(path: Path | str, files: list[Path], config: EventsConfig) -> str | None:
    """What to say where files of the log's format lie in folders below those that are read: they are no part of it."""
    folder = Path(path)
    if config.train_file is not None or not folder.is_dir() or any(file.parent != folder for file in files):
        return None
    kinds = {format_of(file) for file in files} - {None}
    more = [file for file in _all_files(folder) if file.parent != folder and format_of(file) in kinds]
    more = [file for file in more if _may_be_log(file, folder, set())]
    if not more:
        return None
    return (
        f"{folder}: files in folders within it are not read, such as {more[0].relative_to(folder)} ({len(more):,} in all): "
        f"'{folder}/**' takes them too"
    )


def names_of(named: str | list[str]) -> str:
    """What a setting calls a file, for a message."""
    return " or ".join(map(repr, [named] if isinstance(named, str) else named))


def _files_of_data(folder: Path, config: EventsConfig, beside: set[Path]) -> list[Path]:
    test = test_files_of(folder, config)
    if config.train_file is not None:
        train = [file for file in _first_of(folder, config.train_file, config) if file not in test]
        if not train:
            there = ", ".join(sorted(f.name for f in folder.iterdir())[:SHOWN]) or "nothing"
            raise UserError(f"{folder}: no file {names_of(config.train_file)} (events.train_file); the folder holds: {there}")
    else:
        train = _files_of_folder(folder, config, beside | {file.resolve() for file in test})
    return train + test


def _first_of(folder: Path, named: str | list[str] | None, config: EventsConfig) -> list[Path]:
    """The files of the first of these names that is there: a file, a folder or a pattern."""
    for name in [named] if isinstance(named, str) else named or []:
        path = folder / name
        if path.is_file():
            return [path]
        found = _files_of_folder(path, config, set()) if path.is_dir() else []
        if not found and glob.has_magic(name):
            found = _files_of_pattern(Path(glob.escape(str(folder))) / name, config, set())
        if found:
            return found
    return []


def _files_of_folder(folder: Path, config: EventsConfig, beside: set[Path]) -> list[Path]:
    """Those that lie in it; where none does, those of the folders in it, at any depth."""
    wanted = [config.format] if config.format in FORMATS else list(FORMATS)
    here = [file for file in sorted(folder.iterdir()) if _may_be_log(file, folder, beside)]
    below = [] if _named(here, wanted) else [file for file in _all_files(folder) if _may_be_log(file, folder, beside)]
    for files in (here, below):
        if found := _named(files, wanted) or _shown(files, wanted, config):
            return found
    told = f"{folder}: the folder holds no {', '.join(wanted)} file"
    if others := here or below:
        told += f"; there is {', '.join(str(file.relative_to(folder)) for file in others[:SHOWN])}"
        told += ", ..." if others[SHOWN:] else ""
        if len(others) == 1:  # what it is, if it is no log
            with suppress(*FAULTS):
                shown_format(others[0], config.encoding)
    raise UserError(f"{told}; give a file or a pattern such as '**/*.parquet'")


def _all_files(folder: Path) -> list[Path]:
    """At any depth, also in folders that are linked here; in each of them once."""
    found, seen = [], set()
    for here, folders, files in os.walk(folder, followlinks=True):
        if (place := os.path.realpath(here)) in seen:
            folders.clear()
            continue
        seen.add(place)
        found += [Path(here) / name for name in files]
    return sorted(found)


def _may_be_log(file: Path, folder: Path, beside: set[Path]) -> bool:
    return (
        not any(part.startswith(NO_LOG) for part in file.relative_to(folder).parts)
        and file.is_file()
        and file.resolve() not in beside
    )


def _named(files: list[Path], wanted: list[str]) -> list[Path]:
    return [file for file in files if format_of(file) in wanted]


def _shown(files: list[Path], wanted: list[str], config: EventsConfig) -> list[Path]:
    """Those whose names say nothing and whose content says it."""
    found = []
    for file in files:
        try:
            shown = shown_format(file, config.encoding)
        except (UserError, *FAULTS):  # an archive, something broken: no log
            continue
        if shown is not None and ("jsonl" if shown == "records" else shown) in wanted:
            found.append(file)
    return found


def _files_of_pattern(pattern: Path, config: EventsConfig, beside: set[Path]) -> list[Path]:
    found: dict[Path, None] = {}
    fixed = next(i for i, part in enumerate(pattern.parts) if glob.has_magic(part))
    marks = not any(part.startswith(NO_LOG) for part in pattern.parts[fixed:])
    for name in sorted(glob.glob(str(pattern), recursive=True)):
        path = Path(name)
        if marks and any(part.startswith(NO_LOG) for part in path.parts[fixed:]):
            continue
        if path.is_file() and path.resolve() not in beside:
            found[path] = None
        elif path.is_dir() and "**" not in pattern.parts:
            found |= dict.fromkeys(_files_of_folder(path, config, beside))
    return list(found)


def readers_of(files: list[Path], config: EventsConfig) -> dict[Path, Reader]:
    """The reader of each file. UserError where they are of more than one format, or cannot be read at all."""
    found = {}
    for file in files:
        try:
            found[file] = reader_of(file, config)
        except FAULTS as error:
            kind = config.format if config.format in FORMATS else format_of(file)
            raise UserError(f"{file}: cannot be read{f' as {kind}' if kind else ''}: {str(error).splitlines()[0]}") from error
    _check_one({reader.name: file for file, reader in reversed(found.items())})
    return found


def _check_names(files: list[Path], config: EventsConfig) -> None:
    """UserError where the files are of more than one format, as their names say."""
    if config.format in FORMATS:
        return
    found = {format_of(file): file for file in reversed(files)}
    if None in found and shown_format(found[None], config.encoding) is None:
        raise unknown_format(found[None], "events.format")
    found.pop(None, None)
    _check_one(found)


def _check_one(found: dict[str, Path]) -> None:
    if len(found) > 1:
        names = ", ".join(f"{file.name} ({kind})" for kind, file in sorted(found.items()))
        folder = found[min(found)].parent
        raise UserError(f"{folder}: files of more than one format: {names}; set events.format to the one to read")


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

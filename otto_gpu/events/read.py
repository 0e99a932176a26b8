"""From a path to one event log: JSONL (the official OTTO format), CSV or Parquet; a file, a folder or a pattern."""

from __future__ import annotations

import glob
import zlib
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from otto_gpu.columns import AID, EVENT_COLUMNS, SESSION
from otto_gpu.errors import UserError
from otto_gpu.events.attributes import ItemTable
from otto_gpu.events.checks import Checker, Events, Piece, Rejections
from otto_gpu.events.flat import FORMATS, format_of
from otto_gpu.events.ids import dense_ids, join_ids
from otto_gpu.events.jsonl import read_jsonl
from otto_gpu.events.log import EventLog
from otto_gpu.events.settings import EventsConfig, TargetsConfig
from otto_gpu.events.tabular import read_csv, read_parquet
from otto_gpu.events.typed import join_codes


class TooManyRejected(UserError):
    """More bad rows than events.max_rejected allows; `rejected` is the table of ReadResult."""

    def __init__(self, message: str, rejected: pa.Table):
        super().__init__(message)
        self.rejected = rejected


@dataclass
class ReadResult:
    """rejected: file string, row int64 (line from 1 for text, row index from 0 for Parquet), reason string, text string
    (at most 500 characters), at most 100,000 rows. counts: events (in the log), rejected, duplicates (dropped), unsorted
    (events earlier than the one before them in their session), later (dropped: at or after events.before), unsampled
    (dropped: their session is outside events.sample_sessions), files, and types: {name: events}. from_test_file: bool
    [n_sessions], whether a session came from events.test_file; None where there is no such file. items: what a generated log
    says of its items. context: the values of the codes of log.context, by column.
    """

    log: EventLog
    rejected: pa.Table
    counts: dict
    from_test_file: np.ndarray | None
    items: ItemTable | None = None
    context: dict[str, pa.Array] = field(default_factory=dict)


def read_log(
    path: Path | str,
    config: EventsConfig,
    targets: TargetsConfig,
    progress: Callable[[int], None] | None = None,
    beside: Collection[Path] = (),
    bare: bool = False,
) -> ReadResult:
    """Reads all of `path` with no more in memory than one piece of a file and the compact columns gathered so far.

    The same session in several files is one session. `progress` is called with the number of events of every piece. beside:
    files that lie there and are no part of the log. bare: the columns of events.context need not be there. Raises UserError
    where the path, the columns or the ids do not fit, TooManyRejected above events.max_rejected.
    """
    config = config.model_copy(update={"types": config.type_names(targets.types)})
    files = data_files(path, config, beside)
    kind = _format(files, config)
    if kind == "jsonl" and config.extra:
        raise UserError("events.extra: further columns can be read from CSV and Parquet only, not from JSONL")
    taken = [name for i, name in enumerate(config.extra) if name in (*EVENT_COLUMNS, *config.extra[:i])]
    if taken:
        raise UserError(f"events.extra: the log has a column {taken[0]!r} already; name every further column once")
    check = Checker(config, targets)
    test_file = _test_file(path, config)
    parts: list[Events] = []
    n_train = None  # events before the test file, which comes last
    id_kinds: dict[str, tuple[bool, Path]] = {}
    for file in files:
        if file == test_file:
            n_train = sum(len(part.ts) for part in parts)
        for piece in _pieces(file, kind, config, bare):
            events = check(file, piece, text_ids=kind == "csv")
            if kind != "csv" and len(events.ts):
                _same_kind(id_kinds, file, events)
            parts.append(events)
            if progress is not None:
                progress(events.read)
    _stop_if_too_many(check.rejections, sum(part.read for part in parts), config)
    return _assemble(parts, files, n_train, check.rejections, config, targets, kind)


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
    _format(files, config)
    return files


def _files_of_folder(folder: Path, config: EventsConfig, beside: set[Path]) -> list[Path]:
    test = _test_file(folder, config)
    if config.train_file is not None:
        train = [folder / config.train_file]
        if not train[0].is_file():
            there = ", ".join(sorted(f.name for f in folder.iterdir())[:10]) or "nothing"
            raise UserError(f"{folder}: no file {config.train_file!r} (events.train_file); the folder holds: {there}")
    else:
        wanted = [config.format] if config.format in FORMATS.values() else list(FORMATS.values())
        train = [f for f in sorted(folder.iterdir()) if f.is_file() and not f.name.startswith(".") and format_of(f) in wanted]
        train = [f for f in train if f != test and f.resolve() not in beside]
        if not train:
            raise UserError(f"{folder}: the folder holds no {', '.join(dict.fromkeys(wanted))} file; give a file or a pattern")
    return train + ([test] if test is not None else [])


def _test_file(path: Path | str, config: EventsConfig) -> Path | None:
    if config.test_file is None or not Path(path).is_dir():
        return None
    file = Path(path) / config.test_file
    return file if file.is_file() else None


def _format(files: list[Path], config: EventsConfig) -> str:
    if config.format in FORMATS.values():
        return config.format
    found = {format_of(file): file for file in reversed(files)}
    if None in found:
        raise UserError(f"{found[None]}: the format does not show in the name; set events.format to jsonl, csv or parquet")
    if len(found) > 1:
        names = ", ".join(f"{file.name} ({kind})" for kind, file in sorted(found.items()))
        raise UserError(f"{files[0].parent}: files of more than one format: {names}; set events.format to the one to read")
    return next(iter(found))


def _pieces(file: Path, kind: str, config: EventsConfig, bare: bool) -> Iterator[Piece]:
    reader = {"jsonl": read_jsonl, "csv": read_csv, "parquet": read_parquet}[kind]
    try:
        yield from reader(file, config, bare)
    except (OSError, EOFError, zlib.error, pa.ArrowException) as error:
        raise UserError(f"{file}: cannot be read as {kind}: {str(error).splitlines()[0]}") from error


def _same_kind(seen: dict[str, tuple[bool, Path]], file: Path, events: Events) -> None:
    for name, column in ((SESSION, events.session), (AID, events.aid)):
        text = pa.types.is_dictionary(column.type)
        before, other = seen.setdefault(name, (text, file))
        if text != before:
            kinds = {True: "text", False: "integers"}
            raise UserError(
                f"{file}: the ids of {name!r} are {kinds[text]} but {kinds[before]} in {other}; write them in one way"
            )


def _stop_if_too_many(rejections: Rejections, read: int, config: EventsConfig) -> None:
    n = rejections.count
    if n and n > config.max_rejected * (n + read):
        file, row, reason, _ = rejections.kept[0]
        share = f"{100 * n / (n + read):.3g} %, events.max_rejected allows {100 * config.max_rejected:.3g} %"
        message = f"{file}:{row}: {reason}; {n:,} of {n + read:,} rows are bad like this first one or otherwise ({share})"
        raise TooManyRejected(message, rejections.table())


def _assemble(parts, files, n_train, rejections, config, targets, kind) -> ReadResult:
    told = ("read", "later", "unsampled", "no_numbers")
    read, later, unsampled, no_numbers = (sum(getattr(p, name) for p in parts) for name in told)
    parts[:] = [part for part in parts if len(part.ts)]  # in place: the caller's list keeps nothing either
    if not parts:
        why = f"{rejections.count:,} rows rejected" if not read else f"{later:,} of {read:,} lie at or after events.before"
        raise UserError(f"{files[0]}: no events to work with in {len(files)} file(s): {why}")
    extra = _join_extra([part.extra for part in parts], kind) if config.extra else None
    context, dictionaries = _join_context(parts, config)
    # column by column, so that the pieces of one go before the next one is put together
    columns = {name: [getattr(part, name) for part in parts] for name in ("session", "aid", "ts", "type")}
    parts.clear()
    session, sessions = dense_ids(join_ids(columns.pop("session"), kind == "csv"), SESSION)
    aid, items = dense_ids(join_ids(columns.pop("aid"), kind == "csv"), AID)
    ts, code = np.concatenate(columns.pop("ts")), np.concatenate(columns.pop("type"))

    from_test = None
    if n_train is not None:
        from_test = np.zeros(len(sessions), bool)
        from_test[session[n_train:]] = True
        both = session[:n_train][from_test[session[:n_train]]]
        if len(both):
            shared = sessions[int(both[0])].as_py()
            raise UserError(f"{files[-1]}: session {shared!r} is in the train file too; a session belongs to one of them")
    if np.any(session[1:] < session[:-1]):
        order = np.argsort(session, kind="stable")
        session, aid, ts, code = session[order], aid[order], ts[order], code[order]
        extra = extra.take(pa.array(order)) if extra is not None else None
        context = {name: values[order] for name, values in context.items()}
    unsorted = int(np.sum((ts[1:] < ts[:-1]) & (session[1:] == session[:-1])))
    n = len(ts)
    log = EventLog.from_arrays(
        session, aid, ts, code, extra=extra, context=context, n_sessions=len(sessions), n_items=len(items),
        types=tuple(targets.types), items=items, sessions=sessions,
    )  # fmt: skip
    per_type = np.bincount(log.type, minlength=len(targets.types))
    counts = {
        "events": len(log),
        "rejected": rejections.count,
        "duplicates": n - len(log),
        "unsorted": unsorted,
        "later": later,
        "unsampled": unsampled,
        "files": len(files),
        "types": {name: int(count) for name, count in zip(targets.types, per_type, strict=True)},
    }
    if config.context:
        counts["no_numbers"] = no_numbers
    return ReadResult(log, rejections.table(), counts, from_test, context=dictionaries)


def _join_context(parts: list[Events], config: EventsConfig) -> tuple[dict[str, np.ndarray], dict[str, pa.Array]]:
    """(the columns of events.context, the values of the codes among them)."""
    found, dictionaries = {}, {}
    for name, kind in config.context.items():
        chunks = [part.context.pop(name) for part in parts]
        if kind == "code":
            found[name], dictionaries[name] = join_codes(chunks)
        else:
            found[name] = np.concatenate(chunks)
    return found, dictionaries


def _join_extra(tables: list[pa.Table], kind: str) -> pa.Table:
    """CSV columns become integers or floats where all of their values are; empty values are nulls."""
    try:
        table = pa.concat_tables(tables, promote_options="permissive").combine_chunks()
    except pa.ArrowException as error:
        raise UserError(f"events.extra: the files' columns do not fit together: {str(error).splitlines()[0]}") from error
    if kind != "csv":
        return table
    return pa.table({name: _typed(table[name]) for name in table.column_names})


def _typed(text: pa.ChunkedArray) -> pa.ChunkedArray:
    text = pc.if_else(pc.equal(text, ""), None, text)
    for kind in (pa.int64(), pa.float64()):
        try:
            numbers = text.cast(kind)
        except pa.ArrowInvalid:
            continue
        # '007' is no number to be changed to 7
        if kind == pa.float64() or numbers.cast(pa.string()).equals(text):
            return numbers
        return text
    return text

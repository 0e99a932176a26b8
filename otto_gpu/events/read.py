"""From a path to one event log: what the readers find in the files, checked and put together."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from otto_gpu.columns import AID, EVENT_COLUMNS, SESSION
from otto_gpu.errors import UserError
from otto_gpu.events.attributes import ItemTable
from otto_gpu.events.checks import Checker, Events
from otto_gpu.events.ids import dense_ids, join_ids
from otto_gpu.events.log import EventLog
from otto_gpu.events.readers import pieces_of
from otto_gpu.events.readers.files import data_files, left_below, readers_of, test_files_of
from otto_gpu.events.readers.reading import Reading
from otto_gpu.events.rejections import TooManyRejected as TooManyRejected
from otto_gpu.events.settings import EventsConfig, TargetsConfig
from otto_gpu.events.typed import join_codes
from otto_gpu.events.visits import cut_visits

MANY_FILES = 100  # of more, a glance looks at so many


@dataclass
class ReadResult:
    """rejected: file string, row int64 (line from 1 for text, row index from 0 for Parquet), reason string, text string
    (at most 500 characters), at most 100,000 rows. counts: events (in the log), read (rows), rejected, reasons
    ({reason: rejected rows}), left_out ({value of events.types: rows}), missing ({session or aid: rows left out as
    events.missing says}), duplicates (dropped), unsorted (events earlier than the one before them in their session), later
    (dropped: at or after events.before), earlier (dropped: before events.after), unsampled (dropped: their session is outside
    events.sample_sessions), files, and types: {name: events}. from_test_file: bool
    [n_sessions], whether a session came from events.test_file; None where there is no such file. items: what a generated log
    says of its items. context: the values of the codes of log.context, by column. notes: what was found in the files that the
    user should know, a sentence each.
    """

    log: EventLog
    rejected: pa.Table
    counts: dict
    from_test_file: np.ndarray | None
    items: ItemTable | None = None
    context: dict[str, pa.Array] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def read_log(
    path: Path | str,
    config: EventsConfig,
    targets: TargetsConfig,
    progress: Callable[[int], None] | None = None,
    beside: Collection[Path] = (),
    bare: bool = False,
    rows: int | None = None,
) -> ReadResult:
    """Reads all of `path` with no more in memory than one piece of a file and the compact columns gathered so far.

    The same session in several files is one session. `progress` is called with the number of events of every piece. beside:
    files that lie there and are no part of the log. bare: the columns of events.context need not be there. rows: only the first
    piece of every file, and of the first one as many as hold so many rows; of very many files some. Raises UserError
    where the path, the columns or the ids do not fit, TooManyRejected above events.max_rejected.
    """
    config = config.model_copy(update={"types": config.type_names(targets.types)})
    files = data_files(path, config, beside)
    if rows is not None and len(files) > MANY_FILES:
        files = [files[i] for i in np.linspace(0, len(files) - 1, MANY_FILES).astype(int)]
    readers = readers_of(files, config)
    if config.extra and not all(reader.extra for reader in readers.values()):
        raise UserError("events.extra: further columns are not read from JSONL with a session a line")
    taken = [name for i, name in enumerate(config.extra) if name in (*EVENT_COLUMNS, *config.extra[:i])]
    if taken:
        raise UserError(f"events.extra: the log has a column {taken[0]!r} already; name every further column once")
    check = Checker(config, targets)
    reading = Reading.of(files, config, bare)
    if below := left_below(path, files, config):
        reading.say(below)
    test_files = test_files_of(path, config)
    parts: list[Events] = []
    n_train = None  # events before the test file, which comes last
    seen = 0
    kinds = Kinds()
    for file in files:
        if n_train is None and file in test_files:
            n_train = sum(len(part.ts) for part in parts)
        reader = readers[file]
        for piece in pieces_of(file, reader, reading):
            seen += len(piece.rows)
            events = check(file, piece, text_ids=reader.text_ids)
            if not reader.text_ids and len(events.ts):
                kinds.see(file, events)
            parts.append(events)
            if progress is not None:
                progress(events.read)
            if rows is not None and seen >= rows:
                break
    check.rejections.stop_if_too_many(check.read + sum(part.read for part in parts), config)
    result = _assemble(parts, files, n_train, check, kinds, targets, list(readers.values()))
    return replace(result, notes=[*reading.notes, *result.notes])


class Kinds:
    """In which files a column's ids are integers, and in which they are text."""

    def __init__(self):
        self._first: dict[str, dict[bool, Path]] = {SESSION: {}, AID: {}}

    def see(self, file: Path, events: Events) -> None:
        for name, column in ((SESSION, events.session), (AID, events.aid)):
            self._first[name].setdefault(pa.types.is_dictionary(column.type), file)

    def note(self, name: str, ids: pa.Array) -> list[str]:
        """ids: as which they were read."""
        files = self._first[name]
        read = "integers" if pa.types.is_integer(ids.type) else "text"
        told = f"the ids of {name!r} are integers in {files.get(False)} and text in {files.get(True)}: all are read as {read}"
        return [told] if len(files) > 1 else []


def _assemble(parts: list[Events], files, n_train, check: Checker, kinds: Kinds, targets, readers) -> ReadResult:
    config, rejections = check.config, check.rejections
    told = ("read", "later", "earlier", "unsampled", "no_numbers")
    read, later, earlier, unsampled, no_numbers = (sum(getattr(p, name) for p in parts) for name in told)
    parts[:] = [part for part in parts if len(part.ts)]  # in place: the caller's list keeps nothing either
    if not parts:
        why = f"{rejections.count:,} rows rejected" if rejections.count else f"the file{'s are' if files[1:] else ' is'} empty"
        if left := check.read - rejections.count:
            why = f"{rejections.count:,} rows rejected, {left:,} left out (events.types, events.missing)"
        if read:
            told = {"lie at or after events.before": later, "lie before events.after": earlier}
            told["are of sessions outside events.sample_sessions"] = unsampled
            why = ", ".join(f"{n:,} of {read:,} {what}" for what, n in told.items() if n)
        raise UserError(f"{files[0]}: no events to work with in {len(files)} file(s): {why}")
    extra = _join_extra([part.extra for part in parts], all(r.name == "csv" for r in readers)) if config.extra else None
    context, dictionaries = _join_context(parts, config)
    text_ids = any(reader.text_ids for reader in readers)
    # column by column, so that the pieces of one go before the next one is put together
    columns = {name: [getattr(part, name) for part in parts] for name in ("session", "aid", "ts", "type")}
    parts.clear()
    session, sessions = dense_ids(join_ids(columns.pop("session"), text_ids), SESSION)
    aid, items = dense_ids(join_ids(columns.pop("aid"), text_ids), AID)
    ts, code = np.concatenate(columns.pop("ts")), np.concatenate(columns.pop("type"))
    notes = [*check.notes, *kinds.note(SESSION, sessions), *kinds.note(AID, items)]
    if config.visit_minutes is not None:
        session, sessions = cut_visits(session, ts, sessions, config.visit_minutes)

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
        types=tuple(targets.types), items=items, sessions=sessions, keep_repeats=config.duplicates == "keep",
    )  # fmt: skip
    per_type = np.bincount(log.type, minlength=len(targets.types))
    counts = {
        "events": len(log),
        "read": read + check.read,
        "rejected": rejections.count,
        "reasons": dict(rejections.reasons.most_common()),
        "left_out": dict(check.left_out.most_common()),
        "missing": {name: words.total() for name, words in check.no_id.items()},
        "duplicates": n - len(log),
        "unsorted": unsorted,
        "later": later,
        "earlier": earlier,
        "unsampled": unsampled,
        "files": len(files),
        "types": {name: int(count) for name, count in zip(targets.types, per_type, strict=True)},
    }
    if config.context:
        counts["no_numbers"] = no_numbers
    return ReadResult(log, rejections.table(), counts, from_test, context=dictionaries, notes=notes)


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


def _join_extra(tables: list[pa.Table], text: bool) -> pa.Table:
    """CSV columns become integers or floats where all of their values are; empty values are nulls."""
    try:
        table = pa.concat_tables(tables, promote_options="permissive").combine_chunks()
    except pa.ArrowException as error:
        raise UserError(f"events.extra: the files' columns do not fit together: {str(error).splitlines()[0]}") from error
    if not text:
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

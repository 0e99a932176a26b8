"""Events of new sessions, in the user's own ids, as a log in the ids of a run."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from otto_gpu.columns import AID, EVENT_COLUMNS, SESSION, TS, TYPE
from otto_gpu.errors import UserError
from otto_gpu.events.checks import Checker, Piece
from otto_gpu.events.frames import as_table, check_who, index_names, with_field
from otto_gpu.events.ids import WHOLE, dense_ids, join_ids
from otto_gpu.events.items import NO_CODE
from otto_gpu.events.log import EventLog
from otto_gpu.events.rejections import remedy
from otto_gpu.events.settings import EventsConfig, TargetsConfig
from otto_gpu.events.typed import known_codes
from otto_gpu.events.visits import last_visits

IN_PROCESS = Path("events")  # what stands for the file's name where there is none
HOUR_MS, WEEK_MS = 3_600_000, 7 * 24 * 3_600_000


@dataclass(frozen=True)
class NewSessions:
    """log: the events whose items are known, sessions numbered in the order of `sessions`, of which some may have none left;
    sessions: the user's own ids, ascending; first_seen: int64 [S], the sessions in the order in which they came; unknown:
    int64 [S], events whose items the run does not know."""

    log: EventLog
    sessions: pa.Array
    first_seen: np.ndarray
    unknown: np.ndarray

    def __len__(self) -> int:
        return len(self.sessions)


class Reader:
    """Turns what users hand over into NewSessions. items: the run's dictionary, sorted; events, targets: as the run was made.

    dictionaries: the values of the codes of events.context. Columns are called as in the run's log, or session, aid, ts and
    type; times have the log's unit, types its values or the names of the types. Those of events.context need not be there, and
    a code that the run does not know is missing. Without a column of sessions, and without one that may be meant, all events
    are one session, called 0; so are none at all, unless a frame of no rows has that column. Where several columns make up the
    session, they are there, or session holds the ids that they made. Rows that the log leaves out (events.types,
    events.missing) are left out; their sessions are asked all the same. With events.visit_minutes a session is a user, of whom
    the events after the last pause count.
    """

    def __init__(
        self, items: pa.Array, events: EventsConfig, targets: TargetsConfig, dictionaries: dict[str, pa.Array] | None = None
    ):
        known = events.type_names(targets.types)
        names = {name: name for name in targets.types if name not in known}
        changes = {"types": known | names, "before": None, "after": None, "sample_sessions": 1.0, "extra": []}
        self._items, self._events, self._targets = items, events.model_copy(update=changes), targets
        self._dictionaries = dictionaries or {}

    def read(self, events, sessions=None) -> NewSessions:
        """events: as frames.as_table takes them; sessions: own ids of further sessions, which may have no events. UserError for
        what is no event."""
        table = self._table(events)
        columns = self._columns(table)
        context = {name: table[name].combine_chunks() for name in self._events.context if name in table.column_names}
        if not columns:
            nobody = [] if self._names_sessions(table) else [0]  # it says whose events they would be
            session = _own_ids(nobody if sessions is None else sessions)
            return self.of(session, pa.array([], pa.int64()), np.empty(0, np.int64), np.empty(0, np.int8))
        check = Checker(self._events, self._targets)
        found = check(IN_PROCESS, Piece(columns, np.arange(len(columns[AID]), dtype=np.int64), context=context), text_ids=False)
        if check.rejections.count:
            _, row, reason, text = check.rejections.kept[0]
            more = f" (and {check.rejections.count - 1} more)" if check.rejections.count > 1 else ""
            way = remedy(reason, check.rejections.first[reason][2], self._events)
            raise UserError(f"events: row {row}: {reason}, in {text}{more}" + (f"; {way}" if way else ""))
        session = found.session
        if check.left_out or check.no_id:
            session = join_ids([session, self._sessions(columns)], False).combine_chunks()
        if sessions is not None:
            session = session.dictionary_decode() if pa.types.is_dictionary(session.type) else session
            try:
                session = pa.concat_arrays([session, _own_ids(sessions, session.type)])
            except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
                raise UserError(f"sessions: ids are not like those of the events: {str(error).splitlines()[0]}") from None
        return self.of(session, found.aid, found.ts, found.type, found.context)

    def _sessions(self, columns: dict[str, pa.Array]) -> pa.Array:
        """The ids of all rows that have one, whatever else they have."""
        names = self._events.columns.model_copy(update={"type": None})
        anything = {"columns": names, "default_type": self._targets.types[0], "ts_unit": "ms", "ts_format": None, "context": {}}
        nothing = pa.array(np.zeros(len(columns[TS]), np.int64))
        check = Checker(self._events.model_copy(update=anything), self._targets)
        piece = Piece({SESSION: columns[SESSION], AID: nothing, TS: nothing}, np.arange(len(nothing), dtype=np.int64))
        return check(IN_PROCESS, piece, text_ids=False).session

    def of_log(self, log: EventLog, dictionaries: dict[str, pa.Array] | None = None) -> NewSessions:
        """Of a log with ids of its own; dictionaries: the values of its own codes of events.context, None: they are those
        of the run."""
        session, aid = (ids.take(pa.array(codes)) for ids, codes in ((log.sessions, log.session), (log.items, log.aid)))
        context = dict(log.context)
        for name, words in (dictionaries or {}).items():
            indices = pa.array(log.context[name], mask=log.context[name] < 0)
            context[name] = pa.DictionaryArray.from_arrays(indices, words.cast(pa.string()))
        return self.of(session, aid, log.ts, log.type, context)

    def of(self, session: pa.Array, aid: pa.Array, ts: np.ndarray, kind: np.ndarray, context=None) -> NewSessions:
        """Of columns: own ids, ms, codes of the types; context: words (typed.as_words), the run's codes, or numbers, by name. A
        session may come without any event: `session` may be longer."""
        code, sessions = dense_ids(session, SESSION)
        _, first_seen = np.unique(code, return_index=True)
        code, context = code[: len(aid)], context or {}
        place = self.places(aid)
        there = place >= 0
        if self._events.visit_minutes is not None and len(code):
            now = last_visits(code, ts, self._events.visit_minutes)
            code, place, there, ts, kind = code[now], place[now], there[now], ts[now], kind[now]
            context = {name: c[now] if isinstance(c, np.ndarray) else c.filter(pa.array(now)) for name, c in context.items()}
        log = EventLog.from_arrays(
            code[there], place[there], ts[there], kind[there], context=self._context(context, there),
            n_sessions=len(sessions), n_items=len(self._items), types=tuple(self._targets.types),
            keep_repeats=self._events.duplicates == "keep",
        )  # fmt: skip
        unknown = np.bincount(code[~there], minlength=len(sessions))
        return NewSessions(log, sessions, np.argsort(first_seen, kind="stable"), unknown)

    def _context(self, context: dict, rows: np.ndarray) -> dict[str, np.ndarray]:
        """As in the run's log, of the rows (bool [n]); missing where it is not given."""
        found = {}
        for name, kind in self._events.context.items():
            given = context.get(name)
            if kind == "number":
                found[name] = (np.full(len(rows), np.nan, np.float32) if given is None else given)[rows]
            elif given is None:
                found[name] = np.full(int(rows.sum()), NO_CODE, np.int32)
            else:
                found[name] = (given if isinstance(given, np.ndarray) else known_codes(given, self._dictionaries[name]))[rows]
        return found

    def _table(self, events) -> pa.Table:
        """The columns that an event may have; what the log has inside of others, or by their place, under their own names."""
        own, further = self._events.columns, [*self._events.context]
        given = {name: called for name in EVENT_COLUMNS if (called := getattr(own, name)) is not None}
        names = [part for c in given.values() for part in (c if isinstance(c, (list, tuple)) else [c])]
        roots = [name.split(".")[0] for name in names if isinstance(name, str)]
        table = as_table(events, {*EVENT_COLUMNS, *map(str, names), *roots, *further}, loose=further)
        for name, called in given.items():
            if isinstance(called, int) and str(called) in table.column_names and name not in table.column_names:
                table = table.append_column(name, table[str(called)])
        for name in names:
            table = table if not isinstance(name, str) or name in table.column_names else with_field(table, name)
        if not self._names_sessions(table):
            index = [name for name in index_names(events) if name not in table.column_names]
            check_who(table.column_names, index, own.session_name)
        return table

    def _names_sessions(self, table: pa.Table) -> bool:
        """Whether there is a column of sessions. UserError where there is one of several that make them up."""
        own, names = self._events.columns.session, table.column_names
        parts = [str(part) for part in own] if isinstance(own, (list, tuple)) else [str(own)]
        missing = [part for part in parts if part not in names]
        if SESSION in names or not missing:
            return True
        if len(missing) < len(parts):
            raise UserError(f"events: missing column {missing[0]!r}, which makes up the session with {', '.join(parts)}")
        return False

    def _columns(self, table: pa.Table) -> dict[str, pa.Array]:
        """{session, aid, ts, type: array}; nothing for no events at all."""
        own, names, found = self._events.columns, table.column_names, {}
        for name in EVENT_COLUMNS:
            called = next((n for n in (getattr(own, name), name) if isinstance(n, str) and n in names), None)
            if called is not None:
                found[name] = table[called].combine_chunks()
        if isinstance(own.session, (list, tuple)) and all(str(part) in names for part in own.session):
            parts = [table[str(part)].combine_chunks() for part in own.session]
            found[SESSION] = pa.StructArray.from_arrays(parts, [str(i) for i in range(len(parts))])
        if not table.num_rows:
            return {}
        if SESSION not in found:
            found[SESSION] = pa.array(np.zeros(table.num_rows, np.int64))
        for name in (AID, TS, *([] if self._events.default_type is not None else [TYPE])):
            if name not in found:
                called = getattr(own, name) or name
                raise UserError(f"events: missing column {called!r}; there are: {', '.join(names) or 'none'}")
        return found

    def places(self, aid: pa.Array) -> np.ndarray:
        """int64 [n]: the run's ids of own ids, -1 where there is none. 7 and '7' are one item."""
        if pa.types.is_dictionary(aid.type):
            words = self.places(aid.dictionary)
            return words[aid.indices.to_numpy(zero_copy_only=False)] if len(words) else np.full(len(aid), -1)
        integers = pa.types.is_integer(self._items.type)
        if integers and (aid.type == pa.uint64()) != (self._items.type == pa.uint64()):
            aid = aid.cast(pa.string())  # NumPy would compare them as floats
        if integers and not pa.types.is_integer(aid.type):
            aid = pc.replace_substring_regex(aid, WHOLE, r"\1")  # 27.0 is 27
            return self._as_text.get_indexer(aid.to_numpy(zero_copy_only=False))
        if integers:
            given, known = aid.to_numpy(zero_copy_only=False), self._items.to_numpy(zero_copy_only=False)
            place = np.minimum(np.searchsorted(known, given), len(known) - 1)
            return np.where(known[place] == given, place, -1)
        given = aid.cast(pa.string()) if pa.types.is_integer(aid.type) else aid
        return self._as_text.get_indexer(given.to_numpy(zero_copy_only=False))

    @cached_property
    def _as_text(self) -> pd.Index:
        """The items as text, with a table to find them by; made when first needed."""
        return pd.Index(self._items.cast(pa.string()).to_numpy(zero_copy_only=False), dtype=object)


def _own_ids(sessions, kind: pa.DataType | None = None) -> pa.Array:
    """UserError for what are no ids; kind: as which they have to be read."""
    try:
        ids = pa.array(sessions, kind)
    except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError) as error:
        raise UserError(f"sessions: ids must be integers or strings, of one kind: {str(error).splitlines()[0]}") from None
    if ids.null_count:
        raise UserError("sessions: an id is missing")
    return ids if len(ids) else pa.array([], kind or pa.int64())


def shift_into_span(log: EventLog, first_ts: int, last_ts: int) -> EventLog:
    """The log with every session that ends outside first_ts..last_ts (ms) moved by whole weeks into that time's last week
    (by whole hours, where it is shorter than two weeks): hour and weekday stay, and what is popular is what was so then."""
    lengths = np.diff(log.starts)
    held = np.flatnonzero(lengths)
    if not len(held):
        return log
    step = WEEK_MS if last_ts - first_ts >= 2 * WEEK_MS else HOUR_MS
    end = log.ts[log.starts[held + 1] - 1]
    shift = np.where((end > last_ts) | (end < first_ts), -(-(end - last_ts) // step) * step, 0)
    return replace(log, ts=log.ts - np.repeat(shift, lengths[held])) if shift.any() else log

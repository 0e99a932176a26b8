"""The columnar event log: what every stage reads."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from otto_gpu.columns import AID, EVENT_COLUMNS, SESSION, TS, TYPE
from otto_gpu.errors import UserError
from otto_gpu.run.directory import write_table

if TYPE_CHECKING:
    from otto_gpu.device import Device

TYPES = ("clicks", "carts", "orders")


@dataclass(frozen=True)
class EventLog:
    """Events sorted by session, ts and input order.

    session: int32 [n], dense ids, ascending; aid: int32 [n], dense ids in 0..n_items-1; ts: int64 [n], milliseconds;
    type: int8 [n], index into `types`. `n_sessions` and `n_items` count the ids of the dictionaries, so a log that is
    a part of another keeps its ids: a session may have no events here.
    `items`, `sessions`: the user's own ids, by dense id, where known. `extra`: further columns, one value per event.
    `context`: typed columns of the events by name, int32 codes from 0 (-1: missing) or float32 numbers (nan: missing).
    """

    session: np.ndarray
    aid: np.ndarray
    ts: np.ndarray
    type: np.ndarray
    n_sessions: int
    n_items: int
    types: tuple[str, ...] = TYPES
    items: pa.Array | None = None
    sessions: pa.Array | None = None
    extra: pa.Table | None = field(default=None, repr=False)
    context: dict[str, np.ndarray] = field(default_factory=dict, repr=False)

    def __len__(self) -> int:
        return len(self.session)

    @cached_property
    def starts(self) -> np.ndarray:
        """int64 [n_sessions + 1]: the events of session s are starts[s]:starts[s + 1]."""
        return np.searchsorted(self.session, np.arange(self.n_sessions + 1, dtype=np.int32)).astype(np.int64)

    @cached_property
    def span(self) -> tuple[int, int]:
        """ts of the log's first and last event, ms; (0, 0) where it has none."""
        return (int(self.ts.min()), int(self.ts.max())) if len(self) else (0, 0)

    def on(self, device: Device) -> EventLog:
        """The same log with its arrays where the device computes, brought there once and kept as long as this log is there:
        what asks it again reads it there. On the CPU it is the log itself."""
        if device.kind == "cpu":
            return self
        there = self.__dict__.get("there")
        if there is None:
            columns = {name: device.to_device(getattr(self, name)) for name in EVENT_COLUMNS}
            context = {name: device.to_device(values) for name, values in self.context.items()}
            there = replace(self, **columns, extra=None, context=context)
            there.__dict__.update(starts=device.to_device(self.starts), span=self.span)
            self.__dict__["there"] = there
        return there

    @classmethod
    def from_frame(
        cls, frame, types: tuple[str, ...] = TYPES, context: tuple[str, ...] = (), duplicates: Literal["drop", "keep"] = "drop"
    ) -> EventLog:
        """A log from a data frame (pandas, polars, cuDF, Arrow, ...: frames.as_table) with the columns session, aid (any
        integers or strings), ts (ms) and type (codes 0.. or names of `types`); context: further columns, integers are codes
        (-1: missing), floats numbers. Sorts; duplicates: whether events that stand twice stay. Raises UserError for what it
        cannot take.
        """
        from otto_gpu.events.frames import as_table
        from otto_gpu.events.ids import dense_ids
        from otto_gpu.events.times import YEAR_2200_MS

        table = as_table(frame, {*EVENT_COLUMNS, *context}, "EventLog.from_frame")
        there = table.column_names
        missing = [c for c in EVENT_COLUMNS if c not in there]
        if missing:
            told = f"needed: {', '.join(EVENT_COLUMNS)}; there are: {', '.join(there) or 'none'}"
            raise UserError(f"EventLog.from_frame: missing column {missing[0]!r}; {told}")
        columns = {c: _values(table[c]) for c in EVENT_COLUMNS}
        for name, column in columns.items():
            if column.null_count:
                raise UserError(f"EventLog.from_frame: column {name!r} has {column.null_count} missing values")
        session, sessions = dense_ids(columns[SESSION], SESSION)
        aid, items = dense_ids(columns[AID], AID)
        kind = columns[TYPE]
        if pa.types.is_integer(kind.type):
            code = kind.to_numpy(zero_copy_only=False)
        elif pa.types.is_string(kind.type) or pa.types.is_large_string(kind.type):
            code = pc.fill_null(pc.index_in(kind, pa.array(types, kind.type)), -1).to_numpy(zero_copy_only=False)
        else:
            raise UserError(f"EventLog.from_frame: type must be integer codes or names, got {kind.type}")
        wrong = np.flatnonzero((code < 0) | (code >= len(types)))
        if len(wrong):
            bad, last = kind[int(wrong[0])].as_py(), len(types) - 1
            raise UserError(f"EventLog.from_frame: unknown type {bad!r}; expected one of {', '.join(types)} or 0..{last}")
        if not pa.types.is_integer(columns[TS].type):
            raise UserError(f"EventLog.from_frame: ts must be integer milliseconds, got {columns[TS].type}")
        if len(columns[TS]) and pc.min(columns[TS]).as_py() < 0:
            raise UserError("EventLog.from_frame: ts must not be negative")
        if len(columns[TS]) and pc.max(columns[TS]).as_py() >= YEAR_2200_MS:
            raise UserError("EventLog.from_frame: ts lies at or after the year 2200; it must be milliseconds since 1970")
        further = {}
        for name in context:
            column = _values(table[name]) if name in there else pa.nulls(0)
            codes = pa.types.is_integer(column.type) and not column.null_count
            if not codes and not pa.types.is_floating(column.type):
                raise UserError(f"EventLog.from_frame: context column {name!r} must be there, as integer codes or floats")
            further[name] = column.to_numpy(zero_copy_only=False).astype(np.int32 if codes else np.float32)
        return cls.from_arrays(
            session, aid, columns[TS].to_numpy(zero_copy_only=False), code, context=further,
            n_sessions=len(sessions), n_items=len(items), types=tuple(types), items=items, sessions=sessions,
            keep_repeats=duplicates == "keep",
        )  # fmt: skip

    @classmethod
    def from_arrays(
        cls, session, aid, ts, type, *, extra: pa.Table | None = None, context=None, keep_repeats: bool = False, **kwargs
    ) -> EventLog:
        """Sorts by session, ts and input order, and drops events that stand twice (same session, aid, ts and type), unless
        they are to be kept: of their further columns those of the first one stay."""
        session = np.ascontiguousarray(session, np.int32)
        aid = np.ascontiguousarray(aid, np.int32)
        ts = np.ascontiguousarray(ts, np.int64)
        type = np.ascontiguousarray(type, np.int8)
        log = cls(session, aid, ts, type, extra=extra, context=dict(context or {}), **kwargs)
        if not _is_sorted(session, ts):
            log = log.take(np.lexsort((ts, session)))
        if keep_repeats:
            return log
        keep = ~_repeats(log.session, log.aid, log.ts, log.type)
        return log if keep.all() else log.where(keep)

    def where(self, mask: np.ndarray) -> EventLog:
        """The events for which the mask (bool [n]) holds, with the same ids."""
        return self._rows(lambda c: c[mask], lambda table: table.filter(pa.array(mask)))

    def compacted(self) -> tuple[EventLog, np.ndarray]:
        """(the same events with ids of those sessions and items alone that have some, in the order that they had; the dense ids
        that the sessions had before, ascending)."""
        session, held, sessions = _used(self.session, self.sessions, self.n_sessions)
        aid, there, items = _used(self.aid, self.items, self.n_items)
        ids = {"sessions": sessions, "items": items, "n_sessions": len(held), "n_items": len(there)}
        return replace(self, session=session, aid=aid, **ids), held

    def take(self, rows: np.ndarray, **columns) -> EventLog:
        """The events of these rows (int [m]), in this order; columns: what takes the place of theirs."""
        return self._rows(lambda c: c[rows], lambda table: table.take(pa.array(rows)), **columns)

    def of_sessions(self, first: int, last: int) -> EventLog:
        """The events of the sessions first..last-1, without copying."""
        part = slice(int(self.starts[first]), int(self.starts[last]))
        return self._rows(lambda c: c[part], lambda table: table.slice(part.start, part.stop - part.start))

    def newest(self, most: int | None) -> EventLog:
        """Each session's last `most` events, None: all; with the same ids and this log's `span`. It is this log itself where no
        session has more."""
        lengths = np.diff(self.starts)
        if most is None or lengths.max(initial=0) <= most:
            return self
        longer = lengths > most
        edges = np.zeros(len(self) + 1, np.int8)  # of the runs that go
        edges[self.starts[:-1][longer]] = 1
        edges[self.starts[1:][longer] - most] = -1
        kept = self.where(np.cumsum(edges[:-1], dtype=np.int8) == 0)
        kept.__dict__["span"] = self.span
        return kept

    def _rows(self, of: Callable, of_table: Callable, **columns) -> EventLog:
        rows = {name: of(getattr(self, name)) for name in EVENT_COLUMNS if name not in columns}
        context = {name: of(values) for name, values in self.context.items()}
        extra = of_table(self.extra) if self.extra is not None else None
        return replace(self, **rows, **columns, extra=extra, context=context)

    def merged_with(self, other: EventLog) -> EventLog:
        """Both logs' events in one; no session may have events in both. Further columns stay where both logs have them."""
        session = np.concatenate([self.session, other.session])
        # sessions are disjoint and each log is sorted: a stable sort by session alone keeps time's order
        order = np.argsort(session, kind="stable")
        joined = {n: np.concatenate([getattr(self, n), getattr(other, n)])[order] for n in (AID, TS, TYPE)}
        context = {n: np.concatenate([c, other.context[n]])[order] for n, c in self.context.items() if n in other.context}
        extra = None
        if self.extra is not None and other.extra is not None:
            extra = pa.concat_tables([self.extra, other.extra]).take(pa.array(order))
        return replace(self, session=session[order], extra=extra, context=context, **joined)

    def to_frame(self):
        """A pandas frame in the user's own ids where the dictionaries are known."""
        import pandas as pd

        return pd.DataFrame(
            {
                SESSION: self.session if self.sessions is None else self.sessions.take(pa.array(self.session)).to_pandas(),
                AID: self.aid if self.items is None else self.items.take(pa.array(self.aid)).to_pandas(),
                TS: self.ts,
                TYPE: self.type,
            }
        )

    def save(self, path: Path) -> None:
        columns = {SESSION: self.session, AID: self.aid, TS: self.ts, TYPE: self.type}
        table = pa.table(columns | self.context)
        for name in self.extra.column_names if self.extra is not None else ():
            table = table.append_column(name, self.extra[name])
        meta = {"n_sessions": str(self.n_sessions), "n_items": str(self.n_items), "types": ",".join(self.types)}
        if self.context:
            meta["context"] = json.dumps(list(self.context))
        write_table(table.replace_schema_metadata(meta), path)

    @classmethod
    def load(cls, path: Path) -> EventLog:
        table = pq.read_table(path)
        meta = {k.decode(): v.decode() for k, v in (table.schema.metadata or {}).items()}
        context = json.loads(meta.get("context", "[]"))
        rest = [c for c in table.column_names if c not in (*EVENT_COLUMNS, *context)]
        return cls(
            # copies: what Arrow lends is read-only, for which numba would compile every kernel once more
            *(np.array(table[c].to_numpy()) for c in EVENT_COLUMNS),
            n_sessions=int(meta["n_sessions"]),
            n_items=int(meta["n_items"]),
            types=tuple(meta["types"].split(",")),
            extra=table.select(rest) if rest else None,
            context={name: np.array(table[name].to_numpy()) for name in context},
        )


def _values(column: pa.ChunkedArray) -> pa.Array:
    """Categories as their values."""
    array = column.combine_chunks()
    return array.cast(array.type.value_type) if pa.types.is_dictionary(array.type) else array


def _used(ids: np.ndarray, own: pa.Array | None, n: int) -> tuple[np.ndarray, np.ndarray, pa.Array]:
    """(new dense ids int32, the old ones that are used, their own ids) of a column."""
    used = np.zeros(n, bool)
    used[ids] = True
    held = np.flatnonzero(used).astype(np.int32)
    place = np.cumsum(used, dtype=np.int32) - np.int32(1)
    return place[ids], held, pa.array(held) if own is None else own.take(pa.array(held))


def _is_sorted(session: np.ndarray, ts: np.ndarray) -> bool:
    # bits only: differences would take more memory than the log
    same = session[1:] == session[:-1]
    return not np.any(session[1:] < session[:-1]) and not np.any(same & (ts[1:] < ts[:-1]))


def _repeats(session, aid, ts, type) -> np.ndarray:
    """Marks every event of a sorted log that stood there before (the first one stays)."""
    tied = (session[1:] == session[:-1]) & (ts[1:] == ts[:-1])
    repeated = np.zeros(len(session), bool)
    if not tied.any():
        return repeated
    # only events that share session and ts with a neighbour can be repeats
    near = np.zeros(len(session), bool)
    near[1:] |= tied
    near[:-1] |= tied
    index = np.flatnonzero(near)
    order = index[np.lexsort((index, type[index], aid[index], ts[index], session[index]))]
    same = np.ones(len(order) - 1, bool)
    for column in (session, ts, aid, type):
        same &= column[order[1:]] == column[order[:-1]]
    repeated[order[1:][same]] = True
    return repeated

"""Rows that are no events: counted by reason, told with a value of theirs, what was expected and the setting to change."""

from __future__ import annotations

from collections import Counter
from contextlib import suppress
from pathlib import Path

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc

from otto_gpu.columns import AID, SESSION, TS, TYPE
from otto_gpu.errors import UserError
from otto_gpu.events.settings import EventsConfig
from otto_gpu.events.times import Clock, unit_of
from otto_gpu.events.types import known_types

KEPT_ROWS = 100_000  # rejected rows whose text is kept; all are counted
KEPT_TEXT = 500
TOLD = 5  # reasons that a line names
SHOWN = 60  # signs of a value

NOT_UTF8 = "not UTF-8"
WRONG_COLUMNS = "wrong number of columns"
NOT_A_TIME = "ts is not a time"
NEGATIVE_TS = "ts is negative"
LATE_TS = "ts is at or after the year 2200 (see events.ts_unit)"
UNKNOWN_TYPE = "unknown type"
OUTSIDE_INT64 = "id outside int64"
FRACTION = "id is no whole number"


def missing(name: str) -> str:
    return f"missing {name}"


class TooManyRejected(UserError):
    """More bad rows than events.max_rejected allows; `rejected` is the table of ReadResult, `reasons` are {reason: rows},
    `read` are all rows, good and bad."""

    def __init__(self, message: str, rejected: pa.Table, reasons: dict[str, int], read: int):
        super().__init__(message)
        self.rejected, self.reasons, self.read = rejected, reasons, read

    def told(self, more: str) -> TooManyRejected:
        """The same with more to say."""
        return TooManyRejected(f"{self}{more}", self.rejected, self.reasons, self.read)


class Rejections:
    """Counts every rejected row, by reason too, keeps the first ones with their text, and of each reason a first value."""

    def __init__(self):
        self.count = 0
        self.reasons: Counter[str] = Counter()
        self.kept: list[tuple[str, int, str, str]] = []
        self.first: dict[str, tuple[str, int, object]] = {}

    def add(self, file: Path, row: int, reason: str, text: str, value=None) -> None:
        """value: what was not understood; None: the whole row."""
        self.count += 1
        self.reasons[reason] += 1
        self.first.setdefault(reason, (str(file), int(row), text if value is None else value))
        if len(self.kept) < KEPT_ROWS:
            self.kept.append((str(file), int(row), reason, text[:KEPT_TEXT]))

    def more(self, reason: str, n: int) -> None:
        """Of rows whose text is not kept."""
        self.count += n
        self.reasons[reason] += n

    def table(self) -> pa.Table:
        """file, row, reason, text."""
        columns = list(zip(*self.kept, strict=True)) or [[], [], [], []]
        kinds = {"file": pa.string(), "row": pa.int64(), "reason": pa.string(), "text": pa.string()}
        return pa.table({name: pa.array(c, kind) for (name, kind), c in zip(kinds.items(), columns, strict=True)})

    def commonest(self, config: EventsConfig) -> str:
        """The reason of most rows: where the first one stands, its value, and the way out."""
        reason = max(self.reasons, key=self.reasons.__getitem__)
        file, row, value = self.first[reason]
        way = remedy(reason, value, config)
        return f"{file}:{row}: {reason}{shown(reason, value)}" + (f"; {way}" if way else "")

    def stop_if_too_many(self, read: int, config: EventsConfig) -> None:
        """read: all rows, these too."""
        if self.count and self.count > config.max_rejected * read:
            share = f"{100 * self.count / read:.3g} %, events.max_rejected allows {100 * config.max_rejected:.3g} %"
            message = f"{self.commonest(config)}; {self.count:,} of {read:,} rows are bad ({share}): {self.by_reason()}"
            raise TooManyRejected(message, self.table(), dict(self.reasons), read)

    def by_reason(self) -> str:
        """The commonest reasons with their numbers of rows, and a value of each but the first."""
        told = []
        for i, (reason, n) in enumerate(self.reasons.most_common(TOLD)):
            told.append(f"{reason}{shown(reason, self.first[reason][2]) if i else ''} {n:,}")
        more = len(self.reasons) - len(told)
        return ", ".join(told) + (f" and {more} more reasons" if more > 0 else "")


class Faults:
    """Of the rows of a piece: the first reason, if any, why one is no event, and which ones are left aside on purpose and are
    no faults whatever else is wrong with them."""

    def __init__(self, n: int):
        self.code = np.zeros(n, np.int8)
        self.reasons, self.columns = [""], [""]
        self._aside: np.ndarray | None = None
        self._last: list[tuple[np.ndarray, str, str]] = []

    def mark(self, rows: np.ndarray, reason: str, column: str) -> None:
        """rows: bool [n]; column: whose values are at fault."""
        if rows.any():
            self.code[rows & (self.code == 0)] = len(self.reasons)
            self.reasons.append(reason)
            self.columns.append(column)

    def last(self, rows: np.ndarray, reason: str, column: str) -> None:
        """As mark, after all that is marked until finish()."""
        if rows.any():
            self._last.append((rows, reason, column))

    def finish(self) -> None:
        for marked in self._last:
            self.mark(*marked)
        self._last.clear()

    def mark_words(self, column: pa.DictionaryArray, words: np.ndarray | None, reason: str, name: str) -> None:
        """Marks the rows that hold one of these words of the dictionary."""
        if words is not None and words.any():
            self.mark(rows_of(column, words), reason, name)

    def leave(self, rows: np.ndarray) -> int:
        """Leaves these rows aside; how many were not yet."""
        if self._aside is None:
            self._aside = np.zeros(len(self.code), bool)
        fresh = rows & ~self._aside
        self._aside |= fresh
        return int(fresh.sum())

    def any(self) -> np.ndarray:
        """The rows that are at fault."""
        return self.code > 0 if self._aside is None else (self.code > 0) & ~self._aside

    def good(self) -> np.ndarray:
        return self.code == 0 if self._aside is None else (self.code == 0) & ~self._aside


def rows_of(column: pa.DictionaryArray, words: np.ndarray) -> np.ndarray:
    """bool [n]: which rows hold one of these words (bool) of the dictionary."""
    return np.append(words, False)[indices_of(column, missing=len(words))]


def indices_of(column: pa.DictionaryArray, missing: int = 0) -> np.ndarray:
    return pc.fill_null(column.indices, missing).to_numpy(zero_copy_only=False)


def shown(reason: str, value) -> str:
    """' 'value'', cut where it is long; nothing of what is missing."""
    if reason.startswith("missing") or value is None:
        return ""
    text = repr(value) if isinstance(value, str) else str(value)
    return " " + (text if len(text) <= SHOWN else f"{text[:SHOWN]}...")


def value_of(reason: str, text: str):
    """What was not understood of an event of a session a line, whose text is {"session": ..., "event": {...}}; None: all."""
    column = {NOT_A_TIME: TS, LATE_TS: TS, NEGATIVE_TS: TS, UNKNOWN_TYPE: TYPE}.get(reason)
    event = _keys(text).get("event")
    return event.get(column) if column is not None and isinstance(event, dict) else None


def _keys(text) -> dict:
    """The object that a text is; none where it is none."""
    with suppress(orjson.JSONDecodeError):
        found = orjson.loads(text) if isinstance(text, str) and text.startswith("{") else None
        return found if isinstance(found, dict) else {}
    return {}


def remedy(reason: str, value, config: EventsConfig) -> str:
    """What was expected of a value, and the setting that makes the most of it; '' where nothing is to be said."""
    if reason == NOT_A_TIME:
        return Clock(config.ts_unit, config.ts_format, config.timezone).why_none(value)
    if reason in (LATE_TS, NEGATIVE_TS):
        unit = unit_of(float(value)) if isinstance(value, (int, float)) or str(value).strip().isdigit() else None
        return f"this looks like a time in {unit}: set events.ts_unit: {unit}" if unit and unit != config.ts_unit else ""
    if reason == UNKNOWN_TYPE:
        return known_types(value, config)
    if (keys := _keys(value)) and reason in (missing(SESSION), missing(AID)):
        there = keys.get("event", keys)
        if (SESSION if reason == missing(SESSION) else AID) not in there:
            here = ", ".join(there)
            return f"a session a line has the keys session and events, an event aid, ts and type; here there are {here}"
    if reason in (missing(SESSION), missing(AID)):
        return "to leave such rows out without counting them as bad, name '' in events.missing"
    if reason == missing(TYPE):
        return "to leave such rows out without counting them as bad, set events.types: {'': null}"
    if reason.endswith(NOT_UTF8):
        return "set events.encoding to what the file is in, such as cp1252"
    if reason == WRONG_COLUMNS:
        return "a row has as many values as the first one (events.delimiter), and a value that holds the delimiter is quoted"
    if reason.endswith(FRACTION):
        return "ids are integers or text: 27.0 is read as 27, of a fraction nobody knows what it names"
    return ""

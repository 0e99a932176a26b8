"""From raw columns of any kind to events: ids, times in ms and type codes, or the reason why a row is none."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import orjson
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from otto_gpu.columns import AID, SESSION, TS, TYPE
from otto_gpu.errors import UserError
from otto_gpu.events.ids import compact_ids, encoded
from otto_gpu.events.settings import EventsConfig, TargetsConfig
from otto_gpu.events.typed import NUMBER, as_numbers, as_words
from otto_gpu.schema import did_you_mean

UNITS = ("s", "ms", "us", "ns")
YEAR_1990_MS, YEAR_2100_MS = 631_152_000_000, 4_102_444_800_000
YEAR_2200_MS = 7_258_118_400_000
KEPT_ROWS = 100_000  # rejected rows whose text is kept; all are counted
KEPT_TEXT = 500
PER_MS = {"us": 1_000, "ns": 1_000_000}

NOT_UTF8 = "not UTF-8"
NOT_A_TIME = "ts is not a time"
NEGATIVE_TS = "ts is negative"
LATE_TS = "ts is at or after the year 2200 (see events.ts_unit)"
UNKNOWN_TYPE = "unknown type"
OUTSIDE_INT64 = "id outside int64"


def missing(name: str) -> str:
    return f"missing {name}"


@dataclass
class Piece:
    """Some rows as a format found them, before any check.

    columns: session, aid, ts and, where the log has one, type: arrow arrays of one length n (integers, text, binary,
    dictionaries of these; ts also numbers and timestamps). rows: int64 [n], where each one stands in the file.
    rejected: (row, reason, text) of what could not become a row at all. extra: the further columns, n rows. context: those
    of events.context, arrow arrays by name.
    """

    columns: dict[str, pa.Array]
    rows: np.ndarray
    rejected: list[tuple[int, str, str]] = field(default_factory=list)
    extra: pa.Table | None = None
    context: dict[str, pa.Array] = field(default_factory=dict)


@dataclass
class Events:
    """Checked events: session and aid in the user's own ids (int32/int64, or a dictionary of strings), ts int64 ms,
    type int8 codes, extra columns or None; `read` counts the good rows before some of them went: `later` of them lie at or
    after events.before, `earlier` before events.after, `unsampled` are of sessions outside the sample. context: by name
    words (typed.as_words) or float32 numbers; no_numbers: how many values of the latter are none."""

    session: pa.Array
    aid: pa.Array
    ts: np.ndarray
    type: np.ndarray
    extra: pa.Table | None
    read: int
    later: int
    earlier: int
    unsampled: int
    context: dict[str, pa.DictionaryArray | np.ndarray] = field(default_factory=dict)
    no_numbers: int = 0


class Rejections:
    """Counts every rejected row, by reason too, and keeps the first ones with their text."""

    def __init__(self):
        self.count = 0
        self.reasons: Counter[str] = Counter()
        self.kept: list[tuple[str, int, str, str]] = []

    def add(self, file: Path, row: int, reason: str, text: str) -> None:
        self.count += 1
        self.reasons[reason] += 1
        if len(self.kept) < KEPT_ROWS:
            self.kept.append((str(file), int(row), reason, text[:KEPT_TEXT]))

    def table(self) -> pa.Table:
        """file, row, reason, text."""
        columns = list(zip(*self.kept, strict=True)) or [[], [], [], []]
        kinds = {"file": pa.string(), "row": pa.int64(), "reason": pa.string(), "text": pa.string()}
        return pa.table({name: pa.array(c, kind) for (name, kind), c in zip(kinds.items(), columns, strict=True)})


class Checker:
    """Applies the configuration to one piece after the other."""

    def __init__(self, config: EventsConfig, targets: TargetsConfig):
        self.config = config
        codes = {name: code for code, name in enumerate(targets.types)}
        for value, name in config.types.items():
            if config.columns.type is not None and name not in codes:
                raise UserError(f"events.types: {value} -> {name!r} is not one of targets.types; {did_you_mean(name, codes)}")
        default = config.default_type
        if default is not None and default not in codes:
            raise UserError(f"events.default_type: {default!r} is not one of targets.types; {did_you_mean(default, codes)}")
        if config.columns.type is None and config.default_type is None:
            raise UserError("events.columns.type is null: set events.default_type to the type that every event has")
        self.values = pa.array(list(config.types), pa.string())
        self.codes = np.array([codes.get(name, -1) for name in config.types.values()] + [-1], np.int8)
        self.default = codes.get(default, -1)
        self.rejections = Rejections()

    def __call__(self, file: Path, piece: Piece, text_ids: bool) -> Events:
        """text_ids: ids came as text whether they are integers or not (CSV), see `compact_ids`."""
        for row, reason, text in piece.rejected:
            self.rejections.add(file, row, reason, text)
        faults = _Faults(len(piece.rows))
        session = self._ids(piece.columns[SESSION], SESSION, faults, text_ids)
        aid = self._ids(piece.columns[AID], AID, faults, text_ids)
        ts = self._times(piece.columns[TS], faults, text_ids)
        kind = self._types(piece.columns.get(TYPE), len(ts), faults, text_ids)
        self._reject(file, piece, faults)

        keep = ~faults.any()
        read = int(keep.sum())
        if self.config.before is not None:
            keep &= ts < _milliseconds(self.config.before)
        later = read - int(keep.sum())
        if self.config.after is not None:
            keep &= ts >= _milliseconds(self.config.after)
        earlier = read - later - int(keep.sum())
        if self.config.sample_sessions < 1:
            keep &= in_sample(session.dictionary, self.config.sample_sessions)[_indices(session)]
        unsampled = read - later - earlier - int(keep.sum())
        extra = piece.extra
        context, no_numbers = self._context(file, piece)
        if not keep.all():
            mask = pa.array(keep)
            session, aid, ts, kind = session.filter(mask), aid.filter(mask), ts[keep], kind[keep]
            extra = extra.filter(mask) if extra is not None else None
            context = {name: c[keep] if isinstance(c, np.ndarray) else c.filter(mask) for name, c in context.items()}
        session, aid = compact_ids(session, text_ids), compact_ids(aid, text_ids)
        return Events(session, aid, ts, kind, extra, read, later, earlier, unsampled, context, no_numbers)

    def _context(self, file: Path, piece: Piece) -> tuple[dict, int]:
        found, bad = {}, 0
        for name, kind in self.config.context.items():
            column, what = piece.context.get(name), f"{file}: column {name!r} (events.context)"
            column = pa.nulls(len(piece.rows)) if column is None else column
            if kind == "code":
                found[name] = as_words(column, what)
            else:
                found[name], no_numbers = as_numbers(column, what)
                bad += no_numbers
        return found, bad

    def _ids(self, column: pa.Array, name: str, faults: _Faults, empty_is_missing: bool) -> pa.DictionaryArray:
        """The column as a dictionary of int64 or strings; a rejected row's id is any."""
        column = encoded(column)
        words, broken = _as_text(column.dictionary)
        may_be_empty = empty_is_missing and len(words) and pa.types.is_string(words.type)
        absent = pc.equal(words, "").to_numpy(zero_copy_only=False) if may_be_empty else None
        if pa.types.is_uint64(words.type):
            large = pc.greater(words, pa.scalar(np.iinfo(np.int64).max, words.type)).to_numpy(zero_copy_only=False)
            faults.mark_words(column, large, f"{name}: {OUTSIDE_INT64}")
            words = words.cast(pa.int64(), safe=False)
        faults.mark(column.is_null().to_numpy(zero_copy_only=False), missing(name))
        faults.mark_words(column, absent, missing(name))
        faults.mark_words(column, broken, f"{name}: {NOT_UTF8}")
        if pa.types.is_integer(words.type):
            words = words.cast(pa.int64())
        if len(words) == 0:  # all rows are null: any word will do, no row is kept
            words = pa.array([0] if pa.types.is_integer(words.type) else ["0"], words.type)
        return pa.DictionaryArray.from_arrays(pa.array(_indices(column), pa.int32()), words)

    def _times(self, column: pa.Array, faults: _Faults, empty_is_missing: bool) -> np.ndarray:
        """int64 [n], milliseconds; rows that are no time are marked and hold any value."""
        if pa.types.is_dictionary(column.type):
            column = column.dictionary_decode()
        column, broken = _as_text(column)
        absent = column.is_null()
        if empty_is_missing and pa.types.is_string(column.type):
            absent = pc.or_(absent, pc.equal(column, ""))
        absent = absent.to_numpy(zero_copy_only=False)
        faults.mark(absent, missing(TS))
        if broken is not None:
            faults.mark(broken, f"{TS}: {NOT_UTF8}")
        ts, valid = to_milliseconds(column, self.config.ts_unit)
        faults.mark(~valid, NOT_A_TIME)
        faults.mark(valid & (ts < 0), NEGATIVE_TS)
        faults.mark(valid & (ts >= YEAR_2200_MS), LATE_TS)
        return ts

    def _types(self, column: pa.Array | None, n: int, faults: _Faults, empty_is_missing: bool) -> np.ndarray:
        if column is None:
            return np.full(n, self.default, np.int8)
        try:
            column = encoded(column)
            words, broken = _as_text(column.dictionary)
            words = words if pa.types.is_string(words.type) else words.cast(pa.string())
        except (pa.ArrowNotImplementedError, pa.ArrowInvalid):  # lists, structs and other things that are no words
            faults.mark(np.ones(n, bool), UNKNOWN_TYPE)
            return np.full(n, -1, np.int8)
        faults.mark(column.is_null().to_numpy(zero_copy_only=False), missing(TYPE))
        if empty_is_missing and len(words):
            faults.mark_words(column, pc.equal(words, "").to_numpy(zero_copy_only=False), missing(TYPE))
        faults.mark_words(column, broken, f"{TYPE}: {NOT_UTF8}")
        place = pc.fill_null(pc.index_in(words, self.values), len(self.values)).to_numpy()
        codes = np.append(self.codes[place], np.int8(-1))[_indices(column, missing=len(words))]
        faults.mark(codes < 0, UNKNOWN_TYPE)
        return codes

    def _reject(self, file: Path, piece: Piece, faults: _Faults) -> None:
        bad = np.flatnonzero(faults.any())
        room = max(0, KEPT_ROWS - len(self.rejections.kept))
        for i in bad[:room]:
            values = {name: _shown(column[int(i)]) for name, column in piece.columns.items()}
            text = orjson.dumps(values, default=str).decode()
            self.rejections.add(file, piece.rows[i], faults.reason(i), text)
        self.rejections.count += max(0, len(bad) - room)
        for code, n in enumerate(np.bincount(faults.code[bad[room:]])):
            self.rejections.reasons[faults.reasons[code]] += int(n)


class _Faults:
    """The first reason, if any, why a row is none."""

    def __init__(self, n: int):
        self.code = np.zeros(n, np.int8)
        self.reasons = [""]

    def mark(self, rows: np.ndarray, reason: str) -> None:
        if rows.any():
            self.code[rows & (self.code == 0)] = len(self.reasons)
            self.reasons.append(reason)

    def mark_words(self, column: pa.DictionaryArray, words: np.ndarray | None, reason: str) -> None:
        """Marks the rows that hold one of these words of the dictionary."""
        if words is not None and words.any():
            self.mark(np.append(words, False)[_indices(column, missing=len(words))], reason)

    def any(self) -> np.ndarray:
        return self.code > 0

    def reason(self, i: int) -> str:
        return self.reasons[self.code[i]]


def in_sample(words: pa.Array, share: float) -> np.ndarray:
    """bool [n]: whether a session of this id belongs to the sample. Hashes the id's text, so that the answer depends
    neither on the order of the log nor on its format."""
    text = words if pa.types.is_string(words.type) else words.cast(pa.string())
    hashed = pd.util.hash_array(text.to_numpy(zero_copy_only=False).astype(object), categorize=False)
    return hashed < np.uint64(share * 2.0**64)


def to_milliseconds(column: pa.Array, unit: str) -> tuple[np.ndarray, np.ndarray]:
    """(ts int64 [n] in ms, valid bool [n]) of integers, floats, text in `unit`, or timestamps and dates (UTC), which
    carry their own unit. Seconds are rounded to ms; what is finer than a millisecond is cut off."""
    kind = column.type
    if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
        if kind == pa.timestamp("s", getattr(kind, "tz", None)):
            column, unit = column.cast(pa.int64()), "s"  # as milliseconds they might not fit, and turn into others
        else:
            column = column.cast(pa.timestamp("ms", getattr(kind, "tz", None)), safe=False).cast(pa.int64())
            unit = "ms"
    elif pa.types.is_string(kind) and unit == "iso":
        times = pd.to_datetime(column.to_pandas(), format="ISO8601", utc=True, errors="coerce")
        valid = times.notna().to_numpy()
        return times.dt.as_unit("ms").astype("int64").to_numpy() * valid, valid
    elif pa.types.is_string(kind):
        column = _numbers(column, prefer_float=unit == "s")
    elif not (pa.types.is_integer(kind) or pa.types.is_floating(kind)) or unit == "iso":
        return np.zeros(len(column), np.int64), np.zeros(len(column), bool)
    valid = column.is_valid().to_numpy(zero_copy_only=False)
    if pa.types.is_integer(column.type):
        if pa.types.is_uint64(column.type):
            column = pc.min_element_wise(column, pa.scalar(np.iinfo(np.int64).max, pa.uint64()), skip_nulls=False)
        values = pc.fill_null(column.cast(pa.int64()), 0).to_numpy()
        if unit == "s":  # whole seconds beyond the year 2200 are rejected anyway: keep them from overflowing
            return np.clip(values, -YEAR_2200_MS, YEAR_2200_MS) * 1000, valid
        return values // PER_MS.get(unit, 1), valid
    values = pc.fill_null(column.cast(pa.float64()), np.nan).to_numpy(zero_copy_only=False)
    valid = valid & np.isfinite(values)
    scaled = np.where(valid, values, 0) * (1000 if unit == "s" else 1 / PER_MS.get(unit, 1))
    # clipped: beyond int64 a cast would be undefined, and both ends are rejected in any case
    return np.rint(np.clip(scaled, -2.0 * YEAR_2200_MS, 2.0 * YEAR_2200_MS)).astype(np.int64), valid


def suspicious_unit(ts: np.ndarray, unit: str) -> str | None:
    """A warning where times (int64 [n], ms) lie about 1970 and would lie in our days if they were in a larger unit than
    `unit`; None where they may be right. A clock that begins at 0 is nobody's mistake."""
    if not len(ts) or unit not in UNITS:
        return None
    first, last = int(ts.min()), int(ts.max())
    for larger in UNITS[: UNITS.index(unit)]:
        factor = 1000 ** (UNITS.index(unit) - UNITS.index(larger))
        if first * factor >= YEAR_1990_MS and last * factor < YEAR_2100_MS:
            days = " to ".join(dict.fromkeys(str(datetime.fromtimestamp(t / 1000, UTC).date()) for t in (first, last)))
            return f"all times lie in {days}: if ts is in {larger} and not in {unit}, set events.ts_unit to {larger!r}"
    return None


def _numbers(text: pa.Array, prefer_float: bool) -> pa.Array:
    """Text to int64 or, where there are fractions, float64; null where it is no number."""
    if not prefer_float and not pc.any(pc.match_substring(text, "x", ignore_case=True)).as_py():  # a cast would take 0x1f
        try:
            return text.cast(pa.int64())
        except pa.ArrowInvalid:
            pass
    number = pc.match_substring_regex(text, NUMBER)
    return pc.if_else(number, text, pa.scalar(None, pa.string())).cast(pa.float64())


def _as_text(array: pa.Array) -> tuple[pa.Array, np.ndarray | None]:
    """Text and binary as string, with a mask of what is not UTF-8 (None: all is well); other kinds as they are."""
    if pa.types.is_binary(array.type) or pa.types.is_large_binary(array.type):
        try:
            return array.cast(pa.string()), None
        except pa.ArrowInvalid:
            broken = np.array([value is not None and not _is_utf8(value) for value in array.to_pylist()], bool)
            return pc.if_else(pa.array(broken), b"?", array).cast(pa.string()), broken
    if pa.types.is_large_string(array.type) or pa.types.is_string_view(array.type):
        return array.cast(pa.string()), None
    return array, None


def _is_utf8(value: bytes) -> bool:
    try:
        value.decode()
    except UnicodeDecodeError:
        return False
    return True


def _indices(column: pa.DictionaryArray, missing: int = 0) -> np.ndarray:
    return pc.fill_null(column.indices, missing).to_numpy(zero_copy_only=False)


def _shown(value: pa.Scalar):
    try:
        value = value.as_py()
    except (OverflowError, ValueError):  # a time that Python has no word for
        return str(value.cast(pa.int32() if pa.types.is_date32(value.type) else pa.int64()))
    return value.decode(errors="replace") if isinstance(value, bytes) else value


def _milliseconds(moment: datetime) -> int:
    """The first millisecond at or after the moment; without a zone it is UTC."""
    moment = moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
    return -((datetime(1970, 1, 1, tzinfo=UTC) - moment) // timedelta(milliseconds=1))

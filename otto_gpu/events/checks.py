"""From raw columns of any kind to events: ids, times in ms and type codes, or the reason why a row is none."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import orjson
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from otto_gpu.columns import AID, SESSION, TS, TYPE
from otto_gpu.errors import UserError
from otto_gpu.events.ids import WHOLE, compact_ids, encoded
from otto_gpu.events.listed import lists_of_text
from otto_gpu.events.own import OwnIds, joined, own_ids_of
from otto_gpu.events.rejections import (
    FRACTION,
    KEPT_ROWS,
    LATE_TS,
    NEGATIVE_TS,
    NOT_A_TIME,
    NOT_UTF8,
    UNKNOWN_TYPE,
    Faults,
    Rejections,
    indices_of,
    missing,
    rows_of,
    value_of,
)
from otto_gpu.events.settings import EventsConfig, TargetsConfig
from otto_gpu.events.times import YEAR_2200_MS, Clock, moment_ms
from otto_gpu.events.typed import as_numbers, as_words
from otto_gpu.events.types import LEFT, MISSING, TypeValues
from otto_gpu.schema import did_you_mean


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


class Checker:
    """Applies the configuration to one piece after the other. rejections: the rows that are at fault. Rows left out on purpose:
    left_out, by the value of their type, and no_id, {session or aid: {the word that stands for none: rows}}. notes: what is to
    be told of how the columns were read."""

    def __init__(self, config: EventsConfig, targets: TargetsConfig):
        self.config = config
        default = config.default_type
        if default is not None and default not in targets.types:
            raise UserError(
                f"events.default_type: {default!r} is not one of targets.types; {did_you_mean(default, targets.types)}"
            )
        if config.columns.type is None and config.default_type is None:
            raise UserError("events.columns.type is null: set events.default_type to the type that every event has")
        self._types_of = TypeValues(config, targets)
        self._default = -1 if default is None else targets.types.index(default)
        self._no_words = pa.array([word for word in config.missing if word], pa.string())
        numbers = [int(word) for word in config.missing if word.removeprefix("-").isdecimal() and len(word) < 19]
        self._no_numbers = pa.array(numbers, pa.int64())
        self._clock = Clock(config.ts_unit, config.ts_format, config.timezone)
        self.rejections = Rejections()
        self.left_out: Counter[str] = Counter()
        self.no_id: dict[str, Counter[str]] = {}
        self._notes: dict[str, None] = {}

    def __call__(self, file: Path, piece: Piece, text_ids: bool) -> Events:
        """text_ids: ids came as text whether they are integers or not (CSV), see `compact_ids`."""
        for row, reason, text in piece.rejected:
            self.rejections.add(file, row, reason, text, None if reason in self.rejections.first else value_of(reason, text))
        if (listed := lists_of_text(piece.columns[AID])) is not None:
            self._notes[f"{self._called(AID)} holds lists as text: every item of a list is an event"] = None
            piece = replace(piece, columns=piece.columns | {AID: listed}, rejected=[])
            text_ids = True
        piece = one_item_each(piece)
        faults = Faults(len(piece.rows))
        kind = self._types(piece.columns.get(TYPE), faults, text_ids)
        try:
            session = self._session(piece.columns[SESSION], faults, text_ids)
            aid = self._ids(piece.columns[AID], AID, faults, text_ids)
        except UserError as error:
            raise UserError(f"{file}: {error}") from None
        ts = self._times(piece.columns[TS], faults, text_ids)
        self._reject(file, piece, faults)

        keep = faults.good()
        read = int(keep.sum())
        if self.config.before is not None:
            keep &= ts < moment_ms(self.config.before)
        later = read - int(keep.sum())
        if self.config.after is not None:
            keep &= ts >= moment_ms(self.config.after)
        earlier = read - later - int(keep.sum())
        if self.config.sample_sessions < 1:
            keep &= in_sample(session.ids.dictionary, self.config.sample_sessions)[indices_of(session.ids)]
        unsampled = read - later - earlier - int(keep.sum())
        extra = piece.extra
        context, no_numbers = self._context(file, piece)
        ids = [session.ids, aid.ids]
        if not keep.all():
            mask = pa.array(keep)
            ids, ts, kind = [column.filter(mask) for column in ids], ts[keep], kind[keep]
            extra = extra.filter(mask) if extra is not None else None
            context = {name: c[keep] if isinstance(c, np.ndarray) else c.filter(mask) for name, c in context.items()}
        ids = [compact_ids(column, text_ids or own.digits) for column, own in zip(ids, (session, aid), strict=True)]
        return Events(*ids, ts, kind, extra, read, later, earlier, unsampled, context, no_numbers)

    @property
    def read(self) -> int:
        """The rows so far that are no events: those at fault and those left out on purpose."""
        return self.rejections.count + self.left_out.total() + sum(words.total() for words in self.no_id.values())

    @property
    def notes(self) -> list[str]:
        """In the order in which they came up."""
        unclear, zone = self._clock.unclear, self.config.timezone
        hours = f"{unclear:,} times lie in an hour that clocks of {zone} show twice or leave out: read as before the change"
        return [*self._notes, *([hours] if unclear else [])]

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

    def _session(self, column: pa.Array, faults: Faults, text_ids: bool) -> OwnIds:
        if not (pa.types.is_struct(column.type) and isinstance(self.config.columns.session, (list, tuple))):
            return self._ids(column, SESSION, faults, text_ids)
        parts = [self._ids(part, SESSION, faults, text_ids, part=i) for i, part in enumerate(column.flatten())]
        return OwnIds(_whole(joined([part.ids for part in parts])))

    def _ids(self, column: pa.Array, name: str, faults: Faults, text_ids: bool, part: int | None = None) -> OwnIds:
        """The column as a dictionary of integers or strings; the id of a row that is no event is any. part: of the columns that
        make up the id."""
        own = own_ids_of(column, self._called(name, part), binary_text=text_ids, any_kind=part is not None)
        self._notes |= dict.fromkeys(own.notes)
        ids, words = own.ids, own.ids.dictionary
        absent = ids.is_null().to_numpy(zero_copy_only=False)
        text = pa.types.is_string(words.type)
        if text and len(words):
            empty = pc.equal(words, "").to_numpy(zero_copy_only=False)
            absent = absent | rows_of(ids, empty) if empty.any() else absent
        none = self._no_words if text else self._no_numbers
        if len(none) and len(words):
            meaningless = pc.is_in(words.cast(none.type, safe=False), value_set=none).to_numpy(zero_copy_only=False)
            for place in np.flatnonzero(meaningless):
                word = np.zeros(len(words), bool)
                word[place] = True
                self._leave(name, str(words[int(place)].as_py()), rows_of(ids, word), faults)
        if "" in self.config.missing and absent.any():
            self._leave(name, "", absent, faults)
        faults.mark(absent, missing(name), name)
        faults.mark_words(ids, own.broken, f"{name}: {NOT_UTF8}", name)
        faults.mark_words(ids, own.fraction, f"{name}: {FRACTION}", name)
        own.ids = _whole(ids)
        return own

    def _called(self, name: str, part: int | None = None) -> str:
        called = getattr(self.config.columns, name)
        called = called[part] if part is not None else called
        return f"column {called!r} (events.columns.{name})"

    def _leave(self, name: str, word: str, rows: np.ndarray, faults: Faults) -> None:
        if n := faults.leave(rows):
            self.no_id.setdefault(name, Counter())[word] += n

    def _times(self, column: pa.Array, faults: Faults, text_ids: bool) -> np.ndarray:
        """int64 [n], milliseconds; rows that are no time are marked and hold any value."""
        if pa.types.is_dictionary(column.type):
            column = column.dictionary_decode()
        column, broken = _as_text(column)
        absent = column.is_null()
        if pa.types.is_string(column.type):
            absent = pc.or_(absent, pc.fill_null(pc.equal(column, ""), False))
        absent = absent.to_numpy(zero_copy_only=False)
        faults.mark(absent, missing(TS), TS)
        if broken is not None:
            faults.mark(broken, f"{TS}: {NOT_UTF8}", TS)
        ts, valid = self._clock.milliseconds(column)
        if not valid.all():
            if pa.types.is_string(column.type):
                faults.mark(~valid & pc.is_in(column, value_set=self._no_words).to_numpy(zero_copy_only=False), missing(TS), TS)
            faults.mark(~valid, NOT_A_TIME, TS)
        faults.mark(valid & (ts < 0), NEGATIVE_TS, TS)
        faults.mark(valid & (ts >= YEAR_2200_MS), LATE_TS, TS)
        return ts

    def _types(self, column: pa.Array | None, faults: Faults, text_ids: bool) -> np.ndarray:
        """int8 [n]: codes of the types; rows of a type that is left out, or none, are marked."""
        if column is None:
            return np.full(len(faults.code), self._default, np.int8)
        try:
            column = encoded(column)
            words, broken = _as_text(column.dictionary)
            words = words if pa.types.is_string(words.type) else words.cast(pa.string())
        except (pa.ArrowNotImplementedError, pa.ArrowInvalid):  # lists, structs and other things that are no words
            faults.last(np.ones(len(column), bool), UNKNOWN_TYPE, TYPE)
            return np.full(len(column), -1, np.int8)
        places = self._types_of.places(words)
        absent = pc.fill_null(pc.equal(words, ""), True).to_numpy(zero_copy_only=False)
        unknown = self._types_of.codes(places) == -1
        if unknown.any():
            absent |= unknown & pc.is_in(words, value_set=self._no_words).to_numpy(zero_copy_only=False)
        no_type = np.int8(self._types_of.missing)
        codes = np.where(absent, no_type, self._types_of.codes(places))
        indices = indices_of(column, missing=len(words))
        found = np.append(codes, no_type)[indices]
        if self._types_of.left:
            counts = np.bincount(indices, minlength=len(words) + 1)
            for place in np.flatnonzero((np.append(codes, no_type) == LEFT) & (counts > 0)):
                none = place == len(words) or absent[place]
                self.left_out[MISSING if none else self._types_of.value(int(places[place]))] += int(counts[place])
            faults.leave(found == LEFT)
        if no_type < 0 and (column.null_count or absent.any()):
            faults.last(np.append(absent, True)[indices], missing(TYPE), TYPE)
        if broken is not None:
            faults.last(rows_of(column, broken), f"{TYPE}: {NOT_UTF8}", TYPE)
        faults.last(found < 0, UNKNOWN_TYPE, TYPE)
        return found

    def _reject(self, file: Path, piece: Piece, faults: Faults) -> None:
        faults.finish()
        bad = np.flatnonzero(faults.any())
        room = max(0, KEPT_ROWS - len(self.rejections.kept))
        for i in bad[:room]:
            values = {name: _shown(column[int(i)]) for name, column in piece.columns.items()}
            text = orjson.dumps(values, default=str).decode()
            code = faults.code[i]
            self.rejections.add(file, piece.rows[i], faults.reasons[code], text, values.get(faults.columns[code]))
        for code, n in enumerate(np.bincount(faults.code[bad[room:]])):
            self.rejections.more(faults.reasons[code], int(n))


def one_item_each(piece: Piece) -> Piece:
    """A row that holds a list of items as a row for each; of an empty list as a row without an item."""
    column = piece.columns[AID]
    kind = column.type
    if pa.types.is_list_view(kind) or pa.types.is_large_list_view(kind):
        column = column.cast(pa.large_list(kind.value_type))
    elif not (pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)):
        return piece
    lengths = pc.fill_null(pc.list_value_length(column), 0).to_numpy(zero_copy_only=False).astype(np.int64)
    rows = np.repeat(np.arange(len(lengths)), np.maximum(lengths, 1))
    empty = np.repeat(lengths == 0, np.maximum(lengths, 1))
    items = pc.list_flatten(column).take(pa.array(np.cumsum(~empty) - 1, mask=empty))
    take = pa.array(rows)
    columns = {name: items if name == AID else c.take(take) for name, c in piece.columns.items()}
    extra = None if piece.extra is None else piece.extra.take(take)
    return Piece(columns, piece.rows[rows], [], extra, {name: c.take(take) for name, c in piece.context.items()})


def in_sample(words: pa.Array, share: float) -> np.ndarray:
    """bool [n]: whether a session of this id belongs to the sample. Hashes the id's text (27.0 is 27), so that the answer
    depends neither on the order of the log nor on its format."""
    text = pc.replace_substring_regex(words, WHOLE, r"\1") if pa.types.is_string(words.type) else words.cast(pa.string())
    hashed = pd.util.hash_array(text.to_numpy(zero_copy_only=False).astype(object), categorize=False)
    return hashed < np.uint64(share * 2.0**64)


def _whole(ids: pa.DictionaryArray) -> pa.DictionaryArray:
    """Without nulls: rows without an id, which no event is of, have any."""
    words = ids.dictionary
    if not len(words):  # any word will do
        words = pa.array([0] if pa.types.is_integer(words.type) else ["0"], words.type)
    return pa.DictionaryArray.from_arrays(pa.array(indices_of(ids), pa.int32()), words)


def _as_text(array: pa.Array) -> tuple[pa.Array, np.ndarray | None]:
    """Text and binary as string, with a mask of what is not UTF-8 (None: all is well); other kinds as they are."""
    if pa.types.is_binary_view(array.type):
        array = array.cast(pa.binary())
    if pa.types.is_fixed_size_binary(array.type):
        array = array.cast(pa.binary())
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


def _shown(value: pa.Scalar):
    try:
        value = value.as_py()
    except (OverflowError, ValueError):  # a time that Python has no word for
        return str(value.cast(pa.int32() if pa.types.is_date32(value.type) else pa.int64()))
    return value.decode(errors="replace") if isinstance(value, bytes) else value

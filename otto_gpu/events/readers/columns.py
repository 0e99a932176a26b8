"""Where the columns of an event stand among those of a file: by name, by place, or in the names of its folders."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa

from otto_gpu.columns import AID, SESSION, TS, TYPE
from otto_gpu.errors import UserError
from otto_gpu.events.checks import Piece
from otto_gpu.events.readers.reading import Reading
from otto_gpu.events.settings import EventsConfig

EXTRA, CONTEXT = "extra ", "context "  # what the keys of columns besides an event's own begin with
FURTHER = (EXTRA, CONTEXT)
OF_SEVERAL = f"{SESSION} "  # and those of one of several columns that together are the session
NAMES_SHOWN = 30
HOW_BY_PLACE = "name the columns by their places, such as events.columns.session=0, from 0 on"


@dataclass(frozen=True)
class Wanted:
    """columns: {key: name or place} of what is read; settings: {key: what names it}; optional: keys of columns that may be
    missing."""

    columns: dict[str, str | int]
    settings: dict[str, str]
    optional: frozenset[str] = frozenset()

    @property
    def by_place(self) -> bool:
        """An event's own columns are named by their places, which a file without a header needs."""
        return any(isinstance(column, int) for column in self.columns.values())

    def needed(self) -> list[str]:
        return [key for key in self.columns if key not in self.optional]


def wanted_columns(reading: Reading) -> Wanted:
    config = reading.config
    own = config.columns
    columns, settings, optional = {}, {}, set()
    sessions = own.session if isinstance(own.session, list) else [own.session]
    for i, name in enumerate(sessions):
        columns[SESSION if len(sessions) == 1 else f"{OF_SEVERAL}{i}"] = name
    columns |= {AID: own.aid, TS: own.ts}
    if own.type is not None:
        columns[TYPE] = own.type
        if config.default_type is not None:
            optional.add(TYPE)
    for key in columns:
        settings[key] = f"events.columns.{SESSION if key.startswith(OF_SEVERAL) else key}"
    for name in config.extra:
        columns[EXTRA + name], settings[EXTRA + name] = name, "events.extra"
    for name in config.context:
        columns[CONTEXT + name], settings[CONTEXT + name] = name, "events.context"
        if reading.bare:
            optional.add(CONTEXT + name)
    return Wanted(columns, settings, frozenset(optional))


@dataclass(frozen=True)
class Places:
    """columns: {key: place among the file's columns}; given: {key: value} of those that are the name of a folder; spaced: the
    names stand there with spaces around them."""

    columns: dict[str, int]
    given: dict[str, pa.Scalar] = field(default_factory=dict)
    spaced: bool = False


def plain_name(name: str) -> str:
    """Without spaces around it, and without marks that nobody sees."""
    return name.strip().strip("\ufeff\u200b").strip()


def missing_keys(names: list[str], wanted: Wanted, folders: dict[str, pa.Scalar]) -> list[str]:
    """The keys that are needed and have no column."""
    there = {*names, *map(plain_name, names), *folders}
    return [key for key in wanted.needed() if not _there(wanted.columns[key], names, there)]


def _there(column: str | int, names: list[str], there: set[str]) -> bool:
    return column < len(names) if isinstance(column, int) else column in there


def find_columns(
    file: Path, names: list[str], wanted: Wanted, folders: dict[str, pa.Scalar], what: str = "the file has"
) -> Places:
    """UserError where one is missing or stands there twice. what: what the message calls the names."""
    plain = [plain_name(name) for name in names]
    places, given, spaced = {}, {}, False
    for key, column in wanted.columns.items():
        if isinstance(column, int):
            if column < len(names):
                places[key] = column
                continue
            if key in wanted.optional:
                continue
            setting = wanted.settings[key]
            held = f"there are {len(names)}, from 0 on: {_shown(names)}"
            raise UserError(f"{file}: no column at place {column} ({setting}): {held}")
        there = names if column in names else plain
        if there.count(column) == 1:
            places[key] = there.index(column)
            spaced |= there is plain
        elif column not in there and column in folders:
            given[key] = folders[column]
        elif column in there:
            raise UserError(f"{file}: more than one column {column!r}; {what}: {_shown(names)}; set {wanted.settings[key]}")
        elif key not in wanted.optional:
            hint = ", or set it to null and events.default_type to the type of every event" if key == TYPE else ""
            raise UserError(f"{file}: missing column {column!r}; {what}: {_shown(names)}; set {wanted.settings[key]}{hint}")
    return Places(places, given, spaced)


def _shown(names: Iterable[str]) -> str:
    names = [name if name == plain_name(name) and name.isprintable() else repr(name) for name in names]
    return ", ".join(names[:NAMES_SHOWN]) + (f", ... ({len(names)} columns)" if len(names) > NAMES_SHOWN else "")


def piece_of(
    columns: dict[str, pa.Array], config: EventsConfig, rows: np.ndarray, rejected: list, given: dict[str, pa.Scalar]
) -> Piece:
    """columns: by key; given: what all of the rows have."""
    columns = columns | {key: pa.repeat(value, len(rows)) for key, value in given.items()}
    extra = None
    if config.extra:
        extra = pa.table({name: columns.pop(EXTRA + name) for name in config.extra})
    context = {name: columns.pop(CONTEXT + name) for name in config.context if CONTEXT + name in columns}
    if isinstance(config.columns.session, list) and len(config.columns.session) > 1:
        parts = [columns.pop(f"{OF_SEVERAL}{i}") for i in range(len(config.columns.session))]
        columns[SESSION] = pa.StructArray.from_arrays(parts, [str(name) for name in config.columns.session])
    return Piece(columns, rows, rejected, extra, context)

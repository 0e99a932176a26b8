"""The items file: ids that the log need not have, and what is known of the items."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from otto_gpu.errors import UserError
from otto_gpu.events.flat import read_flat
from otto_gpu.events.ids import alike, compact_ids, dense_ids, join_ids
from otto_gpu.events.items import NO_CODE, NO_TIME, Items
from otto_gpu.events.log import EventLog
from otto_gpu.events.own import own_ids_of
from otto_gpu.events.settings import ItemsConfig
from otto_gpu.events.times import YEAR_2200_MS, suspicious_unit, to_milliseconds
from otto_gpu.events.typed import as_numbers, as_texts, as_words, decoded, is_text, join_codes

CODES = "attribute_codes.json"  # in events/ of a run: the values of the codes
Say = Callable[[str], None]


@dataclass(frozen=True)
class ItemTable:
    """ids: the user's own ids (integers or text), none twice; items: their attributes in this order; dictionaries: the values
    of the codes, by column."""

    ids: pa.Array
    items: Items
    dictionaries: dict[str, pa.Array] = field(default_factory=dict)


def read_items(file: Path, config: ItemsConfig, say: Say) -> ItemTable:
    """What is wrong with single rows is counted and said; UserError for a column that is not there or of another kind."""
    wanted = {config.id: "items.id"} | {name: f"items.columns.{name}" for name in config.columns}
    columns = read_flat(file, "items.file", wanted, config.delimiter)
    ids, rows = _ids(file, columns[config.id], config, say)
    if rows is not None:
        columns = {name: column.take(rows) for name, column in columns.items()}
    found, dictionaries = Items(len(ids)), {}
    for name, kind in config.columns.items():
        what, column, bad = f"{file}: column {name!r} (items.columns.{name}: {kind})", columns[name], 0
        if kind == "code":
            found.codes[name], dictionaries[name] = join_codes([as_words(column, what)])
        elif kind == "number":
            found.numbers[name], bad = as_numbers(column, what)
        elif kind == "time":
            found.times[name], bad = _times(column, config.time_unit, what, say)
        else:
            found.texts[name] = _texts(column, what)
        if bad:
            say(f"  {file.name}: {bad:,} of {len(ids):,} values of {name!r} are no {kind}s: counted as missing")
    return ItemTable(ids, found, dictionaries)


def _ids(file: Path, column: pa.Array, config: ItemsConfig, say: Say) -> tuple[pa.Array, pa.Array | None]:
    """(ids, the rows that have them; None: all of them)."""
    ids, there = own_ids(file, column, config.id, "items.id")
    rows = np.flatnonzero(there)
    if missing := len(column) - len(rows):
        say(f"  {file.name}: {missing:,} of {len(column):,} rows have no {config.id!r}: left out")
    if not len(rows):
        raise UserError(f"{file}: no row has a value of {config.id!r} (items.id)")
    code, _ = dense_ids(ids.take(pa.array(rows)), config.id)
    _, first = np.unique(code, return_index=True)
    if repeated := len(rows) - len(first):
        say(f"  {file.name}: {repeated:,} of {len(column):,} rows repeat an item: its first row counts")
        rows = rows[np.sort(first)]
    if len(rows) == len(column):
        return ids, None
    return ids.take(pa.array(rows)), pa.array(rows)


def own_ids(file: Path, column: pa.Array, name: str, key: str) -> tuple[pa.Array, np.ndarray]:
    """(own ids, integers or text, any where there is none; bool [n], whether there is one). Integers that came as text are
    integers, as in the log. UserError where the column `name`, which the setting `key` names, holds others."""
    what = f"{file}: column {name!r} ({key})"
    own = own_ids_of(column, what)
    ids, words = own.ids, own.ids.dictionary
    if own.fraction is not None and own.fraction.any():
        raise UserError(f"{what} has ids such as {words[int(np.argmax(own.fraction))].as_py()}: ids are integers or text")
    there = ids.is_valid()
    text = pa.types.is_string(words.type)
    if text:
        there = pc.and_(there, pc.fill_null(pc.not_equal(ids, ""), False))
    there = there.to_numpy(zero_copy_only=False)
    if not there.any():
        return pa.nulls(len(column), pa.int64()), there
    if not there.all():
        indices = ids.indices.to_numpy(zero_copy_only=False)
        filled = np.where(there, indices, indices[int(np.argmax(there))]).astype(np.int32)
        ids = pa.DictionaryArray.from_arrays(pa.array(filled), words)
    found = join_ids([compact_ids(ids, from_text=text)], from_text=text).combine_chunks()
    return (found.dictionary_decode() if pa.types.is_dictionary(found.type) else found), there


def _times(column: pa.Array, unit: str, what: str, say: Say) -> tuple[np.ndarray, int]:
    """(int64 [n], ms, NO_TIME where missing; how many values are no times before the year 2200: they count as missing).
    UserError where most are none."""
    column = decoded(column)
    if is_text(column.type):
        column = pc.if_else(pc.equal(column.cast(pa.string()), ""), None, column.cast(pa.string()))
    if pa.types.is_null(column.type):
        return np.full(len(column), NO_TIME), 0
    there = column.is_valid().to_numpy(zero_copy_only=False)
    if pa.types.is_floating(column.type):
        there &= ~np.isnan(np.array(pc.fill_null(column, np.nan)))
    ts, valid = to_milliseconds(column, unit)
    valid = valid & there & (np.abs(ts) < YEAR_2200_MS)
    bad = int((there & ~valid).sum())
    if 2 * bad > there.sum():
        shown = column[int(np.flatnonzero(there & ~valid)[0])].as_py()
        raise UserError(
            f"{what}: {bad:,} of {int(there.sum()):,} values are no times before the year 2200 in the unit {unit!r}, such as "
            f"{shown!r}; set items.time_unit"
        )
    carries_unit = pa.types.is_timestamp(column.type) or pa.types.is_date(column.type)
    if not carries_unit and (doubt := suspicious_unit(ts[valid], unit)):
        say(f"  warning: {what}: {doubt.replace('events.ts_unit', 'items.time_unit').replace('if ts is', 'if they are')}")
    return np.where(valid, ts, NO_TIME), bad


def _texts(column: pa.Array, what: str) -> pa.Array:
    try:
        return as_texts(column)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        raise UserError(f"{what}: expected text, got {column.type}") from None


def with_ids(log: EventLog, *further: pa.Array) -> EventLog:
    """The log with a dictionary that holds these ids too (own ids, which may be known); dense ids keep the order of own ids.
    7 and '7' are one item: where some are integers and others text, all are text."""
    all_of = alike(pa.array(np.arange(log.n_items)) if log.items is None else log.items, *further)
    place, items = dense_ids(pa.chunked_array(all_of), "aid")
    return replace(log, aid=place[: log.n_items][log.aid], items=items, n_items=len(items))


def places_of(ids: pa.Array, dictionary: pa.Array) -> np.ndarray:
    """int64 [n]: the dense ids of own ids, -1 where the dictionary has none; 7 and '7' are one."""
    ids, dictionary = alike(ids, dictionary)
    return pc.fill_null(pc.index_in(ids, dictionary), -1).to_numpy().astype(np.int64)


def by_item(table: ItemTable, log: EventLog) -> Items:
    """The attributes by dense id; missing where the items file has no such item."""
    row = np.full(log.n_items, -1, np.int64)
    row[places_of(table.ids, log.items)] = np.arange(len(table.ids))
    there = row >= 0

    def placed(values: np.ndarray, missing) -> np.ndarray:
        return np.where(there, values[row], values.dtype.type(missing))

    given = table.items
    rows = pa.array(row, mask=~there)
    return Items(
        log.n_items,
        {name: placed(values, NO_CODE) for name, values in given.codes.items()},
        {name: placed(values, np.nan) for name, values in given.numbers.items()},
        {name: placed(values, NO_TIME) for name, values in given.times.items()},
        {name: values.take(rows) for name, values in given.texts.items()},
    )


def check_overlap(table: ItemTable, log: EventLog, file: Path, config: ItemsConfig) -> None:
    """UserError where no item of the log is in the items file: they hardly speak of the same ids."""
    if not (places_of(table.ids, log.items) >= 0).any():
        raise UserError(
            f"{file}: no item of the log is there: column {config.id!r} (items.id) has ids such as {table.ids[0].as_py()!r}, "
            f"the log such as {log.items[0].as_py()!r}"
        )

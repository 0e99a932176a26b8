"""Whatever holds events in memory as an Arrow table: frames of pandas, polars, cuDF and others, Arrow's own, lists of dicts."""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from otto_gpu.columns import EVENT_COLUMNS
from otto_gpu.errors import UserError
from otto_gpu.events.readers.parquet import is_list, within
from otto_gpu.events.readers.text import json_column

# how libraries hand over what they have yet to compute (LazyFrame, dask, ibis, Spark, Arrow's datasets), the cheapest first
WAYS = ("to_arrow", "to_arrow_table", "to_pyarrow", "toArrow", "to_table", "collect", "compute", "to_pandas", "toPandas")
VIEWS = {pa.string_view(): pa.string(), pa.binary_view(): pa.binary()}
EXPECTED = "a data frame, an Arrow table or a list of dicts"
# columns that say who acts, under the names that people give them
WHO = r"(?i)^(.*session.*|(visit(or)?|user|customer|client|member|account)s?[_ ]?(id|key|uuid|hash|no|nr|number)?|[us]id)$"


def as_table(events: Any, wanted: Collection[str], what: str = "events", loose: Collection[str] = ()) -> pa.Table:
    """The columns of `events` that are wanted, in one chunk each, and the names of the others without their values.

    events: a frame of pandas (a level of its index that is called like a wanted column is one), anything that speaks Arrow's
    C interface (tables, batches, readers of Arrow, polars, DuckDB's relations), or that has one of WAYS; a list of dicts or a
    dict of columns. loose: columns of these that may hold values of several kinds, as JSON's may. UserError, which begins with
    `what`, for what is none of these or holds values of several kinds.
    """
    if isinstance(events, pd.DataFrame):
        return _of_columns(_pandas_columns(events, wanted, what), len(events), what)
    if isinstance(events, Mapping):
        if any(column is None or isinstance(column, str | bytes | int | float | np.generic) for column in events.values()):
            raise UserError(f"{what} must be {EXPECTED}, got a dict: put one event into a list")
        columns = {str(name): _own_arrow(column) if name in wanted else None for name, column in events.items()}
        return _of_columns(columns, max((len(c) for c in columns.values() if c is not None), default=0), what, loose)
    if isinstance(events, np.ndarray) and events.dtype.names:
        return as_table(pd.DataFrame(events), wanted, what)
    if isinstance(events, Iterator) and not _speaks_arrow(events):
        events = list(events)
    if isinstance(events, list | tuple) and all(isinstance(event, Mapping) for event in events):
        names = dict.fromkeys(name for event in events for name in event)
        columns = {str(name): [event.get(name) for event in events] if name in wanted else None for name in names}
        return _of_columns(columns, len(events), what, loose)
    return _arrow(events, wanted, what)


def index_names(events: Any) -> list[str]:
    """Of a pandas frame, where its levels have any."""
    return [str(name) for name in events.index.names if name is not None] if isinstance(events, pd.DataFrame) else []


def check_who(names: list[str], index: list[str], session: str) -> None:
    """UserError where a frame without a column of sessions has one that may be meant, or an index with a name: its events are
    hardly all of one session. session: what the column is called."""
    if index:
        raise UserError(
            f"events: no column {session!r}, and the index is called {index[0]!r}: name it {session!r} if it says whose events "
            "they are, or take reset_index(drop=True)"
        )
    others = [name for name in names if name not in EVENT_COLUMNS]
    close = difflib.get_close_matches(session.lower(), [name.lower() for name in others], n=1, cutoff=0.7)
    meant = next((name for name in others if name.lower() in close or re.match(WHO, name)), None)
    if meant is not None:
        raise UserError(
            f"events: no column {session!r}; if {meant!r} says whose events they are, rename it, else leave it out: without "
            "any, all events are of one session"
        )


def with_field(table: pa.Table, path: str) -> pa.Table:
    """With a column for what is inside of another one, by its dotted path (user.id); as it is where there is no such thing."""
    first, *rest = path.split(".")
    if not rest or first not in table.column_names:
        return table
    kind = table[first].type
    for name in rest:
        kind = kind.value_type if is_list(kind) else kind
        if not pa.types.is_struct(kind) or kind.get_field_index(name) < 0:
            return table
        kind = kind.field(name).type
    return table.append_column(path, within(table[first].combine_chunks(), rest))


def _pandas_columns(frame: pd.DataFrame, wanted: Collection[str], what: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for place, name in enumerate(map(str, frame.columns)):
        if name in found and name in wanted:
            raise UserError(f"{what}: there are several columns {name!r}")
        found[name] = frame.iloc[:, place] if name in wanted else None
    for level, name in enumerate(frame.index.names):
        if name is None or str(name) not in wanted:
            continue
        values = frame.index.get_level_values(level)
        if str(name) not in found:
            found[str(name)] = values.to_series()
        elif not pd.Series(values, index=frame.index).equals(found[str(name)]):
            raise UserError(f"{what}: {name!r} is the name of a column and of the index, and they differ: drop one of them")
    return found


def _of_columns(columns: dict[str, Any], n: int, what: str, loose: Collection[str] = ()) -> pa.Table:
    """Of n values each; None: a column whose values nobody asks for."""
    made = {}
    for name, column in columns.items():
        try:
            if column is None:
                made[name] = pa.nulls(n)
            elif name in loose:
                made[name] = json_column(list(column))
            else:
                made[name] = plain(_array(column))
        except (ValueError, TypeError, OverflowError, NotImplementedError) as error:  # as which Arrow and pandas refuse cells
            told = str(error).splitlines()[0]
            raise UserError(f"{what}: column {name!r} holds values of more than one kind: {told}") from None
        if len(made[name]) != n:
            raise UserError(f"{what}: column {name!r} has {len(made[name]):,} values, another one {n:,}")
    return pa.table(made)


def _own_arrow(column: Any) -> Any:
    """A column of cuDF or polars as Arrow's."""
    return column.to_arrow() if hasattr(column, "to_arrow") else column


def _array(column: Any) -> pa.Array:
    """Integers among text turn to text, as in a column that pandas read piece by piece: 7 and '7' are one id."""
    try:
        return pa.array(column, from_pandas=True)
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
        values = [None if value is None or value is pd.NA or value != value else value for value in column]
        kinds = {bool if isinstance(v, bool | np.bool_) else type(v) for v in values if v is not None}
        if not all(issubclass(kind, str | int | float | np.integer | np.floating) and kind is not bool for kind in kinds):
            raise error
        words = [value if value is None or isinstance(value, str) else _word(value) for value in values]
        return pa.array(words, pa.string())


def _word(value: float) -> str:
    return str(int(value)) if value == value // 1 else repr(float(value))


def plain(column: pa.Array | pa.ChunkedArray) -> pa.Array:
    """In one chunk, and text and bytes in the layout that all of Arrow's functions take."""
    column = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    if pa.types.is_dictionary(column.type) and (kind := VIEWS.get(column.type.value_type)):
        return pa.DictionaryArray.from_arrays(column.indices, column.dictionary.cast(kind))
    return column.cast(VIEWS[column.type]) if column.type in VIEWS else column


def _speaks_arrow(events: Any) -> bool:
    return any(hasattr(events, way) for way in ("__arrow_c_stream__", "__arrow_c_array__"))


def _arrow(events: Any, wanted: Collection[str], what: str, depth: int = 3) -> pa.Table:
    kind = type(events).__name__
    try:
        if isinstance(events, pa.Table):
            names = events.column_names
            if twice := next((name for name in wanted if names.count(name) > 1), None):
                raise UserError(f"{what}: there are several columns {twice!r}")
            columns = zip(names, events.columns, strict=True)
            return pa.Table.from_arrays([plain(c) if n in wanted else pa.nulls(len(events)) for n, c in columns], names)
        if isinstance(events, pd.DataFrame):
            return as_table(events, wanted, what)
        if depth and not isinstance(events, type | pd.Series):
            cudf = type(events).__module__.split(".")[0] == "cudf"  # whose index goes along
            if not cudf and _speaks_arrow(events):
                return _arrow(pa.table(events), wanted, what, 0)
            for way in WAYS:
                if callable(getattr(events, way, None)):
                    return _arrow(getattr(events, way)(), wanted, what, depth - 1)
    except (pa.ArrowException, TypeError, ValueError, NotImplementedError) as error:
        told = (str(error).splitlines() or [kind])[0]
        raise UserError(f"{what}: a {kind} that is no table: {told}") from None
    hint = {"EventLog": ": recommend_log takes it", "Series": ": one event is a list of one dict"}
    more = (
        ": files are read by the commands" if isinstance(events, str) or hasattr(events, "__fspath__") else hint.get(kind, "")
    )
    raise UserError(f"{what} must be {EXPECTED}, got {kind}{more}")

"""Where the columns of an event stand among those of a file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa

from otto_gpu.columns import AID, SESSION, TS, TYPE
from otto_gpu.errors import UserError
from otto_gpu.events.checks import Piece
from otto_gpu.events.settings import EventsConfig

FURTHER = ("extra ", "context ")  # what the names of columns besides an event's own begin with


def find_columns(file: Path, names: list[str], config: EventsConfig, bare: bool) -> dict[str, int]:
    """Where session, aid, ts, type, the extra and the context columns stand among the file's columns. bare: those of the
    context need not be there."""
    wanted = {SESSION: config.columns.session, AID: config.columns.aid, TS: config.columns.ts}
    kind = config.columns.type
    if kind is not None and (kind in names or config.default_type is None):
        wanted[TYPE] = kind
    found = {}
    keys = {name: (f"events.columns.{name}", column) for name, column in wanted.items()}
    keys |= {f"extra {column}": ("events.extra", column) for column in config.extra}
    keys |= {f"context {column}": ("events.context", column) for column in config.context if column in names or not bare}
    for name, (key, column) in keys.items():
        if names.count(column) != 1:
            what = "missing column" if column not in names else "more than one column"
            hint = ", or set it to null and events.default_type to the type of every event" if name == TYPE else ""
            raise UserError(f"{file}: {what} {column!r}; the file has: {', '.join(names)}; set {key}{hint}")
        found[name] = names.index(column)
    return found


def piece_of(columns: dict[str, pa.Array], config: EventsConfig, rows: np.ndarray, rejected: list) -> Piece:
    extra = None
    if config.extra:
        extra = pa.table({name: columns.pop(f"extra {name}") for name in config.extra})
    context = {name: columns.pop(f"context {name}") for name in config.context if f"context {name}" in columns}
    return Piece(columns, rows, rejected, extra, context)

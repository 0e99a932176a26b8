"""Parquet with one event per row, as pieces of raw columns."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from otto_gpu.columns import AID, SESSION
from otto_gpu.errors import UserError
from otto_gpu.events.checks import Piece
from otto_gpu.events.ids import may_be_ids
from otto_gpu.events.readers.columns import find_columns, piece_of
from otto_gpu.events.settings import EventsConfig

ROW_BYTES = 32  # about what a row of session, aid, ts and type takes in memory


def read_parquet(file: Path, config: EventsConfig, bare: bool = False) -> Iterator[Piece]:
    """bare: as read_log's."""
    with pq.ParquetFile(file) as source:
        schema = source.schema_arrow
        wanted = find_columns(file, schema.names, config, bare)
        for name in (SESSION, AID):
            _check_id_kind(file, name, schema.field(wanted[name]))
        first = 0
        columns = [schema.names[i] for i in wanted.values()]
        for batch in source.iter_batches(max(1, config.chunk_bytes // ROW_BYTES), columns=list(dict.fromkeys(columns))):
            found = {name: batch.column(batch.schema.names.index(schema.names[i])) for name, i in wanted.items()}
            rows = np.arange(first, first + batch.num_rows, dtype=np.int64)
            first += batch.num_rows
            yield piece_of(found, config, rows, [])


def _check_id_kind(file: Path, name: str, column: pa.Field) -> None:
    if not may_be_ids(column.type):
        kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
        raise UserError(f"{file}: column {column.name!r} (events.columns.{name}) is {kind}; ids must be integers or strings")

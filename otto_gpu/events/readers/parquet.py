"""Parquet with one event per row, as pieces of raw columns of whatever kind the file holds."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from otto_gpu.events.checks import Piece
from otto_gpu.events.readers.columns import find_columns, piece_of, wanted_columns
from otto_gpu.events.readers.opening import opened
from otto_gpu.events.readers.reading import Reading

SUFFIXES = ("parquet", "pq", "parq")
MAGIC = b"PAR1"
ROW_BYTES = 32  # about what a row of session, aid, ts and type takes in memory


@contextmanager
def opened_parquet(file: Path) -> Iterator[pq.ParquetFile]:
    """The file; one that is packed is unpacked in memory."""
    with open(file, "rb") as stream:
        plain = stream.read(len(MAGIC)) == MAGIC
    if plain:
        with pq.ParquetFile(file) as source:
            yield source
        return
    with opened(file) as stream:
        content = stream.read()
    with pq.ParquetFile(io.BytesIO(content)) as source:
        yield source


def read_parquet(file: Path, reading: Reading) -> Iterator[Piece]:
    if not file.stat().st_size:
        return
    with opened_parquet(file) as source:
        if not source.metadata.num_rows:  # whose columns may be of any kind, or missing
            return
        fields = dict.fromkeys(field_names(source.schema_arrow, ""), None)
        names = [*source.schema_arrow.names, *(name for name in fields if name not in source.schema_arrow.names)]
        wanted = wanted_columns(reading)
        places = find_columns(file, names, wanted, reading.folders.get(file, {}))
        paths = {key: names[i] for key, i in places.columns.items()}
        first = 0
        size = max(1, reading.config.chunk_bytes // ROW_BYTES)
        asked = {asked_for(source.schema_arrow, path) for path in paths.values()}
        for batch in source.iter_batches(size, columns=sorted(asked)):
            found = {key: _column(batch, path) for key, path in paths.items()}
            rows = np.arange(first, first + batch.num_rows, dtype=np.int64)
            first += batch.num_rows
            yield piece_of(found, reading.config, rows, [], places.given)


def field_names(schema, before: str) -> Iterator[str]:
    """The columns, and the fields within them by their paths, user.id."""
    for field in schema:
        yield before + field.name
        kind = field.type.value_type if is_list(field.type) else field.type
        if pa.types.is_struct(kind):
            yield from field_names(kind, f"{before}{field.name}.")


def is_list(kind: pa.DataType) -> bool:
    return pa.types.is_list(kind) or pa.types.is_large_list(kind)


def asked_for(schema: pa.Schema, path: str) -> str:
    """What the file is asked for: the field alone or, where a list is on the way to it, all of the column."""
    if path in schema.names:
        return path
    name, *fields = path.split(".")
    kind = schema.field(name).type
    for one in fields:
        if is_list(kind):
            return name
        kind = kind.field(one).type
    return path


def _column(batch: pa.RecordBatch, path: str) -> pa.Array:
    if path in batch.schema.names:
        return batch.column(batch.schema.names.index(path))
    name, *fields = path.split(".")
    return within(batch.column(name), fields)


def within(column: pa.Array, fields: list[str]) -> pa.Array:
    """What is within a column of records by the names of the fields; of lists of records, lists of what these have there."""
    if not fields:
        return column
    if not is_list(column.type):
        return within(pc.struct_field(column, fields[0]), fields[1:])
    lengths = pc.fill_null(pc.list_value_length(column), 0).to_numpy(zero_copy_only=False)
    ends = np.append(0, np.cumsum(lengths, dtype=np.int64))
    mask = column.is_null() if column.null_count else None
    return pa.LargeListArray.from_arrays(pa.array(ends), within(column.flatten(), fields), mask=mask)

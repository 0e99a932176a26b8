"""The user's own vectors: read piece by piece, brought into the order of the dense ids, and of length 1."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from otto_gpu.embeddings.model import Task, VectorModel, ready
from otto_gpu.embeddings.model import in_turn as shared  # noqa: F401
from otto_gpu.embeddings.settings import Given
from otto_gpu.embeddings.vectors import normalised
from otto_gpu.errors import UserError
from otto_gpu.events.flat import csv_options, read_flat
from otto_gpu.events.ids import alike, may_be_ids
from otto_gpu.events.readers import format_of, shown_format
from otto_gpu.events.readers.files import file_beside
from otto_gpu.events.readers.opening import FAULTS
from otto_gpu.events.readers.parquet import opened_parquet
from otto_gpu.events.readers.text import Opening, TextStream, last_row, line_pieces
from otto_gpu.events.stage import load_ids
from otto_gpu.run.progress import Reporter

ROWS = 1 << 16  # at a time
CSV_BYTES = 16 << 20  # at a time
OPENING = Opening(quoted=True)
MOST_DIMENSIONS = 1 << 14
Pieces = Iterator[tuple[pa.Array, np.ndarray]]  # (own ids, float32 [n, dim])


def models(task: Task) -> list[VectorModel]:
    def model(name: str, config: Given) -> VectorModel:
        def make():
            return align(name, config, task.data, load_ids(task.run_dir, "items"), task.reporter)

        return ready(task, name, make)

    return [model(name, config) for name, config in task.config.given.items()]


def align(name: str, config: Given, data: Path | None, items: pa.Array, reporter: Reporter) -> tuple[np.ndarray, dict]:
    """(float32 [n_items, dim] by dense id, rows of length 1, or of zeros where the file has nothing for an item; figures).

    items: the user's own ids by dense id. Of an item that stands twice the first row counts. UserError for files that hold
    no vectors, and where no row names an item.
    """
    key = f"embeddings.given.{name}"
    paths = [file_beside(data, file, key) for file in config.files]
    vectors, seen = None, np.zeros(len(items), bool)
    rows = unknown = repeated = unusable = 0
    example = None
    for ids, block in _pieces(paths, config, key):
        if vectors is None:
            vectors = np.zeros((len(items), block.shape[1]), np.float32)
        place = places(ids, items)
        usable = np.isfinite(block).all(axis=1)
        block = np.where(usable[:, None], block, np.float32(0))
        usable &= block.any(axis=1)
        _, first = np.unique(place, return_index=True)
        fresh = np.zeros(len(place), bool)
        fresh[first] = True
        known = place >= 0
        fresh &= known & ~seen[np.maximum(place, 0)]
        seen[place[fresh]] = True
        vectors[place[fresh]] = normalised(block[fresh])
        rows += len(place)
        unknown += int((~known).sum())
        repeated += int((known & ~fresh).sum())
        unusable += int((fresh & ~usable).sum())
        if example is None and len(ids):
            example = ids[0].as_py()
    file = paths[0]
    if vectors is None or not rows:
        raise UserError(f"{file}: no vectors there ({key})")
    if not seen.any():
        shown = (
            f"the file has ids such as {example!r}, the log such as {items[0].as_py()!r}" if len(items) else "no item is known"
        )
        raise UserError(f"{file}: no row names an item of the log or of the items file ({key}): {shown}")
    without = len(items) - int(vectors.any(axis=1).sum())
    for count, what in (
        (unknown, "name items that nobody knows: left out"),
        (repeated, "repeat an item: its first row counts"),
        (unusable, "are zeros or hold missing values: counted as missing"),
    ):
        if count:
            reporter.say(f"  {name}: {count:,} of {rows:,} rows of {file.name} {what}")
    if without:
        reporter.say(f"  {name}: {without:,} of {len(items):,} items have no vector")
    return vectors, {"dim": vectors.shape[1], "rows": rows, "unknown": unknown}


def places(ids: pa.Array, items: pa.Array) -> np.ndarray:
    """int64 [n]: the dense ids of own ids, -1 where there are none. 7 and '7' are one item."""
    ids, items = alike(ids, items)
    return pc.fill_null(pc.index_in(ids, items), -1).to_numpy(zero_copy_only=False).astype(np.int64)


# ------------------------------------------------------------------------------------------------------------- files
def _pieces(paths: list[Path], config: Given, key: str) -> Pieces:
    if config.ids is not None:
        yield from _array(*paths, config, key)
        return
    file = paths[0]
    try:
        kind = _kind(file, key)
        yield from (_csv if kind == "csv" else _parquet)(file, config, key)
    except FAULTS as error:
        raise UserError(f"{file}: cannot be read as vectors ({key}): {str(error).splitlines()[0]}") from error


def _array(file: Path, ids_file: Path, config: Given, key: str) -> Pieces:
    array = _load(file, key)
    if array.ndim != 2 or array.dtype.kind not in "fiu" or not 1 <= array.shape[1] <= MOST_DIMENSIONS:
        raise UserError(f"{file}: expected an array of numbers [items, dimensions] ({key}), got {array.dtype} {array.shape}")
    ids = _ids(ids_file, config, key)
    if len(ids) != len(array):
        raise UserError(f"{ids_file}: {len(ids):,} ids for the {len(array):,} rows of {file.name} ({key}.ids)")
    for first in range(0, len(array), ROWS):
        yield ids.slice(first, ROWS), array[first : first + ROWS].astype(np.float32)


def _load(file: Path, key: str) -> np.ndarray:
    try:
        array = np.load(file, mmap_mode="r", allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        raise UserError(f"{file}: cannot be read as an array ({key}): {str(error).splitlines()[0]}") from error
    if not isinstance(array, np.ndarray):
        raise UserError(f"{file}: expected one array, not several ({key})")
    return array


def _ids(file: Path, config: Given, key: str) -> pa.Array:
    if file.suffix.lower() == ".npy":
        array = _load(file, f"{key}.ids")
        if array.ndim != 1 or array.dtype.kind not in "iuU":
            raise UserError(f"{file}: expected a list of integers or texts ({key}.ids), got {array.dtype} {array.shape}")
        ids = pa.array(np.array(array))
    else:
        column = config.id
        if column is None:
            column = _names(file, config, f"{key}.ids")[0]
        ids = read_flat(file, f"{key}.ids", {column: f"{key}.id"}, config.delimiter)[column]
    return _checked(ids, file, config.id or "of the ids", key)


def _names(file: Path, config: Given, key: str) -> list[str]:
    try:
        if _kind(file, key) == "parquet":
            with opened_parquet(file) as source:
                return source.schema_arrow.names
        return _csv_options(file, config)[0]
    except FAULTS as error:
        raise UserError(f"{file}: cannot be read ({key}): {str(error).splitlines()[0]}") from error


def _kind(file: Path, key: str) -> str:
    kind = format_of(file) or shown_format(file)
    if kind not in ("csv", "parquet"):
        raise UserError(f"{file} ({key}): expected a name that ends in .npy, .csv or .parquet")
    return kind


def _csv_options(file: Path, config: Given) -> tuple[list[str], dict]:
    return csv_options(file, next(line_pieces(file, CSV_BYTES, last_row, OPENING), (1, b""))[1], config.delimiter)


def _column_of_ids(file: Path, names: list[str], config: Given, key: str) -> str:
    column = names[0] if config.id is None and names else config.id
    if names.count(column) != 1:
        raise UserError(f"{file}: expected one column {column!r} ({key}.id); the file has: {', '.join(names[:5])} ...")
    if len(names) < 2:
        raise UserError(f"{file}: no column beside {column!r} ({key})")
    return column


def _csv(file: Path, config: Given, key: str) -> Pieces:
    names, options = _csv_options(file, config)
    column = _column_of_ids(file, names, config, key)
    numbers = [name for name in names if name != column]
    if len(set(names)) < len(names) or len(numbers) > MOST_DIMENSIONS:
        raise UserError(f"{file}: expected a column of ids and one per dimension, each with a name of its own ({key})")
    options["read_options"].block_size = CSV_BYTES
    convert = pa.csv.ConvertOptions(
        column_types={column: pa.string()} | dict.fromkeys(numbers, pa.float32()), strings_can_be_null=False
    )
    with pa.csv.open_csv(TextStream(file, OPENING), convert_options=convert, **options) as batches:
        for batch in batches:
            yield _checked(batch[column], file, column, key), _stacked([batch[name] for name in numbers])


def _parquet(file: Path, config: Given, key: str) -> Pieces:
    with opened_parquet(file) as source:
        schema = source.schema_arrow
        column = _column_of_ids(file, schema.names, config, key)
        numbers = [name for name in schema.names if name != column]
        kinds = [schema.field(name).type for name in numbers]
        lists = len(kinds) == 1 and _is_list(kinds[0])
        if not lists and not all(pa.types.is_floating(k) or pa.types.is_integer(k) for k in kinds):
            other = next(
                n for n, k in zip(numbers, kinds, strict=True) if not (pa.types.is_floating(k) or pa.types.is_integer(k))
            )
            raise UserError(
                f"{file}: beside {column!r} expected one column of lists, or a column of numbers per dimension ({key}); "
                f"{other!r} is {schema.field(other).type}"
            )
        dim = None
        for batch in source.iter_batches(ROWS):
            if lists:
                block, dim = _unlisted(batch[numbers[0]], dim, file, key)
            else:
                block = _stacked([batch[name] for name in numbers])
            yield _checked(batch[column], file, column, key), block


def _is_list(kind: pa.DataType) -> bool:
    return pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)


def _stacked(columns: list[pa.Array]) -> np.ndarray:
    """float32 [n, columns], nan where missing."""
    return np.stack([np.array(pc.fill_null(c.cast(pa.float32(), safe=False), np.nan), np.float32) for c in columns], axis=1)


def _unlisted(column: pa.Array, dim: int | None, file: Path, key: str) -> tuple[np.ndarray, int]:
    """(float32 [n, dim], nan in the rows of missing lists; dim). All lists must have the same length, across pieces too."""
    there = column.is_valid().to_numpy(zero_copy_only=False)
    lengths = pc.list_value_length(column).drop_null().to_numpy(zero_copy_only=False)
    dim = int(lengths[0]) if dim is None and len(lengths) else dim
    wrong = lengths[lengths != dim]
    if len(wrong):
        raise UserError(f"{file}: vectors of {dim} and of {wrong[0]} numbers in one file ({key})")
    if dim is not None and not 1 <= dim <= MOST_DIMENSIONS:
        raise UserError(f"{file}: vectors of {dim} numbers ({key}); expected 1 to {MOST_DIMENSIONS:,}")
    block = np.full((len(column), dim or 1), np.nan, np.float32)
    block[there] = _stacked([pc.list_flatten(column)]).reshape(-1, dim or 1)
    return block, dim


def _checked(ids: pa.Array, file: Path, column: str, key: str) -> pa.Array:
    if not may_be_ids(ids.type):
        raise UserError(f"{file}: column {column!r} ({key}.id) is {ids.type}; ids must be integers or strings")
    return ids.cast(ids.type.value_type) if pa.types.is_dictionary(ids.type) else ids

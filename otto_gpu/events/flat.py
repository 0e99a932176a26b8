"""Small tables that lie beside the log, one row a line: CSV, Parquet or JSONL, read whole."""

from __future__ import annotations

from pathlib import Path

import orjson
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from otto_gpu.errors import UserError
from otto_gpu.events.readers import format_of
from otto_gpu.events.readers.text import json_column, last_line, line_pieces, split_lines
from otto_gpu.schema import did_you_mean

PIECE = 32 << 20  # bytes


def read_flat(file: Path, key: str, wanted: dict[str, str], delimiter: str = ",", optional=()) -> dict[str, pa.Array]:
    """{name: array} of the columns `wanted`, {name: the setting that names it}; all of one length. CSV cells come as text, an
    empty one as ''; JSON values as Arrow infers them. key: the setting that names the file; optional: columns that may be
    missing. UserError for an unfit file."""
    kind = format_of(file)
    if kind is None:
        raise UserError(f"{file} ({key}): the format does not show in the name; it must end in .csv, .parquet or .jsonl")
    if not file.is_file():
        raise UserError(f"{file}: no such file ({key})")
    try:
        read = {"csv": _csv, "parquet": _parquet, "jsonl": _jsonl}[kind]
        table = read(file, wanted, delimiter, optional)
    except (OSError, EOFError, pa.ArrowException) as error:
        raise UserError(f"{file}: cannot be read as {kind}: {str(error).splitlines()[0]}") from error
    return {name: _whole(table[name]) for name in table.column_names}


def _whole(column: pa.ChunkedArray) -> pa.Array:
    column = column.cast(column.type.value_type) if pa.types.is_dictionary(column.type) else column
    whole = column.combine_chunks()
    return pa.concat_arrays(whole.chunks) if isinstance(whole, pa.ChunkedArray) else whole


def _check(file: Path, names: list[str], wanted: dict[str, str], optional) -> list[str]:
    """The columns to read."""
    found = {column: key for column, key in wanted.items() if column in names or column not in optional}
    for column, key in found.items():
        if names.count(column) != 1:
            what = "missing column" if column not in names else "more than one column"
            hint = did_you_mean(column, names) if len(names) > 20 else f"the file has: {', '.join(names)}"
            raise UserError(f"{file}: {what} {column!r} ({key}){'' if column in names else '; ' + hint}")
    return list(found)


def _csv(file: Path, wanted: dict[str, str], delimiter: str, optional) -> pa.Table:
    parse = pa.csv.ParseOptions(delimiter=delimiter, newlines_in_values=True)
    with pa.csv.open_csv(file, parse_options=parse) as head:
        names = head.schema.names
    found = _check(file, names, wanted, optional)
    # the first row may not show what the others hold
    convert = pa.csv.ConvertOptions(include_columns=found, column_types=dict.fromkeys(found, pa.string()))
    return pa.csv.read_csv(file, parse_options=parse, convert_options=convert)


def _parquet(file: Path, wanted: dict[str, str], delimiter: str, optional) -> pa.Table:
    with pq.ParquetFile(file) as source:
        return source.read(columns=_check(file, source.schema_arrow.names, wanted, optional))


def _jsonl(file: Path, wanted: dict[str, str], delimiter: str, optional) -> pa.Table:
    rows = []
    for first, text in line_pieces(file, PIECE, last_line):
        for number, line in enumerate(split_lines(text), first):
            if not line.strip():
                continue
            try:
                row = orjson.loads(line)
            except orjson.JSONDecodeError as error:
                raise UserError(f"{file}:{number}: broken JSON: {error}") from None
            if not isinstance(row, dict):
                raise UserError(f'{file}:{number}: expected an object a line, such as {{"id": 1}}')
            rows.append(row)
    columns = {}
    for name in _check(file, list(dict.fromkeys(name for row in rows for name in row)), wanted, optional):
        columns[name] = json_column([row.get(name) for row in rows])
    return pa.table(columns)

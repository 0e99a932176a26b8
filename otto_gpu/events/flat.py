"""Small tables that lie beside the log, one row a line: CSV, Parquet or JSONL, read whole."""

from __future__ import annotations

from pathlib import Path

import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from otto_gpu.errors import UserError
from otto_gpu.events.readers import READERS, format_of, shown_format
from otto_gpu.events.readers.delimiters import delimiter_of, first_lines
from otto_gpu.events.readers.opening import FAULTS
from otto_gpu.events.readers.parquet import asked_for, field_names, opened_parquet, within
from otto_gpu.events.readers.records import json_pieces, value_at
from otto_gpu.events.readers.text import Opening, json_column, last_row, line_pieces, split_lines
from otto_gpu.schema import did_you_mean

PIECE = 32 << 20  # bytes


def read_flat(file: Path, key: str, wanted: dict[str, str], delimiter: str | None = None, optional=()) -> dict[str, pa.Array]:
    """{name: array} of the columns `wanted`, {name: the setting that names it}; all of one length. CSV cells come as text, an
    empty one as ''; JSON values as Arrow infers them. key: the setting that names the file; optional: columns that may be
    missing. UserError for an unfit file."""
    if not file.is_file():
        raise UserError(f"{file}: no such file ({key})")
    kind = format_of(file)
    try:
        kind = kind or table_format(file, key)
        read = {"csv": _csv, "parquet": _parquet, "jsonl": _jsonl}[kind]
        table = read(file, wanted, delimiter, optional)
    except FAULTS as error:
        raise UserError(f"{file}: cannot be read{f' as {kind}' if kind else ''}: {str(error).splitlines()[0]}") from error
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


def table_format(file: Path, key: str) -> str:
    """jsonl, csv or parquet, as the file's name ends or, where that says nothing, as its content begins."""
    kind = format_of(file) or shown_format(file)
    if kind is None:
        raise UserError(f"{file} ({key}): the format does not show; the name must end in .csv, .parquet or .jsonl")
    return READERS[kind].name


def csv_options(file: Path, head: bytes, delimiter: str | None, columns=()) -> tuple[list[str], dict]:
    """(the columns' names without spaces around them, options of pyarrow.csv's readers) of a table with a header that begins
    with `head`. columns: names that are looked for, where the delimiter is not set."""
    lines = first_lines(head)
    delimiter = delimiter or delimiter_of(file, lines, lambda cells: {*columns} <= {cell.strip() for cell in cells})
    if len(delimiter) > 1:
        raise UserError(f"{file}: between the values of this table one sign must stand, got {delimiter!r}")
    parse = pa.csv.ParseOptions(delimiter=delimiter, newlines_in_values=True)
    with pa.csv.open_csv(pa.BufferReader(head), parse_options=parse) as table:
        names = table.schema.names
    plain = [name.strip() for name in names]
    read = pa.csv.ReadOptions() if plain == names else pa.csv.ReadOptions(column_names=plain, skip_rows=1)
    return plain, {"parse_options": parse, "read_options": read}


def _csv(file: Path, wanted: dict[str, str], delimiter: str | None, optional) -> pa.Table:
    text = b"".join(piece for _, piece in line_pieces(file, PIECE, last_row, Opening(quoted=True)))
    names, options = csv_options(file, text, delimiter, [name for name in wanted if name not in optional])
    found = _check(file, names, wanted, optional)
    # the first row may not show what the others hold
    convert = pa.csv.ConvertOptions(include_columns=found, column_types=dict.fromkeys(found, pa.string()))
    table = pa.csv.read_csv(pa.BufferReader(text), convert_options=convert, **options)
    if options["read_options"].skip_rows:  # the names have spaces around them, so values may
        table = pa.table({name: pc.utf8_trim_whitespace(table[name]) for name in table.column_names})
    return table


def _parquet(file: Path, wanted: dict[str, str], delimiter: str | None, optional) -> pa.Table:
    with opened_parquet(file) as source:
        schema = source.schema_arrow
        names = [*schema.names, *(name for name in dict.fromkeys(field_names(schema, "")) if name not in schema.names)]
        found = _check(file, names, wanted, optional)
        table = source.read(columns=list(dict.fromkeys(asked_for(schema, name) for name in found)))
    columns = {}
    for name in found:
        first, *rest = [name] if name in schema.names else name.split(".")
        columns[name] = within(table[first].combine_chunks(), rest)
    return pa.table(columns)


def _jsonl(file: Path, wanted: dict[str, str], delimiter: str | None, optional) -> pa.Table:
    rows = []
    for first, text in json_pieces(file, PIECE, Opening()):
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
    columns, names = {}, dict.fromkeys(name for row in rows for name in row)
    paths = {name: (name,) if name in names else tuple(name.split(".")) for name in wanted}
    inside = [name for name, path in paths.items() if path[1:] and any(value_at(row, path) is not None for row in rows)]
    for name in _check(file, [*names, *inside], wanted, optional):
        columns[name] = json_column([value_at(row, paths[name]) for row in rows])
    return pa.table(columns)

"""Lists of items that a table without lists, such as a CSV, holds as text: [10, 11], ['a', 'b'], [10 11]."""

from __future__ import annotations

import re

import orjson
import pyarrow as pa

from otto_gpu.events.ids import encoded
from otto_gpu.events.typed import is_text

PLAIN = re.compile(r"\[[\w.,\s-]*\]")  # without quotes, as NumPy and databases write them


def lists_of_text(column: pa.Array) -> pa.Array | None:
    """The column (text, bytes or a dictionary of these) as lists of text, where every value that there is is one; else None."""
    first = _first(column)
    if first is None or not first.startswith("["):
        return None
    column = encoded(column)
    try:
        words = column.dictionary.cast(pa.string()).to_pylist()
    except pa.ArrowInvalid:
        return None
    lists = [_parsed(word) for word in words]
    if any(found is None and (word or "").strip() for word, found in zip(words, lists, strict=True)):
        return None
    return pa.array(lists, pa.list_(pa.string())).take(column.indices)


def _first(column: pa.Array) -> str | None:
    """The first value that is not missing or empty, where the column holds text."""
    kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
    if not (is_text(kind) or pa.types.is_binary(kind) or pa.types.is_large_binary(kind)):
        return None
    for value in column[: min(len(column), 100)].to_pylist():
        if value:
            return value.decode(errors="replace") if isinstance(value, bytes) else value
    return None


def _parsed(word: str | None) -> list[str] | None:
    """None where it is no list of ids."""
    word = (word or "").strip()
    if not (word.startswith("[") and word.endswith("]")):
        return None
    for said in (word, word.replace("'", '"')):  # Python's quotes
        try:
            found = orjson.loads(said)
        except orjson.JSONDecodeError:
            continue
        kinds = {type(value) for value in found}
        return [str(value) for value in found] if kinds <= {int, str} else None
    return re.findall(r"[^\s,]+", word[1:-1]) if PLAIN.fullmatch(word) else None

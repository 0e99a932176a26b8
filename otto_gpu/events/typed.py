"""Raw columns as codes, numbers, times and texts: what is known of items and events beside their ids."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from otto_gpu.errors import UserError
from otto_gpu.events.ids import dense_ids, encoded
from otto_gpu.events.items import NO_CODE

CONTEXT = "context.json"  # in events/ of a run: the values of the codes of the events' context
NUMBER = r"^[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?$"
INTEGER = r"^(0|-?[1-9][0-9]{0,17})$"  # as Python writes it; more digits may not fit in int64


def as_words(column: pa.Array, what: str) -> pa.DictionaryArray:
    """The column's values as text, null where they are missing (null, nan or ''): int32 indices into distinct words.

    Integers, whole floats (what is left of integers beside missing values), booleans, text and dictionaries of these; for
    others a UserError, which begins with `what`."""
    kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
    plain = pa.types.is_integer(kind) or pa.types.is_boolean(kind) or pa.types.is_null(kind) or is_text(kind)
    if not plain and not pa.types.is_floating(kind):
        raise UserError(f"{what}: a code is an integer or text, got {kind}")
    column = encoded(column)
    words = column.dictionary
    if pa.types.is_floating(kind):
        values = pc.if_else(pc.is_finite(words), words, None)
        try:
            words = values.cast(pa.int64()).cast(pa.string())
        except pa.ArrowInvalid:
            raise UserError(f"{what}: a code is an integer or text, got fractions such as {_fraction(values)}") from None
    else:
        words = words.cast(pa.string())
    words = pc.if_else(pc.equal(words, ""), None, words)
    indices = column.indices.cast(pa.int32())
    if not words.null_count:
        return pa.DictionaryArray.from_arrays(indices, words)
    return words.take(indices).dictionary_encode()


def join_codes(chunks: list[pa.DictionaryArray]) -> tuple[np.ndarray, pa.Array]:
    """(codes int32 [n], dictionary) of columns of words, one after the other; NO_CODE where missing. The dictionary is sorted:
    by number where all words are integers (7, not 007), else as text. Words that no row has are none."""
    column = pa.chunked_array(chunks, pa.dictionary(pa.int32(), pa.string())) if chunks else pa.chunked_array([[]], pa.string())
    there = column.is_valid().to_numpy() if len(column) else np.zeros(0, bool)
    words = column.filter(pa.array(there)) if not there.all() else column
    codes, dictionary = dense_ids(words, "code")
    if len(dictionary) and pc.all(pc.match_substring_regex(dictionary, INTEGER)).as_py():
        numbers = dictionary.cast(pa.int64()).to_numpy()
        order = np.argsort(numbers)
        place = np.empty(len(order), np.int32)
        place[order] = np.arange(len(order), dtype=np.int32)
        codes, dictionary = place[codes], pa.array(numbers[order])
    found = np.full(len(there), NO_CODE, np.int32)
    found[there] = codes
    return found, dictionary


def known_codes(column: pa.DictionaryArray, dictionary: pa.Array) -> np.ndarray:
    """int32 [n]: the codes of words (as_words) under a dictionary of join_codes; NO_CODE where it has none."""
    if not len(column.dictionary):
        return np.full(len(column), NO_CODE, np.int32)
    place = pc.fill_null(pc.index_in(column.dictionary, dictionary.cast(pa.string())), NO_CODE).to_numpy().astype(np.int32)
    indices = pc.fill_null(column.indices, len(place)).to_numpy(zero_copy_only=False)
    return np.append(place, np.int32(NO_CODE))[indices]


def as_numbers(column: pa.Array, what: str) -> tuple[np.ndarray, int]:
    """(float32 [n], nan where missing; how many values are no numbers: they count as missing)."""
    column = decoded(column)
    kind = column.type
    if is_text(kind):
        text = column.cast(pa.string())
        bad = pc.and_(pc.not_equal(text, ""), pc.invert(pc.match_substring_regex(text, NUMBER)))
        text = pc.if_else(pc.match_substring_regex(text, NUMBER), text, None)
        numbers, bad = text.cast(pa.float64()), int(pc.sum(pc.fill_null(bad, False)).as_py() or 0)
    elif pa.types.is_boolean(kind):
        numbers, bad = column.cast(pa.int8()).cast(pa.float64()), 0
    elif pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind) or pa.types.is_null(kind):
        numbers, bad = column.cast(pa.float64(), safe=False), 0
    else:
        raise UserError(f"{what}: expected numbers, got {kind}")
    values = np.array(pc.fill_null(numbers, np.nan))
    with np.errstate(over="ignore"):
        found = values.astype(np.float32)
    endless = np.isinf(found)  # beyond float32, or given so
    found[endless] = np.nan
    return found, bad + int(endless.sum())


def as_texts(column: pa.Array) -> pa.Array:
    """Strings; null where missing or ''."""
    text = decoded(column).cast(pa.string())
    return pc.if_else(pc.equal(text, ""), None, text)


def decoded(column: pa.Array) -> pa.Array:
    """A dictionary as its values."""
    return column.dictionary_decode() if pa.types.is_dictionary(column.type) else column


def save_dictionaries(path: Path, dictionaries: dict[str, pa.Array]) -> None:
    """JSON: {column: [its values, in the order of their codes]}."""
    path.write_text(
        json.dumps({name: words.to_pylist() for name, words in dictionaries.items()}, ensure_ascii=False, indent=0), "utf-8"
    )


def load_dictionaries(path: Path) -> dict[str, pa.Array]:
    """None at all where there is no such file."""
    if not path.is_file():
        return {}
    found = json.loads(path.read_text("utf-8"))
    return {name: pa.array(words, None if words else pa.string()) for name, words in found.items()}


def is_text(kind: pa.DataType) -> bool:
    return pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)


def _fraction(values: pa.Array) -> float:
    return next(v for v in values.to_pylist() if v is not None and v != int(v))

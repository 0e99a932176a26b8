"""The user's own ids as a column holds them, in any of the kinds that databases and tools write: as integers or text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from otto_gpu.errors import UserError
from otto_gpu.events.ids import WHOLE, encoded
from otto_gpu.events.typed import is_text

UUID_BYTES = 16
BETWEEN = ":"  # the parts of an id that several columns make up
EXACT = 2.0**53  # up to here every whole number has a float of its own


@dataclass
class OwnIds:
    """ids: a dictionary of distinct words (integers or text, none null), null indices where there is none. Of the words, broken
    (bool, None: none) are no UTF-8, fraction are numbers that are not whole. digits: text that may be integers, as CSV has it.
    notes: what is to be told of how they were read."""

    ids: pa.DictionaryArray
    broken: np.ndarray | None = None
    fraction: np.ndarray | None = None
    digits: bool = False
    notes: list[str] = field(default_factory=list)


def own_ids_of(column: pa.Array, what: str, binary_text: bool = False, any_kind: bool = False) -> OwnIds:
    """Integers, text, binary, UUIDs, decimals, floats, dictionaries of these, or a column that is all missing. Bytes that are
    no text are written as UUIDs where there are 16 of them, else in hexadecimal; binary_text: they are not, but broken text.
    any_kind: dates, times and booleans too, as text. UserError, which begins with `what`, for others."""
    uuid = _is_uuid(column.type)
    column = _stored(column)
    kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
    if pa.types.is_nested(kind):
        raise UserError(f"{what} holds {_of(kind)}; {WAY_OUT}")
    column = encoded(_plain(column))
    words, kind = column.dictionary, column.dictionary.type
    if pa.types.is_integer(kind):
        return OwnIds(_of_words(column, words))
    if is_text(kind):
        return OwnIds(_of_words(column, words if pa.types.is_string(kind) else words.cast(pa.string())))
    if _is_binary(kind):
        return _of_binary(column, what, binary_text, uuid)
    if pa.types.is_floating(kind):
        return _of_floats(column, what)
    if pa.types.is_decimal(kind):
        text = pc.replace_substring_regex(words.cast(pa.string()), r"\.0+$", "")
        fraction = pc.invert(pc.match_substring_regex(text, r"^-?\d+$")).to_numpy(zero_copy_only=False)
        return OwnIds(_of_words(column, text), fraction=fraction, digits=True)
    if pa.types.is_null(kind):
        return OwnIds(_of_words(column, pa.array([], pa.int64())))
    if any_kind and (pa.types.is_boolean(kind) or pa.types.is_temporal(kind)):
        return OwnIds(_of_words(column, words.cast(pa.string())))
    raise UserError(f"{what} holds {kind}; ids must be integers or strings")


WAY_OUT = "ids must be integers or strings: name the field that holds the id, or write it as a column"


def joined(parts: Sequence[pa.DictionaryArray]) -> pa.DictionaryArray:
    """One id of those of several columns: their values with ':' between them (u7:3), a backslash before a ':' or backslash
    within one, so that two are the same only where all values are. Missing where one of them is."""
    texts = []
    for part in parts:
        # 27.0 is 27, value by value: the others of the column are not known here
        words = pc.replace_substring_regex(part.dictionary.cast(pa.string()), WHOLE, r"\1")
        texts.append(pc.replace_substring_regex(words, r"([:\\])", r"\\\1").take(part.indices))
    return pc.binary_join_element_wise(*texts, BETWEEN).dictionary_encode()


def _is_uuid(kind: pa.DataType) -> bool:
    return isinstance(kind, pa.BaseExtensionType) and kind.extension_name == "arrow.uuid"


def _stored(column: pa.Array) -> pa.Array:
    """What an extension type, such as that of UUIDs, or runs stand for."""
    if isinstance(column.type, pa.BaseExtensionType):
        return column.storage
    if pa.types.is_dictionary(column.type) and isinstance(column.type.value_type, pa.BaseExtensionType):
        return pa.DictionaryArray.from_arrays(column.indices, column.dictionary.storage)
    return pc.run_end_decode(column) if pa.types.is_run_end_encoded(column.type) else column


def _plain(column: pa.Array) -> pa.Array:
    """Kinds that Arrow computes little with as ones that it knows well."""
    kind = column.type
    if pa.types.is_dictionary(kind):
        inner = _plain(column.dictionary)
        return column if inner is column.dictionary else pa.DictionaryArray.from_arrays(column.indices, inner)
    if pa.types.is_string_view(kind):
        return column.cast(pa.string())
    if pa.types.is_binary_view(kind):
        return column.cast(pa.binary())
    if pa.types.is_decimal32(kind) or pa.types.is_decimal64(kind):
        return column.cast(pa.decimal128(38, kind.scale))
    return column.cast(pa.float32()) if pa.types.is_float16(kind) else column


def _is_binary(kind: pa.DataType) -> bool:
    return pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_fixed_size_binary(kind)


def _of_words(column: pa.DictionaryArray, words: pa.Array) -> pa.DictionaryArray:
    """Words in the place of the column's; none is null."""
    indices = column.indices.cast(pa.int32())
    if not len(words):
        indices = pa.nulls(len(column), pa.int32())
    elif words.null_count:
        there = words.is_valid()
        place = pa.array(np.cumsum(there.to_numpy(zero_copy_only=False), dtype=np.int32) - np.int32(1))
        indices, words = pc.if_else(there, place, None).take(indices), words.filter(there)
    return pa.DictionaryArray.from_arrays(indices, words)


def _of_binary(column: pa.DictionaryArray, what: str, binary_text: bool, uuid: bool) -> OwnIds:
    words = column.dictionary
    fixed = pa.types.is_fixed_size_binary(words.type)
    if not fixed:
        try:
            text = words.cast(pa.string())
            if binary_text or not pc.any(pc.match_substring_regex(text, r"[\x00-\x08\x0e-\x1f]")).as_py():
                return OwnIds(_of_words(column, text))
        except pa.ArrowInvalid:
            pass
    values = words.to_pylist()
    if binary_text:
        broken = np.array([_text(value) is None for value in values], bool)
        text = pa.array(["?" if bad else value.decode() for value, bad in zip(values, broken, strict=True)], pa.string())
        return OwnIds(_of_words(column, text), broken=broken)
    texts = [None if uuid else _text(value, fixed) for value in values]
    told = [_hexadecimal(value) if text is None else text for value, text in zip(values, texts, strict=True)]
    notes = []
    if not uuid and None in texts:
        odd = texts.index(None)
        how = "as UUIDs" if len(values[odd]) == UUID_BYTES else "in hexadecimal"
        notes = [f"{what}: bytes that are no text are written {how}, such as {told[odd]}"]
    return OwnIds(_of_words(column, pa.array(told, pa.string())), notes=notes)


def _text(value: bytes | None, fixed: bool = False) -> str | None:
    """None where the bytes are no text. Of a fixed width, zeros fill up what is shorter."""
    try:
        text = (value.rstrip(b"\0") if fixed else value).decode()
    except UnicodeDecodeError:
        return None
    return text if all(c.isprintable() or c.isspace() for c in text) else None


def _hexadecimal(value: bytes) -> str:
    """16 bytes as UUIDs are written."""
    said = value.hex()
    return "-".join((said[:8], said[8:12], said[12:16], said[16:20], said[20:])) if len(value) == UUID_BYTES else said


def _of_floats(column: pa.DictionaryArray, what: str) -> OwnIds:
    values = column.dictionary.cast(pa.float64()).to_numpy(zero_copy_only=False)
    absent = np.isnan(values)
    with np.errstate(invalid="ignore"):
        whole = np.isfinite(values) & (values == np.floor(values))
    numbers = np.where(whole, values, 0.0)
    notes = []
    if len(numbers) and np.abs(numbers).max() >= EXACT:
        notes = [f"warning: {what} holds floats beyond 2^53, where several ids may have become one: write integers or text"]
    if np.all(np.abs(numbers) < 2.0**63):
        words = pa.array(numbers.astype(np.int64), mask=absent)
    else:
        words = pa.array([None if a else str(int(v)) for v, a in zip(numbers, absent, strict=True)], pa.string())
    fraction = ~whole[~absent]
    return OwnIds(_of_words(column, words), fraction=fraction if fraction.any() else None, digits=True, notes=notes)


def _of(kind: pa.DataType) -> str:
    if pa.types.is_struct(kind):
        return f"records ({', '.join(kind.field(i).name for i in range(min(kind.num_fields, 8)))})"
    if pa.types.is_map(kind):
        return "maps"
    return f"lists of {_of(kind.value_type)}" if hasattr(kind, "value_type") else str(kind)

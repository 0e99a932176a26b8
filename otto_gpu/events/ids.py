"""Dense int32 ids for the user's own ids (any integers or strings), in the order of the user's ids."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from otto_gpu.errors import UserError

MOST_IDS = np.iinfo(np.int32).max
INT64, INT32 = np.iinfo(np.int64), np.iinfo(np.int32)
WHOLE = r"^(0|-?[1-9]\d*)\.0+$"  # text such as 27.0: what pandas makes of 27 beside missing values


def alike(*several: pa.Array) -> list[pa.Array]:
    """Ids of several places as one kind, so that they can be compared: 7 and '7' are one."""
    kinds = {ids.type for ids in several}
    if len(kinds) == 1:
        return list(several)
    if all(pa.types.is_integer(kind) for kind in kinds):
        for kind in (pa.int64(), pa.uint64()):
            try:
                return [ids.cast(kind) for ids in several]
            except pa.ArrowInvalid:  # some are beyond int64, others below 0
                continue
    return [ids.cast(pa.string()) for ids in several]


def may_be_ids(kind: pa.DataType) -> bool:
    """Whether a column of this kind can hold ids: integers or strings, also as a dictionary."""
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    text = pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)
    return text or pa.types.is_integer(kind)


def dense_ids(values: pa.Array | pa.ChunkedArray, name: str) -> tuple[np.ndarray, pa.Array]:
    """(codes int32 [n], dictionary): dictionary[codes] == values, which hold no nulls. The dictionary is sorted, so that
    dense ids keep the order of the user's ids: 'smaller aid first' means the same in both. `name` is the column's name,
    for the error.
    """
    kind = values.type.value_type if pa.types.is_dictionary(values.type) else values.type
    if not (pa.types.is_integer(kind) or pa.types.is_string(kind) or pa.types.is_large_string(kind)):
        raise UserError(f"column {name!r}: ids must be integers or strings, got {kind}")
    if pa.types.is_integer(kind):
        if pa.types.is_dictionary(values.type):
            values = values.cast(kind)
        chunks = values.chunks if isinstance(values, pa.ChunkedArray) else [values]
        codes, dictionary = _dense_integers([chunk.to_numpy(zero_copy_only=False) for chunk in chunks], kind)
        _check_number(len(dictionary), name)  # codes of too many have wrapped, and are thrown away
        return codes, dictionary
    if not pa.types.is_dictionary(values.type):
        values = pc.dictionary_encode(values)
    if isinstance(values, pa.ChunkedArray):
        values = values.unify_dictionaries().combine_chunks()
        if isinstance(values, pa.ChunkedArray):  # an empty chunked array stays chunked
            return np.empty(0, np.int32), pa.array([], kind)
    words = values.dictionary
    _check_number(len(words), name)
    order = pc.sort_indices(words).to_numpy()
    place = np.empty(len(words), np.int32)
    place[order] = np.arange(len(words), dtype=np.int32)
    used = np.zeros(len(words), bool)
    codes = values.indices.to_numpy(zero_copy_only=False)
    used[codes] = True
    if not used.all():  # a sliced or filtered column may carry words that no row uses
        place = np.cumsum(used[order], dtype=np.int32)[place] - 1
        order = order[used[order]]
    return place[codes].astype(np.int32), words.take(pa.array(order))


def _check_number(n: int, name: str) -> None:
    if n > MOST_IDS:
        raise UserError(f"column {name!r}: {n:,} different ids; at most {MOST_IDS:,} can be told apart")


def _dense_integers(chunks: list[np.ndarray], kind: pa.DataType) -> tuple[np.ndarray, pa.Array]:
    """Chunk by chunk, so that the whole column is never copied; by table where the ids lie close enough together."""
    chunks = [chunk for chunk in chunks if len(chunk)]
    n = sum(len(chunk) for chunk in chunks)
    codes = np.empty(n, np.int32)
    if n == 0:
        return codes, pa.array([], kind)
    low, high = min(int(c.min()) for c in chunks), max(int(c.max()) for c in chunks)
    span = high - low + 1
    by_table = span <= max(1 << 20, 4 * n)
    if by_table:
        present = np.zeros(span, bool)
        for chunk in chunks:
            present[_above(chunk, low)] = True
        dictionary = np.flatnonzero(present).astype(object if high > np.iinfo(np.int64).max else np.int64) + low
        place = np.cumsum(present, dtype=np.int32) - np.int32(1)
    else:
        dictionary = np.unique(np.concatenate([np.unique(chunk) for chunk in chunks]))
    first = 0
    for chunk in chunks:
        found = place[_above(chunk, low)] if by_table else np.searchsorted(dictionary, chunk)
        codes[first : first + len(chunk)] = found
        first += len(chunk)
    return codes, pa.array(dictionary, kind)


def _above(values: np.ndarray, low: int) -> np.ndarray:
    """values - low as int64, without overflow in a narrow or unsigned dtype."""
    if values.dtype == np.uint64:
        return (values - np.uint64(low)).astype(np.int64)
    return values.astype(np.int64) - low


def encoded(values: pa.Array) -> pa.DictionaryArray:
    """The column as a dictionary of distinct words with int32 indices; nulls are null indices."""
    if not pa.types.is_dictionary(values.type):
        return values.dictionary_encode()
    # a dictionary that was built by hand may say a word twice
    words = values.dictionary.dictionary_encode()
    return pa.DictionaryArray.from_arrays(words.indices.take(values.indices.cast(pa.int32())), words.dictionary)


def compact_ids(values: pa.DictionaryArray, from_text: bool = False) -> pa.Array:
    """The least memory that holds these ids: int32, int64 or uint64 where they are integers, else a dictionary of the strings
    that rows use. from_text: integers came as text; they count as integers if every one is written as Python writes it
    ('7', not '007', '+7' or '7.0'), so that turning them back into text loses nothing.
    """
    indices = values.indices.to_numpy(zero_copy_only=False)
    words = values.dictionary
    used = np.zeros(len(words), bool)
    used[indices] = True
    if from_text and not pa.types.is_integer(words.type):
        words = _canonical_integers(words, used)
    if pa.types.is_integer(words.type):
        return _compact_integers(words.to_numpy(zero_copy_only=False), used, indices)
    if not used.all():
        place = (np.cumsum(used, dtype=np.int32) - 1).astype(np.int32)
        indices, words = place[indices], words.filter(pa.array(used))
    return pa.DictionaryArray.from_arrays(pa.array(indices, pa.int32()), words)


def _compact_integers(numbers: np.ndarray, used: np.ndarray, indices: np.ndarray) -> pa.Array:
    some = numbers[used]
    low, high = (int(some.min()), int(some.max())) if len(some) else (0, 0)
    kind = np.int32 if INT32.min <= low and high <= INT32.max else np.int64 if high <= INT64.max else np.uint64
    return pa.array(numbers.astype(kind)[indices])


def _canonical_integers(words: pa.Array, used: np.ndarray) -> pa.Array:
    """int64, or uint64, if all used words are canonical integers, else the words themselves; unused words may turn to 0."""
    some = words if used.all() else pc.if_else(pa.array(used), words, "0")
    for kind in (pa.int64(), pa.uint64()):
        try:
            numbers = some.cast(kind)
        except pa.ArrowInvalid:
            continue
        return numbers if numbers.cast(pa.string()).equals(some) else words
    return words


def join_ids(chunks: list[pa.Array], from_text: bool) -> pa.ChunkedArray:
    """Compact chunks as one column of one kind. Where ids came as text, or some chunks hold integers while others do not, they
    are integers if all of them are written as such (27.0 is one, too: 27), and else the text that they were."""
    texts = [pa.types.is_dictionary(chunk.type) for chunk in chunks]
    if any(texts) and (from_text or not all(texts)):
        found = _all_integers(chunks)
        chunks, texts = (chunks, texts) if found is None else (found, [False] * len(chunks))
    if any(texts) or _apart(chunks):
        made = [c if t else _back_to_text(c) for c, t in zip(chunks, texts, strict=True)]
        return pa.chunked_array(made, pa.dictionary(pa.int32(), pa.string()))
    kinds = {chunk.type for chunk in chunks}
    kind = next((kind for kind in (pa.uint64(), pa.int64()) if kind in kinds), pa.int32())
    return pa.chunked_array([chunk.cast(kind) for chunk in chunks], kind)


def _apart(chunks: list[pa.Array]) -> bool:
    """Whether integers below 0 and beyond int64 are among them: no kind of integers holds both."""
    return pa.uint64() in {chunk.type for chunk in chunks} and any(
        pc.less(pc.min(chunk), 0).as_py() for chunk in chunks if chunk.type != pa.uint64() and len(chunk)
    )


def _all_integers(chunks: list[pa.Array]) -> list[pa.Array] | None:
    """The chunks as integers; None where one of them holds other text."""
    found = []
    for chunk in chunks:
        if pa.types.is_dictionary(chunk.type):
            words = pc.replace_substring_regex(chunk.dictionary, WHOLE, r"\1")
            numbers = _canonical_integers(words, np.ones(len(words), bool))
            if not pa.types.is_integer(numbers.type):
                return None
            chunk = _compact_integers(
                numbers.to_numpy(zero_copy_only=False), np.ones(len(words), bool), chunk.indices.to_numpy(zero_copy_only=False)
            )
        found.append(chunk)
    return found


def _back_to_text(numbers: pa.Array) -> pa.DictionaryArray:
    encoded_numbers = numbers.dictionary_encode()
    return pa.DictionaryArray.from_arrays(encoded_numbers.indices, encoded_numbers.dictionary.cast(pa.string()))

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from otto_gpu.errors import UserError
from otto_gpu.events.ids import compact_ids, dense_ids, encoded, join_ids

INT64 = st.integers(-(2**63), 2**63 - 1)


def expected(values: list) -> tuple[list[int], list]:
    words = sorted(set(values), key=lambda v: v.encode() if isinstance(v, str) else v)
    return [words.index(v) for v in values], words


@given(st.one_of(st.lists(INT64), st.lists(st.integers(-5, 5)), st.lists(st.text())))
def test_codes_follow_the_order_of_the_ids(values):
    kind = pa.string() if values and isinstance(values[0], str) else pa.int64()
    codes, words = dense_ids(pa.array(values, kind), "aid")
    assert (codes.tolist(), words.to_pylist()) == expected(values)
    assert codes.dtype == np.int32


@pytest.mark.parametrize("kind", [pa.int8(), pa.uint8(), pa.int32(), pa.uint64(), pa.large_string(), pa.string()])
def test_every_kind_of_id_in_chunks(kind):
    raw = [3, 100, 3, 7, 0]
    values = [f"i{v}" for v in raw] if pa.types.is_large_string(kind) or pa.types.is_string(kind) else raw
    chunks = pa.chunked_array([pa.array(values[:2], kind), pa.array([], kind), pa.array(values[2:], kind)])
    codes, words = dense_ids(chunks, "aid")
    assert (codes.tolist(), words.to_pylist()) == expected(values)


def test_integers_at_both_ends_of_int64_and_above():
    values = [2**63 - 1, -(2**63), 0]
    codes, words = dense_ids(pa.array(values), "aid")
    assert (codes.tolist(), words.to_pylist()) == expected(values)
    close = [2**63 - 1, 2**63 - 3, 2**63 - 2]
    assert dense_ids(pa.array(close), "aid")[0].tolist() == [2, 0, 1]
    unsigned = [2**64 - 1, 2**64 - 2]
    codes, words = dense_ids(pa.array(unsigned, pa.uint64()), "aid")
    assert (codes.tolist(), words.to_pylist()) == expected(unsigned)


def test_words_of_a_dictionary_that_no_row_uses_get_no_id():
    column = pa.DictionaryArray.from_arrays(pa.array([2, 0, 2], pa.int32()), pa.array(["b", "x", "a"]))
    codes, words = dense_ids(column, "aid")
    assert codes.tolist() == [0, 1, 0]
    assert words.to_pylist() == ["a", "b"]


@pytest.mark.parametrize("values", [pa.array([1.5]), pa.array([True]), pa.array([[1]]), pa.nulls(2)])
def test_ids_of_another_kind_are_an_error_that_names_the_column(values):
    with pytest.raises(UserError, match="'aid': ids must be integers or strings"):
        dense_ids(values, "aid")


def test_encoded_joins_words_that_a_dictionary_says_twice():
    column = pa.DictionaryArray.from_arrays(pa.array([0, 1, None, 2], pa.int32()), pa.array(["a", "b", "a"]))
    result = encoded(column)
    assert result.to_pylist() == ["a", "b", None, "a"]
    assert len(result.dictionary) == 2


@pytest.mark.parametrize(
    ("numbers", "kind"),
    [
        ([1, -5], pa.int32()),
        ([2**31 - 1], pa.int32()),
        ([2**31], pa.int64()),
        ([-(2**31) - 1, 0], pa.int64()),
        ([], pa.int32()),
    ],
)
def test_integers_take_the_least_memory_that_holds_them(numbers, kind):
    compact = compact_ids(encoded(pa.array(numbers, pa.int64())))
    assert compact.type == kind
    assert compact.to_pylist() == numbers


@pytest.mark.parametrize("text", ["007", "+7", "7.0", "-0", "0x1f", " 7", "7 ", "1e3", "18446744073709551616", "", "१"])
def test_text_that_no_integer_is_written_as_stays_text(text):
    compact = compact_ids(encoded(pa.array(["12", text])), from_text=True)
    assert pa.types.is_dictionary(compact.type)
    assert compact.to_pylist() == ["12", text]


@given(st.lists(INT64, min_size=1))
def test_canonical_integers_in_text_are_integers(numbers):
    compact = compact_ids(encoded(pa.array([str(v) for v in numbers])), from_text=True)
    assert compact.to_pylist() == numbers


@given(st.lists(st.lists(st.one_of(INT64.map(str), st.sampled_from(["007", "a,b", "ä"])), min_size=1), min_size=1))
def test_chunks_of_text_ids_come_back_as_they_were(chunks):
    compact = [compact_ids(encoded(pa.array(chunk, pa.string())), from_text=True) for chunk in chunks]
    column = join_ids(compact, from_text=True)
    flat = [text for chunk in chunks for text in chunk]
    assert [str(v) for chunk in column.chunks for v in chunk.to_pylist()] == flat
    all_integers = not {"007", "a,b", "ä"} & set(flat)
    assert pa.types.is_integer(column.type) == all_integers

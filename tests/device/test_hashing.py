"""Seeded draws and the hash tables' first slots."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from otto_gpu.device.hashing import first_slot, table_size, uniform

keys = st.lists(st.integers(0, 2**31 - 1), min_size=1, max_size=30)
MASK = 2**64 - 1


def splitmix(seed: int, *keys: int) -> float:
    """The same in Python integers."""
    state = seed * 0x9E3779B97F4A7C15 & MASK
    for key in keys:
        state = ((state ^ key) + 0x9E3779B97F4A7C15) & MASK
        state = (state ^ state >> 30) * 0xBF58476D1CE4E5B9 & MASK
        state = (state ^ state >> 27) * 0x94D049BB133111EB & MASK
        state ^= state >> 31
    return (state >> 11) / 2**53


@given(keys, st.integers(0, 2**40), st.integers(0, 9))
def test_is_splitmix64(values, seed, first):
    """Saved runs rely on these very numbers."""
    array = np.array(values)
    drawn = uniform(seed, np.full(len(array), first), array)
    assert drawn.tolist() == [splitmix(seed, first, value) for value in values]
    np.testing.assert_array_equal(drawn, uniform(seed, np.full(len(array), first), array.astype(np.int32)))


@given(keys, st.randoms(use_true_random=False))
def test_the_order_and_the_chunks_do_not_matter(values, random):
    array = np.array(values)
    shuffled = array.copy()
    random.shuffle(shuffled)
    by_value = dict(zip(shuffled.tolist(), uniform(42, shuffled).tolist(), strict=True))
    assert uniform(42, array).tolist() == [by_value[v] for v in values]
    assert np.concatenate([uniform(42, part) for part in np.array_split(array, 3)]).tolist() == uniform(42, array).tolist()


@pytest.mark.parametrize("seed", [0, 1, 42])
def test_uniform(seed):
    drawn = uniform(seed, np.full(100_000, 1), np.arange(100_000))
    assert drawn.min() >= 0 and drawn.max() < 1
    assert abs(np.histogram(drawn, 20, (0, 1))[0] - 5000).max() < 5 * np.sqrt(5000)
    assert abs(np.corrcoef(drawn[1:], drawn[:-1])[0, 1]) < 0.02


def test_seeds_and_keys_draw_on_their_own():
    n = np.arange(100_000)
    one = np.ones_like(n)
    draws = [uniform(1, one, n), uniform(2, one, n), uniform(1, 2 * one, n), uniform(1, n, one), uniform(1, n)]
    correlation = np.corrcoef(draws) - np.eye(len(draws))
    assert abs(correlation).max() < 0.02


@given(st.integers(0, 2**31 - 1), st.integers(4, 24))
def test_first_slot_lies_in_the_table(aid, bits):
    slot = first_slot(np.int32(aid), 2**bits - 1)
    assert 0 <= slot < 2**bits and slot == (aid * 2654435761 >> 8) % 2**bits


def test_neighbouring_items_spread():
    slots = np.bincount([first_slot(aid, 1023) for aid in range(512)], minlength=1024)
    assert slots.max() <= 4


@given(st.integers(1, 10**6))
def test_table_size(entries):
    size = table_size(entries)
    assert size >= max(2 * entries, 16) and size & (size - 1) == 0 and size < max(4 * entries, 17)

"""What the kernels' small hash tables and the seeded choices share: one mixing function."""

from __future__ import annotations

import numpy as np
from numba import njit

# the first key of every draw, so that draws of one seed are independent
FOLDS, NEGATIVES, SESSIONS, HELD_OUT = 1, 2, 10, 100


@njit(cache=True)
def first_slot(aid, mask):
    """Where the search for an item begins in a table of mask + 1 slots (multiplicative hashing, Knuth)."""
    return ((np.int64(aid) * 2654435761) >> 8) & mask


def table_size(entries: int) -> int:
    """The next power of two that leaves half of the table free."""
    return 1 << max(int(2 * entries - 1).bit_length(), 4)


def uniform(seed: int, *keys: np.ndarray) -> np.ndarray:
    """float64 in [0, 1) for every combination of integer keys: the same for any order and chunking (splitmix64)."""
    with np.errstate(over="ignore"):
        state = np.full(len(keys[0]), np.uint64(seed) * np.uint64(0x9E3779B97F4A7C15), np.uint64)
        for key in keys:
            state = (state ^ key.astype(np.uint64)) + np.uint64(0x9E3779B97F4A7C15)
            state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
            state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
            state ^= state >> np.uint64(31)
    return (state >> np.uint64(11)) * 2.0**-53

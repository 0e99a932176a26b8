"""Family `rank`: a feature's place within the session, highest first; ties share the lowest place number, places from 1."""

from __future__ import annotations

import numpy as np
from numba import njit, prange

from otto_gpu.device.arrays import longest
from otto_gpu.device.kernel import Kernel

AT_ONCE = 16  # columns that are copied at a time: their scratch stays in the nearest cache (64: 103 us a session, 16: 83)


def add_ranks(rows: np.ndarray, features: np.ndarray, ranked: np.ndarray, first: int) -> None:
    """Writes the ranks of the columns `ranked` (int64) into the columns from `first` on of features, float32 [m, columns]."""
    _ranks(rows, features, ranked, first, longest(rows), longest(rows))


@njit(cache=True)
def session_ranks(s, rows, features, ranked, first, scratch):
    """The body for one session (CPU and CUDA). scratch: float32 [AT_ONCE + 2, candidates of the largest session + 1].

    A place is one more than the number of higher values, counted by comparing all with all: without branches a processor
    compares eight at a time, which for the hundred candidates of a session is several times faster than sorting. Most values
    of most columns are 0: these all share the place behind the positive ones, and only the others are compared.
    """
    begin = rows[s]
    n = rows[s + 1] - begin
    places, others = scratch[AT_ONCE], scratch[AT_ONCE + 1]
    for left in range(0, len(ranked), AT_ONCE):
        width = min(AT_ONCE, len(ranked) - left)
        for r in range(n):
            for c in range(width):
                scratch[c, r] = features[begin + r, ranked[left + c]]
        for c in range(width):
            values = scratch[c]
            k, positives = 0, 0
            for r in range(n):
                others[k] = values[r]
                k += values[r] != 0
                positives += values[r] > 0
            for i in range(k):
                places[i] = 1 + (n - k) * np.float32(others[i] < 0)
            for i in range(k):
                other = others[i]
                for j in range(k):
                    places[j] += np.float32(other > others[j])
            k = 0
            for r in range(n):
                zero = values[r] == 0
                values[r] = 1 + positives if zero else places[k]
                k += not zero
        for r in range(n):
            for c in range(width):
                features[begin + r, first + left + c] = scratch[c, r]


@njit(parallel=True, cache=True)
def _every_session(rows, features, ranked, first, others, whose):
    threads, widest = others.shape
    for w in prange(threads):
        scratch = np.empty((AT_ONCE + 2, widest + 1), np.float32)  # one is written behind the last
        for s in range(w, len(rows) - 1, threads):
            session_ranks(s, rows, features, ranked, first, scratch)


def column_ranks(s, part, rows, features, ranked, first, others, whose):
    """The body for one column of one session (CUDA): threads side by side read and write columns side by side. others, whose:
    scratch [candidates of the largest session], the values that are not 0, and their rows."""
    begin, end, column = rows[s], rows[s + 1], ranked[part]
    k, positives = 0, 0
    for r in range(begin, end):
        value = features[r, column]
        if value != 0:
            others[k], whose[k] = value, r - begin
            k += 1
            positives += value > 0
    for r in range(begin, end):
        features[r, first + part] = 1 + positives
    for i in range(k):
        value = others[i]
        place = 1 + (end - begin - k if value < 0 else 0)
        for j in range(k):
            place += others[j] > value
        features[begin + whose[i], first + part] = place


SCRATCH = {"others": (np.float32, None), "whose": (np.int32, None)}
_ranks = Kernel(_every_session, column_ranks, SCRATCH, parts="ranked", side_by_side=True)

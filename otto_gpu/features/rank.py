"""Family `rank`: a feature's place within the session, highest first; ties share the lowest place number, places from 1."""

from __future__ import annotations

import numba
import numpy as np
from numba import njit, prange

from otto_gpu.bisect import first_after


def add_ranks(rows: np.ndarray, features: np.ndarray, ranked: np.ndarray, first: int) -> None:
    """Writes the ranks of the columns `ranked` (int64) into the columns from `first` on of features, float32 [m, columns]."""
    widest = int(np.diff(rows).max(initial=1))
    workers = numba.get_num_threads()
    _every_session(workers, rows, features, ranked, first, np.empty((workers, widest), np.float32))


@njit(cache=True)
def _sift(values, root, n):
    """Restores the heap below root (largest on top)."""
    while 2 * root + 1 < n:
        child = 2 * root + 1
        if child + 1 < n and values[child] < values[child + 1]:
            child += 1
        if values[root] >= values[child]:
            return
        values[root], values[child] = values[child], values[root]
        root = child


@njit(cache=True)
def _sort(values, n):
    """Ascending, in place: insertion for few values, heapsort for many (both run on a GPU thread)."""
    if n <= 24:
        for i in range(1, n):
            value, j = values[i], i
            while j > 0 and values[j - 1] > value:
                values[j] = values[j - 1]
                j -= 1
            values[j] = value
        return
    for root in range(n // 2 - 1, -1, -1):
        _sift(values, root, n)
    for last in range(n - 1, 0, -1):
        values[0], values[last] = values[last], values[0]
        _sift(values, 0, last)


@njit(cache=True)
def session_ranks(s, rows, features, ranked, first, scratch):
    """The body for one session (CPU and CUDA). Most values of most columns are 0: only the others are sorted."""
    begin, end = rows[s], rows[s + 1]
    for c in range(len(ranked)):
        n, negative = 0, 0
        for r in range(begin, end):
            value = features[r, ranked[c]]
            if value != 0:
                scratch[n] = value
                n += 1
                negative += value < 0
        _sort(scratch, n)
        zeros = end - begin - n
        for r in range(begin, end):
            value = features[r, ranked[c]]
            if value == 0:
                features[r, first + c] = 1 + n - negative
                continue
            features[r, first + c] = 1 + n - first_after(scratch, 0, n, value) + (zeros if value < 0 else 0)


@njit(parallel=True, cache=True)
def _every_session(workers, rows, features, ranked, first, scratch):
    for w in prange(workers):
        for s in range(w, len(rows) - 1, workers):
            session_ranks(s, rows, features, ranked, first, scratch[w])

"""Several groups' scores into one order: weighted reciprocal places, weights by grid search on out-of-fold recall.

Groups score on different scales (probabilities, margins, recall scores), so that what is added up is a group's place p in
the session, as 1/(p + damping) (reciprocal rank fusion, Cormack et al. 2009).
"""

from __future__ import annotations

from itertools import product

import numpy as np
from numba import njit, prange


def grid(groups: int, steps: int) -> list[tuple[float, ...]]:
    """All weights that are multiples of 1/steps and add up to 1, in a fixed order."""
    return [tuple(w / steps for w in c) for c in product(range(steps, -1, -1), repeat=groups) if sum(c) == steps]


@njit(parallel=True, cache=True)
def reciprocal_ranks(pointer, scores, damping):
    """float32 [m, groups]: 1/(place + damping) of every candidate in its session, by each group's score descending; ties in
    the order in which they stand."""
    out = np.empty(scores.shape, np.float32)
    for s in prange(len(pointer) - 1):
        begin, end = pointer[s], pointer[s + 1]
        for g in range(scores.shape[1]):
            order = np.argsort(-scores[begin:end, g], kind="mergesort")
            for place in range(end - begin):
                out[begin + order[place], g] = 1.0 / (place + damping)
    return out


@njit(parallel=True, cache=True)
def best_lists(pointer, aid, score, k):
    """int32 [S, k], padded with -1: each session's k best by score; ties in the order in which they stand."""
    lists = np.full((len(pointer) - 1, k), -1, np.int32)
    for s in prange(len(pointer) - 1):
        best = np.empty(k, np.float32)
        n = 0
        for i in range(pointer[s], pointer[s + 1]):
            if n == k:
                if score[i] <= best[n - 1]:
                    continue
                n -= 1
            p = n
            while p > 0 and best[p - 1] < score[i]:
                best[p], lists[s, p] = best[p - 1], lists[s, p - 1]
                p -= 1
            best[p], lists[s, p] = score[i], aid[i]
            n += 1
    return lists


def blended(places: np.ndarray, weights) -> np.ndarray:
    return places @ np.asarray(weights, np.float32)

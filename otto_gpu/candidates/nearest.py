"""Candidates from vectors: the items whose vectors lie nearest to a session's.

Whatever searches (search_backends.py), the products are added up once more in one order, and ties go to the smaller item: exact
searches give the same lists.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numba import njit, prange

from otto_gpu.candidates.keys import ALL
from otto_gpu.candidates.search_backends import choose_backend
from otto_gpu.candidates.settings import Nearest

if TYPE_CHECKING:
    from otto_gpu.candidates.lookup import Histories
    from otto_gpu.device import Device

SPARE = 8  # more neighbours than are wanted, so that ties at the end of a list are seen
ROUNDING = 1e-5  # by how much two ways to add up a product of rows of length 1 may differ, amply


class Index:
    """Some vectors, made ready to be searched: once per period, not once per chunk of its sessions.

    vectors: float32 [n, dim]; rows of zeros are never found. exact: whether results are, told: how they are searched, for
    people; both as ways.choose says. MissingExtra where faiss is not installed and needed.
    """

    def __init__(self, vectors: np.ndarray, device: Device | None = None, exact: bool | None = None):
        self.vectors = np.ascontiguousarray(vectors, np.float32)
        self._aids = np.flatnonzero(self.vectors.any(axis=1)).astype(np.int32)
        there = self.vectors if len(self._aids) == len(vectors) else self.vectors[self._aids]
        self._longest = float(np.sqrt(np.einsum("ij,ij->i", there, there).max(initial=0)))
        self._most = len(there)
        way, self.told = choose_backend(len(there), device, exact)
        self.exact, self._way = way.exact, way(there)

    def nearest(self, queries: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
        """(aids int32 [q, size] padded with -1, scores float32 [q, size]), best first, ties by the smaller aid; queries of
        zeros find nothing. queries: float32 [q, dim]. The same bits for any batch of queries, if exact."""
        queries = np.ascontiguousarray(queries, np.float32)
        aids, scores = np.full((len(queries), size), -1, np.int32), np.zeros((len(queries), size), np.float32)
        open_ = np.flatnonzero(queries.any(axis=1))
        wanted = min(size + SPARE, self._most)
        while len(open_) and wanted:
            mine = queries[open_]
            rough, found = self._way.search(mine, wanted)
            own = np.where(found >= 0, self._aids[found], -1).astype(np.int32)
            exactly = np.zeros(own.shape, np.float32)
            _score_again(mine, self.vectors, own, exactly)
            kept = min(size, wanted)
            aids[open_, :kept], scores[open_, :kept] = own[:, :kept], exactly[:, :kept]
            if not self.exact or wanted == self._most:
                break
            # what was not found may still be as good as the last kept one: ask for more
            rounding = ROUNDING * self._longest * np.sqrt(np.einsum("ij,ij->i", mine, mine))
            open_ = open_[rough.min(axis=1) >= exactly[:, kept - 1] - rounding]
            wanted = min(4 * wanted, self._most)
        return aids, scores


def nearest_vectors(
    queries: np.ndarray, vectors: np.ndarray, size: int, device: Device | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Index.nearest for vectors that are searched only once."""
    return Index(vectors, device).nearest(queries, size)


def nearest_items(
    histories: Histories, queries: np.ndarray | None, vectors: np.ndarray, config: Nearest, index: Index | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """(aids int32 [S, size] padded with -1, scores float32 [S, size]) of the sessions of `histories`, as recipes give them.

    queries: float32 [S, dim], these sessions' vectors; None: history_queries. vectors: float32 [n_items, dim]; index: their
    Index, where there are several chunks of sessions. Sessions whose query is zero name nothing.
    """
    index = Index(vectors) if index is None else index
    queries = history_queries(histories, index.vectors, config.last) if queries is None else queries
    marks = np.concatenate([[0], np.cumsum((histories.bits & ALL) > 0)])
    items = np.diff(marks[histories.starts])
    # a session's own items lie near it: so many more are asked for, in steps of powers of two, for few searches
    more = 1 << np.ceil(np.log2(np.maximum(items, 8))).astype(np.int64)
    aids, scores = (
        np.full((len(histories), config.size), -1, np.int32),
        np.zeros((len(histories), config.size), np.float32),
    )
    for n in np.unique(more):
        sessions = np.flatnonzero(more == n)
        found = index.nearest(queries[sessions], config.size + int(n))
        _leave_out_history(sessions, histories.starts, histories.aid, *found, aids, scores)
    return aids, scores


def history_queries(histories: Histories, vectors: np.ndarray, last: int) -> np.ndarray:
    """float32 [S, dim]: the sum of the vectors of the newest `last` different items, the i-th newest (from 0) times
    1/(1 + i), divided by its length; zeros where none of them has a vector."""
    queries = np.zeros((len(histories), vectors.shape[1]), np.float32)
    _add_up_histories(histories.starts, histories.aid, histories.bits, vectors, last, queries)
    return queries


@njit(fastmath=True, cache=True)
def dot(a, b):
    """The inner product of two float32 rows. Added up in an order that depends on their length alone: the same bits always."""
    total = np.float32(0)
    for i in range(len(a)):
        total += a[i] * b[i]
    return total


@njit(parallel=True, cache=True)
def _score_again(queries, vectors, aids, scores):
    """Products added up in one order, whatever faiss did, and the lists put in their order; missing ones (-1) last."""
    for q in prange(len(queries)):
        n = 0
        for i in range(aids.shape[1]):
            aid = aids[q, i]
            if aid < 0:
                continue
            score = dot(queries[q], vectors[aid])
            p = n
            while p > 0 and (scores[q, p - 1] < score or (scores[q, p - 1] == score and aids[q, p - 1] > aid)):
                scores[q, p], aids[q, p] = scores[q, p - 1], aids[q, p - 1]
                p -= 1
            scores[q, p], aids[q, p] = score, aid
            n += 1
        for p in range(n, aids.shape[1]):
            aids[q, p] = -1


@njit(parallel=True, cache=True)
def _leave_out_history(sessions, starts, aid, found, found_scores, aids, scores):
    for i in prange(len(sessions)):
        s = sessions[i]
        n = 0
        for j in range(found.shape[1]):
            if found[i, j] < 0 or n == aids.shape[1]:
                break
            e = starts[s]
            while e < starts[s + 1] and aid[e] != found[i, j]:
                e += 1
            if e == starts[s + 1]:
                aids[s, n], scores[s, n] = found[i, j], found_scores[i, j]
                n += 1


@njit(parallel=True, cache=True)
def _add_up_histories(starts, aid, bits, vectors, last, queries):
    for s in prange(len(starts) - 1):
        n = 0
        for i in range(starts[s + 1] - 1, starts[s] - 1, -1):
            if n == last:
                break
            if bits[i] & ALL:
                for d in range(vectors.shape[1]):
                    queries[s, d] += vectors[aid[i], d] / np.float32(1 + n)
                n += 1
        length = np.sqrt(dot(queries[s], queries[s]))
        if length > 0:
            for d in range(vectors.shape[1]):
                queries[s, d] /= length

"""V-SKNN, vector multiplication session-based kNN, from the paper (Ludewig & Jannach, Evaluation of session-based
recommendation algorithms, 2018): the sessions nearest to a history name their items.

- The history is a vector over items: i/n for the item at place i of n, the newest place where it stands twice.
- Of all sessions that share an item with it, the `sample` most recent are compared; their similarity is the sum of the
  vector over the shared items (divided by the vector's length, which is the same for all of them and left out).
- The k most similar add to each of their items: similarity x 1/step², step being 1 for the history's last place, 2 for the
  one before it, ...: that of the newest item that the session shares.
"""

from __future__ import annotations

import numpy as np
from numba import njit, prange

from benchmarks.peers.split import Split

CHUNKS = 16  # of the sessions; each has a row of scores for every item


def fit(split: Split, n: int, k: int, sample: int):
    """(recommend, facts): recommend() -> int32 [1, S, n], items that the session had before included."""
    counts = split.matrix()
    newest_first = counts[split.newest_first]  # sessions by recency: 0 is the newest
    newest_first.sort_indices()
    postings = newest_first.tocsc()  # per item the sessions that hold it, newest first
    postings.sort_indices()
    recency = np.empty(len(split.newest_first), np.int64)
    recency[split.newest_first] = np.arange(len(recency))
    first, last = split.starts[split.rows], split.starts[split.rows + 1]
    known = (newest_first.indptr, newest_first.indices, postings.indptr, postings.indices)

    def recommend(chosen=slice(None)):
        asked = (split.aid, first[chosen], last[chosen], recency[split.rows[chosen]])
        return _recommend(*asked, *known, split.n_items, k, sample, n)[None]

    recommend(slice(0, 0))  # compiled here
    return recommend, {}


@njit(parallel=True, cache=True)
def _recommend(aid, first, last, own, items_of, items, sessions_of, sessions, n_items, k, sample, n):
    lists = np.full((len(first), n), -1, np.int32)
    for chunk in prange(CHUNKS):
        scores = np.zeros(n_items)
        for s in range(len(first) * chunk // CHUNKS, len(first) * (chunk + 1) // CHUNKS):
            history = aid[first[s] : last[s]]
            near, similarity, step = _sample(history, own[s], sessions_of, sessions, sample)
            nearest = np.argsort(-similarity, kind="mergesort")[:k]  # ties: the newer session
            touched = 0
            met = np.empty(n_items if len(nearest) else 0, np.int32)
            for j in nearest:
                gain = similarity[j] / (step[j] * step[j])
                for i in range(items_of[near[j]], items_of[near[j] + 1]):
                    if scores[items[i]] == 0:
                        met[touched] = items[i]
                        touched += 1
                    scores[items[i]] += gain
            found = np.sort(met[:touched])  # ties: the smaller aid
            best = np.argsort(-scores[found], kind="mergesort")[:n]
            for place in range(len(best)):
                lists[s, place] = found[best[place]]
            scores[found] = 0
    return lists


@njit(cache=True)
def _sample(history, own, sessions_of, sessions, sample):
    """(sessions by recency, similarity, step of the newest shared item) of the most recent ones that share an item."""
    length = len(history)
    heads, ends = np.empty(length, np.int64), np.empty(length, np.int64)
    place = np.empty(length, np.int64)
    m = 0
    for p in range(length - 1, -1, -1):  # newest first: each item once, at its newest place
        x = history[p]
        if not (history[p + 1 :] == x).any():
            heads[m], ends[m], place[m] = sessions_of[x], sessions_of[x + 1], p
            m += 1
    near, similarity = np.empty(sample, np.int64), np.zeros(sample)
    step = np.empty(sample)
    count = 0
    while count < sample:
        newest = -1
        for i in range(m):
            if heads[i] < ends[i] and (newest < 0 or sessions[heads[i]] < newest):
                newest = sessions[heads[i]]
        if newest < 0:
            break
        first = True
        for i in range(m):
            if heads[i] < ends[i] and sessions[heads[i]] == newest:
                heads[i] += 1
                if newest != own:
                    if first:
                        near[count], step[count] = newest, length - place[i]
                        first = False
                    similarity[count] += (place[i] + 1) / length
        if not first:
            count += 1
    return near[:count], similarity[:count], step[:count]

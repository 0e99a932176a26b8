"""The blend: places, weights and lists by sorting."""

from math import comb

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from otto_gpu.ranking.blend import best_lists, blended, grid, reciprocal_ranks


def test_grid():
    assert grid(1, 5) == [(1.0,)]
    assert grid(2, 2) == [(1.0, 0.0), (0.5, 0.5), (0.0, 1.0)]
    for groups, steps in ((2, 10), (3, 4), (4, 3)):
        points = grid(groups, steps)
        exact = {tuple(round(w * steps) for w in p) for p in points}
        assert len(exact) == len(points) and all(sum(p) == steps and min(p) >= 0 for p in exact)
        assert len(points) == comb(steps + groups - 1, groups - 1)


sessions = st.lists(st.lists(st.tuples(*[st.sampled_from([-2, 0, 0.5, 3])] * 2), max_size=9), min_size=1, max_size=4)


def flat(drawn):
    pointer = np.concatenate([[0], np.cumsum([len(s) for s in drawn])])
    scores = np.array([pair for s in drawn for pair in s], np.float32).reshape(-1, 2)
    return pointer, np.repeat(np.arange(len(drawn)), np.diff(pointer)), scores


@settings(max_examples=60)
@given(sessions, st.sampled_from([1, 20]))
def test_reciprocal_places(drawn, damping):
    """Highest score at place 0, ties in the order in which they stand."""
    pointer, session, scores = flat(drawn)
    found = reciprocal_ranks(pointer, scores, damping)
    assert found.dtype == np.float32
    place = pd.DataFrame(scores).groupby(session).rank(method="first", ascending=False) - 1
    np.testing.assert_allclose(found, 1 / (place.to_numpy().reshape(-1, 2) + damping), rtol=1e-6)


@settings(max_examples=60)
@given(sessions, st.integers(1, 12))
def test_best_lists(drawn, k):
    pointer, session, scores = flat(drawn)
    aid = np.arange(50, 50 + len(scores), dtype=np.int32)
    lists = best_lists(pointer, aid, scores[:, 0], k)
    frame = pd.DataFrame({"session": session, "aid": aid, "score": scores[:, 0]})
    for s, mine in enumerate(lists):
        best = frame[frame["session"] == s].sort_values("score", ascending=False, kind="stable")["aid"].head(k).tolist()
        assert mine.tolist() == best + [-1] * (k - len(best))


def test_blended_orders_by_the_weighted_places():
    pointer = np.array([0, 3])
    places = reciprocal_ranks(pointer, np.array([[3, 1], [2, 2], [1, 3]], np.float32), 1)
    assert best_lists(pointer, np.array([7, 8, 9], np.int32), blended(places, (1.0, 0.0)), 3).tolist() == [[7, 8, 9]]
    assert best_lists(pointer, np.array([7, 8, 9], np.int32), blended(places, (0.0, 1.0)), 3).tolist() == [[9, 8, 7]]
    assert blended(places, (0.25, 0.75)) == pytest.approx([0.25 + 0.75 / 3, 0.5, 0.25 / 3 + 0.75])

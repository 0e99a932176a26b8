"""Family `rank` against pandas."""

import numpy as np
import pandas as pd
from hypothesis import example, given, settings
from hypothesis import strategies as st

from otto_gpu.features.rank import AT_ONCE, add_ranks
from tests.features.case import assert_same, case_of
from tests.features.oracle import rank_features
from tests.worlds import synthetic_world

values = st.sampled_from([0.0, -0.0, 0.0, 1.0, 1.0, 2.5, -1.0, -3.0, 1e-30, 7.0, 8.0])
seeds = st.tuples(st.integers(25, 400), st.integers(0, 2**32 - 1))


def check(sessions: list[list[float]]):
    rows = np.concatenate([[0], np.cumsum([len(s) for s in sessions])])
    values = np.concatenate([np.array(s, np.float32) for s in sessions])
    features = np.zeros((len(values), 5), np.float32)
    features[:, 0], features[:, 1], features[:, 2] = values, -values, np.abs(values)
    add_ranks(rows, features, np.array([2, 0]), 3)
    frame = pd.DataFrame({"a": features[:, 2], "b": features[:, 0]})
    session = np.repeat(np.arange(len(sessions)), np.diff(rows))
    np.testing.assert_array_equal(features[:, 3:], rank_features(frame, session))
    np.testing.assert_array_equal(features[:, 0], values)
    np.testing.assert_array_equal(features[:, 1], -values)


@settings(max_examples=100)
@given(st.lists(st.lists(values, max_size=40), min_size=1, max_size=5))
@example([[], [1.0], []])
@example([[0.0] * 30, [-1.0] * 30])
@example([[1.0] * 24 + [0.0], list(range(1, 26)), list(range(25, -1, -1))])
def test_few_candidates(sessions):
    check(sessions)


@settings(max_examples=40)
@given(st.lists(seeds, min_size=1, max_size=3))
def test_many_candidates(sessions):
    """Beyond insertion sort: ties, negative values and zeros among hundreds."""
    check([np.random.default_rng(seed).integers(-5, 60, n).clip(-3).tolist() for n, seed in sessions])


def test_more_columns_than_are_ranked_at_once():
    features = np.random.default_rng(1).integers(-2, 3, (50, 2 * AT_ONCE + 3)).astype(np.float32)
    rows, ranked = np.array([0, 13, 13, 50]), np.arange(2 * AT_ONCE + 3)[::-1].copy()
    out = np.hstack([features, np.zeros_like(features)])
    add_ranks(rows, out, ranked, features.shape[1])
    expected = rank_features(pd.DataFrame(features[:, ranked]).rename(columns=str), np.repeat([0, 2], [13, 37]))
    np.testing.assert_array_equal(out[:, features.shape[1] :], expected)


def test_all_ranked_columns_of_a_generated_log():
    case = case_of(synthetic_world(), 25)
    maker = case.maker()
    features = pd.DataFrame(maker.make(case.candidates), columns=maker.catalogue.names)
    ranked = [c.name for c in maker.catalogue.columns if c.ranked]
    expected = rank_features(features[ranked], case.pairs["session"])
    assert len(ranked) >= 150
    assert_same(features[list(expected)], expected)

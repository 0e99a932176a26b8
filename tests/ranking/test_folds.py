"""Folds over sessions."""

import numpy as np

from otto_gpu.ranking.folds import fold_of


def test_even_and_stable():
    sessions = np.arange(40_000)
    fold = fold_of(sessions, 4, 42)
    assert fold.dtype == np.int64 and set(fold.tolist()) == {0, 1, 2, 3}
    assert abs(np.bincount(fold) - 10_000).max() < 400
    assert fold[:12].tolist() == [3, 0, 2, 1, 2, 3, 1, 0, 3, 3, 3, 1]  # saved models rely on it


def test_a_session_keeps_its_fold_whatever_stands_around_it():
    sessions = np.array([5, 9, 2, 5, 1_000_000, 2**31 - 1], np.int32)
    fold = fold_of(sessions, 5, 7)
    assert fold[0] == fold[3]
    for i in range(len(sessions)):
        assert fold_of(sessions[i : i + 1].astype(np.int64), 5, 7)[0] == fold[i]
    assert fold_of(sessions[:0], 5, 7).tolist() == []


def test_seeds_are_independent():
    sessions = np.arange(40_000)
    table = np.zeros((4, 4))
    np.add.at(table, (fold_of(sessions, 4, 1), fold_of(sessions, 4, 2)), 1)
    assert abs(table - 2500).max() < 250


def test_neighbours_are_independent():
    fold = fold_of(np.arange(40_000), 2, 42)
    assert abs((fold[1:] == fold[:-1]).mean() - 0.5) < 0.02

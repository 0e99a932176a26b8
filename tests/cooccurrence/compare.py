"""Are two matrices the same, up to the order of float32 sums?

Row lengths are equal, weights agree rank by rank, and the neighbours differ only where their weights tie with the last
kept place, where either choice is right.
"""

import numpy as np

RELATIVE, ABSOLUTE = 1e-4, 1e-30  # absolute: weights so small that float32 rounds them to 0


def close(a, b) -> np.ndarray:
    return np.isclose(a, b, rtol=RELATIVE, atol=ABSOLUTE)


def assert_well_formed(matrix, rule, n_items):
    assert (matrix.pointer.dtype, matrix.neighbours.dtype, matrix.weights.dtype) == (np.int64, np.int32, np.float32)
    assert len(matrix.pointer) == n_items + 1 and matrix.pointer[0] == 0
    assert matrix.pointer[-1] == len(matrix.neighbours) == len(matrix.weights)
    lengths = np.diff(matrix.pointer)
    assert lengths.min(initial=0) >= 0 and lengths.max(initial=0) <= rule.keep
    assert np.isfinite(matrix.weights).all() and (matrix.weights >= 0).all()
    if len(matrix.neighbours):
        assert matrix.neighbours.min() >= 0 and matrix.neighbours.max() < n_items
    rows = rows_of(matrix)
    order = np.lexsort((matrix.neighbours, -matrix.weights, rows))
    assert (order == np.arange(len(order))).all(), "rows must go by weight descending, ties by smaller aid"
    assert len(np.unique(keys(rows, matrix.neighbours, n_items))) == len(rows), "a neighbour stands twice in a row"


def assert_same(a, b):
    np.testing.assert_array_equal(a.pointer, b.pointer, "row lengths differ")
    n_items = len(a.pointer) - 1
    rows = rows_of(a)
    wrong = np.flatnonzero(~close(a.weights, b.weights))
    assert not len(wrong), f"rank-wise weights of item {rows[wrong[0]]} differ: {a.weights[wrong[0]]} {b.weights[wrong[0]]}"
    key_a, key_b = keys(rows, a.neighbours, n_items), keys(rows, b.neighbours, n_items)
    _, in_a, in_b = np.intersect1d(key_a, key_b, assume_unique=True, return_indices=True)
    assert close(a.weights[in_a], b.weights[in_b]).all(), "a common neighbour has another weight"
    for matrix, common in ((a, in_a), (b, in_b)):
        alone = np.setdiff1d(np.arange(len(rows)), common)
        last_kept = matrix.weights[matrix.pointer[rows[alone] + 1] - 1]
        tied = close(matrix.weights[alone], last_kept)
        assert tied.all(), f"item {rows[alone][~tied][:1]} has other neighbours, and not by a tie at its last place"


def assert_follows(matrix, expected, rule):
    """Against the oracle's full rows: every neighbour has the weight it should have, and no heavier one was left out."""
    lengths = np.diff(matrix.pointer)
    for aid, length in enumerate(lengths.tolist()):
        row = expected.get(aid, [])
        assert length == min(len(row), rule.keep), f"row length of item {aid}"
        here = slice(matrix.pointer[aid], matrix.pointer[aid + 1])
        weights = dict(row)
        of_neighbours = [weights.get(y) for y in matrix.neighbours[here].tolist()]
        assert None not in of_neighbours, f"item {aid} has a neighbour that it never met"
        assert close(matrix.weights[here], of_neighbours).all(), f"weights of item {aid}"
        assert close(matrix.weights[here], [w for _, w in row[:length]]).all(), f"rank-wise weights of item {aid}"


def rows_of(matrix) -> np.ndarray:
    return np.repeat(np.arange(len(matrix.pointer) - 1), np.diff(matrix.pointer))


def keys(rows, neighbours, n_items):
    return rows.astype(np.int64) * n_items + neighbours

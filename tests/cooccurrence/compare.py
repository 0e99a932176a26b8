"""What any matrix must be, and what it must be under the oracle's full rows, up to float32 sums and ties."""

import numpy as np

from benchmarks.matrices import ABSOLUTE, RELATIVE, difference


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
    rows = np.repeat(np.arange(n_items), lengths)
    order = np.lexsort((matrix.neighbours, -matrix.weights, rows))
    assert (order == np.arange(len(order))).all(), "rows must go by weight descending, ties by smaller aid"
    assert len(np.unique(rows * n_items + matrix.neighbours)) == len(rows), "a neighbour stands twice in a row"


def assert_same(a, b):
    assert difference(a, b) == ""


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

"""Boosted trees scored by kernels of our own: on the CPU, shallow trees take a fraction of the time of XGBoost's prediction.

Every tree is filled up to a whole one of the forest's depth: node n is followed by 2n + 1 (the row's value lies below the
threshold) or 2n + 2. On the CPU each node is shown to all rows of a block, and those that are there go on: more comparisons
than a row needs, but of many rows at once. On a GPU every thread goes down the trees with a row of its own; all are in the
same tree at the same time, at the same depth.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace

import numpy as np
from numba import njit, prange

from otto_gpu.device.arrays import arrays_of, on_device
from otto_gpu.device.kernel import Kernel

MOST_DEPTH = 5  # on the CPU: every node more is another comparison of all rows; at depth 6 XGBoost is as fast
DEEPEST = 8  # on a GPU: 255 nodes of a tree, most of them empty where trees are deeper
BLOCK = 128  # rows that go down side by side: with 128 columns they fit into the caches of a core


@dataclass(frozen=True)
class Forest:
    """columns int32, thresholds float32, missing bool (whether a missing value goes to 2n + 2) [trees, 2^depth - 1];
    leaves float32 [trees, 2^depth]; base: the margin of no tree at all. The arrays lie on the host or a GPU, as the rows
    do that they score."""

    columns: np.ndarray
    thresholds: np.ndarray
    missing: np.ndarray
    leaves: np.ndarray
    base: float

    @classmethod
    def of(cls, booster, most_depth: int = MOST_DEPTH) -> Forest | None:
        """Of XGBoost's trees, on the host; None where they are too deep, or no plain trees with numbers."""
        model = json.loads(booster.save_raw("json"))["learner"]["gradient_booster"]
        if model.get("name") != "gbtree" or any(any(tree["split_type"]) for tree in model["model"]["trees"]):
            return None
        whole = cls._of_trees([_Tree(tree) for tree in model["model"]["trees"]], most_depth)
        if whole is None:
            return None
        # what stands before the trees depends on the objective; XGBoost knows, and adds the fewest trees to it in one round
        one, row = booster[:1], np.zeros((1, booster.num_features()), np.float32)
        one.set_param({"device": "cpu"})
        known = one.inplace_predict(row, predict_type="margin", validate_features=False)[0]
        n = len(one.get_dump())
        grown = cls(whole.columns[:n], whole.thresholds[:n], whole.missing[:n], whole.leaves[:n], 0.0).margins(row)[0]
        return replace(whole, base=float(known) - float(grown))

    @classmethod
    def of_lightgbm(cls, text: str, most_depth: int = MOST_DEPTH) -> Forest | None:
        """Of LightGBM's trees as its text tells them, on the host; None where they are too deep, or no plain ones with numbers.

        Its sums are of float64, and rounded at the end: ours, of float32, agree up to that rounding.
        """
        head, *told = text.split("\nTree=")
        if "\naverage_output" in head:  # a random forest's
            return None
        trees = [_lightgbm_tree(tree) for tree in told]
        return None if any(tree is None for tree in trees) else cls._of_trees(trees, most_depth)

    @classmethod
    def _of_trees(cls, trees: list[_Tree], most_depth: int) -> Forest | None:
        depth = max((tree.depth(0) for tree in trees), default=0)
        if not 0 < depth <= most_depth:
            return None
        inner = (len(trees), 2**depth - 1)
        columns, thresholds, missing = np.zeros(inner, np.int32), np.zeros(inner, np.float32), np.zeros(inner, bool)
        leaves = np.zeros((len(trees), 2**depth), np.float32)
        for t, tree in enumerate(trees):
            tree.write(0, 0, columns[t], thresholds[t], missing[t], leaves[t])
        return cls(columns, thresholds, missing, leaves, 0.0)

    def margins(self, rows: np.ndarray, columns: np.ndarray | None = None) -> np.ndarray:
        """float32 [m] of float32 [m, n], where they lie; on a GPU quickest if they lie column by column (order F). columns: the
        places in `rows` of the columns that the trees were grown on, None: these are they."""
        xp = arrays_of(rows)
        columns = xp.arange(rows.shape[1]) if columns is None else xp.asarray(columns)
        out = xp.empty(len(rows), np.float32)
        rest = self.thresholds, self.missing, self.leaves, self.base
        if on_device(rows) or self.leaves.shape[1] > 1 << MOST_DEPTH:
            _walk(xp.array([0, len(rows)], np.int64), out, rows, columns.astype(np.int32)[self.columns], *rest)
        else:
            _margins(rows, columns.astype(np.int64), self.columns, *rest, out)
        return out


class _Tree:
    """One of XGBoost's trees, as its JSON has it, or another in that form: what has no children is a leaf, whose value stands
    among the conditions."""

    def __init__(self, tree: dict):
        self._left, self._right = tree["left_children"], tree["right_children"]
        self._column, self._condition = tree["split_indices"], tree["split_conditions"]
        self._default_left = tree["default_left"]

    def depth(self, node: int) -> int:
        return 0 if self._left[node] < 0 else 1 + max(self.depth(self._left[node]), self.depth(self._right[node]))

    def write(self, node: int, place: int, columns, thresholds, missing, leaves) -> None:
        """The tree below `node` into the whole tree below `place`; a leaf that comes early fills all that is below it."""
        inner = place < len(columns)
        if not inner:
            leaves[place - len(columns)] = self._condition[node]
        elif self._left[node] < 0:
            for below in (2 * place + 1, 2 * place + 2):
                self.write(node, below, columns, thresholds, missing, leaves)
        else:
            columns[place], thresholds[place] = self._column[node], self._condition[node]
            missing[place] = not self._default_left[node]
            self.write(self._left[node], 2 * place + 1, columns, thresholds, missing, leaves)
            self.write(self._right[node], 2 * place + 2, columns, thresholds, missing, leaves)


CATEGORICAL, DEFAULT_LEFT = 1, 2  # bits of LightGBM's decision_type; those above say which values are missing
NONE_MISSING, ZERO_MISSING = 0, 1
ZERO = np.float32(1e-35)  # values up to here are 0 for it


def _lightgbm_tree(told: str) -> _Tree | None:
    """From its lines in a model's text; None where it is no plain tree with numbers.

    LightGBM goes left where a value is at most the threshold, in float64: we go right where it is at least the next float32.
    """
    lines = dict(line.split("=", 1) for line in told.splitlines() if "=" in line)
    kinds = np.array(lines.get("decision_type", "").split(), np.int64)
    missing = kinds >> 2
    if lines.get("is_linear", "0") != "0" or (kinds & CATEGORICAL).any() or (missing == ZERO_MISSING).any():
        return None
    thresholds = np.array(lines.get("threshold", "").split(), np.float64)
    with np.errstate(over="ignore"):
        rounded = thresholds.astype(np.float32)
    above = np.where(rounded > thresholds, rounded, np.nextafter(rounded, np.float32(np.inf)))
    above = np.where(np.abs(thresholds) <= ZERO, np.where(thresholds < 0, -ZERO, np.nextafter(ZERO, np.float32(1))), above)
    above[thresholds == np.inf] = np.nan  # nothing is greater: missing values alone go right
    # where training met no missing value, one is taken for 0
    left = np.where(missing == NONE_MISSING, thresholds >= 0, (kinds & DEFAULT_LEFT) > 0)
    leaves = np.array(lines["leaf_value"].split(), np.float64)
    none, inner = [-1] * len(leaves), len(kinds)

    def children(side: str) -> list[int]:
        return [c if c >= 0 else inner + ~c for c in map(int, lines.get(side, "").split())] + none

    return _Tree(
        {
            "left_children": children("left_child"), "right_children": children("right_child"),
            "split_indices": np.array(lines.get("split_feature", "").split(), np.int64),
            "split_conditions": np.concatenate([above, leaves]), "default_left": left,
        }
    )  # fmt: skip


@njit(parallel=True, cache=True)
def _margins(rows, places, columns, thresholds, missing, leaves, base, out):
    inner = columns.shape[1]
    for block in prange((len(rows) + BLOCK - 1) // BLOCK):
        first = block * BLOCK
        n = min(BLOCK, len(rows) - first)
        values = np.zeros((len(places), BLOCK), np.float32)
        for r in range(n):
            for c in range(len(places)):
                values[c, r] = rows[first + r, places[c]]
        node, total = np.empty(BLOCK, np.int32), np.full(BLOCK, base, np.float32)
        for t in range(len(columns)):
            node[:] = 0
            for i in range(inner):
                _pass(node, values[columns[t, i]], np.int32(i), thresholds[t, i], missing[t, i])
            for r in range(n):
                total[r] += leaves[t, node[r] - inner]
        out[first : first + n] = total[:n]


@njit(cache=True)
def _pass(node, values, i, threshold, missing):
    """Rows that are at node i go on. No branch and no jump in memory: a processor does eight or sixteen rows at once."""
    left, right = np.int32(2 * i + 1), np.int32(2 * i + 2)
    for r in range(BLOCK):
        value = values[r]
        after = right if (value >= threshold) | ((value != value) & missing) else left
        node[r] = after if node[r] == i else node[r]


@njit(cache=True)
def row_margins(s, first, last, out, values, columns, thresholds, missing, leaves, base):
    """The body for rows first..last-1 (CPU and CUDA): the leaves are added in the order of the trees. columns: places in
    values, int32 [trees, 2^depth - 1]."""
    inner = columns.shape[1]
    for r in range(first, last):
        total = np.float32(base)
        for t in range(len(columns)):
            node = 0
            while node < inner:
                value = values[r, columns[t, node]]
                right = value >= thresholds[t, node] or (value != value and missing[t, node])
                node = 2 * node + (2 if right else 1)
            total += leaves[t, node - inner]
        out[r] = total


@njit(parallel=True, cache=True)
def _every_row(rows, out, values, columns, thresholds, missing, leaves, base):
    for r in prange(len(out)):
        row_margins(0, np.int64(r), np.int64(r) + 1, out, values, columns, thresholds, missing, leaves, base)


_walk = Kernel(_every_row, row_margins)

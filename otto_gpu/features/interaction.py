"""Family `matrix`: how strongly the items of the history point at the candidate, per rule and weighting.

score(candidate, history item) is the weight of the candidate in the history item's row of the matrix (0 if it is not among
the kept neighbours). One worker owns one session: it walks the rows of the history's items once and adds to the
candidates that it meets, found through a small hash table; nothing is searched per candidate.
"""

from __future__ import annotations

import numpy as np
from numba import njit, prange

from otto_gpu.arrays import longest
from otto_gpu.features.catalogue import Column, Spec, register
from otto_gpu.features.weightings import WEIGHTINGS
from otto_gpu.hashing import first_slot, table_size
from otto_gpu.kernel import Kernel

REDUCTIONS = ("mean", "sum", "max")
N_WEIGHTINGS = len(WEIGHTINGS)  # known when the kernels are compiled: their innermost loops are unrolled


def columns(spec: Spec) -> list[Column]:
    return [
        Column(
            f"matrix_{rule}_{weighting}_{reduction}", "matrix", "float32",
            f"{reduction} over the history's items of weight in the item's row of {rule} x the item's {weighting} weight",
            ranked=reduction == "mean",
        )
        for rule in spec.rules for weighting in WEIGHTINGS for reduction in REDUCTIONS
    ]  # fmt: skip


def compute(chunk, out: np.ndarray) -> None:
    widest = longest(chunk.candidates.pointer)
    stack, items = chunk.knowledge.stack, chunk.items
    _interactions(
        chunk.candidates.pointer, chunk.candidates.aid, items.pointer, items.aid, items.weights, chunk.rules, stack.pointer,
        stack.neighbours, stack.weights, table_size(widest), (widest, 2 * N_WEIGHTINGS), out,
    )  # fmt: skip


@njit(cache=True)
def session_interactions(
    s, rows, candidates, pointer, items, item_weights, rules, row_pointer, neighbours, weights, table, sums, out
):  # fmt: skip
    """The body for one session (CPU and CUDA). table: all -1, a power of two, at least twice the candidates of a session;
    sums: float32 [candidates of the largest session, 12], sums and maxima of one rule, which stay in the nearest cache."""
    begin, n = rows[s], rows[s + 1] - rows[s]
    mask = 15
    while mask + 1 < 2 * n:
        mask = 2 * mask + 1
    for r in range(n):
        slot = first_slot(candidates[begin + r], mask)
        while table[slot] >= 0:
            slot = (slot + 1) & mask
        table[slot] = r
    n_items = max(pointer[s + 1] - pointer[s], 1)
    for m in range(len(rules)):
        for r in range(n):
            for w in range(2 * N_WEIGHTINGS):
                sums[r, w] = 0
        for h in range(pointer[s], pointer[s + 1]):
            for e in range(row_pointer[rules[m], items[h]], row_pointer[rules[m], items[h] + 1]):
                slot = first_slot(neighbours[e], mask)
                while table[slot] >= 0:
                    r = table[slot]
                    if candidates[begin + r] == neighbours[e]:
                        for w in range(N_WEIGHTINGS):
                            value = weights[e] * item_weights[h, w]
                            sums[r, w] += value
                            sums[r, N_WEIGHTINGS + w] = max(sums[r, N_WEIGHTINGS + w], value)
                        break
                    slot = (slot + 1) & mask
        base = 3 * N_WEIGHTINGS * m
        for r in range(n):
            for w in range(N_WEIGHTINGS):
                out[begin + r, base + 3 * w] = sums[r, w] / n_items
                out[begin + r, base + 3 * w + 1] = sums[r, w]
                out[begin + r, base + 3 * w + 2] = sums[r, N_WEIGHTINGS + w]
    for r in range(n):
        slot = first_slot(candidates[begin + r], mask)
        while table[slot] >= 0:
            table[slot] = -1
            slot = (slot + 1) & mask


@njit(parallel=True, cache=True)
def _every_session(
    rows, candidates, pointer, items, item_weights, rules, row_pointer, neighbours, weights, tables, sums, out
):  # fmt: skip
    workers = len(tables)
    for w in prange(workers):
        for s in range(w, len(rows) - 1, workers):
            session_interactions(
                s, rows, candidates, pointer, items, item_weights, rules, row_pointer, neighbours, weights, tables[w], sums[w],
                out,
            )  # fmt: skip


def rule_interactions(
    s, part, rows, candidates, pointer, items, item_weights, rules, row_pointer, neighbours, weights, table, sums, out
):  # fmt: skip
    """The body for one rule of one session (CUDA): twenty times the threads, and each writes a run of a few columns."""
    width = 3 * N_WEIGHTINGS
    session_interactions(
        s, rows, candidates, pointer, items, item_weights, rules[part : part + 1], row_pointer, neighbours, weights, table,
        sums, out[:, part * width : (part + 1) * width],
    )  # fmt: skip


SCRATCH = {"table": (np.int32, -1), "sums": (np.float32, None)}
_interactions = Kernel(_every_session, rule_interactions, SCRATCH, parts="rules")


register("matrix", columns, compute)

"""Family `matrix`: how strongly the items of the history point at the candidate, per rule and weighting.

score(candidate, history item) is the weight of the candidate in the history item's row of the matrix (0 if it is not among
the kept neighbours). One worker owns one session: it walks the rows of the history's items once and adds to the
candidates that it meets, found through a small hash table; nothing is searched per candidate. On a GPU one worker owns one
rule of one session, and all rules look into the session's one table.
"""

from __future__ import annotations

import numba
import numpy as np
from numba import njit, prange

from otto_gpu.device.arrays import arrays_of, longest, pointers
from otto_gpu.device.hashing import first_slot
from otto_gpu.device.kernel import Kernel
from otto_gpu.features.families import Column, Spec
from otto_gpu.features.weightings import WEIGHTINGS

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
    stack, items, rows, aids = chunk.period_state.stack, chunk.items, chunk.candidates.pointer, chunk.candidates.aid
    slots = table_places(rows)
    tables = arrays_of(rows).full(int(slots[-1]), -1, np.int32)
    _tables(rows, aids, slots, tables)
    _interactions(
        rows, aids, items.pointer, items.aid, items.weights, chunk.rules, stack.pointer, stack.neighbours, stack.weights,
        slots, tables, longest(rows), numba.get_num_threads(), out,
    )  # fmt: skip


def table_places(rows):
    """int64 [S + 1]: where the sessions' tables begin, each a power of two, at least twice the session's candidates."""
    wanted = 2 * np.diff(rows)
    sizes, size, most = np.full_like(wanted, 16), 16, 2 * longest(rows)
    while size < most:
        sizes, size = np.where(sizes < wanted, 2 * sizes, sizes), 2 * size
    return pointers(sizes)


@njit(cache=True)
def session_table(s, rows, candidates, slots, tables):
    """The body for one session (CPU and CUDA). tables: all -1; of the session's part of it are slots[s]:slots[s + 1]."""
    first, mask = slots[s], slots[s + 1] - slots[s] - 1
    for r in range(rows[s], rows[s + 1]):
        slot = first_slot(candidates[r], mask)
        while tables[first + slot] >= 0:
            slot = (slot + 1) & mask
        tables[first + slot] = r - rows[s]


@njit(parallel=True, cache=True)
def _every_table(rows, candidates, slots, tables):
    for s in prange(len(rows) - 1):
        session_table(np.int64(s), rows, candidates, slots, tables)


_tables = Kernel(_every_table, session_table)


@njit(cache=True)
def session_interactions(
    s, rows, candidates, pointer, items, item_weights, rules, row_pointer, neighbours, weights, slots, tables, sums, out
):  # fmt: skip
    """One session, on the CPU. sums: float32 [candidates of the largest session, 12], sums and maxima of one rule, which stay
    in the nearest cache."""
    begin, n = rows[s], rows[s + 1] - rows[s]
    table = tables[slots[s] : slots[s + 1]]
    mask = len(table) - 1
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


@njit(parallel=True, cache=True)
def _every_session(
    rows, candidates, pointer, items, item_weights, rules, row_pointer, neighbours, weights, slots, tables, widest, threads, out
):  # fmt: skip
    for w in prange(threads):
        sums = np.empty((widest, 2 * N_WEIGHTINGS), np.float32)
        for s in range(w, len(rows) - 1, threads):
            session_interactions(
                s, rows, candidates, pointer, items, item_weights, rules, row_pointer, neighbours, weights, slots, tables, sums,
                out,
            )  # fmt: skip


def rule_interactions(
    s, part, rows, candidates, pointer, items, item_weights, rules, row_pointer, neighbours, weights, slots, tables, widest,
    threads, out,
):  # fmt: skip
    """The body for one rule of one session (CUDA): twenty times the threads. Sums and maxima are made where they stay, since
    most candidates are met by few rules, and a thread has no cache to speak of."""
    begin, first, mask = rows[s], slots[s], slots[s + 1] - slots[s] - 1
    base = 3 * N_WEIGHTINGS * part
    for h in range(pointer[s], pointer[s + 1]):
        for e in range(row_pointer[rules[part], items[h]], row_pointer[rules[part], items[h] + 1]):
            slot = first_slot(neighbours[e], mask)
            while tables[first + slot] >= 0:
                r = begin + tables[first + slot]
                if candidates[r] == neighbours[e]:
                    for w in range(N_WEIGHTINGS):
                        value = weights[e] * item_weights[h, w]
                        out[r, base + 3 * w + 1] += value
                        out[r, base + 3 * w + 2] = max(out[r, base + 3 * w + 2], value)
                    break
                slot = (slot + 1) & mask
    n_items = max(pointer[s + 1] - pointer[s], 1)
    for r in range(begin, rows[s + 1]):
        if out[r, base + 1] != 0:  # the weighting `one`: without it there is none of the others
            for w in range(N_WEIGHTINGS):
                out[r, base + 3 * w] = out[r, base + 3 * w + 1] / n_items


_interactions = Kernel(_every_session, rule_interactions, parts="rules")

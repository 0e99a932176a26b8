"""The engine without a pair table (numba): the row of item x needs only the sessions in which x occurs.

Its postings (postings.py) say which runs of right events its left events pair with. They are added up in a scratch row whose
stamps tell 'already paired in this session' and 'first touched in this row'. Every row is summed by one thread in one order:
the bits do not depend on the number of threads.
"""

from __future__ import annotations

import numba
import numpy as np
from llvmlite import ir
from numba import njit, prange
from numba.core import cgutils, types
from numba.extending import intrinsic

from otto_gpu.cooccurrence.matrix import Matrix
from otto_gpu.cooccurrence.postings import Postings
from otto_gpu.cooccurrence.rule import MatrixRule
from otto_gpu.events.log import EventLog

CELL = np.dtype([("stamp", np.int32), ("sum", np.float32)])
# postings between the prefetch of something and its use: a run's right events at AHEAD, the cells of their items at SOON.
# At 20M events (time_decay) the latter took 3.2 s to 2.9 s, the events of whole runs instead of the newest 3.4 s to 3.2 s
AHEAD, SOON = 6, 2
A_LINE = 8  # right events in 64 bytes

# 0.5^(dt/h) as a product of three table entries: dt in steps of h / 2^17 (relative error below 3e-6), 8 bits a table
STEPS_PER_HALF_LIFE = 1 << 17
SHIFT, ITEM = np.uint64(32), np.uint64(0xFFFFFFFF)


@intrinsic
def _prefetch(typingctx, array, index):
    """Asks the processor to bring array[index] into its caches."""

    def codegen(context, builder, signature, args):
        struct = context.make_array(signature.args[0])(context, builder, args[0])
        place = cgutils.get_item_pointer(context, builder, signature.args[0], struct, [args[1]])
        pointer = builder.bitcast(place, ir.PointerType(ir.IntType(8)))
        number = ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), [pointer.type, number, number, number])
        function = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
        builder.call(function, [pointer, number(0), number(3), number(1)])
        return context.get_dummy_value()

    return types.void(array, types.intp), codegen


def build(log: EventLog, rule: MatrixRule) -> Matrix:
    """The matrix of one rule. Memory: about 24 bytes per kept event, 8 per item and thread, and the matrix twice.

    UserError as Postings.of.
    """
    threads = numba.get_num_threads()
    # what follows needs right events and postings alone: at OTTO's size what they were made of are gigabytes
    made = Postings.of(log, rule, threads)
    first, work = made.first, made.work
    bound = np.minimum(work, rule.keep)
    out = np.concatenate([[0], np.cumsum(bound)])
    neighbours, weights = np.empty(out[-1], np.int32), np.empty(out[-1], np.float32)
    # equal shares of the work for the threads: pairs, and what a posting and a row cost besides
    cost = np.concatenate([[0], np.cumsum(work + 4 * np.diff(first) + 1)])
    shares = np.searchsorted(cost, np.linspace(0, cost[-1], threads + 1)[1:-1])
    shares = np.concatenate([[0], shares, [log.n_items]]).astype(np.int64)
    counts = np.zeros(log.n_items, np.int32)
    half_life = rule.weight.half_life_hours
    recency = rule.weight.recency
    span = log.span[1] - log.span[0]
    slope = (recency[1] - recency[0]) / span if recency and span else 0.0
    _rows(
        shares, first, made.postings, made.right, made.bits, int(min(work.max(initial=0), log.n_items)),
        {None: 0, "pair": 1, "pair_and_type": len(log.types)}[rule.once_per], rule.which == "closest", rule.self_pairs,
        0.0 if half_life is None else STEPS_PER_HALF_LIFE / (half_life * 3.6e6), _decay_tables(),
        1.0 if recency is None else float(recency[0]), float(slope),
        np.array(rule.type_weights(log.types), np.float32), rule.weight.type_y is not None,
        rule.keep, out, neighbours, weights, counts,
    )  # fmt: skip
    del made
    pointer = np.concatenate([[0], np.cumsum(counts, dtype=np.int64)])
    return Matrix(pointer, *_compact(out, pointer, neighbours, weights), log.items)


def _decay_tables() -> np.ndarray:
    steps = np.arange(256)
    return np.array([0.5 ** (steps * 256.0**i / STEPS_PER_HALF_LIFE) for i in range(3)], np.float32)


@njit(cache=True)
def _decay(dt, scale, tables):
    steps = abs(dt) * scale + 0.5
    if steps >= 16777216.0:  # 128 half-lives: below what a float32 holds
        return np.float32(0)
    k = np.int64(steps)
    return tables[0, k & 255] * tables[1, (k >> 8) & 255] * tables[2, k >> 16]


@njit(parallel=True, cache=True)
def _rows(
    shares, first, postings, right, bits, longest, once, closest, self_pairs, scale, tables, recency, slope,
    type_weight, typed, keep, out, neighbours, weights, counts,
):  # fmt: skip
    """once: 0 every pair, 1 once per session and y, else once per session, y and type (the number of types)."""
    types = (1 << bits) - 1
    for t in prange(len(shares) - 1):
        cells = _cells(len(counts))
        touched = np.empty(longest + 1, np.int32)  # one is written behind the last
        heaviest = np.empty(keep, np.uint64)
        # the general case needs to know which (y, type) was paired in a session, and how close
        simple = once == 1 and not closest
        slots = len(counts) * once if closest or once > 1 else 0
        paired = np.zeros(slots, np.int32)
        nearest = np.zeros(slots, np.int64)
        pending = np.zeros(slots, np.float32)
        waiting = np.empty(slots, np.int64)
        stamp = np.int32(0)
        for x in range(shares[t], shares[t + 1]):
            row_begin = stamp + 1
            session, n, waits = -1, 0, 0
            for j in range(first[x], first[x + 1]):
                if j + AHEAD < len(postings):  # also those of the next items
                    ahead = postings[j + AHEAD]
                    for q in range(ahead.begin, ahead.end, A_LINE):
                        _prefetch(right, q)
                if j + SOON < len(postings):
                    ahead = postings[j + SOON]
                    for q in range(ahead.begin, ahead.end):
                        _prefetch(cells, np.int64(right[q].key) >> bits)
                run = postings[j]
                if run.session != session:
                    for slot in waiting[:waits]:  # only 'closest' waits for a session's end
                        n = _add(cells, slot // once, pending[slot], row_begin, stamp, touched, n)
                    waits = 0
                    session = run.session
                    stamp += 1
                    if simple and not self_pairs:
                        cells[x].stamp = stamp  # x counts as paired already: no pair with itself has to be told apart
                ts = np.int64(run.ts)
                base = np.float32(recency + slope * ts)
                for q in range(run.end - 1, run.begin - 1, -1):  # newest first
                    key = np.int64(right[q].key)
                    y = key >> bits
                    weight = base
                    if scale > 0:
                        weight *= _decay(np.int64(right[q].ts) - ts, scale, tables)
                    if typed:
                        weight *= type_weight[key & types]
                    if simple:
                        n = _add_once(cells, y, weight, row_begin, stamp, touched, n)
                        continue
                    if y == x and not self_pairs:
                        continue
                    if slots == 0:  # every pair counts
                        n = _add(cells, y, weight, row_begin, stamp, touched, n)
                        continue
                    slot = y * once + (key & types if once > 1 else 0)
                    if closest:
                        apart = abs(np.int64(right[q].ts) - ts)
                        if paired[slot] == stamp and apart >= nearest[slot]:
                            continue
                        if paired[slot] != stamp:
                            waiting[waits] = slot
                            waits += 1
                        nearest[slot], pending[slot] = apart, weight
                        paired[slot] = stamp
                    elif paired[slot] != stamp:
                        paired[slot] = stamp
                        n = _add(cells, y, weight, row_begin, stamp, touched, n)
            for slot in waiting[:waits]:
                n = _add(cells, slot // once, pending[slot], row_begin, stamp, touched, n)
            counts[x] = _heaviest(cells, touched[:n], heaviest)
            for i in range(counts[x]):
                neighbours[out[x] + i] = ITEM - (heaviest[i] & ITEM)
                weights[out[x] + i] = cells[neighbours[out[x] + i]].sum


@njit(cache=True)
def _cells(n):
    """Apart, because numba does not parallelise the making of records."""
    return np.zeros(n, CELL)


@njit(cache=True)
def _add(cells, y, weight, row_begin, stamp, touched, n):
    cell = cells[y]
    if cell.stamp < row_begin:
        cell.sum = weight
        touched[n] = y
        n += 1
    else:
        cell.sum += weight
    cell.stamp = stamp
    return n


@njit(cache=True)
def _add_once(cells, y, weight, row_begin, stamp, touched, n):
    """`_add`, unless the session has paired y before. Without branches: which of the three it is cannot be foreseen."""
    cell = cells[y]
    last, total = cell.stamp, cell.sum
    total = total if last >= row_begin else np.float32(0)
    cell.sum = total + (weight if last != stamp else np.float32(0))
    cell.stamp = stamp
    touched[n] = y
    return n + (last < row_begin)


@njit(cache=True)
def _heaviest(cells, touched, heaviest):
    """Fills uint64 [keep] with the heaviest of the touched items, by insertion; ties: the smaller aid. Returns how many.

    Weight and item in one number, which sorts as both do: the bits of a float32 that is not negative rise with it.
    """
    n = 0
    for y in touched:
        weight = np.uint64(np.float32(cells[y].sum).view(np.uint32))
        key = (weight << SHIFT) | (ITEM - np.uint64(y))
        if n == len(heaviest):
            if key < heaviest[n - 1]:
                continue
            n -= 1
        i = n
        while i > 0 and heaviest[i - 1] < key:
            heaviest[i] = heaviest[i - 1]
            i -= 1
        heaviest[i] = key
        n += 1
    return n


@njit(parallel=True, cache=True)
def _compact(out, pointer, neighbours, weights):
    """Closes the gaps that rows shorter than their bound have left."""
    tight, light = np.empty(pointer[-1], np.int32), np.empty(pointer[-1], np.float32)
    for x in prange(len(pointer) - 1):
        n = pointer[x + 1] - pointer[x]
        tight[pointer[x] : pointer[x + 1]] = neighbours[out[x] : out[x] + n]
        light[pointer[x] : pointer[x + 1]] = weights[out[x] : out[x] + n]
    return tight, light

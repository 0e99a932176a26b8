"""The engine without a pair table (numba): the row of item x needs only the sessions in which x occurs.

Positions and times both rise within a session, so the partners that a rule allows one left event are one run of the
session's right events, less one hole around the event itself. The runs are found with moving pointers, the left events
sorted by item (newest first, so that the first pair met is the latest), and each item's runs added up in a scratch row
whose stamps tell 'already paired in this session' and 'first touched in this row'. Every row is summed by one thread in
one order: the bits do not depend on the number of threads.
"""

from __future__ import annotations

from math import ceil, floor

import numba
import numpy as np
from llvmlite import ir
from numba import njit, prange
from numba.core import cgutils, types
from numba.extending import intrinsic

from otto_gpu.cooccurrence.matrix import Matrix
from otto_gpu.cooccurrence.rule import DAY_MS, MatrixRule
from otto_gpu.events.log import EventLog

RIGHT = np.dtype([("ts", np.int64), ("aid", np.int32), ("type", np.int32)])
# one left event: right events [begin, end) less [hole, after) are its partners; own is its own place among the right
# events, -1 where it is none of them
RUN = np.dtype([("ts", np.int64)] + [(name, np.int32) for name in ("begin", "end", "hole", "after", "own", "session")])
CELL = np.dtype([("stamp", np.int32), ("sum", np.float32)])
# postings between the prefetch of something and its use: a run at twice AHEAD, its right events, then the cells of their items.
# At 20M events (time_decay) the last took 3.2 s to 2.9 s, the events of whole runs instead of the newest 3.4 s to 3.2 s
AHEAD, SOON = 6, 2
A_LINE = 4  # right events in 64 bytes

# 0.5^(dt/h) as a product of three table entries: dt in steps of h / 2^17 (relative error below 3e-6), 8 bits a table
STEPS_PER_HALF_LIFE = 1 << 17
SHIFT, ITEM = np.uint64(32), np.uint64(0xFFFFFFFF)
FAR = np.iinfo(np.int64).max // 4


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
    """The matrix of one rule. Memory: about 60 bytes per kept event, 8 per item and thread, and the matrix twice."""
    threads = numba.get_num_threads()
    starts, aid, ts, kind = _kept_events(log, rule)
    right, place = _right_events(starts, aid, ts, kind, log, rule, threads)
    runs = _runs(starts, aid, ts, kind, place, log, rule)
    trivial_hole = _hole_is_event(rule)
    drop_covered = rule.once_per is not None and rule.which == "latest" and trivial_hole
    if rule.self_pairs and rule.once_per == "pair_and_type":
        drop_covered = False  # the later event's own type may be missing among its partners
    left = _type_mask(rule.codes("left", log.types), log)
    first, order, work = _postings(
        _shares(starts, threads), starts, aid, kind, left, runs, log.n_items, rule.left_first, drop_covered, rule.self_pairs
    )
    del aid, ts, kind, place  # what follows needs runs alone: at OTTO's size these are gigabytes
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
    begin, end = (int(log.ts.min()), int(log.ts.max())) if len(log) else (0, 0)
    slope = (recency[1] - recency[0]) / (end - begin) if recency and end > begin else 0.0
    _rows(
        shares, first, order, runs, right, _longest_row(work, log.n_items),
        {None: 0, "pair": 1, "pair_and_type": len(log.types)}[rule.once_per], rule.which == "closest", rule.self_pairs,
        0.0 if half_life is None else STEPS_PER_HALF_LIFE / (half_life * 3.6e6), _decay_tables(),
        1.0 if recency is None else float(recency[0]), float(slope), begin,
        np.array(rule.type_weights(log.types), np.float32), rule.weight.type_y is not None,
        rule.keep, out, neighbours, weights, counts,
    )  # fmt: skip
    pointer = np.concatenate([[0], np.cumsum(counts, dtype=np.int64)])
    return Matrix(pointer, *_compact(out, pointer, neighbours, weights), log.items)


def _shares(starts: np.ndarray, threads: int) -> np.ndarray:
    """int64 [threads + 1]: ranges of sessions with about as many events each."""
    inner = np.searchsorted(starts, np.linspace(0, starts[-1], threads + 1)[1:-1])
    return np.concatenate([[0], inner, [len(starts) - 1]]).astype(np.int64)


def _type_mask(codes, log: EventLog) -> np.ndarray:
    mask = np.zeros(len(log.types), bool)
    mask[list(codes)] = True
    return mask


def _hole_is_event(rule: MatrixRule) -> bool:
    positions, seconds = rule.gap_positions, rule.gap_seconds
    wide = (positions is not None and positions.abs and positions.lo > 1) or (
        seconds is not None and seconds.abs and seconds.lo is not None
    )
    return not wide


def _kept_events(log: EventLog, rule: MatrixRule):
    """Step 1 of the rule: (starts, aid, ts, type) of the events that are left; the log's own arrays if all are."""
    left, right = rule.codes("left", log.types), rule.codes("right", log.types)
    same = sorted(left) == sorted(right)
    if not len(log) or not (
        rule.since_days or rule.new_sessions_days or rule.tail or (same and len(set(left)) < len(log.types))
    ):
        return log.starts, log.aid, log.ts, log.type
    end = int(log.ts.max())
    # first whole millisecond inside the window
    since = ceil(end - rule.since_days * DAY_MS) if rule.since_days else -FAR
    began = ceil(end - rule.new_sessions_days * DAY_MS) if rule.new_sessions_days else -FAR
    allowed = _type_mask(left if same else range(len(log.types)), log)
    counts = np.empty(log.n_sessions, np.int64)
    tail = rule.tail or FAR
    _count_kept(log.starts, log.ts, log.type, allowed, since, began, tail, counts)
    starts = np.concatenate([[0], np.cumsum(counts)])
    aid, ts, kind = np.empty(starts[-1], np.int32), np.empty(starts[-1], np.int64), np.empty(starts[-1], np.int8)
    _copy_kept(log.starts, log.aid, log.ts, log.type, allowed, since, starts, aid, ts, kind)
    return starts, aid, ts, kind


@njit(parallel=True, cache=True)
def _count_kept(starts, ts, kind, allowed, since, began, tail, counts):
    for s in prange(len(starts) - 1):
        n = 0
        if starts[s] < starts[s + 1] and ts[starts[s]] >= began:
            for i in range(starts[s], starts[s + 1]):
                n += allowed[kind[i]] and ts[i] >= since
        counts[s] = min(n, tail)


@njit(parallel=True, cache=True)
def _copy_kept(starts, aid, ts, kind, allowed, since, kept, out_aid, out_ts, out_kind):
    for s in prange(len(starts) - 1):
        place, i = kept[s + 1], starts[s + 1]
        while place > kept[s]:  # from the newest on: the tail
            i -= 1
            if allowed[kind[i]] and ts[i] >= since:
                place -= 1
                out_aid[place], out_ts[place], out_kind[place] = aid[i], ts[i], kind[i]


def _right_events(starts, aid, ts, kind, log: EventLog, rule: MatrixRule, threads: int):
    """(right events RIGHT [r], place int32 [events + 1]): place[i] right events stand before kept event i."""
    mask = _type_mask(rule.codes("right", log.types), log)
    place = np.zeros(len(aid) + 1, np.int32)
    if rule.right_first_seen or not mask.all():
        _mark_right(_shares(starts, threads), starts, aid, kind, mask, rule.right_first_seen, log.n_items, place)
        np.cumsum(place, out=place)
    else:
        place[:] = np.arange(len(aid) + 1, dtype=np.int32)
    right = np.empty(place[-1], RIGHT)
    _fill_right(aid, ts, kind, place, right)
    return right, place


@njit(parallel=True, cache=True)
def _mark_right(shares, starts, aid, kind, mask, first_seen, n_items, marks):
    for t in prange(len(shares) - 1):
        seen = np.full(n_items if first_seen else 0, -1, np.int32)
        for s in range(shares[t], shares[t + 1]):
            for i in range(starts[s], starts[s + 1]):
                new = True
                if first_seen:
                    new = seen[aid[i]] != s
                    seen[aid[i]] = s
                marks[i + 1] = new and mask[kind[i]]


@njit(parallel=True, cache=True)
def _fill_right(aid, ts, kind, place, right):
    for i in prange(len(aid)):
        if place[i + 1] > place[i]:
            event = right[place[i]]
            event.ts, event.aid, event.type = ts[i], aid[i], kind[i]


def _runs(starts, aid, ts, kind, place, log: EventLog, rule: MatrixRule) -> np.ndarray:
    """RUN [kept events]: the partners of every kept event, were it an x."""
    positions, seconds = rule.gap_positions, rule.gap_seconds
    # positions: [low, high] around the event, less the hole of those nearer than lo
    if positions is None:
        low, high, near = -FAR, FAR, 0
    elif positions.abs:
        low, high, near = -positions.hi, positions.hi, positions.lo - 1
    else:
        low, high, near = positions.lo, positions.hi, 0
    # times: after < dt < before, less |dt| <= close; whole milliseconds on both sides of a fraction are told apart
    after, before, close = -FAR, FAR, -1
    if seconds is not None:
        before = FAR if seconds.hi is None else ceil(seconds.hi_ms)
        if seconds.abs:
            after = -before
            close = -1 if seconds.lo is None else floor(seconds.lo_ms)
        else:
            after = -1 if seconds.lo is None else floor(seconds.lo_ms)
    runs = np.empty(len(aid), RUN)
    _find_runs(starts, ts, place, low, high, near, after, before, close, rule.self_pairs, runs)
    return runs


@njit(parallel=True, cache=True)
def _find_runs(starts, ts, place, low, high, near, after, before, close, self_pairs, runs):
    for s in prange(len(starts) - 1):
        begin, end = starts[s], starts[s + 1]
        a, b, h0, h1 = begin, begin, begin, begin
        for p in range(begin, end):
            t = ts[p]
            while a < end and ts[a] <= t + after:
                a += 1
            while b < end and ts[b] < t + before:
                b += 1
            first, last = max(a, p + low, begin), min(b, p + high + 1, end)
            hole, rest = p - near, p + near + 1
            if close >= 0:
                while h0 < end and ts[h0] < t - close:
                    h0 += 1
                while h1 < end and ts[h1] <= t + close:
                    h1 += 1
                hole, rest = min(hole, h0), max(rest, h1)
            last = max(last, first)
            hole, rest = min(max(hole, first), last), min(max(rest, first), last)
            run = runs[p]
            run.ts, run.session = t, s
            run.begin, run.end = place[first], place[last]
            run.own = place[p] if place[p + 1] > place[p] else -1
            if near == 0 and close < 0 and not self_pairs:
                # the hole is the event itself, whose item is left out anyway: one run, no hole
                run.hole = run.after = run.begin
            else:
                run.hole, run.after = place[hole], place[rest]


@njit(parallel=True, cache=True)
def _postings(shares, starts, aid, kind, left, runs, n_items, left_first, drop_covered, self_pairs):
    """(first int64 [n_items + 1], order int32, work int64 [n_items]): left events by item, newest first: those of item x are
    order[first[x]:first[x + 1]]. work[x]: how many pairs they meet.

    An event is covered, and dropped, if the next later event of its item in the session has all of its partners: every
    pair that it makes is then a duplicate of a later one.
    """
    n_shares = len(shares) - 1
    keeps = np.zeros(len(aid), np.bool_)
    places = np.zeros((n_shares, n_items), np.int64)
    works = np.zeros((n_shares, n_items), np.int64)
    for t in prange(n_shares):
        newest = np.full(n_items, len(aid), np.int64)  # the item's posting before, that is, the next later one
        for s in range(shares[t + 1] - 1, shares[t] - 1, -1):
            for i in range(starts[s + 1] - 1, starts[s] - 1, -1):
                run = runs[i]
                if not left[kind[i]] or run.begin == run.end or (left_first and i > starts[s]):
                    continue
                x = aid[i]
                if drop_covered and newest[x] < starts[s + 1]:
                    later = runs[newest[x]]
                    if later.begin <= run.begin and run.end <= later.end:
                        # of pairs of the item with itself, the later event misses only the one with itself
                        meets_later = self_pairs and later.own >= run.begin and later.own < run.end
                        if not meets_later or (run.own >= later.begin and run.own < later.end):
                            continue
                newest[x] = i
                keeps[i] = True
                places[t, x] += 1
                works[t, x] += run.end - run.begin - (run.after - run.hole)
    first = np.zeros(n_items + 1, np.int64)
    for x in range(n_items):
        first[x + 1] = first[x]
        for t in range(n_shares - 1, -1, -1):  # the newest sessions are in the last share
            count = places[t, x]
            places[t, x] = first[x + 1]
            first[x + 1] += count
    order = np.empty(first[n_items], np.int32)
    for t in prange(n_shares):
        for i in range(starts[shares[t + 1]] - 1, starts[shares[t]] - 1, -1):
            if keeps[i]:
                order[places[t, aid[i]]] = i
                places[t, aid[i]] += 1
    return first, order, works.sum(axis=0)


def _longest_row(work: np.ndarray, n_items: int) -> int:
    return int(min(work.max(initial=0), n_items))


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
    shares, first, order, runs, right, longest, once, closest, self_pairs, scale, tables, recency, slope, begin,
    type_weight, typed, keep, out, neighbours, weights, counts,
):  # fmt: skip
    """once: 0 every pair, 1 once per session and y, else once per session, y and type (the number of types)."""
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
                if j + 2 * AHEAD < len(order):  # also those of the next items
                    _prefetch(runs, order[j + 2 * AHEAD])
                if j + AHEAD < len(order):
                    ahead = runs[order[j + AHEAD]]
                    for q in range(ahead.begin, ahead.end, A_LINE):
                        _prefetch(right, q)
                if j + SOON < len(order):
                    ahead = runs[order[j + SOON]]
                    for q in range(ahead.begin, ahead.end):
                        _prefetch(cells, right[q].aid)
                run = runs[order[j]]
                if run.session != session:
                    for slot in waiting[:waits]:  # only 'closest' waits for a session's end
                        n = _add(cells, slot // once, pending[slot], row_begin, stamp, touched, n)
                    waits = 0
                    session = run.session
                    stamp += 1
                    if simple and not self_pairs:
                        cells[x].stamp = stamp  # x counts as paired already: no pair with itself has to be told apart
                base = np.float32(recency + slope * (run.ts - begin))
                for part in range(2):  # the events after the hole, then those before it; newest first
                    low, high = (run.after, run.end) if part == 0 else (run.begin, run.hole)
                    for q in range(high - 1, low - 1, -1):
                        y = right[q].aid
                        weight = base
                        if scale > 0:
                            weight *= _decay(right[q].ts - run.ts, scale, tables)
                        if typed:
                            weight *= type_weight[right[q].type]
                        if simple:
                            n = _add_once(cells, y, weight, row_begin, stamp, touched, n)
                            continue
                        if y == x and not self_pairs:
                            continue
                        if slots == 0:  # every pair counts
                            n = _add(cells, y, weight, row_begin, stamp, touched, n)
                            continue
                        slot = y * once + (right[q].type if once > 1 else 0)
                        if closest:
                            apart = abs(right[q].ts - run.ts)
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

"""Which pairs of events a rule allows and counts, and what each weighs: the kernels of the engine `pairs`.

Positions and times both rise within a session, so the right events that a rule allows one left event are one run of them
less one hole around the event itself: RUN = [begin, hole) and [after, end), and all four rise with the event. One thread
owns one left event. Left events are sorted by item, then session, then position: those of the same item and session stand
side by side. Right events stand in the order of the log; `following` and `earliest` lead from one to the next, and to the
first, of the same item (and type, where pairs count once per type) in its session.
"""

from __future__ import annotations

import numpy as np
from numba import njit, prange

from otto_gpu.device.bisect import first_after
from otto_gpu.device.kernel import Kernel

BEGIN, HOLE, AFTER, END = range(4)  # the columns of a run
NONE = -1
AID_BITS = 32  # a pair's key: aid_x above, aid_y below


@njit(cache=True)
def event_run(k, offsets, event, session, starts, ts, place, positions, times, runs):
    """The body for one event (CPU and CUDA): runs[k], and in offsets[k + 1] how many right events that are.

    event[k]: the left event's place in the log; place[i]: how many right events stand before event i. positions: (low, high,
    near), partners are low..high positions away, but not `near` or nearer. times: (above, below, close) in ms, partners are
    above < dt < below away, but not |dt| <= close.
    """
    p = event[k]
    begin, end = starts[session[p]], starts[session[p] + 1]
    t = ts[p]
    first = min(end, max(begin, p + positions[0], first_after(ts, begin, end, t + times[0])))
    last = max(first, min(end, p + positions[1] + 1, first_after(ts, begin, end, t + times[1] - 1)))
    hole, after = p - positions[2], p + positions[2] + 1
    if times[2] >= 0:
        hole = min(hole, first_after(ts, begin, end, t - times[2] - 1))
        after = max(after, first_after(ts, begin, end, t + times[2]))
    runs[k, BEGIN], runs[k, END] = place[first], place[last]
    runs[k, HOLE] = place[min(max(hole, first), last)]
    runs[k, AFTER] = place[min(max(after, first), last)]
    offsets[k + 1] = runs[k, HOLE] - runs[k, BEGIN] + runs[k, END] - runs[k, AFTER]


@njit(cache=True)
def event_count(
    k, offsets, aid, ts, session, runs, right_aid, right_ts, following, earliest, once, closest, self_pairs
):  # fmt: skip
    """The body for one event (CPU and CUDA): offsets[k + 1] = how many pairs left event k makes that count."""
    n = 0
    for part in range(2):
        for q in range(runs[k, 2 * part], runs[k, 2 * part + 1]):
            n += _pair_counts(
                k, q, aid, ts, session, runs, right_aid, right_ts, following, earliest, once, closest, self_pairs
            )  # fmt: skip
    offsets[k + 1] = n


@njit(cache=True)
def event_pairs(
    k, offsets, first, aid, ts, session, runs, right_aid, right_ts, right_type, following, earliest, once, closest, self_pairs,
    decay, recency, type_weight, keys, weights,
):  # fmt: skip
    """The body for one event (CPU and CUDA): the pairs of left event first + k, from offsets[k] - offsets[0] on.

    decay: half-lives per ms; recency: (weight at ts 0, weight per ms). keys int64: aid_x above, aid_y below; weights float32.
    """
    e = first + k
    base = recency[0] + recency[1] * ts[e]
    place = offsets[k] - offsets[0]
    for part in range(2):
        for q in range(runs[e, 2 * part], runs[e, 2 * part + 1]):
            if not _pair_counts(
                e, q, aid, ts, session, runs, right_aid, right_ts, following, earliest, once, closest, self_pairs
            ):  # fmt: skip
                continue
            keys[place] = (np.int64(aid[e]) << AID_BITS) | right_aid[q]
            weights[place] = base * type_weight[right_type[q]] * 0.5 ** (abs(right_ts[q] - ts[e]) * decay)
            place += 1


@njit(cache=True)
def pair_sum(k, first, order, weights, sums):
    """The body for one pair of items (CPU and CUDA): sums[k] over weights[order[first[k]:first[k + 1]]], in that order, so
    that the bits do not depend on who adds what when.
    """
    total = 0.0
    for i in range(first[k], first[k + 1]):
        total += weights[order[i]]
    sums[k] = total


@njit(cache=True)
def _allowed(e, q, runs):
    return (runs[e, BEGIN] <= q < runs[e, HOLE]) or (runs[e, AFTER] <= q < runs[e, END])


@njit(cache=True)
def _pair_counts(
    e, q, aid, ts, session, runs, right_aid, right_ts, following, earliest, once, closest, self_pairs
):  # fmt: skip
    """Whether an allowed pair counts: of different items (or self_pairs), and the one that stands for its duplicates."""
    if not self_pairs and aid[e] == right_aid[q]:
        return False
    if not once:
        return True
    if closest:
        return _is_closest(e, q, aid, ts, session, runs, right_ts, following, earliest)
    return _is_latest(e, q, aid, session, runs, following, earliest)


@njit(cache=True)
def _is_latest(e, q, aid, session, runs, following, earliest):
    """No later event of y is a partner of x, and no later event of x has any partner among the events of y."""
    later = following[q]
    while later != NONE and runs[e, HOLE] <= later < runs[e, AFTER]:
        later = following[later]
    if later != NONE and later < runs[e, END]:
        return False
    # the runs of x's later events rise, and with them the first event of y behind their begin and behind their hole
    before, behind = earliest[q], earliest[q]
    e += 1
    while e < len(aid) and aid[e] == aid[e - 1] and session[e] == session[e - 1]:
        while before != NONE and before < runs[e, BEGIN]:
            before = following[before]
        if before != NONE and before < runs[e, HOLE]:
            return False
        while behind != NONE and behind < runs[e, AFTER]:
            behind = following[behind]
        if behind != NONE and behind < runs[e, END]:
            return False
        e += 1
    return True


@njit(cache=True)
def _is_closest(e, q, aid, ts, session, runs, right_ts, following, earliest):
    """No pair of the same items (and type of y) in the session is closer in time, and none as close is later."""
    apart = abs(right_ts[q] - ts[e])
    other = e
    while other > 0 and aid[other - 1] == aid[e] and session[other - 1] == session[e]:
        other -= 1
    while other < len(aid) and aid[other] == aid[e] and session[other] == session[e]:
        partner = earliest[q]
        while partner != NONE and partner < runs[other, END]:
            distance = abs(right_ts[partner] - ts[other])
            later = other > e or (other == e and partner > q)
            if (distance < apart or (distance == apart and later)) and _allowed(other, partner, runs):
                return False
            partner = following[partner]
        other += 1
    return True


# ------------------------------------------------------------------------------------------------------------ on the CPU
# prange counts in uint64, and uint64 + int64 is a float64
@njit(parallel=True, cache=True)
def _every_run(offsets, event, session, starts, ts, place, positions, times, runs):
    for k in prange(len(offsets) - 1):
        event_run(np.int64(k), offsets, event, session, starts, ts, place, positions, times, runs)


@njit(parallel=True, cache=True)
def _every_count(
    offsets, aid, ts, session, runs, right_aid, right_ts, following, earliest, once, closest, self_pairs
):  # fmt: skip
    for k in prange(len(offsets) - 1):
        event_count(
            np.int64(k), offsets, aid, ts, session, runs, right_aid, right_ts, following, earliest, once, closest, self_pairs
        )  # fmt: skip


@njit(parallel=True, cache=True)
def _every_pair(
    offsets, first, aid, ts, session, runs, right_aid, right_ts, right_type, following, earliest, once, closest, self_pairs,
    decay, recency, type_weight, keys, weights,
):  # fmt: skip
    for k in prange(len(offsets) - 1):
        event_pairs(
            np.int64(k), offsets, first, aid, ts, session, runs, right_aid, right_ts, right_type, following, earliest, once,
            closest, self_pairs, decay, recency, type_weight, keys, weights,
        )  # fmt: skip


@njit(parallel=True, cache=True)
def _every_sum(first, order, weights, sums):
    for k in prange(len(first) - 1):
        pair_sum(np.int64(k), first, order, weights, sums)


find_runs = Kernel(_every_run, event_run)
count_pairs = Kernel(_every_count, event_count)
write_pairs = Kernel(_every_pair, event_pairs)
add_up = Kernel(_every_sum, pair_sum)

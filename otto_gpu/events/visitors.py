"""How a generated log comes about, event by event: a small model of a shop's visitors, as one kernel over sessions.

Every session draws from a random stream of its own (splitmix64, started from the seed and the session's number), so that
neither the size of the blocks nor the number of threads changes a bit. Items are handled by their rank of popularity;
topics, families and related items are arithmetic and hashes on ranks, so that no table of them is needed.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit, prange

HOUR, DAY = 3_600_000, 86_400_000  # ms
CLICK, CART, ORDER = 0, 1, 2

# Popularity of the item of rank r is in proportion to 1 / (r + FLAT * items): Zipf with a flat head.
FLAT = 0.003
LOG_HEAD = math.log1p(1 / FLAT)
LEAVE = 0.09  # a visit ends before this share of the events
PAUSE = math.log(400) / 2**17  # pauses within a visit: 3 seconds to 20 minutes, median one minute
TOPIC = 400  # items of one topic: every (items / 400)-th by rank
FAMILY = 4  # items of a topic that are next to each other by rank can replace each other
RELATED = 12  # items of the topic that visitors of a family look at next


# ------------------------------------------------------------------------------------------------- random streams
GOLDEN = np.uint64(0x9E3779B97F4A7C15)


@njit
def _mix(z):
    """splitmix64's finalizer (Steele, Lea, Flood 2014): a bijection of uint64 that looks random."""
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


@njit
def _unit(z):
    """uint64 -> [0, 1)"""
    return np.float64(z >> np.uint64(11)) * (1.0 / 9007199254740992.0)


@njit
def _stream(key, session):
    """Where the session's stream begins; its n-th draw is _mix(start + n * GOLDEN)."""
    return _mix(key ^ _mix(np.uint64(session) * GOLDEN + np.uint64(1)))


# --------------------------------------------------------------------------------------------------------- items
def permutation(key: np.uint64, items: int) -> np.ndarray:
    """int32 [items]: the id of the item of each rank. Ids say nothing about popularity."""
    hashed = _mix.py_func((key ^ np.uint64(0x1D5)) + np.arange(1, items + 1, dtype=np.uint64) * GOLDEN)
    return np.argsort(hashed, kind="stable").astype(np.int32)


@njit
def _popular(u, items):
    """The rank of an item drawn by popularity: the inverse of the popularity's distribution."""
    return min(np.int64(FLAT * items * (math.exp(u * LOG_HEAD) - 1.0)), items - 1)


@njit
def _in_topic(rank, topic, topics, items):
    """The item of the topic that is closest in rank (and so in popularity)."""
    near = rank // topics * topics + topic
    return near if near < items else topic


@njit
def _substitute(rank, u, topics, items):
    """Another item of the family."""
    level, topic = rank // topics, rank % topics
    place = level % FAMILY
    other = (level - place + (place + 1 + np.int64(u * (FAMILY - 1))) % FAMILY) * topics + topic
    return other if other < items else rank


@njit
def _related(rank, u, key, topics, items):
    """One of the items that go with the family, the first of them far more often than the last."""
    level, topic = rank // topics, rank % topics
    which = np.int64(u * u * RELATED)
    hashed = _mix(key ^ (np.uint64((level // FAMILY * topics + topic) * RELATED + which) * GOLDEN))
    return _in_topic(_popular(_unit(hashed), items), topic, topics, items)


@njit
def _trending(u, week_u, key, ts, start, items):
    """An item by a popularity that turns from week to week, gradually."""
    week = np.int64((ts - start) / (7.0 * DAY) + week_u)
    return (_popular(u, items) + np.int64(_unit(_mix(key + np.uint64(week) * GOLDEN)) * items)) % items


# ------------------------------------------------------------------------------------------------------ sessions
@njit(cache=True)
def count(key, first, lengths, out):
    """out int64 [n + 1]: where the events of the sessions first, first + 1, ... begin in their block; lengths [65536]."""
    out[0] = 0
    for i in range(len(out) - 1):
        out[i + 1] = out[i] + lengths[_mix(_stream(key, first + i)) >> np.uint64(48)]


@njit
def _next_visit(now, z, u, start, latest, still, hours, hour_share):
    """When the visitor is back: hours or days later, at the hours at which people shop. After `latest`: not at all.

    `still` events have to find their time, so who has much to do and little time left comes sooner.
    """
    left = np.float64(latest - now) / DAY
    visits = 1.0 + LEAVE * still
    days = np.int64(min(0.8, 0.5 * left / visits) * u / (1.04 - u))
    x = _unit(_mix(z))
    hour = np.searchsorted(hours, x, side="right") - 1
    back = (now - start) // DAY + days
    ts = start + back * DAY + np.int64((hour + (x - hours[hour]) / hour_share[hour]) * HOUR)
    if ts < now + HOUR // 2:
        ts = now + HOUR // 2 + np.int64(x * min(8 * HOUR, 0.5 * left / visits * DAY))
    return ts


@njit
def _session(state, seed_key, quantile, lo, hi, items, start, end, hours, hour_share, edges, edge_share, aid, ts, type):
    """Writes the events lo..hi-1 of one visitor, items as ranks.

    Within a visit clicks are seconds to minutes apart. A click is at an item of the session again, at a substitute of the
    item before, at a related item, at one of the same topic, or anywhere by popularity. It may be followed by a cart of
    its item, and carts by a checkout that orders them at one time.
    """
    topics = max(items // TOPIC, 1)
    hour = min(np.searchsorted(edge_share, quantile, side="right") - 1, len(edges) - 2)
    inside = (quantile - edge_share[hour]) / (edge_share[hour + 1] - edge_share[hour])
    now = start + np.int64(edges[hour] + inside * (edges[hour + 1] - edges[hour]))

    state += GOLDEN
    u = _unit(_mix(state))
    to_cart = 0.02 if u < 0.4 else 0.43 * (u - 0.36)  # some only look, some buy
    basket, carts = lo, 0  # where the basket begins, what is in it
    rank = np.int64(0)
    at = lo
    while at < hi:
        latest = end - 1 - (hi - 1 - at) * 1500  # leaves the rest of the session 1.5 s an event
        state += GOLDEN
        z = _mix(state)
        u, small = _unit(z), np.int64(z & np.uint64(0xFFFF))
        if at > lo and type[at - 1] == CLICK and u < to_cart:
            now = min(now + 2_000 + small, latest)
            kind = ORDER if u < 0.01 * to_cart else CART  # hardly anyone buys without a cart
        elif carts > 0 and u > 0.96:
            now = min(now + 20_000 + 3 * small, latest)
            at = _checkout(at, hi, max(basket, at - 100), now, aid, ts, type)
            basket, carts = at, 0
            rank = np.int64(aid[at - 1])
            continue
        else:
            kind = CART if at > lo and small < 900 and to_cart > 0.05 else CLICK  # from a list, without a look
            state += GOLDEN
            move = _unit(_mix(state))
            if at > lo:
                state += GOLDEN
                z = _mix(state)
                gap = (z & np.uint64(0xFFFF)) + (z >> np.uint64(16) & np.uint64(0xFFFF))
                pause = np.int64(3_000.0 * math.exp(np.float64(gap) * PAUSE))
                if _unit(z) < LEAVE:
                    state += GOLDEN
                    z = _mix(state)
                    back = _next_visit(now, z, _unit(z), start, latest, hi - at, hours, hour_share)
                    if back <= latest:
                        pause = back - now
                        move = 0.6 * move if move < 0.5 else 1.0 - 0.6 * (1.0 - move)  # the old item, or something new
                        if z & np.uint64(1):  # what lay in the cart is forgotten
                            basket, carts = at, 0
                now = min(now + pause, latest)
            state += GOLDEN
            u = _unit(_mix(state))
            if at == lo or move > 0.82:
                state += GOLDEN
                week = _unit(_mix(state))
                rank = _trending(u, week, seed_key, now, start, items) if move > 0.92 else _popular(u, items)
            elif move < 0.32:  # looked at before, lately rather than long ago
                rank = np.int64(aid[max(at - 1 - np.int64(1.5 * u / (1.0001 - u)), lo)])
            elif move < 0.42:
                rank = _substitute(rank, u, topics, items)
            elif move < 0.65:
                rank = _related(rank, u, seed_key, topics, items)
            else:
                rank = _in_topic(_popular(u, items), rank % topics, topics, items)
        carts += kind == CART
        aid[at], ts[at], type[at] = rank, now, kind
        at += 1


@njit
def _checkout(at, hi, basket, now, aid, ts, type):
    """Orders at `now` what was put in the cart from the event `basket` on, each item once; where the next event goes."""
    bought = at
    for back in range(bought - 1, basket - 1, -1):
        again = type[back] != CART or at == hi
        for k in range(bought, at):
            again = again or aid[k] == aid[back]
        if not again:
            aid[at], ts[at], type[at] = aid[back], now, ORDER
            at += 1
    return at


@njit(parallel=True, cache=True)
def fill(key, first, n_sessions, ids, start, end, hours, hour_share, edges, edge_share, offsets, session, aid, ts, type):
    """Fills the events of the sessions first, first + 1, ..."""
    seed_key = _mix(key ^ np.uint64(0x17E35))
    for i in prange(len(offsets) - 1):
        lo, hi = offsets[i], offsets[i + 1]
        state = _stream(key, first + i) + GOLDEN  # the first draw was the length
        # the session's number, a little shaken, is its quantile among the starts: ids ascend with time
        quantile = (first + i + _unit(_mix(state))) / n_sessions
        _session(state, seed_key, quantile, lo, hi, len(ids), start, end, hours, hour_share, edges, edge_share, aid, ts, type)
        for k in range(lo, hi):
            session[k] = first + i
            aid[k] = ids[aid[k]]

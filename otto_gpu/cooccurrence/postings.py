"""The postings of the engine `rowwise`: for every item, what its left events have for partners.

Positions and times both rise within a session, so the partners that a rule allows one left event are one run of the
session's right events, less one hole around the event itself. The runs are found with moving pointers, and written down by
item, newest first, so that the first pair met is the latest.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil

import numpy as np
from numba import njit, prange

from otto_gpu.cooccurrence.rule import DAY_MS, FAR, MatrixRule
from otto_gpu.errors import UserError
from otto_gpu.events.log import EventLog

MOST_EVENTS = 1 << 31  # their places are int32


def _records(span: int) -> tuple[np.dtype, np.dtype]:
    """(EVENT, POSTING) for a log of so many ms. Times count from the log's first event: 4 bytes for up to 49 days.

    EVENT: key = aid * 2^b + type (b bits hold a type). POSTING: the right events [begin, end) are partners of an item's event
    at ts. They are read by the hundred million: with 8 and 16 bytes twice as many share a cache line as with plain columns.
    """
    ts = ("ts", np.uint32 if span < 1 << 32 else np.int64)
    return np.dtype([ts, ("key", np.uint32)]), np.dtype([ts, ("session", np.int32), ("begin", np.int32), ("end", np.int32)])


# the runs of one session, by position: right events [begin, end) less [hole, after); own: the event's own place among the
# right events, -1 where it is none of them
RUN = np.dtype([(name, np.int32) for name in ("begin", "end", "hole", "after", "own")])
# what is known of an item while postings are made: pairs that they meet, where the next goes, the event of the last one
SLOT = np.dtype([("work", np.int64), ("place", np.int64), ("newest", np.int64)])


@dataclass(frozen=True)
class Postings:
    """right: EVENT [r], key = aid << bits | type; postings: POSTING [p], those of item x first[x]:first[x + 1] (int64
    [n_items + 1]), newest first; work: int64 [n_items], how many pairs they meet."""

    right: np.ndarray
    bits: int
    first: np.ndarray
    postings: np.ndarray
    work: np.ndarray

    @classmethod
    def of(cls, log: EventLog, rule: MatrixRule, threads: int) -> Postings:
        """Memory: about 24 bytes per kept event. UserError where ids and types do not fit into 32 bits together (with three
        types: more than a billion items), and for more events than int32 counts."""
        begin, end = log.span
        bits = (len(log.types) - 1).bit_length()
        if log.n_items << bits > 1 << 32:
            raise UserError(
                f"engine 'rowwise' takes up to {1 << (32 - bits):,} items with {len(log.types)} types: {log.n_items:,}"
            )
        event, posting = _records(end - begin)
        starts, kept = _kept_events(log, rule, begin, bits, event)
        right, place = _right_events(starts, kept, bits, log, rule, threads)
        return cls(right, bits, *_postings(starts, kept, bits, place, posting, log, rule, threads))


def _shares(starts: np.ndarray, threads: int) -> np.ndarray:
    """int64 [threads + 1]: ranges of sessions with about as many events each."""
    inner = np.searchsorted(starts, np.linspace(0, starts[-1], threads + 1)[1:-1])
    return np.concatenate([[0], inner, [len(starts) - 1]]).astype(np.int64)


def _kept_events(log: EventLog, rule: MatrixRule, begin: int, bits: int, event: np.dtype):
    """Step 1 of the rule: (starts int64 [S + 1], EVENT [k]), the events that are left."""
    left, right = (rule.mask(side, log.types) for side in ("left", "right"))
    starts = log.starts
    since = began = -FAR
    allowed = left if (left == right).all() else np.ones_like(left)
    if len(log) and (rule.since_days or rule.new_sessions_days or rule.tail or not allowed.all()):
        end = log.span[1]
        # first whole millisecond inside the window
        since = ceil(end - rule.since_days * DAY_MS) if rule.since_days else -FAR
        began = ceil(end - rule.new_sessions_days * DAY_MS) if rule.new_sessions_days else -FAR
        counts = np.empty(log.n_sessions, np.int64)
        _count_kept(log.starts, log.ts, log.type, allowed, since, began, rule.tail or FAR, counts)
        starts = np.concatenate([[0], np.cumsum(counts)])
    if starts[-1] >= MOST_EVENTS:
        raise UserError(
            f"engine 'rowwise' takes fewer than {MOST_EVENTS:,} events, but the rule keeps {starts[-1]:,}: give it a tail"
        )
    kept = np.empty(starts[-1], event)
    _copy_kept(log.starts, log.aid, log.ts, log.type, allowed, since, begin, bits, starts, kept)
    return starts, kept


@njit(parallel=True, cache=True)
def _count_kept(starts, ts, kind, allowed, since, began, tail, counts):
    for s in prange(len(starts) - 1):
        n = 0
        if starts[s] < starts[s + 1] and ts[starts[s]] >= began:
            for i in range(starts[s], starts[s + 1]):
                n += allowed[kind[i]] and ts[i] >= since
        counts[s] = min(n, tail)


@njit(parallel=True, cache=True)
def _copy_kept(starts, aid, ts, kind, allowed, since, begin, bits, kept_starts, kept):
    for s in prange(len(starts) - 1):
        place, i = kept_starts[s + 1], starts[s + 1]
        while place > kept_starts[s]:  # from the newest on: the tail
            i -= 1
            if allowed[kind[i]] and ts[i] >= since:
                place -= 1
                kept[place].ts = ts[i] - begin
                kept[place].key = (np.int64(aid[i]) << bits) + kind[i]


def _right_events(starts, kept, bits, log: EventLog, rule: MatrixRule, threads: int):
    """(right events EVENT [r], place int32 [k + 1]): place[i] right events stand before kept event i. Where all kept events
    are right ones they are these themselves, and place is empty."""
    mask = rule.mask("right", log.types)
    same = (mask == rule.mask("left", log.types)).all()
    if not rule.right_first_seen and (mask.all() or same):
        return kept, np.zeros(0, np.int32)
    place = np.zeros(len(kept) + 1, np.int32)
    _mark_right(_shares(starts, threads), starts, kept, bits, mask, rule.right_first_seen, log.n_items, place)
    np.cumsum(place, out=place)
    right = np.empty(place[-1], kept.dtype)
    _fill_right(kept, place, right)
    return right, place


@njit(parallel=True, cache=True)
def _mark_right(shares, starts, kept, bits, mask, first_seen, n_items, marks):
    types = (1 << bits) - 1
    for t in prange(len(shares) - 1):
        seen = np.full(n_items if first_seen else 0, -1, np.int32)
        for s in range(shares[t], shares[t + 1]):
            for i in range(starts[s], starts[s + 1]):
                key = np.int64(kept[i].key)
                new = True
                if first_seen:
                    new = seen[key >> bits] != s
                    seen[key >> bits] = s
                marks[i + 1] = new and mask[key & types]


@njit(parallel=True, cache=True)
def _fill_right(kept, place, right):
    for i in prange(len(kept)):
        if place[i + 1] > place[i]:
            right[place[i]] = kept[i]


def _postings(starts, kept, bits, place, posting: np.dtype, log: EventLog, rule: MatrixRule, threads: int):
    """(first int64 [n_items + 1], POSTING [p], work int64 [n_items]): the runs of the left events of item x, newest first, are
    postings[first[x]:first[x + 1]]; an event whose run has a hole has two. work[x]: how many pairs they meet."""
    positions, times = rule.gaps()
    around_itself = positions[2] == 0 and times[2] < 0  # the hole is the event itself
    drop_covered = rule.once_per is not None and rule.which == "latest" and around_itself
    if rule.self_pairs and rule.once_per == "pair_and_type":
        drop_covered = False  # the later event's own type may be missing among its partners
    left = rule.mask("left", log.types)
    shares = _shares(starts, threads)
    slots = np.zeros((threads, log.n_items), SLOT)
    gaps = (*positions, *times)
    fixed = (shares, starts, kept, bits, place, gaps, left, rule.left_first, drop_covered, rule.self_pairs, slots)
    _walk(*fixed, np.empty(0, posting), False)
    first = _first_places(slots)
    postings = np.empty(first[-1], posting)
    _walk(*fixed, postings, True)
    return first, postings, slots["work"].sum(axis=0)


@njit(parallel=True, cache=True)
def _walk(shares, starts, kept, bits, place, gaps, left, left_first, drop_covered, self_pairs, slots, postings, write):
    """Counts the postings of every share and item (place) and their work, or, once their places are known, writes them.

    An event is covered, and dropped, if the next later event of its item in the session has all of its partners: every
    pair that it makes is then a duplicate of a later one.
    """
    types = (1 << bits) - 1
    for t in prange(len(shares) - 1):
        slot = slots[t]
        for x in range(len(slot)):
            slot[x].newest = len(kept)
        longest = 0
        for s in range(shares[t], shares[t + 1]):
            longest = max(longest, starts[s + 1] - starts[s])
        runs = _new_runs(longest)
        for s in range(shares[t + 1] - 1, shares[t] - 1, -1):
            begin, end = starts[s], starts[s + 1]
            if begin == end:
                continue
            _find_runs(begin, end, kept, place, gaps, self_pairs, runs)
            for i in range(begin if left_first else end - 1, begin - 1, -1):
                run = runs[i - begin]
                key = np.int64(kept[i].key)
                if not left[key & types] or run.begin == run.end:
                    continue
                mine = slot[key >> bits]
                if drop_covered and mine.newest < end:
                    later = runs[mine.newest - begin]
                    if later.begin <= run.begin and run.end <= later.end:
                        # of pairs of the item with itself, the later event misses only the one with itself
                        meets_later = self_pairs and later.own >= run.begin and later.own < run.end
                        if not meets_later or (run.own >= later.begin and run.own < later.end):
                            continue
                mine.newest = i
                # the events after the hole, then those before it: newest first
                for part in range(2):
                    low, high = (run.after, run.end) if part == 0 else (run.begin, run.hole)
                    if low == high:
                        continue
                    if write:
                        posting = postings[mine.place]
                        posting.ts, posting.session, posting.begin, posting.end = kept[i].ts, s, low, high
                    else:
                        mine.work += high - low
                    mine.place += 1


@njit(cache=True)
def _new_runs(n):
    """Apart, because numba does not parallelise the making of records."""
    return np.empty(n, RUN)


@njit(cache=True)
def _find_runs(begin, end, kept, place, gaps, self_pairs, runs):
    """Fills RUN [events of the session]: the partners of every event, were it an x."""
    low, high, near, after, before, close = gaps
    a, b, h0, h1 = begin, begin, begin, begin
    for p in range(begin, end):
        t = np.int64(kept[p].ts)
        while a < end and np.int64(kept[a].ts) <= t + after:
            a += 1
        while b < end and np.int64(kept[b].ts) < t + before:
            b += 1
        first, last = max(a, p + low, begin), min(b, p + high + 1, end)
        hole, rest = p - near, p + near + 1
        if close >= 0:
            while h0 < end and np.int64(kept[h0].ts) < t - close:
                h0 += 1
            while h1 < end and np.int64(kept[h1].ts) <= t + close:
                h1 += 1
            hole, rest = min(hole, h0), max(rest, h1)
        last = max(last, first)
        hole, rest = min(max(hole, first), last), min(max(rest, first), last)
        run = runs[p - begin]
        run.begin, run.end = _place(place, first), _place(place, last)
        run.own = -1
        if _place(place, p + 1) > _place(place, p):
            run.own = _place(place, p)
        if near == 0 and close < 0 and not self_pairs:
            # the hole is the event itself, whose item is left out anyway: one run, no hole
            run.hole = run.after = run.begin
        else:
            run.hole, run.after = _place(place, hole), _place(place, rest)


@njit(cache=True)
def _place(place, i):
    return place[i] if len(place) else np.int32(i)


@njit(cache=True)
def _first_places(slots):
    """int64 [n_items + 1]: where the postings of each item begin; of each share's ones, that of the newest sessions first, the
    slots say it."""
    n_items = slots.shape[1]
    first = np.zeros(n_items + 1, np.int64)
    for x in range(n_items):
        first[x + 1] = first[x]
        for t in range(len(slots) - 1, -1, -1):  # the newest sessions are in the last share
            count = slots[t, x].place
            slots[t, x].place = first[x + 1]
            first[x + 1] += count
    return first

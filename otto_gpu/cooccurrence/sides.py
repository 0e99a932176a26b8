"""The left and right events of a rule, ready for the engines of flat arrays, `pairs` and `rows`; CuPy on CUDA, NumPy on the
CPU.

Left events are sorted by item, then session, then position: what an item of a session has stands side by side. Right events
stand in the order of the log.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from otto_gpu.cooccurrence.partners import NONE, find_runs
from otto_gpu.cooccurrence.rule import DAY_MS, MatrixRule
from otto_gpu.device import Device
from otto_gpu.device.arrays import arrays_of, pointers, to_host
from otto_gpu.events.log import EventLog

Array = Any  # numpy.ndarray or cupy.ndarray

EVENT_BYTES, SHARE = 200, 0.7  # what an event takes while it is sorted, rounded up; of the free GPU memory the rest is spare
MOST = 1 << 30  # places are int32


def at_once(free: int | None, bytes_each: int, on_cpu: int) -> int:
    """How many things of so many bytes. free: bytes of GPU memory; None on the CPU."""
    return on_cpu if free is None else min(max(int(free * SHARE) // bytes_each, 1), MOST)


@dataclass
class Sides:
    """Of some sessions. l left events: aid int32, ts int64 (ms since the log began), session int32 (since the first of them),
    runs int32 [l, 4] (partners.py), counts int64 [l]: how many right events a run holds, own int32 [l]: the event's place among
    the right ones, NONE where it is none of them. r right events: right_aid int32, right_ts int64, right_type int8; following,
    earliest int32: the next, and the first, event of the same item (and type, where a session counts once per type) in its
    session.
    """

    aid: Array
    ts: Array
    session: Array
    runs: Array
    counts: Array
    own: Array
    right_aid: Array
    right_ts: Array
    right_type: Array
    following: Array
    earliest: Array

    @classmethod
    def of(cls, log: EventLog, rule: MatrixRule, device: Device, first: int, last: int) -> Sides:
        """Of the sessions first..last-1, on the device. log: where it lies, on the host or the device."""
        xp = device.arrays()
        starts, session, aid, ts, kind = _kept(log, rule, device, first, last)
        here = xp.arange(len(aid))
        left = device.to_device(rule.mask("left", log.types))[kind]
        if rule.left_first:
            left &= here == starts[session]
        right = device.to_device(rule.mask("right", log.types))[kind]
        if rule.right_first_seen:
            right &= chains(session, aid)[1] == here
        place = pointers(right).astype(np.int32)
        own = xp.where(right, place[:-1], np.int32(NONE))
        right = np.flatnonzero(right)
        event = np.flatnonzero(left)
        event = event[order(aid[event])]
        runs, counts = xp.empty((len(event), 4), np.int32), xp.zeros(len(event) + 1, np.int64)
        find_runs(counts, event, session, starts, ts, place, *device.to_device(tuple(map(np.array, rule.gaps()))), runs)
        code = aid[right]
        if rule.once_per == "pair_and_type":
            code = code.astype(np.int64) * len(log.types) + kind[right]
        return cls(
            aid[event], ts[event], session[event], runs, counts[1:], own[event], aid[right], ts[right], kind[right],
            *chains(session[right], code),
        )  # fmt: skip

    def before_item(self, n_items: int, values: Array) -> np.ndarray:
        """int64 [n_items + 1], on the host: the sum of the values int64 [l] of the left events of the items before each one."""
        return to_host(pointers(values)[self.first(n_items)])

    def first(self, n_items: int) -> Array:
        """int64 [n_items + 1]: the first left event of each item."""
        return np.searchsorted(self.aid, arrays_of(self.aid).arange(n_items + 1, dtype=np.int32))


def _kept(log: EventLog, rule: MatrixRule, device: Device, first: int, last: int):
    """Step 1 of the rule: (starts, session, aid, ts, type) of the events that are left in the sessions first..last-1."""
    began, ended = log.span
    part = slice(int(log.starts[first]), int(log.starts[last]))
    starts, session, aid, ts, kind = device.to_device(
        (log.starts[first : last + 1], log.session[part], log.aid[part], log.ts[part], log.type[part])
    )
    starts, session, ts = starts - part.start, session - first, ts - began
    left, right = (rule.mask(side, log.types) for side in ("left", "right"))
    same = (left == right).all() and not left.all()
    if not (rule.since_days or rule.new_sessions_days or rule.tail or same):
        return starts, session, aid, ts, kind
    keeps = device.arrays().ones(len(aid), bool)
    if rule.since_days:
        keeps &= ts >= ended - began - rule.since_days * DAY_MS
    if rule.new_sessions_days:
        keeps &= ts[starts[session]] >= ended - began - rule.new_sessions_days * DAY_MS
    if same:
        keeps &= device.to_device(left)[kind]
    before = pointers(keeps)
    if rule.tail:
        keeps &= before[starts[session + 1]] - before[:-1] <= rule.tail
        before = pointers(keeps)
    kept = np.flatnonzero(keeps)
    return before[starts], session[kept], aid[kept], ts[kept], kind[kept]


def order(values: Array) -> Array:
    return np.argsort(values, kind="stable")


def begins(*values: Array) -> Array:
    """bool [n]: where one of the values differs from the one before."""
    first = arrays_of(values[0]).zeros(len(values[0]), bool)
    first[:1] = True
    for value in values:
        first[1:] |= value[1:] != value[:-1]
    return first


def chains(session: Array, code: Array) -> tuple[Array, Array]:
    """(following, earliest) int32: the next event of the same code in the session, or NONE; the first one. Sessions ascend."""
    xp = arrays_of(session)
    by_code = order(code)  # and, as the sort is stable, by session
    first = begins(session[by_code], code[by_code])
    same = ~first[1:]
    following, earliest = xp.full(len(by_code), NONE, np.int32), xp.empty(len(by_code), np.int32)
    following[by_code[:-1][same]] = by_code[1:][same]
    earliest[by_code] = by_code[first_places(first)]
    return following, earliest


def first_places(marks: Array) -> Array:
    """int64 [n]: for every place the last one before it, or itself, that is marked. marks: bool [n], the first one True."""
    return np.flatnonzero(marks)[np.cumsum(marks, dtype=np.int64) - 1]


def weighting(rule: MatrixRule, types: tuple[str, ...], span: int) -> tuple[float, np.ndarray, np.ndarray]:
    """(decay: half-lives per ms, recency float64 [2]: weight at ts 0 and per ms, type_weight float64 [types]). span: ms from
    the log's first event to its last."""
    half_life = rule.weight.half_life_hours
    decay = 1 / (half_life * 3_600_000) if half_life else 0.0
    first, last = rule.weight.recency or (1.0, 1.0)
    return decay, np.array([first, (last - first) / max(span, 1)]), np.array(rule.type_weights(types))

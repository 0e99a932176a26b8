"""The engine of flat arrays (CuPy on CUDA, NumPy on the CPU): every pair that counts as one int64 key and one weight,
sorted by key and added up. No data frame and no merge.

A chunk of sessions is as many events as fit into memory: on a GPU usually the whole log. Its left events are sorted by
item, and a part is as many items as have pairs that fit: so a part holds whole rows of the chunk's matrix. How many pairs
an event makes is counted before they are written. Only where there are several chunks must their sums be combined.
The same code runs on both devices; what it does on a GPU has not been measured yet.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from otto_gpu.arrays import arrays_of, home, pointers, ranges
from otto_gpu.cooccurrence.matrix import Matrix
from otto_gpu.cooccurrence.partners import AID_BITS, NONE, add_up, count_pairs, find_runs, write_pairs
from otto_gpu.cooccurrence.rule import DAY_MS, MatrixRule
from otto_gpu.device import CPU, Device
from otto_gpu.events.log import EventLog

Array = Any  # numpy.ndarray or cupy.ndarray

# what a pair and an event take while they are sorted, rounded up; of the free GPU memory a share stays for CuPy's pool
PAIR_BYTES, EVENT_BYTES, SHARE = 80, 200, 0.7
CPU_PAIRS, CPU_EVENTS = 10_000_000, 20_000_000
MOST = 1 << 30  # places are int32


def build(
    log: EventLog, rule: MatrixRule, device: Device = CPU, max_pairs: int | None = None, max_events: int | None = None
) -> Matrix:
    """The matrix of one rule. max_pairs, max_events: so many at once; default what the free GPU memory holds (the events in
    half of it), on the CPU 10 and 20 million: 0.8 and 4 GB.
    """
    chunks = ranges(log.starts, max_events or at_once(device.free_memory(), 2 * EVENT_BYTES, CPU_EVENTS))
    sums, rows = [], []
    for first, last in chunks:
        if log.starts[first] == log.starts[last]:
            continue
        events = Events.of(log, rule, device, first, last)
        most = max_pairs or at_once(device.free_memory(), PAIR_BYTES, CPU_PAIRS)
        for items in ranges(events.pairs_before_item(log.n_items), most):
            part = _added_up(*events.pairs(*items))
            if len(chunks) == 1:
                rows.append(_heaviest(*part, rule.keep))
            else:
                sums.append(home(part))
        del events  # before the next chunk's
    if sums:
        most = max_pairs or at_once(device.free_memory(), PAIR_BYTES, CPU_PAIRS)
        rows = [_heaviest(*part, rule.keep) for part in _combined(sums, log.n_items, most, device)]
    if not rows:
        rows = [(np.empty(0, np.int64), np.empty(0, np.int32), np.empty(0, np.float32))]
    return Matrix.from_rows(*(np.concatenate(column) for column in zip(*rows, strict=True)), log.n_items, log.items)


def at_once(free: int | None, bytes_each: int, on_cpu: int) -> int:
    """free: bytes of GPU memory; None on the CPU."""
    return on_cpu if free is None else min(max(int(free * SHARE) // bytes_each, 1), MOST)


# -------------------------------------------------------------------------------------------------------------- the events
@dataclass
class Events:
    """One chunk of sessions, ready for the kernels of partners.py; l left events, r right events.

    aid int32, ts int64 (ms since the log began), session int32 (since the chunk's first), runs int32 [l, 4]: of the left
    events, by item; offsets int64 [l + 1]: how many pairs those before make. right_aid, right_ts, right_type, following,
    earliest: of the right events.
    """

    aid: Array
    ts: Array
    session: Array
    runs: Array
    offsets: Array
    right_aid: Array
    right_ts: Array
    right_type: Array
    following: Array
    earliest: Array
    duplicates: tuple[bool, bool, bool]  # once, closest, self_pairs
    weight: tuple[float, Array, Array]  # decay, recency, type_weight

    @classmethod
    def of(cls, log: EventLog, rule: MatrixRule, device: Device, first: int, last: int) -> Events:
        """The events of the sessions first..last-1, on the device."""
        began, ended = int(log.ts.min()), int(log.ts.max())
        starts, session, aid, ts, kind = _kept(log, rule, device, first, last, began, ended)
        here = device.arrays().arange(len(aid))
        left = device.bring(rule.mask("left", log.types))[kind]
        if rule.left_first:
            left &= here == starts[session]
        right = device.bring(rule.mask("right", log.types))[kind]
        if rule.right_first_seen:
            right &= chains(session, aid)[1] == here

        place = pointers(right).astype(np.int32)
        right = np.flatnonzero(right)
        code = aid[right].astype(np.int64)
        if rule.once_per == "pair_and_type":
            code = code * len(log.types) + kind[right]
        event = np.flatnonzero(left)
        event = event[_order(aid[event])]
        xp = device.arrays()
        runs, counts = xp.empty((len(event), 4), np.int32), xp.zeros(len(event) + 1, np.int64)
        find_runs(counts, event, session, starts, ts, place, *device.bring(tuple(map(np.array, rule.gaps()))), runs)
        made = cls(
            aid[event], ts[event], session[event], runs, counts, aid[right], ts[right], kind[right],
            *chains(session[right], code), (rule.once_per is not None, rule.which == "closest", rule.self_pairs),
            device.bring(weighting(rule, log.types, ended - began)),
        )  # fmt: skip
        if rule.once_per or not rule.self_pairs:
            count_pairs(
                counts, made.aid, made.ts, made.session, runs, made.right_aid, made.right_ts, made.following, made.earliest,
                *made.duplicates,
            )  # fmt: skip
        made.offsets = pointers(counts[1:])
        return made

    def pairs_before_item(self, n_items: int) -> np.ndarray:
        """int64 [n_items + 1], on the host."""
        items = arrays_of(self.aid).arange(n_items + 1, dtype=np.int32)
        return home(self.offsets[np.searchsorted(self.aid, items)])

    def pairs(self, first_item: int, last_item: int) -> tuple[Array, Array]:
        """(keys int64, weights float32) of the pairs of the items first_item..last_item-1."""
        xp = arrays_of(self.aid)
        bounds = xp.arange(first_item, last_item + 1, last_item - first_item, dtype=np.int32)
        first, last = (int(place) for place in np.searchsorted(self.aid, bounds))
        offsets = self.offsets[first : last + 1]
        n = int(offsets[-1] - offsets[0])
        keys, weights = xp.empty(n, np.int64), xp.empty(n, np.float32)
        write_pairs(
            offsets, first, self.aid, self.ts, self.session, self.runs, self.right_aid, self.right_ts, self.right_type,
            self.following, self.earliest, *self.duplicates, *self.weight, keys, weights,
        )  # fmt: skip
        return keys, weights


def _kept(log: EventLog, rule: MatrixRule, device: Device, first: int, last: int, began: int, ended: int):
    """Step 1 of the rule: (starts, session, aid, ts, type) of the events that are left in the sessions first..last-1."""
    part = slice(int(log.starts[first]), int(log.starts[last]))
    starts, session, aid, ts, kind = device.bring(
        (log.starts[first : last + 1], log.session[part], log.aid[part], log.ts[part], log.type[part])
    )
    starts, session, ts = starts - part.start, session - first, ts - began
    keeps = device.arrays().ones(len(aid), bool)
    if rule.since_days:
        keeps &= ts >= ended - began - rule.since_days * DAY_MS
    if rule.new_sessions_days:
        keeps &= ts[starts[session]] >= ended - began - rule.new_sessions_days * DAY_MS
    left, right = (rule.mask(side, log.types) for side in ("left", "right"))
    if (left == right).all():
        keeps &= device.bring(left)[kind]
    before = pointers(keeps)
    if rule.tail:
        keeps &= before[starts[session + 1]] - before[:-1] <= rule.tail
        before = pointers(keeps)
    kept = np.flatnonzero(keeps)
    return before[starts], session[kept], aid[kept], ts[kept], kind[kept]


def _order(values: Array) -> Array:
    return np.argsort(values, kind="stable")


def _begins(values: Array) -> Array:
    """bool [n]: where a value differs from the one before. The values are sorted."""
    begins = arrays_of(values).ones(len(values), bool)
    begins[1:] = values[1:] != values[:-1]
    return begins


def chains(session: Array, code: Array) -> tuple[Array, Array]:
    """(following, earliest) int32: the next event of the same code in the session, or NONE; the first one. Sessions ascend."""
    xp = arrays_of(session)
    order = _order(code)
    order = order[_order(session[order])]
    begins = _begins(session[order]) | _begins(code[order])
    same = ~begins[1:]
    following, earliest = xp.full(len(order), NONE, np.int32), xp.empty(len(order), np.int32)
    following[order[:-1][same]] = order[1:][same]
    earliest[order] = order[_first_places(begins)]
    return following, earliest


def _first_places(begins: Array) -> Array:
    """int64 [n]: for every place the last one before it, or itself, that begins something."""
    return np.flatnonzero(begins)[np.cumsum(begins, dtype=np.int64) - 1]


def weighting(rule: MatrixRule, types: tuple[str, ...], span: int) -> tuple[float, np.ndarray, np.ndarray]:
    """(decay, recency, type_weight) as event_pairs takes them. span: ms from the log's first event to its last."""
    half_life = rule.weight.half_life_hours
    decay = 1 / (half_life * 3_600_000) if half_life else 0.0
    first, last = rule.weight.recency or (1.0, 1.0)
    return decay, np.array([first, (last - first) / max(span, 1)]), np.array(rule.type_weights(types))


# ---------------------------------------------------------------------------------------------------------------- the sums
def _added_up(keys: Array, weights: Array) -> tuple[Array, Array]:
    """(keys int64, ascending, each once; sums float64)."""
    order = _order(keys)
    keys = keys[order]
    begins = _begins(keys)
    first = np.flatnonzero(begins)
    ends = arrays_of(keys).full(len(first) + 1, len(keys), np.int64)
    ends[:-1] = first
    sums = arrays_of(keys).empty(len(first), np.float64)
    add_up(ends, order, weights, sums)
    return keys[first], sums


def _combined(sums: list, n_items: int, max_pairs: int, device: Device):
    """The sums of the chunks (on the host) added up, as many items at a time as fit."""
    items = np.arange(n_items + 1, dtype=np.int64) << AID_BITS
    places = [np.searchsorted(keys, items) for keys, _ in sums]
    for first, last in ranges(np.sum(places, axis=0), max_pairs):
        slices = [slice(place[first], place[last]) for place in places]
        parts = [(keys[s], weights[s]) for (keys, weights), s in zip(sums, slices, strict=True) if s.start < s.stop]
        if parts:
            yield _added_up(*(device.bring(np.concatenate(column)) for column in zip(*parts, strict=True)))


def _heaviest(keys: Array, sums: Array, keep: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(aid_x int64, aid_y int32, weight float32) of each item's `keep` heaviest neighbours, on the host."""
    # in float32, as they are stored: weights that are equal there are ties, whatever the order of the sums was
    weight = sums.astype(np.float32)
    x = keys >> AID_BITS
    # item and weight in one number, which sorts as both do: the bits of a float32 that is not negative rise with it.
    # The sort is stable and aid_y ascends already
    order = _order((x << AID_BITS) | (0x7FFFFFFF - weight.view(np.int32).astype(np.int64)))
    x = x[order]
    kept = arrays_of(x).arange(len(x)) - _first_places(_begins(x)) < keep
    x, order = x[kept], order[kept]
    return home((x, (keys[order] & ((1 << AID_BITS) - 1)).astype(np.int32), weight[order]))

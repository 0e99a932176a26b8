"""The engine of flat arrays (CuPy on CUDA, NumPy on the CPU): every pair that counts as one int64 key and one weight,
sorted by key and added up. No data frame and no merge.

A chunk of sessions is as many events as fit into memory: on a GPU usually the whole log. Its left events are sorted by
item, and a part is as many items as have pairs that fit: so a part holds whole rows of the chunk's matrix. How many pairs
an event makes is counted before they are written. Only where there are several chunks must their sums be combined.
The same code runs on both devices; what it does on a GPU has not been measured yet.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from otto_gpu.cooccurrence.matrix import Matrix
from otto_gpu.cooccurrence.partners import AID_BITS, add_up, count_pairs, write_pairs
from otto_gpu.cooccurrence.rule import MatrixRule
from otto_gpu.cooccurrence.sides import EVENT_BYTES, Array, Sides, at_once, begins, first_places, order, weighting
from otto_gpu.device import CPU, Device
from otto_gpu.device.arrays import arrays_of, pointers, ranges, to_host
from otto_gpu.events.log import EventLog

PAIR_BYTES = 80  # what a pair takes while it is sorted, rounded up
CPU_PAIRS, CPU_EVENTS = 10_000_000, 20_000_000


def build(
    log: EventLog, rule: MatrixRule, device: Device = CPU, max_pairs: int | None = None, max_events: int | None = None
) -> Matrix:
    """The matrix of one rule. max_pairs, max_events: so many at once; default what the free GPU memory holds, on the CPU 10 and
    20 million: 0.8 and 4 GB.
    """
    chunks = ranges(log.starts, max_events or at_once(device.free_memory(), EVENT_BYTES, CPU_EVENTS))
    log = log.on(device) if len(chunks) == 1 else log
    sums, rows = [], []
    for first, last in chunks:
        if log.starts[first] == log.starts[last]:
            continue
        made = Pairs.of(log, rule, device, first, last)
        most = max_pairs or at_once(device.free_memory(), PAIR_BYTES, CPU_PAIRS)
        for items in ranges(made.sides.before_item(log.n_items, made.counts), most):
            part = _added_up(*made.of_items(*items))
            if len(chunks) == 1:
                rows.append(_heaviest(*part, rule.keep))
            else:
                sums.append(to_host(part))
        del made  # before the next chunk's
    if sums:
        most = max_pairs or at_once(device.free_memory(), PAIR_BYTES, CPU_PAIRS)
        rows = [_heaviest(*part, rule.keep) for part in _combined(sums, log.n_items, most, device)]
    if not rows:
        rows = [(np.empty(0, np.int64), np.empty(0, np.int32), np.empty(0, np.float32))]
    return Matrix.from_rows(*(np.concatenate(column) for column in zip(*rows, strict=True)), log.n_items, log.items)


@dataclass
class Pairs:
    """The pairs of one chunk of sessions, counted. counts int64 [l]: how many each left event makes; offsets int64 [l + 1]:
    how many those before it make."""

    sides: Sides
    counts: Array
    offsets: Array
    duplicates: tuple[bool, bool, bool]  # once, closest, self_pairs
    weight: tuple[float, Array, Array]  # decay, recency, type_weight

    @classmethod
    def of(cls, log: EventLog, rule: MatrixRule, device: Device, first: int, last: int) -> Pairs:
        """Of the sessions first..last-1, on the device."""
        sides = Sides.of(log, rule, device, first, last)
        duplicates = rule.once_per is not None, rule.which == "closest", rule.self_pairs
        counts = device.arrays().zeros(len(sides.aid) + 1, np.int64)
        counts[1:] = sides.counts
        if rule.once_per or not rule.self_pairs:
            count_pairs(
                counts, sides.aid, sides.ts, sides.session, sides.runs, sides.right_aid, sides.right_ts, sides.following,
                sides.earliest, *duplicates,
            )  # fmt: skip
        began, ended = log.span
        weight = device.to_device(weighting(rule, log.types, ended - began))
        return cls(sides, counts[1:], pointers(counts[1:]), duplicates, weight)

    def of_items(self, first_item: int, last_item: int) -> tuple[Array, Array]:
        """(keys int64, weights float32) of the pairs of the items first_item..last_item-1."""
        sides, xp = self.sides, arrays_of(self.counts)
        bounds = xp.arange(first_item, last_item + 1, last_item - first_item, dtype=np.int32)
        first, last = (int(place) for place in np.searchsorted(sides.aid, bounds))
        offsets = self.offsets[first : last + 1]
        n = int(offsets[-1] - offsets[0])
        keys, weights = xp.empty(n, np.int64), xp.empty(n, np.float32)
        write_pairs(
            offsets, first, sides.aid, sides.ts, sides.session, sides.runs, sides.right_aid, sides.right_ts, sides.right_type,
            sides.following, sides.earliest, *self.duplicates, *self.weight, keys, weights,
        )  # fmt: skip
        return keys, weights


def _added_up(keys: Array, weights: Array) -> tuple[Array, Array]:
    """(keys int64, ascending, each once; sums float64)."""
    by_key = order(keys)
    keys = keys[by_key]
    first = np.flatnonzero(begins(keys))
    ends = arrays_of(keys).full(len(first) + 1, len(keys), np.int64)
    ends[:-1] = first
    sums = arrays_of(keys).empty(len(first), np.float64)
    add_up(ends, by_key, weights, sums)
    return keys[first], sums


def _combined(sums: list, n_items: int, max_pairs: int, device: Device):
    """The sums of the chunks (on the host) added up, as many items at a time as fit."""
    items = np.arange(n_items + 1, dtype=np.int64) << AID_BITS
    places = [np.searchsorted(keys, items) for keys, _ in sums]
    for first, last in ranges(np.sum(places, axis=0), max_pairs):
        slices = [slice(place[first], place[last]) for place in places]
        parts = [(keys[s], weights[s]) for (keys, weights), s in zip(sums, slices, strict=True) if s.start < s.stop]
        if parts:
            yield _added_up(*(device.to_device(np.concatenate(column)) for column in zip(*parts, strict=True)))


def _heaviest(keys: Array, sums: Array, keep: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(aid_x int64, aid_y int32, weight float32) of each item's `keep` heaviest neighbours, on the host."""
    # in float32, as they are stored: weights that are equal there are ties, whatever the order of the sums was
    weight = sums.astype(np.float32)
    x = keys >> AID_BITS
    # item and weight in one number, which sorts as both do: the bits of a float32 that is not negative rise with it.
    # The sort is stable and aid_y ascends already
    heaviest = order((x << AID_BITS) | (0x7FFFFFFF - weight.view(np.int32).astype(np.int64)))
    x = x[heaviest]
    kept = arrays_of(x).arange(len(x)) - first_places(begins(x)) < keep
    x, heaviest = x[kept], heaviest[kept]
    return to_host((x, (keys[heaviest] & ((1 << AID_BITS) - 1)).astype(np.int32), weight[heaviest]))

"""The engine of rows (CUDA): a block of threads adds one item's row up in a hash table, and no pair is ever written.

It is the CPU's `rowwise` in another form: an item's left events, newest first, meet runs of right events. Most rows fit into a
small table in a multiprocessor's shared memory; one that does not is done again in the next larger one, and the few that fit
into none in tables in global memory, as large as the item has pairs. Rows with the most work begin first. Sums are added up in
the CPU's order: only the last bits of the decay differ.
"""

from __future__ import annotations

from collections.abc import Callable
from math import log as ln

import numpy as np

from otto_gpu.cooccurrence.matrix import Matrix
from otto_gpu.cooccurrence.partners import AFTER, BEGIN, END, HOLE, NONE
from otto_gpu.cooccurrence.rule import MatrixRule
from otto_gpu.cooccurrence.sides import EVENT_BYTES, Array, Sides, at_once, weighting
from otto_gpu.device import Device
from otto_gpu.device.arrays import arrays_of, pointers, spread
from otto_gpu.device.hashing import table_size
from otto_gpu.events.log import EventLog

# (slots, threads of a block) in shared memory: of 12 bytes each, 27 and 8 blocks fit into one of an H100's multiprocessors
SHARED = ((512, 32), (2048, 128))
# slots of a table in global memory that most of the other rows fit into, and the threads of a block with such a table
LARGE, THREADS = 16_384, 256
BLOCKS = 4096  # of a launch at most, about what an H100 has at work at once; each goes on with another row
TABLE_SHARE = 0.25  # of the free memory, for tables
CELL_BYTES = 12
TIME_32 = 1 << 32


def able(rule: MatrixRule) -> bool:
    """Whether the engine does this rule: a session must count a pair of items by its latest pair of events, or by every one."""
    return rule.which == "latest" and rule.once_per in ("pair", None)


def fits(log: EventLog, device: Device) -> bool:
    """Whether the GPU's free memory holds what the whole log takes."""
    return len(log) <= at_once(device.free_memory(), EVENT_BYTES, len(log))


def build(
    log: EventLog, rule: MatrixRule, device: Device, clock: Callable[[str], None] = lambda part: None, on_host: bool = True
) -> Matrix:
    """The matrix of one rule that the engine is able to do. clock(part) is called when the log lies on the device (`sent`), its
    sides are `prepared`, the rows `computed` and `brought` to the host's memory; on_host: False leaves it on the device.
    """
    there = log.on(device)
    clock("sent")
    sides = Sides.of(there, rule, device, 0, log.n_sessions)
    left = _shortened(sides, rule)
    clock("prepared")
    made = _rows(sides, left, there, rule, device)
    clock("computed")
    if on_host:
        made = made.to_host()
        clock("brought")
    return made


def _shortened(sides: Sides, rule: MatrixRule) -> Array:
    """Which left events have pairs that count, places int64; runs that need no hole get none.

    An event is covered by the next one of its item in the session if that has all of its partners: every pair that it makes is
    then a duplicate of a later one.
    """
    positions, times = rule.gaps()
    around_itself = positions[2] == 0 and times[2] < 0  # the hole is the event itself
    runs, counts = sides.runs, sides.counts
    wanted = counts > 0
    if not around_itself:
        return np.flatnonzero(wanted)
    if rule.once_per == "pair" and len(runs):
        begin, end = runs[:, BEGIN], runs[:, END]
        same = (sides.aid[1:] == sides.aid[:-1]) & (sides.session[1:] == sides.session[:-1])
        covered = same & (begin[1:] <= begin[:-1]) & (end[1:] >= end[:-1])
        if rule.self_pairs:  # of pairs of the item with itself, the later event misses only the one with itself
            own, later = sides.own[:-1], sides.own[1:]
            meets_later = (later >= begin[:-1]) & (later < end[:-1])
            covered &= ~meets_later | ((own >= begin[1:]) & (own < end[1:]))
        wanted[:-1] &= ~covered
    if not rule.self_pairs:
        runs[:, HOLE] = runs[:, AFTER] = runs[:, BEGIN]  # its own item is left out anyway: one run instead of two
    return np.flatnonzero(wanted)


def _rows(sides: Sides, left: Array, log: EventLog, rule: MatrixRule, device: Device) -> Matrix:
    """On the device."""
    from otto_gpu.cooccurrence.row_kernel import compiled

    xp, n_items = device.arrays(), log.n_items
    aid, runs = sides.aid[left], sides.runs[left]
    met = pointers((runs[:, END] - runs[:, AFTER] + runs[:, HOLE] - runs[:, BEGIN]).astype(np.int64))
    first = np.searchsorted(aid, xp.arange(n_items + 1, dtype=np.int32))
    work = np.diff(met[first])
    places = pointers(np.minimum(work, rule.keep))
    bound = np.minimum(work, n_items)  # different neighbours
    n = int(places[-1])
    neighbours, weights = xp.empty(n, np.int32), xp.empty(n, np.float32)
    counts, given_up = xp.zeros(n_items, np.int32), xp.zeros(n_items, np.int32)
    span = log.span[1] - log.span[0]
    time = np.uint32 if span < TIME_32 else np.int64
    decay, recency, type_weight = weighting(rule, log.types, span)
    once = rule.once_per == "pair"
    events = (
        sides.ts[left].astype(time), sides.session[left], runs, sides.right_aid, sides.right_ts.astype(time), sides.right_type,
        sides.following, sides.following if once else _preceding(sides.following), once, rule.self_pairs,
        np.float32(decay * ln(2)), *device.to_device((recency, rule.weight.type_y is not None, type_weight.astype(np.float32))),
    )  # fmt: skip
    room = 1 << max(rule.keep - 1, 1).bit_length()
    queue = np.flatnonzero(work > 0)
    queue = queue[np.argsort(-work[queue], kind="stable")].astype(np.int32)
    for in_shared, threads, shape in _tables(int(bound.max()) if len(queue) else 0, device):
        if not len(queue):
            break
        tables = xp.empty(shape, np.int32), xp.empty(shape, np.int32), xp.empty(shape, np.float32)
        given_up.fill(0)
        compiled(in_shared, room)[min(BLOCKS if in_shared else shape[0], len(queue)), threads](
            queue, xp.zeros(1, np.int32), first, bound, *events, rule.keep, places, *tables, counts, neighbours, weights,
            given_up,
        )  # fmt: skip
        queue = queue[given_up[queue] > 0]
    pointer = pointers(counts)
    kept = spread(places[:-1] - pointer[:-1], pointer) + xp.arange(int(pointer[-1]))
    return Matrix(pointer, neighbours[kept], weights[kept], log.items)


def _tables(bound: int, device: Device):
    """(slots in shared memory, threads, shape of the tables in global memory) of one launch after the other, up to tables for
    `bound` neighbours, the most that an item may have."""
    for slots, threads in SHARED:
        yield slots, threads, (1, 1)
    needed = table_size(bound)
    for slots in sorted({min(LARGE, needed), needed}):
        blocks = int(TABLE_SHARE * device.free_memory()) // (CELL_BYTES * slots)
        yield 0, THREADS, (max(min(blocks, BLOCKS), 1), slots)


def _preceding(following: Array) -> Array:
    """int32 [r]: of whom it is the next one, NONE for the first."""
    xp = arrays_of(following)
    preceding = xp.full(len(following), NONE, np.int32)
    there = np.flatnonzero(following != NONE)
    preceding[following[there]] = there.astype(np.int32)
    return preceding

"""The kernel of the engine `rows`: the threads of a block share one item, whose row lies in a hash table.

The item's left events are walked newest first, one after the other; of each, the threads take the run of right events that it
is paired with side by side. Within a run every item belongs to the one thread that has its newest event there, so nothing is
added up by two threads at a time: sums need no atomics, and are added in the order in which the CPU's engine adds them. A row
that fills three quarters of its table is given up, and is done again with a larger one.

Imported on CUDA alone, and in numba's simulator.
"""

from __future__ import annotations

import math
from functools import cache

import numpy as np
from numba import cuda, float32, int32, int64

from otto_gpu.cooccurrence.partners import NONE
from otto_gpu.device.cuda_kernels import cuda_jit

SMALLEST = 16  # slots of a table; all sizes are powers of two
DIGIT = 8  # bits of a number that are looked at in a pass over the table
BINS = 1 << DIGIT
LOWER = 0x7FFFFFFF  # of a key the bits that stand for the item; those above are the weight's
ROW, USED, FOUND, WANTED = range(4)  # what a block's threads tell each other


def block_rows(slots: int, room: int):
    """The kernel of tables with so many slots in shared memory, 0: in `tables`. room: numbers that are sorted at the end, a
    power of two, at least as many as a row keeps."""
    shared = max(slots, 1)

    def rows(
        queue, taken, first, work, ts, session, runs, right_aid, right_ts, right_type, following, preceding, once, self_pairs,
        decay, recency, typed, type_weight, keep, places, tables, stamps, totals, counts, neighbours, weights, given_up,
    ):  # fmt: skip
        """queue int32 [n]: items, taken int32 [1] 0: how many of them are taken; first int64 [n_items + 1]: their left events,
        ts (ms since the log began), session int32, runs int32 [l, 4]; work int64 [n_items]: pairs that an item's events meet;
        right events: right_aid int32, right_ts, right_type int8, following and, unless once, preceding int32: the next and the
        last event of the item in the session. decay float32: e^(-decay x ms); recency float64 [2]: weight at ts 0 and per ms;
        type_weight float32 [types], if typed. tables, stamps int32, totals float32 [blocks, slots]: a block's memory. Written:
        counts int32 [n_items]; neighbours int32, weights float32 from places int64 [n_items + 1] on; given_up int32 [n_items]:
        1."""
        t, threads = cuda.threadIdx.x, cuda.blockDim.x
        told = cuda.shared.array(4, int32)
        bins = cuda.shared.array(BINS, int32)
        chosen = cuda.shared.array(room, int64)
        key = cuda.shared.array(shared, int32)
        stamp = cuda.shared.array(shared, int32)
        total = cuda.shared.array(shared, float32)
        most = slots
        if slots == 0:
            key, stamp, total = tables[cuda.blockIdx.x], stamps[cuda.blockIdx.x], totals[cuda.blockIdx.x]
            most = len(key)
        while True:
            if t == 0:
                told[ROW] = cuda.atomic.add(taken, 0, 1)
                told[USED] = 0
                told[FOUND] = 0
            cuda.syncthreads()
            if told[ROW] >= len(queue):
                return
            x = queue[told[ROW]]
            size = SMALLEST
            while size < most and size - size // 4 < work[x]:
                size *= 2
            mask, limit = size - 1, size - size // 4
            for slot in range(t, size, threads):
                key[slot] = NONE
            cuda.syncthreads()

            now, of_session, full = 0, NONE, 0
            for e in range(first[x + 1] - 1, first[x] - 1, -1):
                if session[e] != of_session:
                    of_session = session[e]
                    now += 1
                moment = int64(ts[e])
                base = float32(recency[0] + recency[1] * moment)
                for part in range(1, -1, -1):
                    begin, end = runs[e, 2 * part], runs[e, 2 * part + 1]
                    if begin == end:
                        continue
                    for q in range(end - 1 - t, begin - 1, -threads):
                        y, later = right_aid[q], following[q]
                        if (later != NONE and later < end) or (y == x and not self_pairs):
                            continue  # a newer event of the item stands for it
                        slot = ((int64(y) * 2654435761) >> 8) & mask
                        tries = 0
                        while tries < size:
                            there = key[slot]
                            if there == NONE:
                                there = cuda.atomic.cas(key, slot, NONE, y)
                                if there == NONE:
                                    stamp[slot] = 0
                                    total[slot] = 0.0
                                    if cuda.atomic.add(told, USED, 1) >= limit:
                                        full = 1
                                    there = y
                            if there == y:
                                break
                            slot = (slot + 1) & mask
                            tries += 1
                        if tries == size:
                            full = 1
                            continue
                        if once and stamp[slot] == now:
                            continue  # the session has paired it before
                        stamp[slot] = now
                        p = q
                        while p != NONE and p >= begin:
                            weight = base
                            if decay > 0:
                                apart = float32(abs(int64(right_ts[p]) - moment))
                                weight = weight * float32(math.exp(float32(-apart * decay)))
                            if typed:
                                weight = weight * type_weight[right_type[p]]
                            total[slot] = total[slot] + weight
                            p = NONE if once else preceding[p]
                    full = cuda.syncthreads_or(full)
                    if full:
                        break
                if full:
                    break
            if full:
                if t == 0:
                    given_up[x] = 1
                cuda.syncthreads()
                continue

            # weight and item in one number, which sorts as both do: the heaviest, then the smallest item, is the largest. Where
            # there are more than can be sorted, the smallest number that stays is found digit by digit
            threshold, shift = int64(0), 64
            if told[USED] > room:
                wanted = keep
                while wanted > 0 and shift > 0:
                    shift -= DIGIT
                    for i in range(t, BINS, threads):
                        bins[i] = 0
                    cuda.syncthreads()
                    for slot in range(t, size, threads):
                        if key[slot] != NONE:
                            number = (int64(float32(total[slot]).view(np.int32)) << 32) | (LOWER - key[slot])
                            if shift == 64 - DIGIT or (number >> (shift + DIGIT)) == (threshold >> (shift + DIGIT)):
                                cuda.atomic.add(bins, (number >> shift) & (BINS - 1), 1)
                    cuda.syncthreads()
                    if t == 0:
                        digit, left = BINS - 1, wanted
                        while bins[digit] < left:
                            left -= bins[digit]
                            digit -= 1
                        told[FOUND] = digit
                        told[WANTED] = left if bins[digit] > left else 0  # of this digit's numbers: all are wanted, or some
                    cuda.syncthreads()
                    threshold |= int64(told[FOUND]) << shift
                    wanted = told[WANTED]
                    cuda.syncthreads()
                if t == 0:
                    told[FOUND] = 0
            for i in range(t, room, threads):
                chosen[i] = NONE
            cuda.syncthreads()
            for slot in range(t, size, threads):
                if key[slot] != NONE:
                    number = (int64(float32(total[slot]).view(np.int32)) << 32) | (LOWER - key[slot])
                    if number >= threshold:
                        chosen[cuda.atomic.add(told, FOUND, 1)] = number
            cuda.syncthreads()
            width = 2
            while width <= room:  # bitonic: the largest comes first
                step = width // 2
                while step > 0:
                    for i in range(t, room, threads):
                        other = i ^ step
                        if other > i and (chosen[i] < chosen[other]) == ((i & width) == 0):
                            number = chosen[i]
                            chosen[i] = chosen[other]
                            chosen[other] = number
                    cuda.syncthreads()
                    step //= 2
                width *= 2
            n = min(told[FOUND], keep)
            for i in range(t, n, threads):
                neighbours[places[x] + i] = LOWER - (chosen[i] & LOWER)
                weights[places[x] + i] = int32(chosen[i] >> 32).view(np.float32)
            if t == 0:
                counts[x] = n
            cuda.syncthreads()

    return rows


@cache
def compiled(slots: int, room: int):
    """block_rows for CUDA."""
    return cuda_jit(block_rows(slots, room))

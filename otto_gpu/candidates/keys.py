"""Key items: which events of a history stand for a key, as one bit per kind of key.

Every kind is 'newest first, without repeats', so a bit is set on the newest event of an item that qualifies; the keys of a
session are then the events with the bit, read backwards.
"""

from __future__ import annotations

import numpy as np
from numba import njit, prange

from otto_gpu.device.arrays import arrays_of
from otto_gpu.device.kernel import Kernel
from otto_gpu.events.log import EventLog

ALL, BOUGHT, LAST_OF_DAY, FIRST_OF_DAY, LAST_DAY, ONLY = 1, 2, 4, 8, 16, 32
BITS = {
    "all": ALL,
    "bought": BOUGHT,
    "last_of_each_day": LAST_OF_DAY,
    "first_of_each_day": FIRST_OF_DAY,
    "last_day": LAST_DAY,
    "only": ONLY,
}
DAY_MS = 86_400_000


def key_bits(history: EventLog, bought: np.ndarray) -> np.ndarray:
    """uint8 [events], where the log lies: for what kinds of key each event stands. bought: bool [types]. Days are UTC days."""
    bits = arrays_of(history.aid).zeros(len(history), np.uint8)
    _key_bits(history.starts, history.aid, history.ts, history.type, bought, bits)
    return bits


@njit(cache=True)
def session_key_bits(s, starts, aid, ts, kind, bought, bits):
    """The body for one session (CPU and CUDA)."""
    begin, end = starts[s], starts[s + 1]
    if begin == end:
        return
    distinct = 0
    for i in range(end - 1, begin - 1, -1):
        day = ts[i] // DAY_MS
        mine = ALL
        if bought[kind[i]]:
            mine |= BOUGHT
        if i == end - 1 or ts[i + 1] // DAY_MS != day:
            mine |= LAST_OF_DAY
        if i == begin or ts[i - 1] // DAY_MS != day:
            mine |= FIRST_OF_DAY
        if day == ts[end - 1] // DAY_MS:
            mine |= LAST_DAY
        for j in range(i + 1, end):  # a newer event of the item takes over what it stands for
            if aid[j] == aid[i]:
                mine &= ~bits[j]
        if mine & ALL:
            distinct += 1
        bits[i] = mine
    if distinct == 1:
        bits[end - 1] |= ONLY


@njit(parallel=True, cache=True)
def _every_session(starts, aid, ts, kind, bought, bits):
    for s in prange(len(starts) - 1):
        session_key_bits(np.int64(s), starts, aid, ts, kind, bought, bits)


_key_bits = Kernel(_every_session, session_key_bits)

"""How much an event of a history counts, six ways, and the items of a history with the sums of their events' weights."""

from __future__ import annotations

from dataclasses import dataclass
from math import log

import numpy as np
from numba import njit, prange

from otto_gpu.candidates.keys import ALL
from otto_gpu.candidates.lookup import Histories
from otto_gpu.device.arrays import arrays_of, pointers
from otto_gpu.device.kernel import Kernel

WEIGHTINGS = ("one", "position", "type", "last_day", "time", "recsys")
DAY_MS = 86_400_000
MINUTE_MS = 60_000


@dataclass(frozen=True)
class HistoryItems:
    """The different items of some histories, newest first: pointer int64 [S + 1]; aid int32 [u]; weights float32 [u, 6];
    counts int16 [u, types]: events per type, and place int16 [u]: events after the last one, both 32,767 at most; newest
    int64 [u]: ts of the item's last event.
    """

    pointer: np.ndarray
    aid: np.ndarray
    weights: np.ndarray
    counts: np.ndarray
    newest: np.ndarray
    place: np.ndarray

    @classmethod
    def of(cls, histories: Histories, item_events: np.ndarray, type_weight: np.ndarray) -> HistoryItems:
        """item_events: int64 [n_items], an item's events in the known log; type_weight: float32 [types]. Worked out, and
        left, where the histories lie."""
        xp = arrays_of(histories.aid)
        pointer = pointers((histories.bits & ALL) > 0)[histories.starts]
        n = int(pointer[-1])
        items = cls(
            pointer, xp.empty(n, np.int32), xp.zeros((n, len(WEIGHTINGS)), np.float32),
            xp.zeros((n, len(type_weight)), np.int16), xp.empty(n, np.int64), xp.empty(n, np.int16),
        )  # fmt: skip
        _items(
            pointer, items.aid, pointer, histories.starts, histories.aid, histories.ts, histories.type, histories.bits,
            item_events, type_weight, items.weights, items.counts, items.newest, items.place, len(WEIGHTINGS),
        )  # fmt: skip
        return items


@njit(cache=True)
def weigh(p, n, t_ms, type_weight, item_events, out):
    """Writes the six weights of one event: position p (newest first) of n, t_ms before the session's last event.

    one 1; position 2^(.1 + .9 (n-p-1)/(n-1)) - 1, 1 if n = 1; type its type's weight; last_day 1 within 24 h;
    time 1/ln(2 + minutes); recsys time / (ln(2+p) ln(1+n) ln(1 + events of the item)).
    """
    out[0] = 1.0
    out[1] = 1.0 if n == 1 else 2.0 ** (0.1 + 0.9 * (n - p - 1) / (n - 1)) - 1.0
    out[2] = type_weight
    out[3] = 1.0 if t_ms <= DAY_MS else 0.0
    out[4] = 1.0 / log(2.0 + t_ms / MINUTE_MS)
    out[5] = out[4] / (log(2.0 + p) * log(1.0 + n) * log(1.0 + max(item_events, 1)))


@njit(cache=True)
def session_items(
    s, first, last, items, pointer, starts, aid, ts, kind, bits, item_events, type_weight, weights, counts, newest, place, one
):
    """The body for one session's entries first..last-1 (CPU and CUDA). pointer: where a session's entries begin; one: float64
    [6], scratch."""
    begin, end, u = starts[s], starts[s + 1], pointer[s]
    n = end - begin
    for i in range(end - 1, begin - 1, -1):
        if not bits[i] & ALL:
            continue
        if u == last:
            break
        if u >= first:
            items[u], newest[u], place[u] = aid[i], ts[i], min(end - 1 - i, 32767)
            for j in range(i, begin - 1, -1):
                if aid[j] == aid[i]:
                    weigh(end - 1 - j, n, ts[end - 1] - ts[j], type_weight[kind[j]], item_events[aid[j]], one)
                    for w in range(len(one)):
                        weights[u, w] += one[w]
                    counts[u, kind[j]] = min(counts[u, kind[j]] + 1, 32767)
        u += 1


@njit(parallel=True, cache=True)
def _items_of_every_session(
    rows, items, pointer, starts, aid, ts, kind, bits, item_events, type_weight, weights, counts, newest, place, one
):
    workers = len(one)
    for w in prange(workers):
        for s in range(w, len(rows) - 1, workers):
            session_items(
                s, rows[s], rows[s + 1], items, pointer, starts, aid, ts, kind, bits, item_events, type_weight, weights, counts,
                newest, place, one[w],
            )  # fmt: skip


_items = Kernel(_items_of_every_session, session_items, {"one": (np.float64, None)})

"""Family `popularity`: how much all sessions want the candidate: weighted event counts, its share of the last hours, and for
how long it has been there."""

from __future__ import annotations

from dataclasses import dataclass

import numba
import numpy as np
from numba import njit, prange

from otto_gpu.device import CPU, Device
from otto_gpu.device.arrays import pointers, ranges
from otto_gpu.device.bisect import first_after
from otto_gpu.device.kernel import Kernel
from otto_gpu.events.log import EventLog
from otto_gpu.features.families import Column, Spec
from otto_gpu.features.weightings import MINUTE_MS, WEIGHTINGS, weigh

WINDOWS = {"3h": 10_800_000, "day": 86_400_000, "week": 604_800_000}  # milliseconds
HOUR_MS = 3_600_000
NEVER = -1.0  # minutes since an item's first or newest event, where all of its events are to come
SUMMED_AT_ONCE = 1 << 24  # events whose weights are in a GPU's memory at once
SPANS = {"all": "all that is known", "period": "the histories of the period"}


@dataclass(frozen=True)
class Popularity:
    """all, period: float32 [n_items, types x 6]: weighted events in the known log, and in the period's histories only.

    times: int64 [events of the known log], sorted within (item, type); pointer: int64 [n_items x types + 1] into it;
    type_times, type_pointer: the same per type over all items.
    """

    all: np.ndarray
    period: np.ndarray
    times: np.ndarray
    pointer: np.ndarray
    type_times: np.ndarray
    type_pointer: np.ndarray

    @classmethod
    def of(
        cls, known: EventLog, history: EventLog, item_events: np.ndarray, type_weight: np.ndarray, device: Device = CPU
    ) -> Popularity:
        """item_events: int64 [n_items], on the device; type_weight: float32 [types]. Worked out, and left, on the device."""
        n_types = len(known.types)
        there = known.on(device)
        by_time = np.argsort(there.ts, kind="stable")
        aid, kind, ts = there.aid[by_time], there.type[by_time], there.ts[by_time]
        tables = [_weighted(log, known.n_items, item_events, type_weight, device) for log in (known, history)]
        key = aid.astype(np.int64) * n_types + kind
        order = np.argsort(key, kind="stable")
        pointer = pointers(np.bincount(key, minlength=known.n_items * n_types))
        of_type = np.argsort(kind, kind="stable")
        return cls(*tables, ts[order], pointer, ts[of_type], pointers(np.bincount(kind, minlength=n_types)))


def _weighted(log: EventLog, n_items: int, item_events, type_weight: np.ndarray, device: Device):
    """float32 [n_items, types x 6]: the log's events, weighted; each one's added up in the order of the log."""
    n_types, width, xp = len(log.types), len(WEIGHTINGS), device.arrays()
    table = xp.zeros((n_items * n_types, width))
    if device.kind == "cpu":
        threads = numba.get_num_threads()
        _add_up(log.starts, log.aid, log.ts, log.type, item_events, type_weight, threads, table.reshape(-1, n_types, width))
    else:
        there = log.on(device)
        for first, last in ranges(log.starts, SUMMED_AT_ONCE):
            part = slice(int(log.starts[first]), int(log.starts[last]))
            aid, ts, kind = there.aid[part], there.ts[part], there.type[part]
            weights = xp.empty((len(aid), width))
            starts = there.starts[first : last + 1] - part.start
            _weights(starts, aid, ts, kind, item_events, type_weight, weights)
            key = aid.astype(np.int64) * n_types + kind
            weights = weights[np.argsort(key, kind="stable")]
            _sums(pointers(np.bincount(key, minlength=len(table))), weights, np.arange(width), table)
    return table.reshape(n_items, -1).astype(np.float32)


@njit(parallel=True, cache=True)
def _add_up(starts, aid, ts, kind, item_events, type_weight, threads, table):
    """A thread adds up the items that fall to it, all of their events in the order of the log: the same bits always."""
    for mine in prange(threads):
        one = np.empty(table.shape[2])
        for s in range(len(starts) - 1):
            begin, end = starts[s], starts[s + 1]
            for i in range(begin, end):
                if aid[i] % threads == mine:
                    weigh(end - 1 - i, end - begin, ts[end - 1] - ts[i], type_weight[kind[i]], item_events[aid[i]], one)
                    for w in range(len(one)):
                        table[aid[i], kind[i], w] += one[w]


@njit(cache=True)
def session_weights(s, starts, aid, ts, kind, item_events, type_weight, weights):
    """The body for one session (CUDA): its events' weights, float64 [events, 6]."""
    begin, end = starts[s], starts[s + 1]
    for i in range(begin, end):
        weigh(end - 1 - i, end - begin, ts[end - 1] - ts[i], type_weight[kind[i]], item_events[aid[i]], weights[i])


@njit(parallel=True, cache=True)
def _weights_of_every_session(starts, aid, ts, kind, item_events, type_weight, weights):
    for s in prange(len(starts) - 1):
        session_weights(np.int64(s), starts, aid, ts, kind, item_events, type_weight, weights)


_weights = Kernel(_weights_of_every_session, session_weights)


@njit(cache=True)
def cell_sum(c, part, pointer, weights, weightings, table):
    """The body for one weighting of one type of an item (CUDA): adds what stands in the places pointer[c]:pointer[c + 1]."""
    w = weightings[part]
    total = table[c, w]
    for i in range(pointer[c], pointer[c + 1]):
        total += weights[i, w]
    table[c, w] = total


@njit(parallel=True, cache=True)
def _every_sum(pointer, weights, weightings, table):
    for c in prange(len(pointer) - 1):
        for part in range(len(weightings)):
            cell_sum(np.int64(c), part, pointer, weights, weightings, table)


_sums = Kernel(_every_sum, cell_sum, parts="weightings")


def columns(spec: Spec) -> list[Column]:
    weighted = [
        Column(
            f"popularity_{kind}_{weighting}_{span}", "popularity", "float32",
            f"{kind} of the item, weighted by {weighting}, in {SPANS[span]}",
            ranked=True,
        )
        for span in SPANS for kind in spec.types for weighting in WEIGHTINGS
    ]  # fmt: skip
    recent = [
        Column(
            f"popularity_{kind}_{window}", "popularity", "float32",
            f"the item's share of all {kind} in the {window} before the session's last event", ranked=True,
        )
        for kind in spec.types for window in WINDOWS
    ]  # fmt: skip
    rises = [
        Column("popularity_hour_per_day", "popularity", "float32", "events in the last hour over those in the last day", True),
        Column("popularity_day_per_week", "popularity", "float32", "events in the last day over those in the last week", True),
    ]  # fmt: skip
    ages = [
        Column("popularity_any_1h", "popularity", "float32", "the item's share of all events in the last hour", True),
        Column("popularity_age_minutes", "popularity", "float32", "minutes since the item's first event, -1: none yet", True),
        Column(
            "popularity_quiet_minutes", "popularity", "float32", "minutes since the item's newest event, -1: none yet", True
        ),
    ]
    return weighted + recent + rises + ages


def compute(chunk, out: np.ndarray) -> None:
    table = chunk.period_state.popularity
    width = table.all.shape[1]
    out[:, :width] = table.all[chunk.candidates.aid]
    out[:, width : 2 * width] = table.period[chunk.candidates.aid]
    _popularity(
        chunk.candidates.pointer, chunk.candidates.aid, chunk.last_ts, table.times, table.pointer, table.type_times,
        table.type_pointer, np.array(list(WINDOWS.values())), (len(table.type_pointer) - 1, len(WINDOWS)), out[:, 2 * width :],
    )  # fmt: skip


@njit(cache=True)
def session_popularity(s, first, last, candidates, last_ts, times, pointer, type_times, type_pointer, windows, totals, out):
    """The body for one session's candidates first..last-1 (CPU and CUDA). totals: int64 [types, windows], scratch."""
    now, n_types = last_ts[s], len(type_pointer) - 1
    last_hour = 0
    for t in range(n_types):
        end = first_after(type_times, type_pointer[t], type_pointer[t + 1], now)
        last_hour += end - first_after(type_times, type_pointer[t], end, now - HOUR_MS)
        for w in range(len(windows)):
            totals[t, w] = end - first_after(type_times, type_pointer[t], end, now - windows[w])
    for r in range(first, last):
        hour, day, week = 0, 0, 0
        age, quiet = NEVER, NEVER
        for t in range(n_types):
            begin = pointer[candidates[r] * n_types + t]
            end = first_after(times, begin, pointer[candidates[r] * n_types + t + 1], now)
            for w in range(len(windows)):
                count = end - first_after(times, begin, end, now - windows[w])
                out[r, t * len(windows) + w] = count / max(totals[t, w], 1)
                if w == 1:
                    day += count
                elif w == 2:
                    week += count
            hour += end - first_after(times, begin, end, now - HOUR_MS)
            if end > begin:
                age = max(age, (now - times[begin]) / MINUTE_MS)
                newest = (now - times[end - 1]) / MINUTE_MS
                quiet = newest if quiet == NEVER else min(quiet, newest)
        rest = n_types * len(windows)
        out[r, rest] = hour / max(day, 1)
        out[r, rest + 1] = day / max(week, 1)
        out[r, rest + 2] = hour / max(last_hour, 1)
        out[r, rest + 3] = age
        out[r, rest + 4] = quiet


@njit(parallel=True, cache=True)
def _every_session(rows, candidates, last_ts, times, pointer, type_times, type_pointer, windows, totals, out):
    workers = len(totals)
    for w in prange(workers):
        for s in range(w, len(rows) - 1, workers):
            session_popularity(
                s, rows[s], rows[s + 1], candidates, last_ts, times, pointer, type_times, type_pointer, windows, totals[w], out
            )


_popularity = Kernel(_every_session, session_popularity, {"totals": (np.int64, None)})

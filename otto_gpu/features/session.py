"""Family `session`: the session itself, and what the candidate is to it."""

from __future__ import annotations

import numpy as np
from numba import njit, prange

from otto_gpu.device.arrays import arrays_of, spread
from otto_gpu.device.kernel import Kernel
from otto_gpu.features.families import Column, Spec
from otto_gpu.features.weightings import MINUTE_MS, WEIGHTINGS

HOUR_MS = 3_600_000
NEVER = -1.0  # minutes or events since the candidate was last seen, where it never was


def columns(spec: Spec) -> list[Column]:
    name, clock = "session", f"UTC{spec.utc_offset_hours:+g}" if spec.utc_offset_hours else "UTC"
    return [
        *(Column(f"candidate_{t}_before", name, "int16", f"{t} of the candidate in the history", True) for t in spec.types),
        Column("candidate_any_before", name, "int16", "events of the candidate in the history", True),
        *(
            Column(f"candidate_{w}", name, "float32", f"the candidate's own {w} weight in the history", True)
            for w in WEIGHTINGS
        ),
        Column(
            "candidate_minutes_ago",
            name,
            "float32",
            "minutes since the candidate was last seen in the session, -1: never",
            True,
        ),
        Column(
            "candidate_events_ago", name, "int16", "events since the candidate was last seen in the session, -1: never", True
        ),
        *(Column(f"n_{t}", name, "int16", f"{t} in the history") for t in spec.types),
        Column("n_any", name, "int16", "events in the history"),
        Column("n_items", name, "int16", "different items in the history"),
        Column("span_minutes", name, "float32", "minutes from the first to the last event of the history"),
        Column("hour", name, "uint8", f"hour of the last event ({clock})"),
        Column("weekday", name, "uint8", f"weekday of the last event ({clock}), Monday 0"),
    ]


def compute(chunk, out: np.ndarray) -> None:
    items, histories = chunk.items, chunk.histories
    n_types = items.counts.shape[1]
    own = len(WEIGHTINGS) + n_types + 3
    _history_of_candidates(
        chunk.candidates.pointer, chunk.candidates.aid, items.pointer, items.aid, items.counts, items.weights, items.newest,
        items.place, chunk.last_ts, out[:, :own],
    )  # fmt: skip
    # what holds for the whole session is worked out once per session and repeated
    xp, lengths = arrays_of(histories.starts), np.diff(histories.starts)
    owner = spread(xp.arange(len(lengths)), histories.starts)
    per_session = xp.zeros((len(lengths), n_types + 5), np.float32)
    for t in range(n_types):
        per_session[:, t] = np.bincount(owner[histories.type == t], minlength=len(lengths))
    per_session[:, n_types] = lengths
    per_session[:, n_types + 1] = np.diff(items.pointer)
    per_session[:, n_types + 2] = (chunk.last_ts - histories.ts[histories.starts[:-1]]) / MINUTE_MS
    hours = (chunk.last_ts + round(chunk.spec.utc_offset_hours * HOUR_MS)) // HOUR_MS
    per_session[:, n_types + 3] = hours % 24
    per_session[:, n_types + 4] = (hours // 24 + 3) % 7  # 1970-01-01 was a Thursday
    out[:, own:] = spread(per_session, chunk.candidates.pointer)


@njit(cache=True)
def session_history_of_candidates(s, first, last, candidates, pointer, items, counts, weights, newest, place, last_ts, out):
    """The body for one session's candidates first..last-1 (CPU and CUDA)."""
    n_types, n_weightings = counts.shape[1], weights.shape[1]
    for r in range(first, last):
        h = pointer[s]
        while h < pointer[s + 1] and items[h] != candidates[r]:
            h += 1
        if h == pointer[s + 1]:
            out[r, n_types + 1 + n_weightings] = NEVER
            out[r, n_types + 2 + n_weightings] = NEVER
            continue
        for t in range(n_types):
            out[r, t] = counts[h, t]
            out[r, n_types] += counts[h, t]
        for w in range(n_weightings):
            out[r, n_types + 1 + w] = weights[h, w]
        out[r, n_types + 1 + n_weightings] = (last_ts[s] - newest[h]) / MINUTE_MS
        out[r, n_types + 2 + n_weightings] = place[h]


@njit(parallel=True, cache=True)
def _every_session(rows, candidates, pointer, items, counts, weights, newest, place, last_ts, out):
    for s in prange(len(rows) - 1):
        session_history_of_candidates(
            np.int64(s), rows[s], rows[s + 1], candidates, pointer, items, counts, weights, newest, place, last_ts, out
        )


_history_of_candidates = Kernel(_every_session, session_history_of_candidates)

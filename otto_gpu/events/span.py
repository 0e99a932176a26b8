"""Where in time a log lies: its own days, and the few events that lie far from all others, by clocks that were wrong.

Periods that are counted in days from the last event would follow one event of 2038 there; a log whose first event stands at
1970 would have all others in its last moment. What is far is decided by the log alone, so that the same log is read the same
on every day: behind a gap that is twice as long as the log itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np

MINUTE_MS, HOUR_MS, DAY_MS, WEEK_MS = 60_000, 3_600_000, 86_400_000, 604_800_000
FAR = 2  # a gap is this many times as long as the log
FEW, SHARE = 5, 0.02  # as many events, or this share of them, may be far; more are a part of the log
SAMPLE = 100_000


@dataclass(frozen=True)
class OwnDays:
    """first, last: ms of the first and the last event of the log's own days; early, late: ms of the events far before and far
    behind them, ascending."""

    first: int
    last: int
    early: np.ndarray
    late: np.ndarray


def own_days(ts: np.ndarray) -> OwnDays:
    """ts: int64 [n], ms, in any order, n > 0."""
    low, high = int(ts.min()), int(ts.max())
    sample = np.sort(ts[:: max(1, len(ts) // SAMPLE)])
    few = min(max(FEW, int(SHARE * len(sample))), len(sample) // 4)
    a, b = int(sample[few]), int(sample[len(sample) - 1 - few])
    nothing, far = np.empty(0, ts.dtype), max(FAR * (b - a), DAY_MS)
    # the own days hold a..b at least: a gap that is far longer than they are begins beyond this
    early = _far(a - np.sort(ts[ts < a])[::-1], b - a)[::-1] if low < a - far else nothing
    late = _far(np.sort(ts[ts > b]) - b, b - a) if high > b + far else nothing
    early, late = a - early, b + late
    allowed = max(few, SHARE * len(ts))
    early, late = (found if len(found) <= allowed else nothing for found in (early, late))
    if len(early) or len(late):
        mine = ts[(ts > (early[-1] if len(early) else low - 1)) & (ts < (late[0] if len(late) else high + 1))]
        low, high = int(mine.min()), int(mine.max())
    return OwnDays(low, high, early, late)


def _far(beyond: np.ndarray, length: int) -> np.ndarray:
    """Of ascending distances from an end of the body, which is `length` long, those behind the first gap that is far longer
    than all before it."""
    before = np.append(0, beyond[:-1])
    gaps = np.flatnonzero(beyond - before > np.maximum(FAR * (length + before), DAY_MS))
    return beyond[gaps[0] :] if len(gaps) else beyond[:0]


def number_of(n: float, name: str) -> str:
    """1 event, 2,000 events, 1.5 hours."""
    return f"{n:,} {name}" if n == 1 else f"{n:,} {name}s"


def iso(ms: int) -> str:
    return datetime.fromtimestamp(int(ms) / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def day(ms: int) -> str:
    return iso(ms)[:10]


def between(first: int, last: int) -> str:
    """Two moments: as days where they are days apart, else to the second."""
    show = day if last - first >= 2 * DAY_MS else iso
    return f"{show(first)} to {show(last)}" if last > first else show(first)


def duration(ms: float) -> str:
    """In words, in the largest unit of which there is one and a half or more; one digit behind the point below ten."""
    for unit, name in ((DAY_MS, "day"), (HOUR_MS, "hour"), (MINUTE_MS, "minute"), (1000, "second")):
        if ms >= 1.5 * unit or (ms >= unit and ms % unit == 0) or unit == 1000:
            n = ms / unit
            n = round(n) if n >= 10 or abs(n - round(n)) < 0.05 else round(n, 1)
            return number_of(n, name)
    raise AssertionError

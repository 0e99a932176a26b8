"""Family `attributes`: what the items file says of the candidate, alone and beside the items of the history.

All of it is as of the session's last known event. What is missing stays missing: nan, for codes -1, and it counts in no mean,
no difference and no share.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numba import njit, prange

from otto_gpu.device.arrays import arrays_of, spread
from otto_gpu.device.kernel import Kernel
from otto_gpu.events.items import NO_TIME, Items
from otto_gpu.features.catalogue import Column, Spec

NAME = "attributes"
HOUR_MS = 3_600_000
MOST = 32_767  # of a count
OF_TIME, OF_NUMBER, OF_CODE = 5, 4, 4  # columns of an attribute


@dataclass(frozen=True)
class Attributes:
    """Of the items, by name. times: float64 [n_items], hours since 1970, and numbers: float64 [n_items], nan where missing;
    codes: int32 [n_items], -1 where missing."""

    times: dict[str, np.ndarray] = field(default_factory=dict)
    numbers: dict[str, np.ndarray] = field(default_factory=dict)
    codes: dict[str, np.ndarray] = field(default_factory=dict)

    @classmethod
    def of(cls, items: Items) -> Attributes:
        times = {name: np.where(ms == NO_TIME, np.nan, ms / HOUR_MS) for name, ms in items.times.items()}
        return cls(times, {name: v.astype(np.float64) for name, v in items.numbers.items()}, dict(items.codes))


def columns(spec: Spec) -> list[Column]:
    made = [column for name in spec.item_times for column in _of_time(name)]
    made += [column for name in spec.item_numbers for column in _of_number(name, "")]
    return made + [column for name in spec.item_codes for column in _of_code(name)]


def _of_time(name: str) -> list[Column]:
    hours = _column(f"{name}_hours", f"hours from the item's {name} to the session's last event, nan: unknown")
    own = f"mean hours from {name} of the history's items to their events, nan: unknown"
    return [hours, *_of_number(name, ", hours")[1:], _column(f"{name}_history_hours", own)]


def _of_number(name: str, unit: str) -> list[Column]:
    return [
        _column(name, f"{name} of the item, nan: unknown"),
        _column(f"{name}_less_last", f"{name} of the item less that of the session's last item{unit}, nan: unknown"),
        _column(f"{name}_from_last", f"how far {name} of the item is from that of the session's last item{unit}, nan: unknown"),
        _column(f"{name}_less_mean", f"{name} of the item less its mean over the history's events{unit}, nan: unknown"),
    ]


def _of_code(name: str) -> list[Column]:
    return [
        Column(f"item_{name}", NAME, "int32", f"{name} of the item, -1: unknown", categorical=True),
        _column(f"{name}_as_last", f"1: the session's last item has the same {name}, 0: another or unknown", "uint8"),
        _column(f"{name}_events", f"events of the history whose items have the same {name}", "int16"),
        _column(f"{name}_share", f"their share of the history's events, by {name}"),
    ]


def _column(name: str, meaning: str, dtype: str = "float32") -> Column:
    return Column(f"item_{name}", NAME, dtype, meaning)


def compute(chunk, out: np.ndarray) -> None:
    known, histories, pointer, aid = (
        chunk.period_state.attributes,
        chunk.histories,
        chunk.candidates.pointer,
        chunk.candidates.aid,
    )
    last = spread(histories.aid[histories.starts[1:] - 1], pointer)
    place = 0
    for hours in known.times.values():
        ages = histories.ts / HOUR_MS - hours[histories.aid]
        out[:, place] = spread(chunk.last_ts / HOUR_MS, pointer) - hours[aid]
        _compare(chunk, hours, aid, last, out[:, place + 1 : place + 4])
        out[:, place + 4] = spread(_means_of(histories, ages), pointer)
        place += OF_TIME
    for values in known.numbers.values():
        out[:, place] = values[aid]
        _compare(chunk, values, aid, last, out[:, place + 1 : place + 4])
        place += OF_NUMBER
    lengths = spread(np.diff(histories.starts), pointer)
    for codes in known.codes.values():
        mine = codes[aid]
        out[:, place] = mine
        out[:, place + 1] = (mine >= 0) & (mine == codes[last])
        counted = out[:, place + 2 : place + 3]
        _events(pointer, mine, histories.starts, codes[histories.aid], counted)
        out[:, place + 3] = counted[:, 0] / lengths
        out[:, place + 2] = np.minimum(counted[:, 0], MOST)
        place += OF_CODE


def _compare(chunk, values: np.ndarray, aid: np.ndarray, last: np.ndarray, out: np.ndarray) -> None:
    """Differences of the candidates' values to those of the last items, signed and not, and to the histories' means."""
    histories, mine = chunk.histories, values[aid]
    out[:, 0] = mine - values[last]
    out[:, 1] = np.abs(mine - values[last])
    out[:, 2] = mine - spread(_means_of(histories, values[histories.aid]), chunk.candidates.pointer)


def _means_of(histories, values: np.ndarray) -> np.ndarray:
    """float64 [S]: the mean of every history's values (float64, one for each event) that are known; nan: none is."""
    means = arrays_of(values).empty(len(histories), np.float64)
    _means(histories.starts, values, means)
    return means


@njit(cache=True)
def session_mean(s, starts, values, means):
    """The body for one session (CPU and CUDA)."""
    total, n = 0.0, 0
    for i in range(starts[s], starts[s + 1]):
        if values[i] == values[i]:  # all but nan
            total += values[i]
            n += 1
    means[s] = total / n if n else np.nan


@njit(parallel=True, cache=True)
def _every_mean(starts, values, means):
    for s in prange(len(starts) - 1):
        session_mean(s, starts, values, means)


_means = Kernel(_every_mean, session_mean)


@njit(cache=True)
def session_events(s, first, last, candidates, starts, codes, out):
    """The body for one session's candidates first..last-1 (CPU and CUDA). candidates, codes: the codes of the candidates and
    of the histories' events; out: [candidates, 1], how many events have the candidate's code."""
    for r in range(first, last):
        n = 0
        for i in range(starts[s], starts[s + 1]):
            n += codes[i] == candidates[r] and codes[i] >= 0
        out[r, 0] = n


@njit(parallel=True, cache=True)
def _every_session(rows, candidates, starts, codes, out):
    for s in prange(len(rows) - 1):
        session_events(s, rows[s], rows[s + 1], candidates, starts, codes, out)


_events = Kernel(_every_session, session_events)

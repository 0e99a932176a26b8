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
from otto_gpu.features.families import Column, Spec

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
    known, histories = chunk.period_state.attributes, chunk.histories
    pointer, aid = chunk.candidates.pointer, chunk.candidates.aid
    last = spread(histories.aid[histories.starts[1:] - 1], pointer)
    compared = [*known.times.values(), *known.numbers.values()]
    of_events = [values[histories.aid] for values in compared]
    ages = [histories.ts / HOUR_MS - hours for hours in of_events[: len(known.times)]]
    means = iter(_means_of(histories, of_events + ages, pointer))
    place = 0
    for i, values in enumerate(compared):
        mine, width = values[aid], OF_TIME if i < len(known.times) else OF_NUMBER
        out[:, place] = spread(chunk.last_ts / HOUR_MS, pointer) - mine if width == OF_TIME else mine
        out[:, place + 1] = mine - values[last]
        out[:, place + 2] = np.abs(mine - values[last])
        out[:, place + 3] = mine - next(means)
        place += width
    for i, mean in enumerate(means):  # what is left: of the ages
        out[:, i * OF_TIME + 4] = mean
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


def _means_of(histories, values: list[np.ndarray], pointer: np.ndarray) -> np.ndarray:
    """float64 [values, m]: of each of the values (float64, one for each event) the mean over the history of those that are
    known, for every candidate; nan: none is."""
    if not values:
        return np.empty((0, 0))
    means = arrays_of(histories.ts).empty((len(histories), len(values)), np.float64)
    _means(histories.starts, np.column_stack(values), means)
    return spread(means, pointer).T


@njit(cache=True)
def session_means(s, starts, values, means):
    """The body for one session (CPU and CUDA)."""
    for c in range(values.shape[1]):
        total, n = 0.0, 0
        for i in range(starts[s], starts[s + 1]):
            if values[i, c] == values[i, c]:  # all but nan
                total += values[i, c]
                n += 1
        means[s, c] = total / n if n else np.nan


@njit(parallel=True, cache=True)
def _every_mean(starts, values, means):
    for s in prange(len(starts) - 1):
        session_means(np.int64(s), starts, values, means)


_means = Kernel(_every_mean, session_means)


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
        session_events(np.int64(s), rows[s], rows[s + 1], candidates, starts, codes, out)


_events = Kernel(_every_session, session_events)

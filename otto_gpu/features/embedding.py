"""Family `embedding`: how near the candidate lies to the items of the history, per vectors and weighting.

One worker owns one session: per candidate it works out the cosines with the history's items once, and all columns are made of
them. All items of a history count, as in the family `matrix`: long ones are so rare that a cap at the newest 30 saved no time
that could be measured.
"""

from __future__ import annotations

from math import log

import numpy as np
from numba import njit, prange

from otto_gpu.candidates.nearest import dot
from otto_gpu.device.arrays import longest
from otto_gpu.device.kernel import Kernel
from otto_gpu.features.families import Column, Spec
from otto_gpu.features.matrix import REDUCTIONS
from otto_gpu.features.weightings import MINUTE_MS, WEIGHTINGS

NAME = "embedding"
LAST = 5  # columns of single items
CLOSE = 0.5  # the cosine from which on an item is close
WEEK_MINUTES = 10_080.0
ABSENT = -1.0
TYPE = WEIGHTINGS.index("type")
SUMS = len(WEIGHTINGS) * len(REDUCTIONS)
WIDTH = SUMS + LAST + 7


def columns(spec: Spec) -> list[Column]:
    return [c for name in spec.vectors for c in _columns(name)]


def _columns(name: str) -> list[Column]:
    close = f"the history's items with a cosine of {CLOSE} or more"
    excess = f"sum of (cosine - {CLOSE}) / {1 - CLOSE}"
    near = {
        "max": f"{close}: the highest cosine, 0: none",
        "mean": f"{close}: their mean cosine, 0: none",
        "count": f"{close}: how many",
        "ramp_place": f"{close}: {excess} x (n - i) / n, for the i-th newest (from 0) of the history's n items",
        "ramp_time": f"{close}: {excess} x (1 - ln(1 + t) / ln(1 + a week)), t minutes before the session's last event, "
        "0 beyond a week",
        "last": f"{close}: the cosine of the newest, 0: none",
        "type": f"{close}: the type weight of the newest in the history, 0: none",
    }
    made = [
        Column(
            f"embed_{name}_{weighting}_{reduction}", NAME, "float32",
            f"{reduction} over the history's items of the {name} cosine x the item's {weighting} weight",
            ranked=reduction == "mean",
        )
        for weighting in WEIGHTINGS for reduction in REDUCTIONS
    ]  # fmt: skip
    made += [
        Column(
            f"embed_{name}_last_{i}", NAME, "float32",
            f"{name} cosine with the history's newest item but {i}, -1: there is none", ranked=i == 0,
        )
        for i in range(LAST)
    ]  # fmt: skip
    return made + [Column(f"embed_{name}_close_{k}", NAME, "float32", f"{name}: {text}") for k, text in near.items()]


def compute(chunk, out: np.ndarray) -> None:
    items = chunk.items
    most = longest(items.pointer)
    for i, vectors in enumerate(chunk.period_state.vectors.values()):
        _embeddings(
            chunk.candidates.pointer, chunk.candidates.aid, items.pointer, items.aid, items.weights, items.newest,
            chunk.last_ts, vectors, most, out[:, i * WIDTH : (i + 1) * WIDTH],
        )  # fmt: skip


@njit(cache=True)
def session_embeddings(s, first, last, candidates, pointer, items, weights, newest, last_ts, vectors, cosines, out):
    """The body for one session's candidates first..last-1 (CPU and CUDA). cosines: float32 [items of the longest history],
    scratch."""
    begin = pointer[s]
    n = pointer[s + 1] - begin
    n_weightings = weights.shape[1]
    for r in range(first, last):
        for i in range(n):
            cosines[i] = dot(vectors[candidates[r]], vectors[items[begin + i]])
        for w in range(n_weightings):
            total, highest = np.float32(0), np.float32(0)
            for i in range(n):
                value = cosines[i] * weights[begin + i, w]
                total += value
                highest = value if i == 0 else max(highest, value)
            out[r, 3 * w] = total / max(n, 1)
            out[r, 3 * w + 1] = total
            out[r, 3 * w + 2] = highest
        for i in range(LAST):
            out[r, SUMS + i] = cosines[i] if i < n else ABSENT
        near = SUMS + LAST
        count = 0
        for i in range(n):
            if cosines[i] < CLOSE:
                continue
            if count == 0:
                out[r, near + 5] = cosines[i]
                out[r, near + 6] = weights[begin + i, TYPE]
            count += 1
            out[r, near] = max(out[r, near], cosines[i])
            out[r, near + 1] += cosines[i]
            above = (cosines[i] - CLOSE) / (1 - CLOSE)
            out[r, near + 3] += above * (n - i) / n
            age = log(1.0 + (last_ts[s] - newest[begin + i]) / MINUTE_MS) / log(1.0 + WEEK_MINUTES)
            out[r, near + 4] += above * max(1.0 - age, 0.0)
        if count:
            out[r, near + 1] /= count
            out[r, near + 2] = count


@njit(parallel=True, cache=True)
def _every_session(rows, candidates, pointer, items, weights, newest, last_ts, vectors, cosines, out):
    workers = len(cosines)
    for w in prange(workers):
        for s in range(w, len(rows) - 1, workers):
            session_embeddings(
                s, rows[s], rows[s + 1], candidates, pointer, items, weights, newest, last_ts, vectors, cosines[w], out
            )


_embeddings = Kernel(_every_session, session_embeddings, {"cosines": (np.float32, None)}, side_by_side=True)

"""Family `similarity`: how near the candidate lies to the session's last item, to its last few and to its whole history, per
set of vectors.

A few columns where the family `embedding` has thirty; where both are asked for, this one leaves out what the other has.
"""

from __future__ import annotations

import numpy as np
from numba import njit, prange

from otto_gpu.candidates.nearest import dot
from otto_gpu.device.arrays import arrays_of
from otto_gpu.device.kernel import Kernel
from otto_gpu.features.families import Column, Spec

NAME = "similarity"
RECENT = 3
# in the order of the kernel's columns: the newest items are the history's different ones
KINDS = {
    "last": "with the history's newest item",
    f"last_{RECENT}_mean": f"mean cosine with its newest {RECENT}",
    f"last_{RECENT}_max": f"highest cosine with its newest {RECENT}",
    "mean": "mean cosine with all of the history's items",
    "max": "highest cosine with them",
    "min": "lowest cosine with them",
}
IN_EMBEDDING = ("last", "mean", "max")  # as embed_*_last_0, embed_*_one_mean and embed_*_one_max
RANKED = ("last", f"last_{RECENT}_mean", "mean")


def columns(spec: Spec) -> list[Column]:
    return [
        Column(
            f"similarity_{vectors}_{kind}", NAME, "float32",
            f"{vectors} cosine {KINDS[kind]}" if kind == "last" else f"{vectors}: {KINDS[kind]}", ranked=kind in RANKED,
        )
        for vectors in spec.vectors for kind in _kinds(spec)
    ]  # fmt: skip


def _kinds(spec: Spec) -> list[str]:
    return [kind for kind in KINDS if "embedding" not in spec.families or kind not in IN_EMBEDDING]


def compute(chunk, out: np.ndarray) -> None:
    items, candidates, wanted = chunk.items, chunk.candidates, [list(KINDS).index(kind) for kind in _kinds(chunk.spec)]
    every = arrays_of(out).empty((len(out), len(KINDS)), np.float32)
    for i, vectors in enumerate(chunk.period_state.vectors.values()):
        _similarities(candidates.pointer, candidates.aid, items.pointer, items.aid, vectors, every)
        out[:, i * len(wanted) : (i + 1) * len(wanted)] = every[:, wanted]


@njit(cache=True)
def session_similarities(s, first, last, candidates, pointer, items, vectors, out):
    """The body for one session's candidates first..last-1 (CPU and CUDA)."""
    begin, n = pointer[s], pointer[s + 1] - pointer[s]
    for r in range(first, last):
        total, highest, lowest = np.float32(0), np.float32(0), np.float32(0)
        for i in range(n):
            cosine = dot(vectors[candidates[r]], vectors[items[begin + i]])
            total += cosine
            highest = cosine if i == 0 else max(highest, cosine)
            lowest = cosine if i == 0 else min(lowest, cosine)
            if i == 0:
                out[r, 0] = cosine
            if i == min(n, RECENT) - 1:
                out[r, 1] = total / (i + 1)
                out[r, 2] = highest
        out[r, 3] = total / max(n, 1)
        out[r, 4] = highest
        out[r, 5] = lowest


@njit(parallel=True, cache=True)
def _every_session(rows, candidates, pointer, items, vectors, out):
    for s in prange(len(rows) - 1):
        session_similarities(np.int64(s), rows[s], rows[s + 1], candidates, pointer, items, vectors, out)


_similarities = Kernel(_every_session, session_similarities)

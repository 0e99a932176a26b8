"""Family `encoder`: what the session encoder, which reads a history as a whole, thinks of the candidate."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit, prange

from otto_gpu.candidates.nearest import dot
from otto_gpu.device.kernel import Kernel
from otto_gpu.features.families import Column, Spec

NAME = "encoder"


@dataclass(frozen=True)
class Encoder:
    """What the encoder made of a period: queries float32 [S, dim] of sessions; items float32 [n_items, dim];
    place: int64 [n_sessions], a session's row among the queries, -1 where it has none."""

    queries: np.ndarray
    items: np.ndarray
    place: np.ndarray

    @classmethod
    def of(cls, queries: np.ndarray, items: np.ndarray, sessions: np.ndarray, n_sessions: int) -> Encoder:
        """sessions: int32 [S], Period.sessions, whose rows the queries are."""
        if len(queries) != len(sessions):
            raise ValueError(f"{len(queries)} queries for {len(sessions)} sessions")
        place = np.full(n_sessions, -1, np.int64)
        place[sessions] = np.arange(len(sessions))
        return cls(queries, items, place)


def columns(spec: Spec) -> list[Column]:
    if not spec.encoder:
        return []
    return [
        Column(
            "encoder_score", NAME, "float32",
            "cosine of the session's vector and the candidate's by the session encoder, 0: one of them has none", True,
        ),
        Column("encoder_score_gap", NAME, "float32", "encoder_score less the highest among the session's candidates"),
    ]  # fmt: skip


def compute(chunk, out: np.ndarray) -> None:
    encoder = chunk.period_state.encoder
    if encoder is not None:
        candidates = chunk.candidates
        place = encoder.place[candidates.sessions]
        _encoder(candidates.pointer, candidates.aid, place, encoder.queries, encoder.items, out)


@njit(cache=True)
def session_encoder(s, rows, candidates, place, queries, vectors, out):
    """The body for one session (CPU and CUDA)."""
    if place[s] < 0:
        return
    highest = np.float32(-np.inf)
    for r in range(rows[s], rows[s + 1]):
        out[r, 0] = dot(queries[place[s]], vectors[candidates[r]])
        highest = max(highest, out[r, 0])
    for r in range(rows[s], rows[s + 1]):
        out[r, 1] = out[r, 0] - highest


@njit(parallel=True, cache=True)
def _every_session(rows, candidates, place, queries, vectors, out):
    for s in prange(len(rows) - 1):
        session_encoder(np.int64(s), rows, candidates, place, queries, vectors, out)


_encoder = Kernel(_every_session, session_encoder)

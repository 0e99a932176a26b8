"""Family `recall`: which source named the candidate, and where."""

from __future__ import annotations

import numpy as np

from otto_gpu.columns import recall_rank, recall_score
from otto_gpu.features.families import Column, Spec

NAME = "recall"


def columns(spec: Spec) -> list[Column]:
    pairs = [
        (
            Column(recall_score(source), NAME, "float32", f"score of the source {source}, 0: not named", True),
            Column(recall_rank(source), NAME, "int16", f"rank by the source {source}, 0 the first, -1: not named"),
        )
        for source in spec.sources
    ]
    return [c for pair in pairs for c in pair] + [
        Column("recall_sources", NAME, "uint8", "how many sources named the candidate", True)
    ]


def compute(chunk, out: np.ndarray) -> None:
    candidates = chunk.candidates
    out[:, 0:-1:2] = candidates.scores
    out[:, 1:-1:2] = candidates.ranks
    out[:, -1] = (candidates.ranks >= 0).sum(axis=1)

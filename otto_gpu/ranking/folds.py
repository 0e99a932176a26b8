"""Folds over sessions: a hash of the session's number, the same for every target and any chunking."""

from __future__ import annotations

import numpy as np

from otto_gpu.device.hashing import FOLDS, uniform


def fold_of(sessions: np.ndarray, folds: int, seed: int) -> np.ndarray:
    """int64: the fold of each session; the same for every target."""
    return (uniform(seed, np.full(len(sessions), FOLDS), sessions) * folds).astype(np.int64)

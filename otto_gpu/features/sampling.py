"""Which candidates the rankers are trained on: a hash of session and place in it, the same for any chunking."""

from __future__ import annotations

import numpy as np

from otto_gpu.device.hashing import NEGATIVES, SESSIONS, uniform


def negative_share(positives: int, negatives: int, wanted: float) -> float:
    """The probability to keep a negative so that about `wanted` negatives per positive remain."""
    return min(1.0, wanted * positives / negatives) if negatives else 0.0


def drawn_sessions(sessions: np.ndarray, share: float, seed: int) -> np.ndarray:
    """bool [S]: about the given share of the sessions. A smaller share draws some of those that a larger one draws, so that
    targets that take different shares have sessions in common."""
    return uniform(seed, np.full(len(sessions), SESSIONS), sessions) < share


def sampled_rows(pointer: np.ndarray, session: np.ndarray, label: np.ndarray, share: float, seed: int, code: int) -> np.ndarray:
    """bool [m]: the positives, and a share of the negatives of sessions that have a positive. code: the target's type code."""
    per_session = np.add.reduceat(np.append(label, False).astype(np.int64), pointer[:-1]) if len(pointer) > 1 else np.empty(0)
    per_session = np.where(np.diff(pointer) > 0, per_session, 0)
    useful = np.repeat(per_session > 0, np.diff(pointer))
    # by place, not by item: the items' numbers shift with every item that comes or goes elsewhere in the log
    place = np.arange(len(session)) - np.repeat(pointer[:-1], np.diff(pointer))
    drawn = uniform(seed, np.full(len(session), NEGATIVES + code), session, place) < share
    return label | (useful & drawn)

"""Losses and figures of lists: the rows of a session, one session after the other. pointer: int64 [S + 1], where each begins.

Written for NumPy and CuPy alike, without a loop over sessions. CuPy reduces segments by adding only.
"""

from __future__ import annotations

import numpy as np

from otto_gpu.device.arrays import arrays_of, spread

STEEPEST = 600.0  # exp of more overflows float64; margins of one session never lie as far apart


def softmax_gradient(margin, label, pointer, weight=None) -> tuple:
    """(gradient, Hessian), float32 [m]: of the cross entropy between each session's labels, as shares of their sum, and the
    softmax of its margins: -sum(q log p), so p - q and p(1 - p) (the diagonal). Without positives a session has no loss.

    margin, label: float [m]; weight: float [S], None: all the same. (ListNet's top-one loss, Cao et al. 2007.)
    """
    # CuPy's own add: NumPy's reduceat does not take its arrays
    xp, starts, margin = arrays_of(margin), pointer[:-1], margin.astype(np.float64)
    counts = np.diff(pointer)
    centred = margin - spread(xp.add.reduceat(margin, starts) / counts, pointer)
    power = np.exp(np.clip(centred, -STEEPEST, STEEPEST))
    p = power / spread(xp.add.reduceat(power, starts), pointer)
    positives = xp.add.reduceat(label.astype(np.float64), starts)
    counted = (positives > 0).astype(np.float64) if weight is None else (positives > 0) * weight
    factor = spread(counted, pointer)
    q = label / spread(np.maximum(positives, 1.0), pointer)
    return (factor * (p - q)).astype(np.float32), (factor * p * (1 - p)).astype(np.float32)


def reciprocal_rank(score: np.ndarray, label: np.ndarray, pointer: np.ndarray, k: int, weight=None) -> float:
    """MRR@k: the mean over the sessions that have a positive of 1 / the first one's place by score, 0 where that is beyond k;
    ties in the order in which they stand, as in the final lists. On the host. nan without such a session.

    weight: float [S], None: all the same.
    """
    starts, row = pointer[:-1], np.arange(len(score))
    positive = label > 0
    best = np.maximum.reduceat(np.where(positive, score, -np.inf), starts)
    highest = spread(best, pointer)
    first = np.minimum.reduceat(np.where(positive & (score == highest), row, len(score)), starts)
    before = (score > highest) | ((score == highest) & (row < spread(first, pointer)))
    place = 1 + np.add.reduceat(before.astype(np.int64), starts)
    counted = np.maximum.reduceat(positive, starts)
    gain = np.where(place <= k, 1 / place, 0.0)[counted]
    return float(np.average(gain, weights=None if weight is None else weight[counted])) if counted.any() else float("nan")

"""The loss and the figure of lists, against plain Python that goes from session to session."""

import math
from itertools import pairwise

import numpy as np
import pytest

from otto_gpu.ranking.rankers.listwise import reciprocal_rank, softmax_gradient

POINTER = np.array([0, 1, 4, 9, 12, 20])


def lists(seed: int = 0):
    """(margin, label, weight): sessions with one positive, several, all and none; ties among the margins."""
    random = np.random.default_rng(seed)
    margin = random.integers(-3, 4, POINTER[-1]) / 2
    label = np.array([1, 0, 1, 0, 1, 0, 1, 1, 0, 0, 0, 0, *random.integers(0, 2, 8)], np.float32)
    return margin, label, random.uniform(0.5, 2, len(POINTER) - 1).astype(np.float32)


def loss(margin, label, weight) -> float:
    """The cross entropy, by its definition."""
    total = 0.0
    for s, (first, last) in enumerate(pairwise(POINTER)):
        positives = sum(label[first:last])
        below = sum(math.exp(m) for m in margin[first:last])
        for m, y in zip(margin[first:last], label[first:last], strict=True):
            total -= float(weight[s]) * float(y) / max(float(positives), 1) * math.log(math.exp(m) / below)
    return total


def test_the_gradient_is_that_of_the_loss():
    margin, label, weight = lists()
    gradient, hessian = softmax_gradient(margin, label, POINTER, weight)
    assert gradient.dtype == hessian.dtype == np.float32
    step = 1e-4
    for i in range(len(margin)):
        up, down = margin.copy(), margin.copy()
        up[i] += step
        down[i] -= step
        high, here, low = (loss(m, label, weight) for m in (up, margin, down))
        assert gradient[i] == pytest.approx((high - low) / (2 * step), abs=1e-5)
        assert hessian[i] == pytest.approx((high - 2 * here + low) / step**2, abs=1e-4)
    np.testing.assert_array_equal(gradient[9:12], 0)  # no positive, nothing to learn


def test_margins_far_apart_overflow_nothing():
    margin = np.array([1000.0, -1000.0, 0.0, 5.0])
    gradient, hessian = softmax_gradient(margin, np.array([0.0, 1, 0, 1]), np.array([0, 2, 4]))
    np.testing.assert_allclose(gradient, [1, -1, 1 / (1 + math.e**5), -1 / (1 + math.e**5)], rtol=1e-5)
    assert np.isfinite(hessian).all() and (hessian >= 0).all()


@pytest.mark.parametrize("k", [1, 3, 20])
@pytest.mark.parametrize("weighted", [False, True])
def test_mrr_is_the_mean_of_the_first_hits_places(k, weighted):
    for seed in range(5):
        score, label, weight = lists(seed)
        gains, weights = [], []
        for s, (first, last) in enumerate(pairwise(POINTER)):
            ranked = sorted(range(first, last), key=lambda i: -score[i])  # stable: ties as they stand
            hits = [place for place, i in enumerate(ranked, 1) if label[i]]
            if hits:
                gains.append(1 / hits[0] if hits[0] <= k else 0)
                weights.append(weight[s] if weighted else 1)
        found = reciprocal_rank(score, label, POINTER, k, weight if weighted else None)
        assert found == pytest.approx(np.average(gains, weights=weights))
    assert math.isnan(reciprocal_rank(np.zeros(3), np.zeros(3), np.array([0, 3]), k))

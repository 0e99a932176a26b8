"""Pairs (item, item n later in its session), in shuffled batches straight from the columns of a log.

Nothing is ever listed: a slot is a place in the log and a number of steps, the slots are visited in the order of a
pseudo-random permutation that is computed and not stored, and those that hold no pair fall out.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from otto_gpu.device.hashing import HELD_OUT, uniform
from otto_gpu.embeddings.settings import Factorization, Seq2Seq
from otto_gpu.events.log import EventLog

SMALLEST = 1_024  # a batch, unless the setting is smaller
AUC_PAIRS = 200_000  # so many held-out pairs at most: the AUC's standard error is below .001


@dataclass(frozen=True)
class Pairs:
    """Pairs of different items that stand `steps` = (lo, hi) events apart, both ends counted, in one session of the log."""

    log: EventLog
    steps: tuple[int, int] = (1, 1)

    def __len__(self) -> int:
        total = 0
        for n in range(self.steps[0], min(self.steps[1], len(self.log) - 1) + 1):
            first, later = slice(None, -n), slice(n, None)
            total += int(np.sum(_one_pair(self.log, first, later)))
        return total

    def batches(self, size: int, seed: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """(item int32 [size], later item int32 [size]): every pair once, in an order that the seed decides; the last batch
        is what is left over."""
        n = len(self.log)
        lo, hi = self.steps
        kept, held = [], 0
        for slots in shuffled(n * (hi - lo + 1), seed, size):
            first = slots % n
            later = first + lo + slots // n
            inside = later < n
            first, later = first[inside], later[inside]
            there = _one_pair(self.log, first, later)
            kept.append((first[there], later[there]))
            held += len(kept[-1][0])
            while held >= size:
                first, later = (np.concatenate(part) for part in zip(*kept, strict=True))
                yield self.log.aid[first[:size]], self.log.aid[later[:size]]
                kept, held = [(first[size:], later[size:])], held - size
        if held:
            first, later = (np.concatenate(part) for part in zip(*kept, strict=True))
            yield self.log.aid[first], self.log.aid[later]


def _one_pair(log: EventLog, first, later) -> np.ndarray:
    # an item with itself teaches nothing about other items
    return (log.session[first] == log.session[later]) & (log.aid[first] != log.aid[later])


def shuffled(n: int, seed: int, size: int) -> Iterator[np.ndarray]:
    """int64 [size], the last one shorter: together a permutation of 0..n-1 that the seed decides, in no memory.

    Numbers of as many bits as n - 1 are mixed by steps that can each be undone (plus a number, times an odd number, xor
    with its own upper half), so that no two meet; results of n and more are mixed on until they lie below n.
    """
    bits = max(int(n - 1).bit_length(), 1)
    mask, half = np.uint64((1 << bits) - 1), np.uint64((bits + 1) // 2)
    keys = np.random.default_rng([seed, n]).integers(0, 1 << 63, (4, 2), dtype=np.uint64)

    def mixed(x: np.ndarray) -> np.ndarray:
        for add, times in keys:
            x = ((x + add) * (times | np.uint64(1))) & mask
            x ^= x >> half
        return x

    for start in range(0, n, size):
        x = mixed(np.arange(start, min(start + size, n), dtype=np.uint64))
        while len(beyond := np.flatnonzero(x >= n)):
            x[beyond] = mixed(x[beyond])
        yield x.astype(np.int64)


def batch_size(n: int, config: Factorization | Seq2Seq) -> int:
    """How many of n examples are learnt at a time: `batch`, or fewer where an epoch would take less than `min_batches`
    steps, in which a small log learns nothing."""
    return min(config.batch, max(n // config.min_batches, SMALLEST))


def held_out(log: EventLog, share: float, seed: int) -> tuple[EventLog, EventLog]:
    """(the log without its held-out sessions, the held-out sessions), by a hash of the session."""
    sessions = np.arange(log.n_sessions)
    out = (uniform(seed, np.full(log.n_sessions, HELD_OUT), sessions) < share)[log.session]
    return log.where(~out), log.where(out)


def auc(positive: np.ndarray, negative: np.ndarray) -> float | None:
    """The share of (positive, negative) in which the positive's score is the higher, ties half (Mann-Whitney); None where
    one of them is empty."""
    if not len(positive) or not len(negative):
        return None
    negative = np.sort(negative)
    below = np.searchsorted(negative, positive, "left").sum(dtype=np.int64)
    up_to = np.searchsorted(negative, positive, "right").sum(dtype=np.int64)
    return float(below + up_to) / (2 * len(positive) * len(negative))


def held_out_auc(vectors: np.ndarray, pairs: Pairs, seed: int) -> float | None:
    """The AUC of the cosine of held-out pairs against the same items with permuted later items: .5 says nothing learnt.

    vectors: float32 [n_items, dim], L2-normalised.
    """
    item, later = next(pairs.batches(AUC_PAIRS, seed), (np.zeros(0, np.int32),) * 2)

    def cosine(y):
        return np.einsum("ij,ij->i", vectors[item], vectors[y])

    # the pairs come in random order: to move the later items by one is to permute them
    return auc(cosine(later), cosine(np.roll(later, 1)))

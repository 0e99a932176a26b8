"""The last items of a visit, and when it was, against the next item (PyTorch), after the network of the OTTO solutions.

A visit is a session up to a pause. An example is an event of a visit: its item is the target, the up to `length` events
before it and the event's time bucket are its tokens. A learned linear layer over the cosines of the target with each
token says whether they belong together; negatives are the batch's targets permuted.

The layer's sum of weighted cosines is one product: of the target with the weighted sum of the tokens' normalised vectors,
which `embedding_bag` adds up without ever laying out a vector for each place of each example. The table learns by
SparseAdam (Adam on the rows of the batch: dense Adam would move every row of the table at every step), the layer by Adam.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from otto_gpu.device import Device
from otto_gpu.embeddings.model import Task, VectorModel, learnt
from otto_gpu.embeddings.pairs import batch_size, shuffled
from otto_gpu.embeddings.settings import Seq2Seq
from otto_gpu.embeddings.table import Table, learn, torch, training
from otto_gpu.embeddings.table import shared as shared
from otto_gpu.events.log import EventLog

HOUR_MS = 60 * 60 * 1000
LAYER = 3.0  # the layer's weights begin as shares of it: cosines alone are too small for a steep sigmoid


def models(task: Task) -> list[VectorModel]:
    config, targets = task.config, task.targets

    def train(log, told):
        return train_seq2seq(log, config.seq2seq, config.seed, task.device, task.threads, told)

    types = config.seq2seq.types or targets.next_only or targets.types[:1]
    return [learnt(task, "seq2seq", config.seq2seq.epochs, train, types)]


class Batch(NamedTuple):
    """target: int64 [b], items; token, slot: int64 [m], the tokens of all examples one after the other and where each
    stands (0: the newest item, `length`: the time bucket); offset: int64 [b], where each example's tokens begin."""

    target: np.ndarray
    token: np.ndarray
    slot: np.ndarray
    offset: np.ndarray


@dataclass(frozen=True)
class Visits:
    """The examples of a log: every event with another before it in its visit.

    before: int64 [events], how many of the events before it are tokens; bucket: int64 [events], from 0 in order of time.
    The token of an item is its id, that of a bucket n_items + bucket.
    """

    log: EventLog
    before: np.ndarray
    bucket: np.ndarray
    length: int

    @classmethod
    def of(cls, log: EventLog, config: Seq2Seq) -> Visits:
        begins = np.ones(len(log), bool)
        begins[1:] = (np.diff(log.session) != 0) | (np.diff(log.ts) > config.idle_hours * HOUR_MS)
        place = np.arange(len(log))
        before = place - np.maximum.accumulate(np.where(begins, place, 0))
        bucket = log.ts // (config.bucket_hours * HOUR_MS)
        bucket -= bucket.min() if len(log) else 0
        return cls(log, np.minimum(before, config.length), bucket, config.length)

    def __len__(self) -> int:
        return int(np.count_nonzero(self.before))

    @property
    def n_tokens(self) -> int:
        return self.log.n_items + int(self.bucket.max(initial=0)) + 1

    def batches(self, size: int, seed: int) -> Iterator[Batch]:
        """Every example once, `size` at a time, in an order that the seed decides."""
        examples = np.flatnonzero(self.before)
        for chosen in shuffled(len(examples), seed, size):
            yield self._batch(examples[chosen])

    def _batch(self, event: np.ndarray) -> Batch:
        count = self.before[event] + 1
        example = np.repeat(np.arange(len(event)), count)
        slot = np.arange(len(example)) - np.repeat(np.cumsum(count) - count, count)
        timed = slot == self.before[event][example]  # the last token of each example
        item = self.log.aid[event[example] - 1 - slot]
        target = self.log.aid[event]
        # an item is no token of itself: that teaches nothing about other items
        kept = timed | (item != target[example])
        token = np.where(timed, self.log.n_items + self.bucket[event[example]], item)[kept]
        slot = np.where(timed, self.length, slot)[kept]
        held = np.bincount(example[kept], minlength=len(event))
        return Batch(target.astype(np.int64), token, slot, np.cumsum(held) - held)


def train_seq2seq(
    log: EventLog,
    config: Seq2Seq,
    seed: int,
    device: Device,
    threads: int,
    told: Callable[[int, float], None] = lambda epoch, loss: None,
) -> tuple[np.ndarray, list[float]]:
    """(float32 [n_items, dim], zeros for items of no example; mean loss per epoch). told(epoch from 1, loss) after each."""
    visits = Visits.of(log, config)
    size = batch_size(len(visits), config)
    with training(device, threads) as place:
        network = _Network(visits, config, seed, place)

        def step(batch, done):
            return network.learn(batch, done), len(batch.target)

        losses = learn(len(visits), config.epochs, lambda epoch: visits.batches(size, seed + epoch), step, told)
        return network.table.vectors(log.n_items), losses


class _Network:
    def __init__(self, visits: Visits, config: Seq2Seq, seed: int, device: torch.device):
        self.table = Table(visits.n_tokens, config.dim, config.lr, config.dim**-0.5, seed, device)
        self._weight = torch.full((config.length + 1, 1), LAYER / config.length, device=device, requires_grad=True)
        self._bias = torch.zeros((), device=device, requires_grad=True)
        self._lr, self._adam = config.lr, torch.optim.Adam([self._weight, self._bias], lr=config.lr)
        self._device = device

    def learn(self, batch: Batch, done: float) -> torch.Tensor:
        """One step; the batch's mean loss before it: binary cross-entropy with logits, positives and negatives alike."""
        functional = torch.nn.functional
        target, token, slot, offset = (torch.from_numpy(array).to(self._device) for array in batch)
        rows, copy, (target, token) = self.table.take(target, token)
        unit = functional.normalize(copy)
        weight = functional.embedding(slot, self._weight)[:, 0]
        before = functional.embedding_bag(token, unit, offset, mode="sum", per_sample_weights=weight)
        y = functional.embedding(target, unit)
        # the batch is in random order: to move the targets by one is to permute them
        positive, negative = ((before * other).sum(1) + self._bias for other in (y, y.roll(1, 0)))
        loss = (functional.softplus(-positive).mean() + functional.softplus(negative).mean()) / 2
        loss.backward()
        self.table.step(rows, copy, done)
        self._adam.param_groups[0]["lr"] = self._lr * (1 - done)
        self._adam.step()
        self._adam.zero_grad()
        return loss.detach()

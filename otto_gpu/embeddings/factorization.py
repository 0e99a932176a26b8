"""Matrix factorization of pairs (item, item n later): items that follow each other get a high dot product (PyTorch).

After the factorization of the OTTO solutions: one table for both sides, negatives are the batch's later items permuted,
binary cross-entropy on the dot products, SparseAdam.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from otto_gpu.device import Device
from otto_gpu.embeddings.model import Task, VectorModel, learnt
from otto_gpu.embeddings.pairs import Pairs, batch_size
from otto_gpu.embeddings.settings import Factorization
from otto_gpu.embeddings.table import Table, learn, torch, training
from otto_gpu.embeddings.table import shared as shared

CACHED = 16_384  # pairs whose gradients are summed up at a time: what they need stays in a processor's cache


def models(task: Task) -> list[VectorModel]:
    def model(name, settings):
        def train(log, told):
            return train_factorization(Pairs(log, settings.steps), settings, task.config.seed, task.device, task.threads, told)

        return learnt(task, name, settings.epochs, train, settings.types, settings.steps)

    return [model(name, settings) for name, settings in task.config.factorization.items()]


def train_factorization(
    pairs: Pairs,
    config: Factorization,
    seed: int,
    device: Device,
    threads: int,
    told: Callable[[int, float], None] = lambda epoch, loss: None,
) -> tuple[np.ndarray, list[float]]:
    """(float32 [n_items, dim], zeros for items of no pair; mean loss per epoch). told(epoch from 1, loss) after each."""
    n = len(pairs)
    size = batch_size(n, config)
    with training(device, threads) as place:
        table = Table(pairs.log.n_items, config.dim, config.lr, config.dim**-0.5, seed, place)

        def step(sides, done):
            item, later = (torch.from_numpy(side.astype(np.int64)).to(place) for side in sides)
            return _learn(table, item, later, done), len(item)

        losses = learn(n, config.epochs, lambda epoch: pairs.batches(size, seed + epoch), step, told)
        return table.vectors(len(table.weight)), losses


def _learn(table: Table, item: torch.Tensor, later: torch.Tensor, done: float) -> torch.Tensor:
    """One step; the batch's mean loss before it: binary cross-entropy with logits, positives and negatives alike."""
    rows, copy, (item, later) = table.take(item, later)
    total, softplus = torch.zeros((), device=item.device), torch.nn.functional.softplus
    piece = CACHED if item.device.type == "cpu" else len(item)
    for x, y in zip(item.split(piece), later.split(piece), strict=True):
        x, y = torch.nn.functional.embedding(x, copy), torch.nn.functional.embedding(y, copy)
        # the batch is in random order: to move the later items by one is to permute them
        positive, negative = (x * y).sum(1), (x * y.roll(1, 0)).sum(1)
        loss = (softplus(-positive).sum() + softplus(negative).sum()) / (2 * len(item))
        loss.backward()
        total += loss.detach()
    table.step(rows, copy, done)
    return total

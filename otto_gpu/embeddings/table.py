"""A table of vectors that learns on the rows of its batches alone (PyTorch), and what repeatable training needs."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Lock
from typing import Any

import numpy as np

from otto_gpu.device import Device
from otto_gpu.embeddings.settings import TORCH
from otto_gpu.events.settings import SPLITS
from otto_gpu.run.progress import Reporter

try:
    import torch
    from torch.utils import deterministic as fills
except ImportError as error:
    raise TORCH.missing() from error

_LOCK, _BEFORE = Lock(), []


def shared(device: Device, threads: int, reporter: Reporter) -> tuple[bool, int]:
    """Of the parts that learn on such a table, see model.py: on a CPU their batches are too small for many cores."""
    on_gpu = told_place(device, reporter)
    return (False, threads) if on_gpu else (threads > 1, max(threads // len(SPLITS), 1))


def told_place(device: Device, reporter: Reporter) -> bool:
    """Whether PyTorch learns on the GPU; where it should and cannot, that is said."""
    on_gpu = torch_device(device).type == "cuda"
    if device.kind == "cuda" and not on_gpu:
        reporter.say("  this PyTorch sees no GPU: the vectors are learnt on the CPU")
    return on_gpu


class Table:
    """weight: float32 [n, dim] on the device, learning by SparseAdam: rows that no batch names never move, and their
    moments do not decay meanwhile. seen: bool [n], the rows that a batch has named.

    A batch works on a copy of the rows that it names (`take`), because gradients of few distinct rows are far smaller
    than those of all their mentions, and SparseAdam need not add them up.
    """

    def __init__(self, n: int, dim: int, lr: float, scale: float, seed: int, device: torch.device):
        # drawn on the CPU, so that every device begins with the same numbers
        start = torch.empty(n, dim).normal_(0, scale, generator=torch.Generator().manual_seed(seed))
        self.weight = torch.nn.Parameter(start.to(device))
        self.seen = torch.zeros(n, dtype=torch.bool, device=device)
        self._named = torch.zeros(n, dtype=torch.bool, device=device)
        self._place = torch.zeros(n, dtype=torch.int64, device=device)
        self._lr, self._optimizer = lr, torch.optim.SparseAdam([self.weight], lr=lr)

    def take(self, *indices: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, list[torch.Tensor]]:
        """(rows int64 [r] that the indices name, their copy [r, dim] with a gradient, the indices as places in the copy)."""
        for index in indices:
            self._named[index] = True
        rows = self._named.nonzero()[:, 0]
        self._named[rows] = False
        self.seen[rows] = True
        self._place[rows] = torch.arange(len(rows), device=rows.device)
        return rows, self.weight.detach()[rows].requires_grad_(), [self._place[index] for index in indices]

    def step(self, rows: torch.Tensor, copy: torch.Tensor, done: float) -> None:
        """Moves the rows by the gradient of their copy. done: the share of the training before this step, by which the
        learning rate falls to zero: large steps to begin with, and no noise at the end."""
        self._optimizer.param_groups[0]["lr"] = self._lr * (1 - done)
        self.weight.grad = torch.sparse_coo_tensor(
            rows[None], copy.grad, self.weight.shape, is_coalesced=True, check_invariants=False
        )
        self._optimizer.step()

    def vectors(self, n: int) -> np.ndarray:
        """float32 [n, dim]: the first n rows as learnt; zeros where no batch named the row."""
        return (self.weight.detach()[:n] * self.seen[:n, None]).cpu().numpy()


def learn(
    n: int,
    epochs: int,
    batches: Callable[[int], Iterator],
    step: Callable[[Any, float], tuple[torch.Tensor, int]],
    told: Callable[[int, float], None],
) -> list[float]:
    """The mean loss of each epoch over n examples, told(epoch from 1, loss) as it ends; none where there is nothing to compare.

    batches(epoch from 0): what `step` takes beside the share of the training before it, to give (the batch's mean loss, size).
    """
    losses = []
    for epoch in range(epochs if n > 1 else 0):
        total, learnt = 0.0, 0
        for batch in batches(epoch):
            loss, size = step(batch, (epoch + learnt / n) / epochs)
            total = total + loss.double() * size  # on the device: to read every loss would wait for every step
            learnt += size
        losses.append(float(total) / n)
        told(epoch + 1, losses[-1])
    return losses


def torch_device(device: Device) -> torch.device:
    """PyTorch's own: the CPU also where the run has a GPU that this PyTorch was not built for."""
    # without it PyTorch refuses products of matrices on a GPU where algorithms have to repeat
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    return torch.device("cuda" if device.kind == "cuda" and torch.cuda.is_available() else "cpu")


@contextmanager
def training(device: Device, threads: int) -> Iterator[torch.device]:
    """PyTorch's device for training, with so many threads and by algorithms that repeat. What was set before comes back,
    also where several threads train at the same time."""
    threads_before = torch.get_num_threads()
    torch.set_num_threads(threads)
    with _LOCK:
        _BEFORE.append((torch.are_deterministic_algorithms_enabled(), fills.fill_uninitialized_memory))
        torch.use_deterministic_algorithms(True)
        fills.fill_uninitialized_memory = False  # nothing here reads what it did not write, and it takes a tenth of the time
    try:
        yield torch_device(device)
    finally:
        torch.set_num_threads(threads_before)
        with _LOCK:
            # the first that came saw what was set before; the last that goes puts it back
            first = _BEFORE[0]
            _BEFORE.pop()
            if not _BEFORE:
                torch.use_deterministic_algorithms(first[0])
                fills.fill_uninitialized_memory = first[1]

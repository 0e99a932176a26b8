"""What a part of the embeddings is made of.

A part is a field of the section `embeddings`, a stage of the same name, a line in settings.PARTS, and a module of this package
with two functions:

    models(task) -> list[VectorModel]                                the vectors that its settings ask for
    shared(device, threads, reporter) -> (bool, int)           whether the periods are learnt side by side; threads for each
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from otto_gpu.device import Device
from otto_gpu.embeddings.pairs import Pairs, held_out, held_out_auc
from otto_gpu.embeddings.settings import EmbeddingsConfig
from otto_gpu.embeddings.vectors import normalised
from otto_gpu.events.log import EventLog
from otto_gpu.events.settings import TargetsConfig
from otto_gpu.events.split import Period
from otto_gpu.run.progress import Reporter

Told = Callable[[int, float], None]  # (epoch from 1, mean loss)
Train = Callable[[EventLog, Told], tuple[np.ndarray, list[float]]]  # float32 [n_items, dim], loss per epoch
Make = Callable[[], tuple[np.ndarray, dict]]  # float32 [n_items, dim], facts


@dataclass(frozen=True)
class Task:
    """config: the whole section; threads: of a period; run_dir: where the stage `events` has left its files; data: where the
    log is, None for a generated one."""

    config: EmbeddingsConfig
    targets: TargetsConfig
    device: Device
    threads: int
    reporter: Reporter
    run_dir: Path
    data: Path | None = None


@dataclass(frozen=True)
class VectorModel:
    """learn(period, told) -> ({name of a file: float32 [n, dim]}, figures, weights of a model that reads sessions or {})."""

    name: str
    epochs: int
    learn: Callable[[Period, Told], tuple[dict[str, np.ndarray], dict, dict[str, np.ndarray]]]


def learnt(task: Task, name: str, epochs: int, train: Train, types: list[str] | None = None, steps=(1, 1)) -> VectorModel:
    """Vectors of items that are learnt from the log, and judged by held-out pairs. types: the events that are seen, None for
    all of them; steps: how far the items of a pair lie apart."""
    config = task.config

    def learn(period: Period, told: Told):
        known = period.known
        if types is not None:
            known = known.where(np.isin(known.type, [code for code, t in enumerate(known.types) if t in types]))
        seen, aside = held_out(known, config.held_out, config.seed)
        vectors, losses = train(seen, told)
        vectors = normalised(vectors)
        return {name: vectors}, _figures(losses, vectors, Pairs(aside, steps), config.seed), {}

    return VectorModel(name, epochs, learn)


def ready(task: Task, name: str, make: Make) -> VectorModel:
    """Vectors of items that no period changes, judged by the same pairs as those that are learnt. make() is called once."""
    config, make = task.config, cache(make)

    def learn(period: Period, told: Told):
        vectors, facts = make()
        _, aside = held_out(period.known, config.held_out, config.seed)
        return {name: vectors}, _figures([], vectors, Pairs(aside), config.seed) | facts, {}

    return VectorModel(name, 0, learn)


def _figures(losses: list[float], vectors: np.ndarray, pairs: Pairs, seed: int) -> dict:
    auc = held_out_auc(vectors, pairs, seed)
    facts = {"loss": [round(loss, 5) for loss in losses], "auc": None if auc is None else round(auc, 5)}
    return facts | {"items": int(vectors.any(axis=1).sum())}


def in_turn(device: Device, threads: int, reporter: Reporter) -> tuple[bool, int]:
    """`shared` of a part whose periods come one after the other."""
    return False, threads

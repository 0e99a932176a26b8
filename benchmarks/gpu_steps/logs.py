"""The generated logs, and what candidates and features are made from: by the CPU, while the device does what needs neither."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

import numpy as np

from benchmarks.gpu_steps.step import Bench
from otto_gpu.candidates.settings import CandidatesConfig
from otto_gpu.columns import AID, EVENT_COLUMNS, SESSION
from otto_gpu.cooccurrence.build import build_matrix
from otto_gpu.cooccurrence.matrix import MatrixStack
from otto_gpu.cooccurrence.rule import RULES
from otto_gpu.events.log import EventLog
from otto_gpu.events.settings import SplitConfig, TargetsConfig
from otto_gpu.events.split import split_log
from otto_gpu.events.synthetic import synthetic_log

LOG, MIDDLE, LARGE, FEW, MANY = "log", "middle log", "large log", "few sessions", "many sessions"


@dataclass(frozen=True)
class World:
    """A log's test period, and the matrices of all rules of what is known in it."""

    known: EventLog
    history: EventLog
    sessions: np.ndarray
    stack: MatrixStack
    config: CandidatesConfig

    @classmethod
    def of(cls, log: EventLog) -> World:
        period = split_log(log, SplitConfig(), TargetsConfig())["test"]
        stack = MatrixStack.of({name: build_matrix(period.known, rule, device="cpu") for name, rule in RULES.items()})
        return cls(period.known, period.history, period.sessions, stack, CandidatesConfig())


def tiled(log: EventLog, times: int) -> EventLog:
    """The log so many times, each with sessions and items of its own: the items of one lie `times` apart."""
    n = len(log)
    columns = {name: np.empty(times * n, getattr(log, name).dtype) for name in EVENT_COLUMNS}
    starts = np.empty(times * log.n_sessions + 1, np.int64)

    def write(k: int) -> None:
        part = slice(k * n, (k + 1) * n)
        for name, column in columns.items():
            column[part] = getattr(log, name)
        columns[SESSION][part] += k * log.n_sessions
        columns[AID][part] *= times
        columns[AID][part] += k
        starts[k * log.n_sessions : (k + 1) * log.n_sessions + 1] = log.starts + k * n

    with ThreadPoolExecutor() as threads:
        list(threads.map(write, range(times)))
    made = EventLog(*(columns[name] for name in EVENT_COLUMNS), times * log.n_sessions, times * log.n_items, log.types)
    made.__dict__["starts"] = starts  # a cached property, which would be searched for
    return made


def beside(bench: Bench) -> None:
    sizes = bench.sizes
    bench.part(LOG, lambda: _put(bench, LOG, synthetic_log(sizes.log)))
    bench.part(LARGE, lambda: _put(bench, LARGE, tiled(bench.get(LOG), sizes.tiles)))
    bench.part(MIDDLE, lambda: _put(bench, MIDDLE, synthetic_log(sizes.middle)))


def worlds_beside(bench: Bench) -> None:
    for name, sessions in ((FEW, bench.sizes.few), (MANY, bench.sizes.many)):
        bench.part(name, partial(_world, bench, name, sessions))


def _world(bench: Bench, name: str, sessions: int) -> dict:
    world = World.of(synthetic_log(sessions))
    bench.put(name, world)
    return {"sessions": len(world.sessions), "events": len(world.known), "items": world.known.n_items}


def _put(bench: Bench, name: str, log: EventLog) -> dict:
    bench.put(name, log)
    return {"events": len(log), "sessions": log.n_sessions, "items": log.n_items}

"""What the tests of candidates and features look at: a log split into periods, its matrices, histories and candidates."""

from dataclasses import dataclass, field, replace
from functools import cache, cached_property
from pathlib import Path

import numpy as np
import pandas as pd

from otto_gpu.candidates.fuse import Candidates, fuse, popular_items
from otto_gpu.candidates.lookup import Histories, evaluate_recipes
from otto_gpu.candidates.settings import CandidatesConfig
from otto_gpu.cooccurrence.build import build_matrix
from otto_gpu.cooccurrence.matrix import Matrix, MatrixStack
from otto_gpu.cooccurrence.rule import RULES
from otto_gpu.events.labels import Labels
from otto_gpu.events.log import EventLog
from otto_gpu.events.settings import SplitConfig, TargetsConfig
from otto_gpu.events.split import split_log
from otto_gpu.events.synthetic import synthetic_log
from otto_gpu.features.compute import PeriodState


@dataclass(frozen=True, eq=False)
class World:
    known: EventLog
    history: EventLog
    labels: Labels
    config: CandidatesConfig = field(default_factory=CandidatesConfig)

    @cached_property
    def sessions(self) -> np.ndarray:
        return np.flatnonzero(np.diff(self.history.starts)).astype(np.int32)

    @cached_property
    def matrices(self) -> dict[str, Matrix]:
        return {name: build_matrix(self.known, RULES[name], device="cpu") for name in RULES}

    @cached_property
    def stack(self) -> MatrixStack:
        return MatrixStack.of(self.matrices)

    @cached_property
    def histories(self) -> Histories:
        return Histories.of(self.history, self.config)

    @cached_property
    def popular(self) -> np.ndarray:
        return popular_items(self.known, self.config.popular_days)

    @cached_property
    def period_state(self) -> PeriodState:
        return PeriodState.of(self.known, self.history, self.stack, self.config)

    def some_sessions(self, n: int) -> np.ndarray:
        """n sessions, the longest and a shortest among them."""
        lengths = np.diff(self.history.starts)[self.sessions]
        special = self.sessions[[lengths.argmax(), lengths.argmin()]]
        others = np.random.default_rng(1).choice(self.sessions, min(n, len(self.sessions)), replace=False)
        return np.unique(np.concatenate([special, others])).astype(np.int32)

    def candidates(self, sessions: np.ndarray) -> Candidates:
        mine = self.histories.chunk(sessions)
        named = evaluate_recipes(mine, self.stack, self.config, self.history.types)
        named = {r: named[r] for r in self.config.outputs}
        return fuse(sessions, mine, named, self.popular, self.config, self.history.types)

    def events(self, session: int) -> list[tuple[int, int, str]]:
        """(aid, ts, type name) of a session's history, oldest first."""
        h = self.history
        part = slice(h.starts[session], h.starts[session + 1])
        types = [h.types[t] for t in h.type[part]]
        return list(zip(h.aid[part].tolist(), h.ts[part].tolist(), types, strict=True))

    def rows_of(self) -> dict[str, "Rows"]:
        return {name: Rows(matrix) for name, matrix in self.matrices.items()}


@dataclass(frozen=True)
class Rows:
    """A matrix as the dict {item: its neighbours, heaviest first} that oracles read."""

    matrix: Matrix

    def get(self, item: int, _) -> list[int]:
        return self.matrix.neighbours[self.matrix.pointer[item] : self.matrix.pointer[item + 1]].tolist()


def world_of(log: EventLog, split: SplitConfig) -> World:
    period = split_log(log, split, TargetsConfig(types=list(log.types)))["test"]
    known, history = (replace(part, items=None, sessions=None) for part in (period.known, period.history))
    return World(known, history, period.labels)


@cache
def synthetic_world() -> World:
    return world_of(synthetic_log(3000, seed=3), SplitConfig(test_days=5, validation_days=5))


@cache
def taobao_world(folder: Path) -> World:
    log = EventLog.from_frame(pd.read_parquet(folder / "events.parquet"))
    return world_of(log, SplitConfig(test_days=2, validation_days=2))


@cache
def clicks_world() -> World:
    """A log of clicks only: everything about carts and orders is empty, and so are the matrices of what was bought."""
    log = synthetic_log(1500, seed=5)
    return world_of(log.where(log.type == 0), SplitConfig(test_days=5, validation_days=5))


def log_of(sessions, n_items: int, types=("clicks", "carts", "orders")) -> EventLog:
    """sessions: lists of (aid, ts in ms, type code) in order of time; nothing is dropped or sorted."""
    rows = [(s, *event) for s, events in enumerate(sessions) for event in events]
    session, aid, ts, kind = np.array(rows, np.int64).reshape(-1, 4).T
    columns = (np.ascontiguousarray(c, d) for c, d in ((session, np.int32), (aid, np.int32), (ts, np.int64), (kind, np.int8)))
    return EventLog(*columns, n_sessions=len(sessions), n_items=n_items, types=tuple(types))


def stack_of(matrices: dict[str, dict[int, list[tuple[int, float]]]], n_items: int) -> MatrixStack:
    """From {matrix: {item: [(neighbour, weight), heaviest first]}}."""
    made = {}
    for name, rows in matrices.items():
        flat = [(x, y, w) for x in range(n_items) for y, w in rows.get(x, [])]
        x, y, w = np.array(flat, np.float64).reshape(-1, 3).T
        made[name] = Matrix.from_rows(x, y, w, n_items)
    return MatrixStack.of(made)

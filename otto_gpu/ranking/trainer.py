"""Trains the groups of one target, with the settings that they have or that a search finds, models side by side.

Boosting grows one tree after the other, which leaves little for several threads to do: with a model per thread all are busy.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from tempfile import mkdtemp

import numpy as np

from otto_gpu.device import Device
from otto_gpu.events.settings import TargetsConfig
from otto_gpu.features.sampling import drawn_sessions
from otto_gpu.ranking.folds import fold_of
from otto_gpu.ranking.rankers import Ranker, load_ranker
from otto_gpu.ranking.samples import Pooled, Samples
from otto_gpu.ranking.settings import Group, RankingConfig
from otto_gpu.run.directory import write_atomically
from otto_gpu.run.progress import Reporter
from otto_gpu.run.workers import IN_PROCESS, Shared, Workers

OTTO = TargetsConfig()
PREPARED_SHARE = 0.5  # of a GPU's free memory; training takes some of the rest


@dataclass
class Trainer(Shared):
    """place: the folder of the target's models; cache: a folder for rows that memory does not hold; names: the rows' columns;
    threads: of all models side by side; categorical: the names of the columns of categories."""

    place: Path
    cache: Path
    samples: Samples | Pooled
    names: tuple[str, ...]
    config: RankingConfig
    device: Device
    threads: int
    targets: TargetsConfig = OTTO
    categorical: frozenset[str] = frozenset()

    @cached_property
    def _fold_bytes(self) -> int:
        most = max(g.columns or len(self.names) for g in self.config.groups.values())
        return self.samples.rows * min(most, len(self.names))  # prepared: a byte a value

    @cached_property
    def _kept(self) -> int:
        """Bytes that prepared rows may take where they lie: in the host's memory, or in a GPU's."""
        free = self.device.free_memory()
        return self.config.kept_mb << 20 if free is None else int(PREPARED_SHARE * free)

    @cached_property
    def _at_once(self) -> int:
        # a GPU trains one model at a time; elsewhere as many as there are threads and as memory holds
        most = 1 if self.device.kind == "cuda" else max(self._kept // self._fold_bytes, 1)
        return min(self.threads, self.config.folds, most)

    @cached_property
    def _each(self) -> int:
        """Threads of a model. They decide about its last bits, so a cluster's worker takes as many."""
        return max(self.threads // self._at_once, 1)

    @cached_property
    def _folds(self) -> list[int]:
        """Those that can be trained and judged."""
        both = self.samples.both_labels
        return [k for k in range(self.config.folds) if all(both(self._of_fold(k, inside)) for inside in (True, False))]

    @cached_property
    def _prepared(self) -> dict[int, tuple]:
        return {}

    def _of_fold(self, fold: int, inside: bool) -> Callable[[np.ndarray], np.ndarray]:
        return lambda session: (fold_of(session, self.config.folds, self.config.seed) == fold) == inside

    def ranker(self, group: Group) -> Ranker:
        return load_ranker(group.ranker or self.config.ranker)

    def _some(self, keep: Callable[[np.ndarray], np.ndarray], rows: int) -> Callable[[np.ndarray], np.ndarray]:
        """Of the sessions that are kept as many as a first look at so many rows takes."""
        share = rows / max(self.samples.rows, 1)
        return lambda session: keep(session) & drawn_sessions(session, share, self.config.seed)

    def groups(self, reporter: Reporter, workers: Workers = IN_PROCESS) -> dict[str, Group]:
        """The groups with their settings, searched for where the configuration says so."""
        if self.config.search is None or not self._folds:
            return self.config.groups
        from otto_gpu.ranking.search import best_settings

        result = {}
        for name, group in self.config.groups.items():
            place = self.place / name
            place.mkdir(parents=True, exist_ok=True)
            judge = partial(self._judge, workers=workers)
            result[name], record = best_settings(place / "search.json", self.config.search, group, judge)
            trials, metric = record["trials"], group.metric(self.targets)
            best = trials[record["best"]]
            reporter.say(
                f"  {self.place.name}, {name}: {len(trials)} trials, eval-{metric} {trials[0]['score']:.4f} -> "
                f"{best['score']:.4f} with {json.dumps(best['params'])}"
            )
        return result

    def _judge(self, group: Group, workers: Workers) -> list[float]:
        """The best figure on each held-out fold."""
        tasks = [(group, k) for k in self._folds]
        scores = {fold: score for (_, fold), score in workers.map(_judge_fold, self, tasks, self._at_once)}
        return [scores[k] for k in self._folds]

    def train(
        self, groups: dict[str, Group], advance: Callable[[int], None], workers: Workers = IN_PROCESS
    ) -> dict[str, list[float]]:
        """Models with their logs and importances; per group the best figure of each fold that can be trained."""
        for name in groups:
            (self.place / name).mkdir(parents=True, exist_ok=True)
        advance(len(groups) * (self.config.folds - len(self._folds)))
        tasks = [(name, group, k) for name, group in groups.items() for k in self._folds]
        scores = {}
        for (name, _, fold), score in workers.map(_train_and_keep, self, tasks, self._at_once):
            scores[name, fold] = score
            advance(1)
        return {name: [scores[name, k] for k in self._folds] for name in groups}

    def _new_cache(self) -> Path:
        """A folder of its own for every training: several may run at the same time, in several processes."""
        self.cache.mkdir(parents=True, exist_ok=True)
        return Path(mkdtemp(dir=self.cache))

    def _train_fold(self, group: Group, fold: int) -> tuple:
        """(model, log)"""
        ranker = self.ranker(group)
        kind, prepared = self._prepared.get(fold, (None, None))
        mine = ranker, ranker.alike(group)
        if kind != mine:
            prepared, self._prepared[fold] = None, (None, None)  # the old rows go before the new ones come
            held_out, others = (self._of_fold(fold, inside) for inside in (True, False))
            columns = ranker.choose_columns(
                group, lambda: self.samples.batches(self._some(others, ranker.LOOKED_AT)), self.names, self.device.kind,
                self._each, self.config.seed, categorical=self.categorical,
            )  # fmt: skip
            prepared = ranker.prepare(
                group, lambda: self.samples.batches(others), lambda: self.samples.batches(held_out), self.names, self._each,
                self._new_cache() if self._fold_bytes > self._kept else None, columns, self.device.kind,
                categorical=self.categorical,
            )  # fmt: skip
            again = len(self.config.groups) > 1 or self.config.search is not None  # somebody may ask for them once more
            if again and self.config.folds * self._fold_bytes <= self._kept:
                self._prepared[fold] = mine, prepared
        return ranker.train(group, prepared, self.device.kind, self._each, self.config.seed + fold, self.targets)


def _judge_fold(trainer: Trainer, task: tuple[Group, int]) -> float:
    _, log = trainer._train_fold(*task)
    return log["best_score"]


def _train_and_keep(trainer: Trainer, task: tuple[str, Group, int]) -> float:
    """The best figure on the fold."""
    name, group, fold = task
    ranker = trainer.ranker(group)
    model_path, log_path = (trainer.place / name / f"fold-{fold}.{ending}" for ending in (ranker.ENDING, "json"))
    if not log_path.exists():  # written last: model and log are there together
        model, log = trainer._train_fold(group, fold)
        log["importance"] = ranker.importance(model, trainer.names)
        write_atomically(model_path, lambda p: ranker.save(model, p))
        write_atomically(log_path, lambda p: p.write_text(json.dumps(log)))
    return json.loads(log_path.read_text())["best_score"]

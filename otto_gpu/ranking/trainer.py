"""Trains the groups of one target, with the settings that they have or that a search finds, their folds side by side.

Boosting grows one tree after the other, which leaves little for several threads to do: with a model per thread all are busy.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from otto_gpu.device import Device
from otto_gpu.progress import Reporter
from otto_gpu.ranking.folds import fold_of
from otto_gpu.ranking.samples import Pooled, Samples
from otto_gpu.ranking.settings import Group, RankingConfig
from otto_gpu.run import write_atomically


@dataclass
class Trainer:
    """place: the folder of the target's models; cache: a folder for rows that memory does not hold; names: the rows' columns;
    ranker: a module of the registry."""

    place: Path
    cache: Path
    samples: Samples | Pooled
    names: tuple[str, ...]
    ranker: object
    config: RankingConfig
    device: Device
    threads: int

    def __post_init__(self):
        fold_bytes = self.samples.rows * len(self.names)  # prepared: a byte a value
        kept = self.config.kept_mb << 20
        # a GPU trains one model at a time; elsewhere as many as there are threads and as memory holds
        at_once = 1 if self.device.kind == "cuda" else max(kept // fold_bytes, 1)
        self._workers = min(self.threads, self.config.folds, at_once)
        self._each = max(self.threads // self._workers, 1)
        self._keep = self.config.folds * fold_bytes <= kept
        self._from_disk = fold_bytes > kept
        self._folds = [
            k for k in range(self.config.folds) if all(self.samples.both_labels(self._of_fold(k, i)) for i in (True, False))
        ]
        self._prepared: dict[int, tuple] = {}
        self._kind: tuple | None = None

    def _of_fold(self, fold: int, inside: bool) -> Callable[[np.ndarray], np.ndarray]:
        return lambda session: (fold_of(session, self.config.folds, self.config.seed) == fold) == inside

    def groups(self, reporter: Reporter) -> dict[str, Group]:
        """The groups with their settings, searched for where the configuration says so."""
        if self.config.search is None or not self._folds:
            return self.config.groups
        from otto_gpu.ranking.search import best_settings

        result = {}
        for name, group in self.config.groups.items():
            place = self.place / name
            place.mkdir(parents=True, exist_ok=True)
            result[name], record = best_settings(place / "search.json", self.config.search, group, self._judge)
            trials = record["trials"]
            reporter.say(
                f"  {self.place.name}, {name}: {len(trials)} trials, eval-{group.metric} {trials[0]['score']:.4f} -> "
                f"{trials[record['best']]['score']:.4f} with {json.dumps(trials[record['best']]['params'])}"
            )
        return result

    def _judge(self, group: Group) -> list[float]:
        """The best figure on each held-out fold."""
        scores = {fold: log["best_score"] for fold, (_, log) in self._side_by_side(group, self._folds)}
        return [scores[k] for k in self._folds]

    def train(self, name: str, group: Group, advance: Callable[[int], None]) -> list[float]:
        """Models with their logs and importances; the best figure of each fold that can be trained."""
        place = self.place / name
        place.mkdir(parents=True, exist_ok=True)
        advance(self.config.folds - len(self._folds))
        logs = {k: place / f"fold-{k}.json" for k in self._folds}
        todo = [k for k in self._folds if not logs[k].exists()]  # written last: model and log are there together
        advance(len(self._folds) - len(todo))
        for fold, (model, log) in self._side_by_side(group, todo):
            write_atomically(place / f"fold-{fold}.ubj", lambda p: p.write_bytes(bytes(model.save_raw("ubj"))))
            log["importance"] = self.ranker.importance(model, self.names)
            write_atomically(logs[fold], lambda p: p.write_text(json.dumps(log)))
            advance(1)
        return [json.loads(path.read_text())["best_score"] for path in logs.values()]

    def _side_by_side(self, group: Group, folds: list[int]) -> Iterator[tuple[int, tuple]]:
        """(fold, (model, log)) as they get done."""
        if self._kind != self.ranker.alike(group):
            self._prepared, self._kind = {}, self.ranker.alike(group)
        with ThreadPoolExecutor(self._workers) as pool:
            jobs = {pool.submit(self._train_fold, group, k): k for k in folds}
            try:
                for job in as_completed(jobs):
                    yield jobs[job], job.result()
            finally:
                pool.shutdown(cancel_futures=True)

    def _train_fold(self, group: Group, fold: int) -> tuple:
        prepared = self._prepared.get(fold)
        if prepared is None:
            held_out, others = (self._of_fold(fold, inside) for inside in (True, False))
            cache = self.cache / f"fold-{fold}" if self._from_disk else None
            if cache is not None:
                cache.mkdir(parents=True, exist_ok=True)
            prepared = self.ranker.prepare(
                group, lambda: self.samples.batches(others), lambda: self.samples.batches(held_out), self.names, self._each,
                cache,
            )  # fmt: skip
            if self._keep:
                self._prepared[fold] = prepared
        return self.ranker.train(group, prepared, self.device.kind, self._each, self.config.seed + fold)

"""The stage `rankers`: models per target, group and fold; earlier targets of the cascade first, then those that have too few
positives and get the models of all targets."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from otto_gpu.device import Device
from otto_gpu.events.settings import TargetsConfig
from otto_gpu.features.stage import SPLIT
from otto_gpu.ranking.folds import fold_of
from otto_gpu.ranking.models import (
    POOL,
    TARGET,
    Models,
    cascade_column,
    mean_margin,
    model_files,
    ranker_of,
    save_facts,
    training_order,
)
from otto_gpu.ranking.samples import More, Pooled, Samples
from otto_gpu.ranking.scoring import scoring_backend
from otto_gpu.ranking.settings import RankingConfig
from otto_gpu.ranking.trainer import Trainer
from otto_gpu.run.progress import Reporter
from otto_gpu.run.workers import IN_PROCESS, Shared, Workers


def train(
    folder: Path, run_dir: Path, config: RankingConfig, targets: TargetsConfig, device: Device, threads: int,
    reporter: Reporter, workers: Workers = IN_PROCESS,
) -> dict:  # fmt: skip
    """models/{target}/{group}/fold-{k} as the group's kind saves it, with fold-{k}.json (log, importance), search.json where
    there is a search, and models/features.json: {target with models: {"folder": below models/, "columns": [those that they
    take]}}."""
    for group in config.groups:
        ranker_of(config, group)  # what is missing is said at the beginning
    scoring_backend(config.scoring, device.kind)
    order = training_order(targets.names, config.cascade)
    files = sorted((run_dir / "features" / SPLIT).glob("part-*.parquet"))
    declared = json.loads((run_dir / "features/catalogue.json").read_text())
    catalogue = tuple(c["name"] for c in declared)
    categorical = frozenset(c["name"] for c in declared if c.get("categorical"))
    finished: dict[str, tuple[str, tuple[str, ...]]] = {}
    poor, each = [], len(config.groups) * config.folds
    (folder / "models").mkdir(exist_ok=True)

    def rows_of(target: str, more: More | None = None) -> Samples:
        return Samples(files, target, catalogue, config.batch_rows, more, config.kept_mb)

    def fit(samples: Samples | Pooled, place: str, names: tuple[str, ...], advance: Callable[[int], None], what: str) -> None:
        cache = folder / "cache"  # no output: it goes when the stage is done
        trainer = Trainer(folder / "models" / place, cache, samples, names, config, device, threads, targets, categorical)
        groups = trainer.groups(reporter, workers)
        for name, scores in trainer.train(groups, advance, workers).items():
            metric = f"eval-{groups[name].metric(targets)}"
            told = f"{metric} {np.mean(scores):.4f} (mean of {len(scores)} folds)" if scores else "no model"
            reporter.say(f"  {what}, {name}: {samples.rows:,} rows, {samples.positives:,} positives, {told}")

    def finish(target: str, place: str, names: tuple[str, ...]) -> None:
        if model_files(folder, config, place):  # nothing where no fold could be trained
            finished[target] = place, names

    with reporter.work("rankers", "models", len(order) * each) as work:
        for target in order:
            samples = rows_of(target)
            if samples.positives < config.min_positives:
                reporter.say(
                    f"  {target}: {samples.positives} positives, too few to train on: "
                    + ("learns from all targets" if config.transfer else "the hand-set order stays")
                )
                poor.append(target)
                work.advance(each if not config.transfer or len(poor) > 1 else 0)  # together they have the models of one
                continue
            earlier = [e for e in config.cascade.get(target, ()) if e in finished]
            if earlier:
                save_facts(folder, finished)  # for whoever asks them, in this process or another
                samples = rows_of(target, _Voices(folder, config, targets, device, threads, earlier))
            names = (*catalogue, *map(cascade_column, earlier))
            fit(samples, target, names, work.advance, target)
            finish(target, target, names)
        if poor and config.transfer:
            pooled = Pooled({targets.code(t): rows_of(t) for t in order})
            if pooled.positives >= config.min_positives:
                fit(pooled, POOL, (*catalogue, TARGET), work.advance, "all targets")
                for target in poor:
                    finish(target, POOL, (*catalogue, TARGET))
    save_facts(folder, finished)
    places = dict.fromkeys(place for place, _ in finished.values())
    return {"models": sum(len(files) for p in places for files in model_files(folder, config, p).values())}


@dataclass(frozen=True)
class _Voices(Shared):
    """(features, session) -> float32 [m, earlier]: the out-of-fold scores of the earlier targets."""

    folder: Path
    config: RankingConfig
    targets: TargetsConfig
    device: Device
    threads: int
    earlier: list[str]

    @cached_property
    def models(self) -> Models:
        return Models.load(self.folder, self.config, self.targets, self.device, self.threads)

    def __call__(self, features: np.ndarray, session: np.ndarray) -> np.ndarray:
        scores = self.models.scores(features, fold_of(session, self.config.folds, self.config.seed))
        return np.column_stack([mean_margin(scores[e]) for e in self.earlier])

"""The finished rankers of a run, and their scores: out-of-fold for validation, the mean over the folds for test.

models/features.json says for each target in which folder its models lie and which columns they take: those of the catalogue,
then the scores of the targets that stand before it in the cascade, or the target itself for the models of all targets.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from graphlib import TopologicalSorter
from pathlib import Path

import numpy as np

from otto_gpu.device import Device
from otto_gpu.device.arrays import arrays_of
from otto_gpu.errors import UserError
from otto_gpu.events.settings import TargetsConfig
from otto_gpu.ranking.rankers import Ranker, load_ranker
from otto_gpu.ranking.scoring import scoring_backend, take_columns, take_rows
from otto_gpu.ranking.settings import RankingConfig
from otto_gpu.run.directory import write_atomically
from otto_gpu.schema import did_you_mean

NAMES = "features.json"
POOL = "all_targets"  # the folder of the models that were trained on the rows of all targets
TARGET = "target"  # their last column: the code of the target


def cascade_column(target: str) -> str:
    """The out-of-fold score of an earlier target's models, as a column of a later target's rows."""
    return f"cascade_{target}_score"


def training_order(targets, cascade: dict[str, tuple[str, ...]]) -> list[str]:
    """The targets, earlier ones of the cascade first."""
    for name in (*cascade, *(e for earlier in cascade.values() for e in earlier)):
        if name not in targets:
            raise UserError(f"ranking.cascade: {name!r} is no target; {did_you_mean(name, targets)}")
    return list(TopologicalSorter({t: cascade.get(t, ()) for t in targets}).static_order())


def ranker_of(config: RankingConfig, group: str) -> Ranker:
    """Of a group by its name."""
    return load_ranker(config.groups[group].ranker or config.ranker)


def model_files(run_dir: Path, config: RankingConfig, folder: str) -> dict[str, dict[int, Path]]:
    """{group: {fold: file}} of the models that are there, below models/, without groups that have none."""
    found: dict[str, dict[int, Path]] = {}
    for group in config.groups:
        ending = ranker_of(config, group).ENDING
        files = {k: run_dir / "models" / folder / group / f"fold-{k}.{ending}" for k in range(config.folds)}
        there = {k: file for k, file in files.items() if file.is_file()}
        if there:
            found[group] = there
    return found


def save_facts(run_dir: Path, facts: dict[str, tuple[str, tuple[str, ...]]]) -> None:
    """models/features.json. facts: {target with models: (folder, columns)}."""
    written = {target: {"folder": folder, "columns": columns} for target, (folder, columns) in facts.items()}
    write_atomically(run_dir / "models" / NAMES, lambda p: p.write_text(json.dumps(written)))


@dataclass(frozen=True)
class Ensemble:
    """The rankers of one target. names: the columns that they take, those of the catalogue first; earlier: the targets whose
    scores come then; code: the target's own, the last column of models of all targets, None for others; groups: {group: {fold:
    model}}, without the folds that could not be trained."""

    names: tuple[str, ...]
    earlier: tuple[str, ...]
    code: int | None
    groups: dict[str, dict[int, object]]

    def further(self, scores: dict[str, np.ndarray], m: int) -> dict[str, np.ndarray]:
        """{column: float32 [m]}, those that are not the catalogue's, in their order. scores: of the targets before it."""
        if self.code is not None:
            return {TARGET: np.full(m, self.code, np.float32)}
        return {cascade_column(e): mean_margin(scores[e]) for e in self.earlier}

    @property
    def catalogue(self) -> tuple[str, ...]:
        return self.names[: len(self.names) - len(self.earlier) - (self.code is not None)]


class Models:
    """The rankers of all targets that have any. rankers: {group: the kind of its models}; ensembles: {target: Ensemble},
    earlier targets of the cascade first; way: how they score what lies on a GPU."""

    def __init__(self, rankers: dict[str, Ranker], ensembles: dict[str, Ensemble], way: str):
        self._rankers, self.ensembles, self._way = rankers, ensembles, way

    @classmethod
    def load(cls, run_dir: Path, config: RankingConfig, targets: TargetsConfig, device: Device, threads: int) -> Models:
        facts = json.loads((run_dir / "models" / NAMES).read_text())
        rankers, ensembles = {group: ranker_of(config, group) for group in config.groups}, {}
        for target in training_order(targets.names, config.cascade):
            if target in facts:
                folder, names = facts[target]["folder"], tuple(facts[target]["columns"])
                groups = {
                    group: {k: rankers[group].load(file, device.kind, threads) for k, file in files.items()}
                    for group, files in model_files(run_dir, config, folder).items()
                }
                earlier = tuple(t for t in config.cascade.get(target, ()) if cascade_column(t) in names)
                ensembles[target] = Ensemble(names, earlier, targets.code(target) if folder == POOL else None, groups)
        return cls(rankers, ensembles, scoring_backend(config.scoring, device.kind))

    def groups(self, target: str) -> tuple[str, ...]:
        """Whose scores there are; empty for a target that was not trained."""
        return tuple(self.ensembles[target].groups) if target in self.ensembles else ()

    @cached_property
    def columns(self) -> tuple[str, ...]:
        """Those of the catalogue that any model takes, in its order; the others are never read."""
        of_fold = [(self._rankers[g], models) for e in self.ensembles.values() for g, models in e.groups.items()]
        used = {name for ranker, models in of_fold for model in models.values() for name in ranker.columns_of(model)}
        return tuple(name for name in self._catalogue if name in used)

    @property
    def _catalogue(self) -> tuple[str, ...]:
        return next(iter(self.ensembles.values())).catalogue if self.ensembles else ()

    @cached_property
    def _names(self) -> tuple[str, ...]:
        """Of the rows that are scored: columns, and behind them what the targets give each other."""
        further = (name for e in self.ensembles.values() for name in e.names[len(e.catalogue) :])
        return *self.columns, *dict.fromkeys(further)

    @cached_property
    def _places(self) -> np.ndarray:
        """int64: where the catalogue has the columns; for those behind them any one, whose values will be written over."""
        place = {name: i for i, name in enumerate(self._catalogue)}
        return np.array([place.get(name, 0) for name in self._names], np.int64)

    def scores(self, features, fold: np.ndarray | None) -> dict[str, np.ndarray]:
        """{target: float32 [m, groups]}, on the host, from the catalogue's columns, float32 [m, n], on the host or the device.

        fold: int64 [m], the rows' folds: each is scored by the models that have not seen it, nan where its fold has none;
        None: sessions that no model has seen, scored by the mean over the folds.
        """
        result = {t: np.full((len(features), len(e.groups)), np.nan, np.float32) for t, e in self.ensembles.items()}
        if not result:
            return result
        rows = take_columns(features, self._places, self._way)
        if fold is None:
            self._score(rows, None, result)
        for k in () if fold is None else np.unique(fold).tolist():
            mine = np.flatnonzero(fold == k)
            of_fold = {t: s[mine] for t, s in result.items()}
            self._score(take_rows(rows, mine), k, of_fold)
            for target, scores in of_fold.items():
                result[target][mine] = scores
        return result

    def _score(self, rows, fold: int | None, result: dict[str, np.ndarray]) -> None:
        """Into the result, target by target. fold: the one that all rows are of, None: they are of none."""
        xp = arrays_of(rows)
        for target, ensemble in self.ensembles.items():
            for name, values in ensemble.further(result, len(rows)).items():
                rows[:, self._names.index(name)] = xp.asarray(values)
            for g, (group, of_fold) in enumerate(ensemble.groups.items()):
                # where a fold has no model no other one may speak: all of them have seen its sessions
                models = of_fold.values() if fold is None else [of_fold[fold]] if fold in of_fold else []
                said = [self._rankers[group].predict(m, rows, self._names, self._way) for m in models]
                if said:
                    result[target][:, g] = np.mean(said, axis=0, dtype=np.float64)

    def contributions(
        self, target: str, features: np.ndarray, weights: dict[str, float]
    ) -> tuple[tuple[str, ...], np.ndarray, np.ndarray, float] | None:
        """(columns, values float32 [n], contributions float64 [n], bias) of one row of the catalogue's columns, float32 [1, n],
        of the host's: what each column gives to the score, the mean over folds and, by their weights, groups (equal ones, where
        they have none). None for a target that was not trained."""
        if target not in self.ensembles:
            return None
        ensemble = self.ensembles[target]
        scores = self.scores(features, None) if ensemble.earlier else {}
        rows = np.column_stack([features, *ensemble.further(scores, len(features)).values()])
        weighted = {g: weights.get(g, 0.0) for g in ensemble.groups}
        if not any(weighted.values()):
            weighted = dict.fromkeys(ensemble.groups, 1.0)
        gives = np.zeros(len(ensemble.names) + 1)
        for group, models in ensemble.groups.items():
            for model in models.values():
                found = self._rankers[group].contributions(model, rows, ensemble.names)
                gives += found * weighted[group] / sum(weighted.values()) / len(models)
        return ensemble.names, rows[0], gives[:-1], float(gives[-1])


def mean_margin(scores: np.ndarray) -> np.ndarray:
    """float32 [m]: what a later target of the cascade sees of float32 [m, groups]: the mean of the groups' margins."""
    return scores.mean(axis=1, dtype=np.float64).astype(np.float32)

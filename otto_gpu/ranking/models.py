"""The finished rankers of a run, and their scores: out-of-fold for validation, the mean over the folds for test.

models/features.json says for each target in which folder its models lie and which columns they take: those of the catalogue,
then the scores of the targets that stand before it in the cascade, or the target itself for the models of all targets.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from graphlib import TopologicalSorter
from pathlib import Path

import numpy as np

from otto_gpu.arrays import arrays_of
from otto_gpu.device import Device
from otto_gpu.errors import UserError
from otto_gpu.events.settings import TargetsConfig
from otto_gpu.ranking.settings import RankingConfig
from otto_gpu.run import write_atomically
from otto_gpu.schema import nearest

NAMES = "features.json"
POOL = "all_targets"  # the folder of the models that were trained on the rows of all targets
TARGET = "target"  # their last column: the code of the target


def load_ranker(name: str):
    """The registry of rankers: a module with prepare, train, load, predict and importance."""
    if name != "xgboost":
        raise UserError(f"ranking.ranker: unknown ranker {name!r}; {nearest(name, ['xgboost'])}")
    from otto_gpu.ranking import xgb

    return xgb


def cascade_column(target: str) -> str:
    """The out-of-fold score of an earlier target's models, as a column of a later target's rows."""
    return f"cascade_{target}_score"


def training_order(targets, cascade: dict[str, tuple[str, ...]]) -> list[str]:
    """The targets, earlier ones of the cascade first."""
    for name in (*cascade, *(e for earlier in cascade.values() for e in earlier)):
        if name not in targets:
            raise UserError(f"ranking.cascade: {name!r} is no target; {nearest(name, targets)}")
    return list(TopologicalSorter({t: cascade.get(t, ()) for t in targets}).static_order())


@dataclass(frozen=True)
class Ensemble:
    """The rankers of one target. folder: where they lie, below models/; names: the columns that they take; earlier: the
    targets whose scores are among them; groups: {group: {fold: model}}, without the folds that could not be trained."""

    folder: str
    names: tuple[str, ...]
    earlier: tuple[str, ...]
    groups: dict[str, dict[int, object]]

    @classmethod
    def load(
        cls, run_dir: Path, config: RankingConfig, target: str, folder: str, names, device: Device, threads: int
    ) -> Ensemble:
        ranker = load_ranker(config.ranker)
        earlier = tuple(t for t in config.cascade.get(target, ()) if cascade_column(t) in names)
        groups = {}
        for group in config.groups:
            files = {k: run_dir / "models" / folder / group / f"fold-{k}.ubj" for k in range(config.folds)}
            models = {k: ranker.load(f, device.kind, threads) for k, f in files.items() if f.is_file()}
            if models:
                groups[group] = models
        return cls(folder, tuple(names), earlier, groups)


class Models:
    """The rankers of all targets that have any. ensembles: {target: Ensemble}, earlier targets of the cascade first; codes:
    {target: code}."""

    def __init__(self, ranker, ensembles: dict[str, Ensemble], codes: dict[str, int]):
        self._ranker, self.ensembles, self._codes = ranker, ensembles, codes

    @classmethod
    def load(cls, run_dir: Path, config: RankingConfig, targets: TargetsConfig, device: Device, threads: int) -> Models:
        facts = json.loads((run_dir / "models" / NAMES).read_text())
        models = cls(load_ranker(config.ranker), {}, {t: targets.code(t) for t in targets.names})
        for target in training_order(targets.names, config.cascade):
            if target in facts:
                models.add(target, run_dir, config, facts[target]["folder"], facts[target]["columns"], device, threads)
        return models

    def add(self, target: str, run_dir: Path, config: RankingConfig, folder: str, names, device: Device, threads: int) -> None:
        """A target whose models are trained; nothing where no fold could be."""
        ensemble = Ensemble.load(run_dir, config, target, folder, names, device, threads)
        if ensemble.groups:
            self.ensembles[target] = ensemble

    def save(self, folder: Path) -> None:
        facts = {t: {"folder": e.folder, "columns": e.names} for t, e in self.ensembles.items()}
        write_atomically(folder / "models" / NAMES, lambda p: p.write_text(json.dumps(facts)))

    def groups(self, target: str) -> tuple[str, ...]:
        """Whose scores there are; empty for a target that was not trained."""
        return tuple(self.ensembles[target].groups) if target in self.ensembles else ()

    def scores(self, features, fold: np.ndarray | None) -> dict[str, np.ndarray]:
        """{target: float32 [m, groups]}, on the host, from the catalogue's columns, float32 [m, n], on the host or the device.

        fold: int64 [m], the rows' folds: each is scored by the models that have not seen it, nan where its fold has none;
        None: sessions that no model has seen, scored by the mean over the folds.
        """
        result: dict[str, np.ndarray] = {}
        for target, ensemble in self.ensembles.items():
            rows = self._rows(target, features, result)
            scored = [_score(self._ranker, models, rows, ensemble.names, fold) for models in ensemble.groups.values()]
            result[target] = np.stack(scored, axis=1).astype(np.float32, copy=False)
        return result

    def contributions(
        self, target: str, features: np.ndarray, weights: dict[str, float]
    ) -> tuple[tuple[str, ...], np.ndarray, np.ndarray, float] | None:
        """(columns, values float32 [n], contributions float64 [n], bias) of one row of the catalogue's columns, float32 [1, n],
        of the host's: what each column gives to the score, the mean over folds and, by their weights, groups (equal ones, where
        they have none). None for a target that was not trained."""
        if target not in self.ensembles:
            return None
        ensemble = self.ensembles[target]
        rows = self._rows(target, features, self.scores(features, None) if ensemble.earlier else {})
        weighted = {g: weights.get(g, 0.0) for g in ensemble.groups}
        if not any(weighted.values()):
            weighted = dict.fromkeys(ensemble.groups, 1.0)
        gives = np.zeros(len(ensemble.names) + 1)
        for group, models in ensemble.groups.items():
            for model in models.values():
                found = self._ranker.contributions(model, rows, ensemble.names)
                gives += found * weighted[group] / sum(weighted.values()) / len(models)
        return ensemble.names, rows[0], gives[:-1], float(gives[-1])

    def _rows(self, target: str, features, scores: dict[str, np.ndarray]):
        """The columns that a target's models take. scores: those of the targets before it."""
        ensemble = self.ensembles[target]
        if ensemble.folder == POOL:
            return _beside(features, np.full(len(features), self._codes[target], np.float32))
        return _beside(features, *(voice(scores[e]) for e in ensemble.earlier)) if ensemble.earlier else features


def _beside(features, *columns: np.ndarray):
    """The features with further columns float32 [m] of the host's, where the features lie."""
    xp = arrays_of(features)
    return xp.column_stack([features, *map(xp.asarray, columns)])


def voice(scores: np.ndarray) -> np.ndarray:
    """float32 [m]: what a later target of the cascade sees of float32 [m, groups]: the mean of the groups' margins."""
    return scores.mean(axis=1, dtype=np.float64).astype(np.float32)


def _score(ranker, models: dict[int, object], features, names: tuple[str, ...], fold: np.ndarray | None) -> np.ndarray:
    if fold is None:
        return np.mean([ranker.predict(m, features, names) for m in models.values()], axis=0, dtype=np.float64)
    # where fold k has no model no other one may speak: all of them have seen its sessions
    out = np.full(len(features), np.nan, np.float32)
    for k in models:
        mine = np.flatnonzero(fold == k)
        if len(mine):
            out[mine] = ranker.predict(models[k], features[arrays_of(features).asarray(mine)], names)
    return out

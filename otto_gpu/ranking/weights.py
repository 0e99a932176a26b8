"""The stage `blend`: the weights of a target's groups, by recall@k of the out-of-fold scores.

What a grid finds best on some sessions looks better there than it is, the more so the fewer hits there are: weights away from
equal ones have to earn it. The honest figure is cross-fitted: each fold's sessions are scored under the weights that the other
folds choose.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from otto_gpu.events.labels import Labels
from otto_gpu.events.settings import TargetsConfig
from otto_gpu.features.stage import SPLIT
from otto_gpu.ranking.blend import best_lists, blended, grid, reciprocal_ranks
from otto_gpu.ranking.folds import fold_of
from otto_gpu.ranking.scores import Scores, score_parts
from otto_gpu.ranking.settings import RECALL, BlendConfig, RankingConfig
from otto_gpu.run.progress import Reporter


def blend(
    folder: Path, run_dir: Path, config: BlendConfig, ranking: RankingConfig, targets: TargetsConfig, n_items: int,
    reporter: Reporter,
) -> dict:  # fmt: skip
    """blend.json: {target: {"groups", "weights", "recall@k", "cross_fitted": {"recall@k", "weights" of each fold}, "tried":
    [{"weights", "recall@k"}]}}; figures are None for a target without ground truth."""
    labels = Labels.load(run_dir / "labels" / f"{SPLIT}.parquet")
    result, name = {}, f"recall@{targets.k}"
    for target in targets.names:
        code = targets.code(target)
        session, _ = labels.of_type(code)
        truth = int(np.minimum(np.unique(session, return_counts=True)[1], targets.k).sum())
        groups, choices = (RECALL,), grid(1, config.steps)
        hits = np.zeros((1, ranking.folds), np.int64)
        for i, part in enumerate(score_parts(run_dir, SPLIT, target)):
            if i == 0:
                groups, choices = part.groups, grid(len(part.groups), config.steps)
                hits = np.zeros((len(choices), ranking.folds), np.int64)
            hits += hits_of_weights(part, labels, code, n_items, choices, targets.k, config.damping, ranking)
        chosen = (
            chosen_weights(hits, choices, config.caution) if truth else len(choices) - 1
        )  # the last one: the hand-set order alone
        others = cross_fitted(hits, choices, config.caution) if truth else [chosen] * ranking.folds
        recalls = [round(float(h / truth), 6) if truth else None for h in hits.sum(axis=1)]
        honest = round(float(hits[others, np.arange(ranking.folds)].sum() / truth), 6) if truth else None
        result[target] = {
            "groups": list(groups),
            "weights": list(choices[chosen]),
            name: recalls[chosen],
            "cross_fitted": {name: honest, "weights": [list(choices[c]) for c in others]},
            "tried": [{"weights": list(w), name: r} for w, r in zip(choices, recalls, strict=True)],
        }
        weights = ", ".join(f"{g} {w:g}" for g, w in zip(groups, choices[chosen], strict=True))
        told = f"; out-of-fold {name} {recalls[chosen]:.4f}, cross-fitted {honest:.4f}" if truth else ""
        reporter.say(f"  {target}: {weights}{told}")
    (folder / "blend.json").write_text(json.dumps(result, indent=1))
    return {}


def chosen_weights(hits: np.ndarray, choices: list[tuple[float, ...]], caution: float) -> int:
    """The best choice by int64 [choices, folds]: hits - caution x sqrt(most hits) x distance from equal weights, where the
    distance is the sum of the absolute differences (0 to 2); among equals the first. The square root is about the standard
    deviation of a count of hits."""
    total = hits.sum(axis=1)
    distance = np.abs(np.array(choices) - 1 / len(choices[0])).sum(axis=1)
    return int(np.argmax(total - caution * np.sqrt(total.max()) * distance))


def cross_fitted(hits: np.ndarray, choices: list[tuple[float, ...]], caution: float) -> list[int]:
    """For every fold the choice that the other folds make."""
    return [chosen_weights(np.delete(hits, fold, axis=1), choices, caution) for fold in range(hits.shape[1])]


def hits_of_weights(
    part: Scores, labels: Labels, code: int, n_items: int, choices, k: int, damping: float, ranking: RankingConfig
) -> np.ndarray:
    """int64 [choices, folds]: how much ground truth each combination of weights has among its k best, fold by fold."""
    positive = np.append(part.positive(labels, code, n_items), False)  # the last one stands for no row
    fold = fold_of(part.sessions, ranking.folds, ranking.seed)
    places = reciprocal_ranks(part.pointer, part.scores, damping)
    rows = np.arange(len(part.aid), dtype=np.int32)
    hits = np.empty((len(choices), ranking.folds), np.int64)
    for c, weights in enumerate(choices):
        best = best_lists(part.pointer, rows, blended(places, weights), k)
        hits[c] = np.bincount(fold, positive[best].sum(axis=1), minlength=ranking.folds)
    return hits

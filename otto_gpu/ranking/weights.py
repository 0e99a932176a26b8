"""The stage `blend`: the weights of a target's groups, by the metric (targets.metric) of the out-of-fold scores.

What a grid finds best on some sessions looks better there than it is, the more so the less gain there is: weights away from
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
from otto_gpu.metrics import METRICS, Metric, TargetHits
from otto_gpu.ranking.blend import best_lists, blended, grid, reciprocal_ranks
from otto_gpu.ranking.folds import fold_of
from otto_gpu.ranking.scores import Scores, score_parts
from otto_gpu.ranking.settings import RECALL, BlendConfig, RankingConfig
from otto_gpu.run.progress import Reporter

NO_HITS = np.empty(0, np.int64), np.empty(0, np.int32)


def blend(
    folder: Path, run_dir: Path, config: BlendConfig, ranking: RankingConfig, targets: TargetsConfig, n_items: int,
    reporter: Reporter,
) -> dict:  # fmt: skip
    """blend.json: {target: {"groups", "weights", metric@k, "cross_fitted": {metric@k, "weights" of each fold}, "tried":
    [{"weights", metric@k}]}}; figures are None for a target without ground truth."""
    labels = Labels.load(run_dir / "labels" / f"{SPLIT}.parquet")
    result, name, metric = {}, targets.metric_name, METRICS[targets.metric]
    for target in targets.names:
        code = targets.code(target)
        sessions, counts = np.unique(labels.of_type(code)[0], return_counts=True)
        truth = np.minimum(counts, targets.k).astype(np.int32)
        ideal = metric.ideal(TargetHits(targets.k, truth, *NO_HITS)).sum()
        groups, choices, gain = (RECALL,), grid(1, config.steps), None
        for part in score_parts(run_dir, SPLIT, target):
            if gain is None:
                groups, choices, gain = part.groups, grid(len(part.groups), config.steps), 0
            of_part = truth_of_sessions(part.sessions, sessions, truth)
            positive = part.positive(labels, code, n_items)
            gain = gain + gains_of_weights(part, positive, of_part, metric, choices, targets.k, config.damping, ranking)
        if gain is None:
            gain = np.zeros((1, ranking.folds), np.int64)
        chosen = chosen_weights(gain, choices, config.caution) if ideal else len(choices) - 1  # the hand-set order alone
        others = cross_fitted(gain, choices, config.caution) if ideal else [chosen] * ranking.folds
        figures = [round(float(g / ideal), 6) if ideal else None for g in gain.sum(axis=1)]
        honest = round(float(gain[others, np.arange(ranking.folds)].sum() / ideal), 6) if ideal else None
        result[target] = {
            "groups": list(groups),
            "weights": list(choices[chosen]),
            name: figures[chosen],
            "cross_fitted": {name: honest, "weights": [list(choices[c]) for c in others]},
            "tried": [{"weights": list(w), name: r} for w, r in zip(choices, figures, strict=True)],
        }
        weights = ", ".join(f"{g} {w:g}" for g, w in zip(groups, choices[chosen], strict=True))
        told = f"; out-of-fold {name} {figures[chosen]:.4f}, cross-fitted {honest:.4f}" if ideal else ""
        reporter.say(f"  {target}: {weights}{told}")
    (folder / "blend.json").write_text(json.dumps(result, indent=1))
    return {}


def chosen_weights(gain: np.ndarray, choices: list[tuple[float, ...]], caution: float) -> int:
    """The best choice by [choices, folds], the sums of the sessions' gains, which for recall are hits (int64): gain - caution x
    sqrt(most gain) x distance from equal weights, where the distance is the sum of the absolute differences (0 to 2); among
    equals the first. The square root is about the standard deviation of a count of hits, and more than that of a sum of other
    gains between 0 and 1."""
    total = gain.sum(axis=1)
    distance = np.abs(np.array(choices) - 1 / len(choices[0])).sum(axis=1)
    return int(np.argmax(total - caution * np.sqrt(total.max()) * distance))


def cross_fitted(gain: np.ndarray, choices: list[tuple[float, ...]], caution: float) -> list[int]:
    """For every fold the choice that the other folds make."""
    return [chosen_weights(np.delete(gain, fold, axis=1), choices, caution) for fold in range(gain.shape[1])]


def truth_of_sessions(wanted: np.ndarray, sessions: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """int32 [len(wanted)]: the truth of each wanted session; 0 where it is not among the sessions (ascending)."""
    place = np.searchsorted(sessions, wanted)
    padded = np.append(sessions, -1)
    return np.where(padded[place] == wanted, np.append(truth, 0)[place], 0).astype(np.int32)


def gains_of_weights(
    part: Scores, positive: np.ndarray, truth: np.ndarray, metric: Metric, choices, k: int, damping: float,
    ranking: RankingConfig,
) -> np.ndarray:  # fmt: skip
    """[choices, folds]: the metric's gain of the k best under each combination of weights, fold by fold; int64 where it counts,
    float64 where it does not. positive: bool [m], the rows that are ground truth; truth: int32 [S], how much of it a list can
    hold."""
    positive = np.append(positive, False)  # the last one stands for no row
    fold = fold_of(part.sessions, ranking.folds, ranking.seed)
    places = reciprocal_ranks(part.pointer, part.scores, damping)
    rows = np.arange(len(part.aid), dtype=np.int32)
    made = []
    for weights in choices:
        best = best_lists(part.pointer, rows, blended(places, weights), k)
        gain = metric.gain(TargetHits.of_matrix(positive[best], truth))
        made.append(np.bincount(fold, gain, minlength=ranking.folds).astype(gain.dtype))
    return np.array(made)

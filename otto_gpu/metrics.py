"""Recall@k as the OTTO competition defines it, with confidence intervals.

The recall of a type is the number of its labels among the first k entries of the lists, over the number that could be
there: sum over sessions of |first k and truth| / sum over sessions of min(|truth|, k). The score is the weighted sum of
the recalls. (otto-de/recsys-dataset, src/evaluate.py.)
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pyarrow as pa

from otto_gpu.events.labels import Labels
from otto_gpu.events.settings import TargetsConfig

DRAWN_AT_ONCE = 4_000_000  # numbers per batch of bootstrap draws: 32 MB


def count_hits(
    labels: Labels, lists: Mapping[str, np.ndarray], sessions: np.ndarray, targets: TargetsConfig
) -> tuple[np.ndarray, np.ndarray]:
    """(hits, truth), both int32 [S, T] for the S sessions with labels (ascending) and the T targets.

    lists: per target int32 [n, k or more or fewer], best first, below 0 where there is nothing; sessions: int32 [n],
    whose row is whose, in any order. Only the first targets.k entries count; an item that stands there twice hits
    once; a session without a row has no hits. truth is min(number of labels, k).
    """
    scored = np.unique(labels.session)
    hits = np.zeros((len(scored), len(targets.names)), np.int32)
    truth = np.zeros_like(hits)
    order = np.argsort(sessions, kind="stable")
    ordered = np.append(np.asarray(sessions)[order], -1)  # the last one is nobody's, for labels beyond all lists
    for t, name in enumerate(targets.names):
        session, aid = labels.of_type(targets.code(name))
        slot = np.searchsorted(ordered[:-1], session)
        listed = ordered[slot] == session
        row = order[slot[listed]]
        found = np.zeros(len(row), bool)
        for column in lists[name].T[: targets.k]:
            found |= column[row] == aid[listed]
        place = np.searchsorted(scored, session)
        hits[:, t] = np.bincount(place[listed], found, minlength=len(scored))
        truth[:, t] = np.minimum(np.bincount(place, minlength=len(scored)), targets.k)
    return hits, truth


def recall(hits: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """float64 [T] from hits and truth [S, T]; nan for a target without any labels."""
    return _ratio(hits.sum(axis=0, dtype=np.float64), truth.sum(axis=0, dtype=np.float64))


def score(hits: np.ndarray, truth: np.ndarray, targets: TargetsConfig, bootstrap: int = 1000, seed: int = 42) -> dict:
    """The figures of count_hits' arrays: {"recall@k": {target: recall}, "weighted", "interval": {target and "weighted":
    [low, high]}, "sessions": S, "labels": {target: sum of truth}, "absent": [targets without labels]}.

    Absent targets are None, and the weighted score is that of the others, their weights raised to the same sum.
    Intervals: 95 % percentile bootstrap over sessions with `bootstrap` draws (0: None).
    """
    names = targets.names
    point = recall(hits, truth)
    count = truth.sum(axis=0)
    drawn = _resample(np.hstack([hits, truth]), bootstrap, seed)
    recalls = _ratio(drawn[:, : len(names)], drawn[:, len(names) :])
    return {
        f"recall@{targets.k}": _named(names, point),
        "weighted": _number(_weighted(point, targets)),
        "interval": _intervals(names, recalls, _weighted(recalls, targets)),
        "sessions": len(truth),
        "labels": {name: int(n) for name, n in zip(names, count, strict=True)},
        "absent": [name for name, n in zip(names, count, strict=True) if n == 0],
    }


def paired_interval(
    hits_a: np.ndarray, hits_b: np.ndarray, truth: np.ndarray, targets: TargetsConfig, bootstrap: int = 1000, seed: int = 42
) -> dict:
    """How much better a is than b on the same sessions (hits and truth int32 [S, T]): {"difference": {target and
    "weighted": a - b}, "interval": the same keys: [low, high]}; each draw resamples the sessions for both at once."""
    names = targets.names
    a, b = recall(hits_a, truth), recall(hits_b, truth)
    drawn = _resample(np.hstack([hits_a, hits_b, truth]), bootstrap, seed)
    drawn_a, drawn_b, drawn_truth = np.split(drawn, 3, axis=1)
    recalls_a, recalls_b = _ratio(drawn_a, drawn_truth), _ratio(drawn_b, drawn_truth)
    weighted = _weighted(recalls_a, targets) - _weighted(recalls_b, targets)
    difference = _named(names, a - b) | {"weighted": _number(_weighted(a, targets) - _weighted(b, targets))}
    return {"difference": difference, "interval": _intervals(names, recalls_a - recalls_b, weighted)}


def _ratio(hits: np.ndarray, truth: np.ndarray) -> np.ndarray:
    return np.divide(hits, truth, out=np.full(np.shape(hits), np.nan), where=np.asarray(truth) > 0)


def _weighted(recalls: np.ndarray, targets: TargetsConfig) -> np.ndarray:
    """[...] from recalls [..., T]: the weighted sum; weights of absent (nan) targets go to the others in proportion."""
    weights = np.array([targets.weights[name] for name in targets.names])
    present = ~np.isnan(recalls) @ weights
    return _ratio(np.nan_to_num(recalls) @ weights * weights.sum(), present)


def _resample(rows: np.ndarray, draws: int, seed: int) -> np.ndarray:
    """float64 [draws, columns]: the column sums of resampled rows (int [S, columns]).

    Sessions with equal rows are alike, and there are few kinds of them: how often each kind is drawn is multinomial.
    """
    names = [str(i) for i in range(rows.shape[1])]
    table = pa.table([np.ascontiguousarray(column) for column in rows.T], names=names)
    kinds = table.group_by(names, use_threads=False).aggregate([([], "count_all")])
    counts = kinds["count_all"].to_numpy()
    values = np.column_stack([kinds[name].to_numpy() for name in names]).astype(np.float64)
    sums = np.zeros((draws, rows.shape[1]))
    if len(rows) == 0:
        return sums
    random = np.random.default_rng(seed)
    step = max(1, DRAWN_AT_ONCE // len(counts))
    for first in range(0, draws, step):
        drawn = random.multinomial(len(rows), counts / len(rows), size=min(step, draws - first))
        sums[first : first + step] = drawn @ values
    return sums


def _intervals(names: list[str], recalls: np.ndarray, weighted: np.ndarray) -> dict | None:
    if not len(recalls):
        return None
    columns = np.column_stack([recalls, weighted])
    ends = []
    for column in columns.T:
        known = column[~np.isnan(column)]
        ends.append([float(end) for end in np.percentile(known, [2.5, 97.5])] if len(known) else None)
    return dict(zip([*names, "weighted"], ends, strict=True))


def _number(value) -> float | None:
    return None if np.isnan(value) else float(value)


def _named(names: list[str], values: np.ndarray) -> dict[str, float | None]:
    return {name: _number(value) for name, value in zip(names, values, strict=True)}

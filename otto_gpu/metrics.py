"""The figures of ranked lists: where the ground truth stands in them, and what each metric makes of it; confidence intervals.

For every session and target the places of the hits are kept, from which every metric is made. A metric gives a session a gain
and an ideal gain; the figure of a target is the sum of the gains over the sum of the ideals, over the sessions with ground
truth of the target. The score is the weighted sum over the targets. `recall` is that of the OTTO competition: sum over sessions
of |first k and truth| / sum of min(|truth|, k) (otto-de/recsys-dataset, src/evaluate.py); with one answer a session it is the
hit rate. For the others the ideal is 1, so that the figure is a mean over sessions, in which a session without a hit counts 0.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pyarrow as pa

from otto_gpu.events.labels import Labels
from otto_gpu.events.settings import TargetsConfig

DRAWN_AT_ONCE = 4_000_000  # numbers per batch of bootstrap draws: 32 MB
Z = 1.96  # of a 95 % interval
ALIKE = 1e-12  # a bootstrap whose ends are no farther apart has drawn the same figure again and again


# ------------------------------------------------------------------------------------------------------------- hits


@dataclass(frozen=True)
class TargetHits:
    """Where the ground truth of one target stands in the lists of S sessions.

    truth: int32 [S], how much of it a list of k can hold, min(number of labels, k); row: int64 [h], the session of every hit,
    ascending; place: int32 [h], its place in the list, 1 the best, ascending within a session.
    """

    k: int
    truth: np.ndarray
    row: np.ndarray
    place: np.ndarray

    @classmethod
    def of_matrix(cls, hit: np.ndarray, truth: np.ndarray) -> TargetHits:
        """hit: bool [S, k], which entries of the lists are ground truth."""
        row, column = np.nonzero(hit)
        return cls(hit.shape[1], truth, row, (column + 1).astype(np.int32))

    @cached_property
    def nth(self) -> np.ndarray:
        """int64 [h]: 1 for a session's first hit, 2 for its second, ..."""
        return np.arange(1, len(self.row) + 1) - np.searchsorted(self.row, self.row)

    def per_session(self, values: np.ndarray | None = None) -> np.ndarray:
        """[S]: the number of hits (int64), or the sum of a value of each (float64)."""
        return np.bincount(self.row, values, minlength=len(self.truth))

    def take(self, rows: np.ndarray) -> TargetHits:
        """Of some sessions, in another order; rows: different places among the S."""
        place_of = np.full(len(self.truth), -1, np.int64)
        place_of[rows] = np.arange(len(rows))
        row = place_of[self.row]
        order = np.argsort(row, kind="stable")[np.count_nonzero(row < 0) :]
        return TargetHits(self.k, self.truth[rows], row[order], self.place[order])


def find_hits(
    labels: Labels, lists: Mapping[str, np.ndarray], sessions: np.ndarray, targets: TargetsConfig
) -> tuple[TargetHits, ...]:
    """Per target, for the sessions with labels (of any type), ascending. See label_places."""
    return hits_of_places(labels, label_places(labels, lists, sessions, targets), targets)


def label_places(labels: Labels, lists: Mapping[str, np.ndarray], sessions: np.ndarray, targets: TargetsConfig) -> np.ndarray:
    """int32 [len(labels)]: the place of every label in its list, 1 the best; 0 where it is not among the first targets.k.

    lists: per target int32 [n, k or more or fewer], best first, below 0 where there is nothing; sessions: int32 [n],
    whose row is whose, in any order. An item that stands there twice hits once, by its first place, and takes up room; a
    session without a row has no hits.
    """
    places = np.zeros(len(labels), np.int32)
    order = np.argsort(sessions, kind="stable")
    ordered = np.append(np.asarray(sessions)[order], -1)  # the last one is nobody's, for labels beyond all lists
    for name in targets.names:
        mine = np.flatnonzero(labels.type == targets.code(name))
        session = labels.session[mine]
        slot = np.searchsorted(ordered[:-1], session)
        listed = ordered[slot] == session
        row, aid = order[slot[listed]], labels.aid[mine[listed]]
        place = np.zeros(len(row), np.int32)
        columns = lists[name].T[: targets.k]
        for p in range(len(columns), 0, -1):
            place[columns[p - 1][row] == aid] = p
        places[mine[listed]] = place
    return places


def hits_of_places(
    labels: Labels, places: np.ndarray, targets: TargetsConfig, keep: np.ndarray | None = None
) -> tuple[TargetHits, ...]:
    """Per target, from label_places. keep: bool [len(labels)], the labels that count; sessions with none of these are left
    out, and truth is of these alone."""
    if keep is not None:
        labels, places = Labels(labels.session[keep], labels.type[keep], labels.aid[keep]), places[keep]
    first = np.diff(labels.session, prepend=-1) != 0
    rows, n = np.cumsum(first) - 1, int(first.sum())
    found = []
    for name in targets.names:
        mine = labels.type == targets.code(name)
        row, place = rows[mine], places[mine]
        truth = np.minimum(np.bincount(row, minlength=n), targets.k).astype(np.int32)
        row, place = row[place > 0], place[place > 0]
        order = np.lexsort((place, row))
        found.append(TargetHits(targets.k, truth, row[order], place[order]))
    return tuple(found)


# ---------------------------------------------------------------------------------------------------------- metrics


@dataclass(frozen=True)
class Metric:
    """gain: [S] of a target's hits, at most `ideal`: [S], 0 where a session has no ground truth of the target; called: in a
    table."""

    called: str
    meaning: str
    gain: Callable[[TargetHits], np.ndarray]
    ideal: Callable[[TargetHits], np.ndarray]


def _one(hits: TargetHits) -> np.ndarray:
    return (hits.truth > 0).astype(np.int64)


def _over_truth(gain: np.ndarray, hits: TargetHits) -> np.ndarray:
    return gain / np.maximum(hits.truth, 1)


def _reciprocal(hits: TargetHits) -> np.ndarray:
    return hits.per_session(np.where(hits.nth == 1, 1 / hits.place, 0.0))


def _ndcg(hits: TargetHits) -> np.ndarray:
    best = np.append(0.0, np.cumsum(1 / np.log2(np.arange(2, hits.k + 2))))
    return hits.per_session(1 / np.log2(1 + hits.place)) / best[np.maximum(hits.truth, 1)]


METRICS = {
    "recall": Metric(
        "recall", "hits of all sessions over what their lists could hold", lambda hits: hits.per_session(),
        lambda hits: hits.truth,
    ),
    "hit_rate": Metric("hit rate", "share of the sessions with a hit", lambda hits: np.minimum(hits.per_session(), 1), _one),
    "mrr": Metric("MRR", "mean of 1/place of the first hit", _reciprocal, _one),
    "ndcg": Metric("NDCG", "mean of the sum of 1/log2(1 + place), over the best possible one", _ndcg, _one),
    "map": Metric(
        "MAP", "mean of the precision at every hit, over what the list could hold",
        lambda hits: _over_truth(hits.per_session(hits.nth / hits.place), hits), _one,
    ),
    "precision": Metric("precision", "mean of hits / k", lambda hits: hits.per_session() / hits.k, _one),
    "mean_recall": Metric(
        "recall, mean of sessions", "mean of hits / what the list could hold",
        lambda hits: _over_truth(hits.per_session(), hits), _one,
    ),
}  # fmt: skip


def gains(found: Sequence[TargetHits], metric: str) -> tuple[np.ndarray, np.ndarray]:
    """(gains, ideals), both [S, T] of the T targets."""
    made = METRICS[metric]
    return tuple(np.column_stack([of(hits) for hits in found]) for of in (made.gain, made.ideal))


def metric_values(found: Sequence[TargetHits], metric: str = "recall") -> np.ndarray:
    """float64 [T]: the metric of every target; nan for a target without any labels."""
    return _point(*gains(found, metric))


def score(
    found: Sequence[TargetHits], targets: TargetsConfig, bootstrap: int = 1000, seed: int = 42, whole: np.ndarray | None = None
) -> dict:
    """The figures of the hits: {"recall@k" or the like: {target: figure}, "weighted", "interval": {target and "weighted":
    [low, high]}, "sessions": S, "labels": {target: sum of truth}, "sessions_of": {target: sessions with labels of it},
    "absent": [targets without labels]}. whole: int [S], equal for those of the S that are beginnings of one session and are
    drawn together; None: each is one of its own.

    Absent targets are None, and the weighted score is that of the others, their weights raised to the same sum.
    Intervals: 95 % percentile bootstrap over sessions with `bootstrap` draws (0: None). Where every draw gives the same figure,
    as at 0 and 100 %, it is Wilson's (1927) for the share `figure` of so many sessions, which is wider than that of any other
    gain between 0 and 1; the weighted interval then takes it in by the squares of the distances (Zou and Donner, 2008).
    """
    metric, names = targets.metric, targets.names
    gain, ideal = gains(found, metric)
    point, count = _point(gain, ideal), np.array([hits.truth.sum() for hits in found])
    together = _summed(np.hstack([gain, ideal]), whole)
    drawn = _resample(together, bootstrap, seed)
    shares = _ratio(drawn[:, : len(names)], drawn[:, len(names) :])
    asked = (together[:, len(names) :] > 0).sum(axis=0)
    return _told(targets, metric, point) | {
        "interval": _intervals(targets, point, _weighted(point, targets), shares, _weighted(shares, targets), asked),
        "sessions": len(gain),
        "labels": _whole(names, count),
        "sessions_of": _whole(names, (ideal > 0).sum(axis=0)),
        "absent": [name for name, n in zip(names, count, strict=True) if n == 0],
    }


def point_score(found: Sequence[TargetHits], targets: TargetsConfig, metric: str) -> dict:
    """{"mrr@k" or the like: {target: figure}, "weighted"}: what `score` says, without intervals."""
    return _told(targets, metric, metric_values(found, metric))


def paired_interval(
    a: Sequence[TargetHits], b: Sequence[TargetHits], targets: TargetsConfig, bootstrap: int = 1000, seed: int = 42,
    whole: np.ndarray | None = None,
) -> dict:  # fmt: skip
    """How much better a is than b on the same sessions with the same truth, by targets.metric: {"difference": {target and
    "weighted": a - b}, "interval": the same keys: [low, high]}; each draw resamples the sessions for both at once.

    Where every draw gives the same difference, and there is one, the interval is Wilson's, of (1 + difference) / 2.
    """
    (gain_a, ideal), (gain_b, _) = gains(a, targets.metric), gains(b, targets.metric)
    first, second = _point(gain_a, ideal), _point(gain_b, ideal)
    together = _summed(np.hstack([gain_a, gain_b, ideal]), whole)
    drawn_a, drawn_b, drawn = np.split(_resample(together, bootstrap, seed), 3, axis=1)
    shares_a, shares_b = _ratio(drawn_a, drawn), _ratio(drawn_b, drawn)
    point, weighted = first - second, _weighted(first, targets) - _weighted(second, targets)
    drawn_weighted = _weighted(shares_a, targets) - _weighted(shares_b, targets)
    asked = (together[:, -len(targets.names) :] > 0).sum(axis=0)
    return {
        "difference": _named(targets.names, point) | {"weighted": _number(weighted)},
        "interval": _intervals(targets, point, weighted, shares_a - shares_b, drawn_weighted, asked, -1),
    }


# -------------------------------------------------------------------------------------------------------- intervals


def wilson(hits, n) -> tuple[np.ndarray, np.ndarray]:
    """95 % interval of a share, hits of n (Wilson, 1927)."""
    share, spread = hits / n, Z**2 / n
    middle = share + spread / 2
    half = Z * np.sqrt(share * (1 - share) / n + spread / (4 * n))
    return (middle - half) / (1 + spread), (middle + half) / (1 + spread)


def _intervals(
    targets: TargetsConfig, point: np.ndarray, weighted: float, drawn: np.ndarray, drawn_weighted: np.ndarray,
    asked: np.ndarray, least: int = 0,
) -> dict | None:  # fmt: skip
    """{target and "weighted": [low, high]}; None without draws. drawn: [draws, T]; asked: int [T], sessions with ground truth;
    least: of what a figure can be, 0 or -1; the most is 1."""
    if not len(drawn):
        return None
    drawn_ends = [_ends(column) for column in drawn.T]
    ends = [_or_wilson(*entry, least) for entry in zip(drawn_ends, point, asked, strict=True)]
    whole = _ends(drawn_weighted)
    weights = np.array([targets.weights[name] for name in targets.names])
    weights = weights * weights.sum() / (weights[~np.isnan(point)].sum() or 1)
    # what the draws could not show of a target
    more = [(w * (p - e[0]), w * (e[1] - p)) for w, p, e, d in zip(weights, point, ends, drawn_ends, strict=True) if e != d]
    if more and whole is not None:
        below, above = np.square(more).sum(axis=0)
        low, high = np.sqrt((weighted - whole[0]) ** 2 + below), np.sqrt((whole[1] - weighted) ** 2 + above)
        most = sum(targets.weights[name] for name in targets.names)
        whole = [max(float(weighted - low), least * most), min(float(weighted + high), most)]
    return dict(zip(targets.names, ends, strict=True)) | {"weighted": whole}


def _or_wilson(ends: list[float] | None, value: float, n: int, least: int) -> list[float] | None:
    """The ends of a bootstrap; where its draws were all alike, those of a share of n. Equal lists have no difference."""
    if ends is None or ends[1] - ends[0] > ALIKE or (least < 0 and value == 0):
        return ends
    width = 1 - least
    share = min(max((value - least) / width, 0.0), 1.0)
    return [min(max(float(end), 0.0), 1.0) * width + least for end in wilson(share * n, n)]


def _summed(rows: np.ndarray, whole: np.ndarray | None) -> np.ndarray:
    """The sums of the rows that belong together, in the order of `whole`; without it the rows."""
    if whole is None or not len(rows):
        return rows
    order = np.argsort(whole, kind="stable")
    return np.add.reduceat(rows[order], np.flatnonzero(np.diff(whole[order], prepend=whole.min() - 1)))


def _resample(rows: np.ndarray, draws: int, seed: int) -> np.ndarray:
    """float64 [draws, columns]: the column sums of resampled rows ([S, columns]).

    Sessions with equal rows are alike, and there are few kinds of them: how often each kind is drawn is multinomial.
    """
    names = [str(i) for i in range(rows.shape[1])]
    table = pa.table([np.ascontiguousarray(column) for column in rows.T], names=names)
    sums = np.zeros((draws, rows.shape[1]))
    if len(rows) == 0 or draws == 0:
        return sums
    kinds = table.group_by(names, use_threads=False).aggregate([([], "count_all")])
    counts = kinds["count_all"].to_numpy()
    values = np.column_stack([kinds[name].to_numpy() for name in names]).astype(np.float64)
    random = np.random.default_rng(seed)
    step = max(1, DRAWN_AT_ONCE // len(counts))
    for first in range(0, draws, step):
        drawn = random.multinomial(len(rows), counts / len(rows), size=min(step, draws - first))
        sums[first : first + step] = drawn @ values
    return sums


def _ends(drawn: np.ndarray) -> list[float] | None:
    known = drawn[~np.isnan(drawn)]
    return [float(end) for end in np.percentile(known, [2.5, 97.5])] if len(known) else None


def _ratio(gain: np.ndarray, ideal: np.ndarray) -> np.ndarray:
    return np.divide(gain, ideal, out=np.full(np.shape(gain), np.nan), where=np.asarray(ideal) > 0)


def _point(gain: np.ndarray, ideal: np.ndarray) -> np.ndarray:
    return _ratio(gain.sum(axis=0, dtype=np.float64), ideal.sum(axis=0, dtype=np.float64))


def _weighted(shares: np.ndarray, targets: TargetsConfig) -> np.ndarray:
    """[...] from figures [..., T]: the weighted sum; weights of absent (nan) targets go to the others in proportion."""
    weights = np.array([targets.weights[name] for name in targets.names])
    present = ~np.isnan(shares) @ weights
    return _ratio(np.nan_to_num(shares) @ weights * weights.sum(), present)


def _told(targets: TargetsConfig, metric: str, point: np.ndarray) -> dict:
    return {targets.figure(metric): _named(targets.names, point), "weighted": _number(_weighted(point, targets))}


def _number(value) -> float | None:
    return None if np.isnan(value) else float(value)


def _named(names: list[str], values: np.ndarray) -> dict[str, float | None]:
    return {name: _number(value) for name, value in zip(names, values, strict=True)}


def _whole(names: list[str], counts: np.ndarray) -> dict[str, int]:
    return {name: int(n) for name, n in zip(names, counts, strict=True)}

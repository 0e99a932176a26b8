"""What the page shows and no stage wrote down, counted part by part: one part is in memory at a time."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from otto_gpu.candidates.stage import parts
from otto_gpu.columns import AID, SESSION, label, sampled
from otto_gpu.errors import UserError
from otto_gpu.events.labels import Labels
from otto_gpu.events.stage import SPLITS
from otto_gpu.features.stage import SPLIT
from otto_gpu.ranking.blend import best_lists, blended, reciprocal_ranks
from otto_gpu.ranking.folds import fold_of
from otto_gpu.ranking.scores import Scores, score_parts, score_paths
from otto_gpu.ranking.settings import RECALL, BlendConfig, RankingConfig
from otto_gpu.report.record import Record

CALIBRATION_ROWS = 2_000_000  # candidates of a target that are looked at: 16 MB a group
# of the margins: most candidates are no hits, so the bins are finer where the hits are
QUANTILES = (0, 0.2, 0.4, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995, 0.998, 0.999, 1)


@dataclass(frozen=True)
class RecallCurve:
    """Recall at 1..k: float64 [k] of the final lists and of the hand-set order, nan without ground truth."""

    final: np.ndarray
    hand_set: np.ndarray


@dataclass(frozen=True)
class Calibration:
    """Out-of-fold probabilities of a group of rankers against what came. Per bin: n candidates, mean predicted probability, the
    same after the shift that the sampling leads to, positives.

    rows, positives: of all candidates that have a model; sampled_rate: the share of positives among the training rows."""

    n: np.ndarray
    predicted: np.ndarray
    shifted: np.ndarray
    positives: np.ndarray
    rows: int
    hits: int
    sampled_rate: float

    @property
    def odds(self) -> float:
        """How many times too high the odds are expected to be, for the negatives that were left out of the training."""
        rate = self.hits / self.rows
        return (self.sampled_rate / (1 - self.sampled_rate)) / (rate / (1 - rate))


@dataclass(frozen=True)
class TargetTally:
    recall: dict[str, RecallCurve]  # by split
    calibration: dict[str, Calibration]  # by group


def candidate_sizes(run_dir: Path, split: str) -> np.ndarray:
    """int64: how many sessions have 0, 1, 2, ... candidates; as long as it needs to be."""
    counts = np.zeros(1, np.int64)
    for path in parts(run_dir, split):
        session = pq.read_table(path, columns=[SESSION])[SESSION].to_numpy()
        begins = np.flatnonzero(np.diff(session, prepend=-1, append=-1))
        found = np.bincount(np.diff(begins))
        grown = np.zeros(max(len(counts), len(found)), np.int64)
        grown[: len(counts)] += counts
        grown[: len(found)] += found
        counts = grown
    return counts


def item_events(run_dir: Path, split: str, n_items: int) -> np.ndarray:
    """int64 [n_items]: the events of each item in what is known in a period; zeros where they were cleared away."""
    counts = np.zeros(n_items, np.int64)
    for path in (run_dir / "events" / split / f"{name}.parquet" for name in ("train", "history")):
        if path.is_file():
            for batch in pq.ParquetFile(path).iter_batches(1 << 20, columns=[AID]):
                counts += np.bincount(batch.column(0).to_numpy(), minlength=n_items)
    return counts


def tally(record: Record, target: str) -> TargetTally:
    """The curves of a target in every period with labels, and the calibration of its binary groups."""
    recall, calibration = {}, {}
    weights = record.metrics["blend"][target]
    weights = dict(zip(weights["groups"], weights["weights"], strict=True))
    groups = record.models.get(record.folders.get(target, ""), {})
    binary = [g for g in groups if not record.ranking.groups[g].by_session]
    for split in SPLITS:
        path, figures = record.run_dir / "labels" / f"{split}.parquet", record.figures(split)
        if figures is None or not path.is_file() or not any(score_paths(record.run_dir, split, target)):
            continue  # no ground truth; or what takes most room was cleared away
        counter = _Recall(Labels.load(path), target, record)
        samples = _Samples(record, target, binary) if split == SPLIT and binary else None
        for part in score_parts(record.run_dir, split, target):
            positive = counter.positive(part)
            counter.add(part, positive, weights, record.blend)
            if samples is not None:
                samples.add(part, positive)
        recall[split] = counter.curve()
        _agree(recall[split].final[-1], record.recall(figures)[target], record, f"{split}/{target}")
        if samples is not None:
            calibration = samples.calibrations()
    return TargetTally(recall, calibration)


def _agree(counted: float, written: float | None, record: Record, what: str) -> None:
    """A page must not tell of files that are of different runs."""
    if not np.isclose(counted, np.nan if written is None else written, atol=1e-9, equal_nan=True):
        raise UserError(f"{record.run_dir}: predictions/{what} are not those of metrics.json: run the pipeline to its end")


class _Recall:
    """Hits by place in the lists, as find_hits finds them, for every length of the lists at once."""

    def __init__(self, labels: Labels, target: str, record: Record):
        self._labels, self._code, self._items = labels, record.targets.code(target), record.sizes["items"]
        self._k = record.targets.k
        session, _ = labels.of_type(self._code)
        truth = np.unique(session, return_counts=True)[1]
        self._most = np.array([np.minimum(truth, k).sum() for k in range(1, self._k + 1)], np.float64)
        self._hits = {RECALL: np.zeros(self._k, np.int64), "final": np.zeros(self._k, np.int64)}

    def positive(self, part: Scores) -> np.ndarray:
        return part.positive(self._labels, self._code, self._items)

    def add(self, part: Scores, positive: np.ndarray, weights: dict[str, float], config: BlendConfig) -> None:
        places = reciprocal_ranks(part.pointer, part.scores, config.damping)
        rows = np.arange(len(part.aid), dtype=np.int32)
        hit = np.append(positive, False)  # the last one stands for no row
        for name, chosen in (("final", weights), (RECALL, {RECALL: 1.0})):
            score = blended(places, [chosen.get(g, 0.0) for g in part.groups])
            self._hits[name] += hit[best_lists(part.pointer, rows, score, self._k)].sum(axis=0)

    def curve(self) -> RecallCurve:
        shares = {
            name: np.divide(np.cumsum(h), self._most, out=np.full(self._k, np.nan), where=self._most > 0)
            for name, h in self._hits.items()
        }
        return RecallCurve(shares["final"], shares[RECALL])


class _Samples:
    """Margins of the validation candidates that have a model which never saw them, every n-th of them."""

    def __init__(self, record: Record, target: str, groups: list[str]):
        paths = score_paths(record.run_dir, SPLIT, target)
        self._step = -(-sum(pq.read_metadata(p).num_rows for p in paths) // CALIBRATION_ROWS) or 1
        models = record.models[record.folders[target]]
        self._folds = {g: [fold.fold for fold in models[g]] for g in groups}
        self._ranking: RankingConfig = record.ranking
        self._kept: dict[str, list[tuple[np.ndarray, np.ndarray]]] = {g: [] for g in groups}
        self._rows, self._hits = dict.fromkeys(groups, 0), dict.fromkeys(groups, 0)
        self._rate = training_rate(record.run_dir, target)

    def add(self, part: Scores, positive: np.ndarray) -> None:
        fold = fold_of(part.session, self._ranking.folds, self._ranking.seed)
        for group, folds in self._folds.items():
            known = np.isin(fold, folds)
            margin = part.scores[:, part.groups.index(group)]
            self._rows[group] += int(known.sum())
            self._hits[group] += int((known & positive).sum())
            some = np.flatnonzero(known)[:: self._step]
            self._kept[group].append((margin[some], positive[some]))

    def calibrations(self) -> dict[str, Calibration]:
        """Without groups of which nothing can be said: no hit among the candidates, or nothing else."""
        result = {}
        for group, kept in self._kept.items():
            margin, positive = (np.concatenate(columns) for columns in zip(*kept, strict=True))
            rows, hits = self._rows[group], self._hits[group]
            if 0 < hits < rows and positive.any() and 0 < self._rate < 1:
                result[group] = calibrate(margin, positive, rows, hits, self._rate)
        return result


def calibrate(margin: np.ndarray, positive: np.ndarray, rows: int, hits: int, sampled_rate: float) -> Calibration:
    """margin: float32 [m], positive: bool [m] of some of the candidates; rows, hits: of all of them."""
    edges = np.unique(np.quantile(margin, QUANTILES))
    place = np.clip(np.searchsorted(edges, margin, side="right") - 1, 0, max(len(edges) - 2, 0))
    rate = hits / rows
    shift = np.log(rate / (1 - rate)) - np.log(sampled_rate / (1 - sampled_rate))
    n = np.bincount(place)
    there = n > 0
    sums = [np.bincount(place, values)[there] for values in (_sigmoid(margin), _sigmoid(margin + shift), positive)]
    n = n[there]
    return Calibration(n, sums[0] / n, sums[1] / n, sums[2].astype(np.int64), rows, hits, sampled_rate)


def _sigmoid(margin: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-margin.astype(np.float64)))


def training_rate(run_dir: Path, target: str) -> float:
    """The share of positives among the rows that the target's rankers were trained on; nan where there are none."""
    rows = positives = 0
    for path in sorted((run_dir / "features" / SPLIT).glob("part-*.parquet")):
        table = pq.read_table(path, columns=[label(target), sampled(target)])
        mine = table[sampled(target)].to_numpy() != 0
        rows += int(mine.sum())
        positives += int((table[label(target)].to_numpy()[mine] != 0).sum())
    return positives / rows if rows else float("nan")

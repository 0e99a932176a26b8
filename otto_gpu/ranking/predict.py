"""The stage `predictions`: every candidate scored by every group, and by the candidates' own hand-set order."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numba
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from otto_gpu.candidates.fuse import UNRANKED, Candidates
from otto_gpu.candidates.settings import CandidatesConfig
from otto_gpu.candidates.stage import load_part, parts
from otto_gpu.columns import AID, SESSION
from otto_gpu.device import Device
from otto_gpu.device.arrays import ranges
from otto_gpu.events.settings import TargetsConfig
from otto_gpu.events.stage import SPLITS
from otto_gpu.features.compute import FeatureMaker
from otto_gpu.features.stage import SPLIT
from otto_gpu.ranking.folds import fold_of
from otto_gpu.ranking.models import Models
from otto_gpu.ranking.settings import RECALL, RankingConfig
from otto_gpu.run.directory import write_atomically, write_table
from otto_gpu.run.progress import Reporter
from otto_gpu.run.workers import IN_PROCESS, Shared, Workers


@dataclass(frozen=True)
class _Scorer(Shared):
    folder: Path
    run_dir: Path
    split: str
    config: RankingConfig
    candidates: CandidatesConfig
    chunk_rows: int
    targets: TargetsConfig
    make_features: Callable[..., FeatureMaker]
    device: Device

    @cached_property
    def models(self) -> Models:
        return Models.load(self.run_dir, self.config, self.targets, self.device, numba.get_num_threads())

    @cached_property
    def maker(self) -> FeatureMaker:
        return self.make_features(self.split, device=self.device)


def predict(
    folder: Path, run_dir: Path, config: RankingConfig, candidates_config: CandidatesConfig, chunk_rows: int,
    targets: TargetsConfig, make_features: Callable[..., FeatureMaker], device: Device, reporter: Reporter,
    workers: Workers = IN_PROCESS,
) -> dict:  # fmt: skip
    """predictions/{split}/{target}/part-*.parquet: session, aid and one float32 score per group.

    make_features(split, device=device) -> FeatureMaker, asked for where there are models.
    """
    rows = 0
    for split in SPLITS:
        for target in targets.names:
            (folder / "predictions" / split / target).mkdir(parents=True, exist_ok=True)
        sizes = {file: pq.read_metadata(file).num_rows for file in parts(run_dir, split)}
        scorer = _Scorer(folder, run_dir, split, config, candidates_config, chunk_rows, targets, make_features, device)
        with reporter.work(f"scoring, {split}", "candidates", sum(sizes.values())) as work:
            for file, _ in workers.map(_score_part, scorer, sizes):
                work.advance(sizes[file])
        rows += sum(sizes.values())
    return {"candidates": rows}


def _score_part(scorer: _Scorer, file: Path) -> None:
    names, split = scorer.targets.names, scorer.split
    paths = {t: scorer.folder / "predictions" / split / t / file.name for t in names}
    if all(p.exists() for p in paths.values()):
        return
    config, models = scorer.config, scorer.models
    candidates, _ = load_part(file, scorer.candidates.sources, ())
    scores = {t: np.empty((len(candidates), len(models.groups(t)) + 1), np.float32) for t in names}
    rows = scorer.maker.at_once(scorer.chunk_rows) if models.ensembles else scorer.chunk_rows
    for first, last in ranges(candidates.pointer, rows):
        block = candidates.rows(first, last)
        part = slice(candidates.pointer[first], candidates.pointer[last])
        fold = fold_of(block.session, config.folds, config.seed) if split == SPLIT else None
        features = scorer.maker.make(block) if models.ensembles else None
        found = score_block(block, features, models, scorer.candidates, names, fold)
        for target in names:
            scores[target][part] = found[target]
    for target, path in paths.items():
        _save_scores(path, candidates, scores[target], [*models.groups(target), RECALL])


def score_block(
    block: Candidates, features, models: Models, config: CandidatesConfig, targets, fold: np.ndarray | None = None
) -> dict[str, np.ndarray]:
    """{target: float32 [m, groups + 1]}: what every group says of the candidates, the hand-set order last.

    features: float32 [m, n], needed where there are models; fold: as that of Models.scores.
    """
    found = models.scores(features, fold) if models.ensembles else {}
    result = {}
    for target in targets:
        groups = np.nan_to_num(found[target]) if target in found else np.empty((len(block), 0), np.float32)
        result[target] = np.column_stack([groups, hand_set_score(block, config.order_of(target))])
    return result


def hand_set_score(candidates: Candidates, source: str) -> np.ndarray:
    """float32 [m]: orders like the source's ranks; who is not ranked stands behind, in the order of mention."""
    rank = candidates.ranks[:, candidates.sources.index(source)].astype(np.float32)
    place = np.arange(len(candidates)) - np.repeat(candidates.pointer[:-1], np.diff(candidates.pointer))
    return -np.where(rank == UNRANKED, np.float32(np.iinfo(np.int16).max) + place, rank).astype(np.float32)


def _save_scores(path: Path, candidates: Candidates, scores: np.ndarray, groups: list[str]) -> None:
    columns = {SESSION: candidates.session, AID: candidates.aid}
    columns |= {g: np.ascontiguousarray(scores[:, i]) for i, g in enumerate(groups)}
    write_atomically(path, lambda p: write_table(pa.table(columns), p))

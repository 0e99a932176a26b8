"""The stage `predictions`: every candidate scored by every group, and by the candidates' own hand-set order."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from otto_gpu.candidates.fuse import UNRANKED, Candidates
from otto_gpu.candidates.recipes import CandidatesConfig
from otto_gpu.candidates.stage import load_part, parts
from otto_gpu.columns import AID, SESSION
from otto_gpu.device import Device
from otto_gpu.events.settings import TargetsConfig
from otto_gpu.events.stage import SPLITS
from otto_gpu.features.compute import FeatureMaker
from otto_gpu.features.stage import SPLIT, blocks
from otto_gpu.progress import Reporter
from otto_gpu.ranking.folds import fold_of
from otto_gpu.ranking.models import Models
from otto_gpu.ranking.settings import RECALL, RankingConfig
from otto_gpu.run import write_atomically


def predict(
    folder: Path, run_dir: Path, config: RankingConfig, candidates_config: CandidatesConfig, chunk_rows: int,
    targets: TargetsConfig, make_features: Callable[[str], FeatureMaker], device: Device, threads: int, reporter: Reporter,
) -> dict:  # fmt: skip
    """predictions/{split}/{target}/part-*.parquet: session, aid and one float32 score per group.

    make_features(split) -> FeatureMaker, asked for once per split where there are models.
    """
    models = Models.load(run_dir, config, targets, device, threads)
    rows = 0
    for split in SPLITS:
        files = parts(run_dir, split)
        maker: FeatureMaker | None = None
        for target in targets.names:
            (folder / "predictions" / split / target).mkdir(parents=True, exist_ok=True)
        with reporter.work(f"scoring, {split}", "candidates", sum(pq.read_metadata(f).num_rows for f in files)) as work:
            for file in files:
                paths = {t: folder / "predictions" / split / t / file.name for t in targets.names}
                candidates, _ = load_part(file, candidates_config.sources, ())
                rows += len(candidates)
                if all(p.exists() for p in paths.values()):
                    work.advance(len(candidates))
                    continue
                if maker is None and models.ensembles:
                    maker = make_features(split)
                scores = {t: np.empty((len(candidates), len(models.groups(t)) + 1), np.float32) for t in targets.names}
                for first, last in blocks(candidates, chunk_rows):
                    block = candidates.rows(first, last)
                    part = slice(candidates.pointer[first], candidates.pointer[last])
                    fold = fold_of(block.session, config.folds, config.seed) if split == SPLIT else None
                    found = models.scores(maker.make(block), fold) if maker is not None else {}
                    for target in targets.names:
                        if target in found:
                            scores[target][part, :-1] = np.nan_to_num(found[target])
                        scores[target][part, -1] = hand_set_score(block, candidates_config.order_of(target))
                    work.advance(len(block))
                for target, path in paths.items():
                    _save_scores(path, candidates, scores[target], [*models.groups(target), RECALL])
    return {"candidates": rows}


def hand_set_score(candidates: Candidates, source: str) -> np.ndarray:
    """float32 [m]: orders like the source's ranks; who is not ranked stands behind, in the order of mention."""
    rank = candidates.ranks[:, candidates.sources.index(source)].astype(np.float32)
    place = np.arange(len(candidates)) - np.repeat(candidates.pointer[:-1], np.diff(candidates.pointer))
    return -np.where(rank == UNRANKED, np.float32(np.iinfo(np.int16).max) + place, rank).astype(np.float32)


def _save_scores(path: Path, candidates: Candidates, scores: np.ndarray, groups: list[str]) -> None:
    columns = {SESSION: candidates.session, AID: candidates.aid}
    columns |= {g: np.ascontiguousarray(scores[:, i]) for i, g in enumerate(groups)}
    write_atomically(path, lambda p: pq.write_table(pa.table(columns), p, compression="zstd"))

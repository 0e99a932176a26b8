"""The stage `candidates`: about a hundred per session, labelled where the ground truth is known, and the coverage table."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from otto_gpu.candidates.coverage import Coverage, coverage_table, label_rows
from otto_gpu.candidates.fuse import UNRANKED, Candidates, fuse, popular_items
from otto_gpu.candidates.fusion import FUSION, Inputs, Models, choose, chosen_as, lessons, load_xgboost, reciprocal_ranks, train
from otto_gpu.candidates.lookup import Histories, evaluate_recipes
from otto_gpu.candidates.nearest import Index, name_nearest
from otto_gpu.candidates.recipes import CandidatesConfig
from otto_gpu.columns import label
from otto_gpu.cooccurrence.matrix import MatrixStack
from otto_gpu.device import Device
from otto_gpu.embeddings.vectors import load_queries, load_vectors
from otto_gpu.events.settings import TargetsConfig
from otto_gpu.events.split import Period
from otto_gpu.events.stage import SPLITS, load_period
from otto_gpu.progress import Reporter
from otto_gpu.run import write_atomically

LEARNS = "validation"  # the period whose labels the fusion learns from


def run(
    folder: Path, run_dir: Path, config: CandidatesConfig, targets: TargetsConfig, device: Device, reporter: Reporter
) -> dict:
    """candidates/{split}/part-*.parquet, coverage.json and, with learned fusion, the models in candidates/fusion.

    With fusion, what the sources name lies in the folder `named` as long as the stage runs, and what was chosen of it stays.
    """
    if config.fusion:
        load_xgboost()  # what is missing is said at the beginning
    named = folder / "named" if config.fusion else folder / "candidates"
    for split in SPLITS:
        _name(named / split, run_dir, split, config, targets, device, reporter)
    if config.fusion:
        _choose(folder, run_dir, config, targets, device, reporter)
    facts, coverage = {"sessions": 0, "candidates": 0}, {}
    codes = {t: targets.code(t) for t in targets.names}
    for split in SPLITS:
        period = load_period(run_dir, split)
        table = Coverage(config.sources, codes, {t: config.order_of(t) for t in codes})
        for path, candidates, labels in _loaded(named / split, config, targets):
            stayed = len(candidates)
            if config.fusion:
                kept, _ = load_part(folder / "candidates" / split / path.name, config.sources, ())
                candidates, stayed = chosen_as(candidates, kept), len(kept)
            table.add(candidates, labels)
            facts["candidates"] += stayed
        facts["sessions"] += len(period.sessions)
        totals = {} if period.labels is None else {t: int((period.labels.type == c).sum()) for t, c in codes.items()}
        coverage[split] = table.table(totals)
        reporter.show(coverage_table(f"Coverage, {split} period", coverage[split], codes))
    (folder / "candidates" / "coverage.json").write_text(json.dumps(coverage, indent=1))
    return facts


def _name(place: Path, run_dir: Path, split: str, config: CandidatesConfig, targets: TargetsConfig, device, reporter) -> None:
    """What the sources name, part by part of the sessions; parts that are there already stay as they are."""
    place.mkdir(parents=True, exist_ok=True)
    period = load_period(run_dir, split)
    sessions, popular = period.sessions, popular_items(period.known, config.popular_days)
    histories = Histories.of(period.history, config)
    stack = MatrixStack.load(run_dir / "matrices" / split, config.matrices)
    vectors = {name: _Vectors(run_dir, split, source.vectors, device) for name, source in config.nearest.items()}
    with reporter.work(f"candidates, {split}", "sessions", len(sessions)) as work:
        for i, first in enumerate(range(0, len(sessions), config.chunk_sessions)):
            part = slice(first, first + config.chunk_sessions)
            path, chunk = place / f"part-{i:05d}.parquet", sessions[part]
            if not path.exists():
                mine = histories.chunk(chunk)
                named = evaluate_recipes(mine, stack, config, targets.types)
                named = {r: named[r] for r in config.outputs}
                for name, source in config.nearest.items():
                    v = vectors[name]
                    named[name] = name_nearest(mine, v.queries_of(part), v.items, source, v.index)
                candidates = fuse(chunk, mine, named, popular, config, targets.types)
                _save_part(path, candidates, _labels(candidates, period, targets))
            work.advance(len(chunk))


class _Vectors:
    """Vectors of a period, ready to be searched."""

    def __init__(self, run_dir: Path, split: str, name: str, device: Device):
        self.items = load_vectors(run_dir, split, name)
        self.queries = load_queries(run_dir, split, name)
        self.index = Index(self.items, device)

    def queries_of(self, part: slice) -> np.ndarray | None:
        return None if self.queries is None else self.queries[part]


def _labels(candidates: Candidates, period: Period, targets: TargetsConfig) -> dict[str, np.ndarray]:
    if period.labels is None:
        return {}
    return {t: label_rows(candidates, period.labels, targets.code(t), period.known.n_items) for t in targets.names}


def _choose(folder: Path, run_dir: Path, config: CandidatesConfig, targets: TargetsConfig, device, reporter) -> None:
    """Trains the fusion, and writes the candidates that stay."""
    fusion, models = config.fusion, None
    weights = {t: targets.weights[t] for t in targets.names if targets.weights[t] > 0}

    def learns():
        for _, candidates, labels in _loaded(folder / "named" / LEARNS, config, targets):
            yield candidates, {t: mask for t, mask in labels.items() if t in weights}

    sessions, rows = lessons(learns())
    for split in SPLITS:
        period = load_period(run_dir, split)
        inputs = Inputs(period.known, period.history)
        if split == LEARNS and sessions < fusion.min_sessions:
            reporter.say(f"  fusion: {sessions} sessions to learn from, too few: reciprocal ranks decide")
        elif split == LEARNS:
            place = folder / "candidates" / FUSION
            models = train(place, learns(), rows, weights, inputs, config.named_by, fusion, device)
        place = folder / "candidates" / split
        place.mkdir(parents=True, exist_ok=True)
        with reporter.work(f"fusion, {split}", "sessions", len(period.sessions)) as work:
            for path, candidates, labels in _loaded(folder / "named" / split, config, targets):
                if not (place / path.name).exists():
                    ranked = choose(candidates, _score(models, candidates, inputs, split == LEARNS), fusion.keep)
                    stay = ranked.ranks[:, -1] != UNRANKED
                    _save_part(place / path.name, ranked.where(stay), {t: mask[stay] for t, mask in labels.items()})
                work.advance(len(candidates.sessions))


def _score(models: Models | None, candidates: Candidates, inputs: Inputs, out_of_fold: bool) -> np.ndarray:
    if models is None:
        return reciprocal_ranks(candidates)
    return models.score(inputs.of(candidates), candidates.session if out_of_fold else None)


def _loaded(place: Path, config: CandidatesConfig, targets: TargetsConfig) -> Iterator[tuple[Path, Candidates, dict]]:
    """(path, candidates, labels) of every part of what the sources named."""
    for path in sorted(place.glob("part-*.parquet")):
        yield path, *load_part(path, config.named_by, targets.names)


def _save_part(path: Path, candidates: Candidates, labels: dict[str, np.ndarray]) -> None:
    table = candidates.to_table()
    for target, mask in labels.items():
        table = table.append_column(label(target), pa.array(mask.astype(np.int8)))
    write_atomically(path, lambda p: pq.write_table(table, p, compression="zstd"))


def load_part(path: Path, sources, targets) -> tuple[Candidates, dict[str, np.ndarray]]:
    """A part of candidates/{split}, and {target: bool [m]} where the ground truth is known."""
    table = pq.read_table(path)
    labels = {t: table[label(t)].to_numpy() != 0 for t in targets if label(t) in table.column_names}
    return Candidates.from_table(table, tuple(sources)), labels


def parts(run_dir: Path, split: str) -> list[Path]:
    return sorted((run_dir / "candidates" / split).glob("part-*.parquet"))

"""The stage `candidates`: about a hundred per session, labelled where the ground truth is known, and the coverage table."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numba
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from otto_gpu.candidates.coverage import CURVE, Coverage, coverage_table, label_rows
from otto_gpu.candidates.fuse import Candidates
from otto_gpu.candidates.fusion import (
    FUSION,
    CandidateFeatures,
    Models,
    fusion_scores,
    is_marked,
    load_models,
    load_xgboost,
    mark_best,
    train,
    training_size,
    with_fusion_of,
)
from otto_gpu.candidates.lookup import Histories
from otto_gpu.candidates.naming import Sources
from otto_gpu.candidates.settings import CandidatesConfig
from otto_gpu.columns import label
from otto_gpu.device import Device
from otto_gpu.device.arrays import pointers
from otto_gpu.embeddings.vectors import load_queries
from otto_gpu.events import long_sessions
from otto_gpu.events.labels import Labels
from otto_gpu.events.settings import TargetsConfig
from otto_gpu.events.split import Period
from otto_gpu.events.stage import SPLITS, load_period
from otto_gpu.run.directory import write_atomically, write_table
from otto_gpu.run.progress import Reporter
from otto_gpu.run.workers import IN_PROCESS, Shared, Workers

LEARNS = "validation"  # the period whose labels the fusion learns from
SESSIONS_SHARE = 0.25  # of a GPU's free memory, for the lists and candidates of the sessions that are named together
MOST_SESSIONS = 1 << 19  # of these: more make a GPU no faster, and their candidates come to the host's memory


def run(
    folder: Path, run_dir: Path, config: CandidatesConfig, targets: TargetsConfig, device: Device, reporter: Reporter,
    workers: Workers = IN_PROCESS,
) -> dict:  # fmt: skip
    """candidates/{split}/part-*.parquet, coverage.json, coverage_curves.json and, with learned fusion, the models in
    candidates/fusion.

    With fusion, what the sources name lies in the folder `named` as long as the stage runs, and what was chosen of it stays.
    """
    if config.fusion:
        load_xgboost()  # what is missing is said at the beginning
    named = folder / "named" if config.fusion else folder / "candidates"
    long = {}
    for split in SPLITS:
        naming = _Naming(named / split, run_dir, split, config, targets, device)
        lengths = np.diff(naming.period.history.starts)
        long[split] = long_sessions.tell(lengths, config.most_events, run_dir, "candidates", split, reporter)
        _name(naming, reporter, workers)
    if config.fusion:
        _choose(folder, run_dir, config, targets, device, reporter, workers)
    facts, coverage, curves = {"sessions": 0, "candidates": 0}, {}, {"depths": CURVE}
    codes = {t: targets.code(t) for t in targets.names}
    for split in SPLITS:
        period = load_period(run_dir, split)
        table = Coverage(config.sources, codes, {t: config.order_of(t) for t in codes}, config.coverage_depths)
        for path, candidates, labels in _loaded(named / split, config, targets):
            stayed = len(candidates)
            if config.fusion:
                chosen, _ = load_part(folder / "candidates" / split / path.name, config.sources, ())
                candidates, stayed = with_fusion_of(candidates, chosen), len(chosen)
            table.add(candidates, labels)
            facts["candidates"] += stayed
        facts["sessions"] += len(period.sessions)
        totals = {} if period.labels is None else {t: int((period.labels.type == c).sum()) for t, c in codes.items()}
        coverage[split], curves[split] = table.table(totals), table.curves(totals)
        reporter.show(coverage_table(f"Coverage, {split} period", coverage[split], codes))
    (folder / "candidates" / "coverage.json").write_text(json.dumps(coverage, indent=1))
    (folder / "candidates" / "coverage_curves.json").write_text(json.dumps(curves))
    return facts | long_sessions.facts(long)


@dataclass(frozen=True)
class _Naming(Shared):
    """Who names candidates in a period. place: where the parts go."""

    place: Path
    run_dir: Path
    split: str
    config: CandidatesConfig
    targets: TargetsConfig
    device: Device

    @cached_property
    def period(self) -> Period:
        return load_period(self.run_dir, self.split)

    @cached_property
    def histories(self) -> Histories:
        return Histories.of(self.period.history, self.config, self.device)

    @cached_property
    def sources(self) -> Sources:
        return Sources.load(self.run_dir, self.split, self.period.known, self.config, self.device)

    @cached_property
    def queries(self) -> dict[str, np.ndarray]:
        """By the name of the vectors, where a model makes some of sessions too."""
        found = {name: load_queries(self.run_dir, self.split, name) for name in self.config.vectors}
        return {name: queries for name, queries in found.items() if queries is not None}


def _name(naming: _Naming, reporter: Reporter, workers: Workers) -> None:
    """What the sources name, part by part of the sessions; parts that are there already stay as they are."""
    naming.place.mkdir(parents=True, exist_ok=True)
    n, size = len(naming.period.sessions), naming.config.chunk_sessions
    parts, together = range(-(-n // size)), _parts_at_once(naming.config, naming.device.free_memory())
    said: set[str] = set()
    with reporter.work(f"candidates, {naming.split}", "sessions", n) as work:
        tasks = (parts[first : first + together] for first in range(0, len(parts), together))
        for _, (sessions, told) in workers.map(_name_parts, naming, tasks):
            for line in told:
                if line not in said:
                    reporter.say(f"  {naming.split}, {line}")
            said.update(told)
            work.advance(sessions)


def _parts_at_once(config: CandidatesConfig, free: int | None) -> int:
    """One on a CPU (free: None); as many as a GPU, which has no work for all of its threads with few sessions, has room for."""
    if free is None:
        return 1
    lists = sum(source.size for source in config.settings.values())
    candidates = config.history_limit + config.fill_to + lists
    # the lists as they are made, put in order and put side by side; the candidates with their scores and ranks
    each = 3 * 8 * lists + (4 + 6 * len(config.named_by)) * candidates
    return max(min(int(SESSIONS_SHARE * free / each), MOST_SESSIONS) // config.chunk_sessions, 1)


def _name_parts(naming: _Naming, parts: range) -> tuple[int, list[str]]:
    """(how many sessions the parts have, how vectors were searched for them). Parts that are not there are named together: a
    session gets the same in any company."""
    size, n = naming.config.chunk_sessions, len(naming.period.sessions)
    sessions = {i: np.arange(i * size, min((i + 1) * size, n)) for i in parts}
    paths = {i: naming.place / f"part-{i:05d}.parquet" for i in parts}
    open_ = [i for i in parts if not paths[i].exists()]
    if open_:
        mine = np.concatenate([sessions[i] for i in open_])
        queries = {name: q[mine] for name, q in naming.queries.items()}
        chosen = naming.period.sessions[mine]
        candidates = naming.sources.name(chosen, naming.histories.chunk(chosen), queries)
        ends = pointers(np.array([len(sessions[i]) for i in open_]))

        def save(i: int, first: int, last: int) -> None:
            part = candidates.rows(first, last)
            _save_part(paths[i], part, _labels(part, naming.period, naming.targets))

        with ThreadPoolExecutor(min(len(open_), numba.get_num_threads())) as pool:
            list(pool.map(save, open_, ends[:-1], ends[1:]))
    told = [f"{name}: {how}" for name, how in naming.sources.told.items()] if open_ else []
    return sum(map(len, sessions.values())), told


def _labels(candidates: Candidates, period: Period, targets: TargetsConfig) -> dict[str, np.ndarray]:
    labels = period.labels
    if labels is None:
        return {}
    part = slice(*np.searchsorted(labels.session, [candidates.sessions[0], candidates.sessions[-1] + 1]))
    labels = Labels(labels.session[part], labels.type[part], labels.aid[part])
    return {t: label_rows(candidates, labels, targets.code(t), period.known.n_items) for t in targets.names}


@dataclass(frozen=True)
class _Choice(Shared):
    """Who chooses among what was named in a period, by the models in candidates/fusion, if there are any."""

    folder: Path
    run_dir: Path
    split: str
    config: CandidatesConfig
    targets: TargetsConfig
    device: Device

    @cached_property
    def period(self) -> Period:
        return load_period(self.run_dir, self.split)

    @cached_property
    def inputs(self) -> CandidateFeatures:
        return CandidateFeatures(self.period.known, self.period.history, self.device)

    @cached_property
    def models(self) -> Models | None:
        return load_models(self.folder / "candidates" / FUSION, self.config.fusion, self.device)

    def score(self, candidates: Candidates) -> np.ndarray:
        out_of_fold = self.split == LEARNS
        return fusion_scores(candidates, self.models, self.inputs, candidates.session if out_of_fold else None)


def _choose(folder: Path, run_dir: Path, config: CandidatesConfig, targets: TargetsConfig, device, reporter, workers) -> None:
    """Trains the fusion, and writes the candidates that stay."""
    fusion = config.fusion
    weights = {t: targets.weights[t] for t in targets.names if targets.weights[t] > 0}

    def learns():
        for _, candidates, labels in _loaded(folder / "named" / LEARNS, config, targets):
            yield candidates, {t: mask for t, mask in labels.items() if t in weights}

    sessions, rows = training_size(learns())
    learnt = sessions >= fusion.min_sessions
    if not learnt:
        reporter.say(f"  fusion: {sessions} sessions to learn from, too few: reciprocal ranks decide")
    for split in SPLITS:
        choice = _Choice(folder, run_dir, split, config, targets, device)
        if learnt and split == LEARNS:
            train(folder / "candidates" / FUSION, learns(), rows, weights, choice.inputs, config.named_by, fusion, device)
        (folder / "candidates" / split).mkdir(parents=True, exist_ok=True)
        files = sorted((folder / "named" / split).glob("part-*.parquet"))
        with reporter.work(f"fusion, {split}", "sessions", len(choice.period.sessions)) as work:
            for _, chosen in workers.map(_choose_part, choice, [f.name for f in files]):
                work.advance(chosen)


def _choose_part(choice: _Choice, name: str) -> int:
    """How many sessions the part has."""
    path = choice.folder / "candidates" / choice.split / name
    named = choice.folder / "named" / choice.split / name
    candidates, labels = load_part(named, choice.config.named_by, choice.targets.names)
    if not path.exists():
        ranked = mark_best(candidates, choice.score(candidates), choice.config.fusion.keep)
        stay = is_marked(ranked)
        _save_part(path, ranked.where(stay), {t: mask[stay] for t, mask in labels.items()})
    return len(candidates.sessions)


def _loaded(place: Path, config: CandidatesConfig, targets: TargetsConfig) -> Iterator[tuple[Path, Candidates, dict]]:
    """(path, candidates, labels) of every part of what the sources named."""
    for path in sorted(place.glob("part-*.parquet")):
        yield path, *load_part(path, config.named_by, targets.names)


def _save_part(path: Path, candidates: Candidates, labels: dict[str, np.ndarray]) -> None:
    table = candidates.to_table()
    for target, mask in labels.items():
        table = table.append_column(label(target), pa.array(mask.astype(np.int8)))
    write_atomically(path, lambda p: write_table(table, p))


def load_part(path: Path, sources, targets) -> tuple[Candidates, dict[str, np.ndarray]]:
    """A part of candidates/{split}, and {target: bool [m]} where the ground truth is known."""
    table = pq.read_table(path)
    labels = {t: table[label(t)].to_numpy() != 0 for t in targets if label(t) in table.column_names}
    return Candidates.from_table(table, tuple(sources)), labels


def parts(run_dir: Path, split: str) -> list[Path]:
    return sorted((run_dir / "candidates" / split).glob("part-*.parquet"))

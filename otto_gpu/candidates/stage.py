"""The stage `candidates`: about a hundred per session, labelled where the ground truth is known, and the coverage table."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from otto_gpu.candidates.coverage import Coverage, coverage_table, label_rows
from otto_gpu.candidates.fuse import Candidates, fuse, popular_items
from otto_gpu.candidates.lookup import Histories, evaluate_recipes
from otto_gpu.candidates.recipes import CandidatesConfig
from otto_gpu.columns import label
from otto_gpu.cooccurrence.matrix import MatrixStack
from otto_gpu.events.settings import TargetsConfig
from otto_gpu.events.stage import SPLITS, load_period
from otto_gpu.progress import Reporter
from otto_gpu.run import write_atomically


def run(folder: Path, run_dir: Path, config: CandidatesConfig, targets: TargetsConfig, reporter: Reporter) -> dict:
    coverage, facts = {}, {"sessions": 0, "candidates": 0}
    for split in SPLITS:
        period = load_period(run_dir, split)
        known, sessions = period.known, period.sessions
        place = folder / "candidates" / split
        place.mkdir(parents=True, exist_ok=True)
        histories = Histories.of(period.history, config)
        stack = MatrixStack.load(run_dir / "matrices" / split, config.matrices)
        popular = popular_items(known, config.popular_days)
        codes = {t: targets.code(t) for t in targets.names}
        table = Coverage(config.sources, codes, {t: config.order_of(t) for t in codes})
        with reporter.work(f"candidates, {split}", "sessions", len(sessions)) as work:
            for i, first in enumerate(range(0, len(sessions), config.chunk_sessions)):
                path = place / f"part-{i:05d}.parquet"
                chunk = sessions[first : first + config.chunk_sessions]
                if path.exists():
                    candidates, labels = load_part(path, config.sources, targets.names)
                else:
                    mine = histories.chunk(chunk)
                    named = evaluate_recipes(mine, stack, config, targets.types)
                    named = {r: named[r] for r in config.outputs}
                    candidates = fuse(chunk, mine, named, popular, config, targets.types)
                    labels = {}
                    if period.labels is not None:
                        labels = {t: label_rows(candidates, period.labels, c, known.n_items) for t, c in codes.items()}
                    _save_part(path, candidates, labels)
                table.add(candidates, labels)
                facts["candidates"] += len(candidates)
                work.advance(len(chunk))
        facts["sessions"] += len(sessions)
        totals = {} if period.labels is None else {t: int((period.labels.type == c).sum()) for t, c in codes.items()}
        coverage[split] = table.table(totals)
        reporter.show(coverage_table(f"Coverage, {split} period", coverage[split], codes))
    (folder / "candidates" / "coverage.json").write_text(json.dumps(coverage, indent=1))
    return facts


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

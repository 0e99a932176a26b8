"""The stage `features`: of the validation period, the rows that the rankers are trained on. All other candidates' features
are made when they are scored, and never stored."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from otto_gpu.arrays import home
from otto_gpu.candidates.fuse import Candidates
from otto_gpu.candidates.recipes import CandidatesConfig
from otto_gpu.candidates.stage import load_part, parts
from otto_gpu.columns import AID, SESSION, label, sampled
from otto_gpu.cooccurrence.matrix import MatrixStack
from otto_gpu.device import CPU, Device
from otto_gpu.embeddings.vectors import load_queries, load_vectors, queries_path
from otto_gpu.errors import UserError
from otto_gpu.events.settings import TargetsConfig
from otto_gpu.events.split import Period
from otto_gpu.events.stage import load_period
from otto_gpu.features.catalogue import EMBEDDING, ENCODER, FeaturesConfig
from otto_gpu.features.compute import FeatureMaker, Knowledge
from otto_gpu.features.encoder import Encoder
from otto_gpu.features.sampling import negative_share, sampled_rows
from otto_gpu.progress import Reporter
from otto_gpu.run import write_atomically
from otto_gpu.workers import HERE, Shared, Workers

SPLIT = "validation"  # its labels train the rankers


def feature_maker(
    run_dir: Path, split: str, config: FeaturesConfig, candidates: CandidatesConfig, targets: TargetsConfig, rules,
    embeddings=(),
) -> FeatureMaker:  # fmt: skip
    """embeddings: the names of the vectors that the family `embedding` is made of."""
    period = load_period(run_dir, split)
    rules = config.rules if config.rules is not None else tuple(rules)
    stack = MatrixStack.load(run_dir / "matrices" / split, rules)
    names = embeddings if EMBEDDING in config.families else ()
    vectors = {name: load_vectors(run_dir, split, name) for name in names}
    encoder = _encoder(run_dir, split, period) if ENCODER in config.families else None
    knowledge = Knowledge.of(period.known, period.history, stack, candidates, vectors, encoder)
    return FeatureMaker(config, knowledge, candidates.sources, targets.types)


def _encoder(run_dir: Path, split: str, period: Period) -> Encoder:
    items, queries = load_vectors(run_dir, split, ENCODER), load_queries(run_dir, split, ENCODER)
    if queries is None:
        raise UserError(
            f"{queries_path(run_dir, split, ENCODER)}: the encoder's session vectors are missing; run its stage again"
        )
    return Encoder.of(queries, items, period.sessions, period.history.n_sessions)


def blocks(candidates: Candidates, rows: int) -> Iterator[tuple[int, int]]:
    """Ranges of sessions (first, last) with about so many candidates, at least one session."""
    first = 0
    while first < len(candidates.sessions):
        last = int(np.searchsorted(candidates.pointer, candidates.pointer[first] + rows, side="right")) - 1
        last = min(max(last, first + 1), len(candidates.sessions))
        yield first, last
        first = last


@dataclass(frozen=True)
class _Sampler(Shared):
    """shares: per target the probability to keep a negative; the other fields: as feature_maker's."""

    place: Path
    run_dir: Path
    config: FeaturesConfig
    candidates: CandidatesConfig
    targets: TargetsConfig
    rules: tuple[str, ...]
    embeddings: tuple[str, ...]
    shares: dict[str, float]
    device: Device

    @cached_property
    def maker(self) -> FeatureMaker:
        maker = feature_maker(self.run_dir, SPLIT, self.config, self.candidates, self.targets, self.rules, self.embeddings)
        return maker.on(self.device)


def run(
    folder: Path, run_dir: Path, config: FeaturesConfig, candidates_config: CandidatesConfig, targets: TargetsConfig, rules,
    reporter: Reporter, embeddings=(), workers: Workers = HERE, device: Device = CPU,
) -> dict:  # fmt: skip
    """embeddings: as feature_maker's."""
    place = folder / "features" / SPLIT
    place.mkdir(parents=True, exist_ok=True)
    files = parts(run_dir, SPLIT)
    shares = _shares(files, targets, config)
    sampler = _Sampler(place, run_dir, config, candidates_config, targets, tuple(rules), tuple(embeddings), shares, device)
    catalogue = sampler.maker.catalogue
    (folder / "features/catalogue.json").write_text(json.dumps([asdict(c) for c in catalogue.columns], indent=0))
    rows = 0
    sizes = {file: pq.read_metadata(file).num_rows for file in files}
    with reporter.work("features", "candidates", sum(sizes.values())) as work:
        for file, stayed in workers.map(_sample_part, sampler, files):
            rows += stayed
            work.advance(sizes[file])
    return {"columns": len(catalogue), "rows": rows}


def _sample_part(sampler: _Sampler, file: Path) -> int:
    """How many rows of the part stay."""
    path, targets = sampler.place / file.name, sampler.targets
    if not path.exists():
        candidates, labels = load_part(file, sampler.candidates.sources, targets.names)
        tables = []
        for first, last in blocks(candidates, sampler.maker.at_once(sampler.config.chunk_rows)):
            part = slice(candidates.pointer[first], candidates.pointer[last])
            block = candidates.rows(first, last)
            masks = {t: mask[part] for t, mask in labels.items()}
            tables.append(_sampled(block, masks, sampler.maker, sampler.shares, targets, sampler.config.seed))
        write_atomically(path, lambda p: pq.write_table(pa.concat_tables(tables), p, compression="zstd"))
    return pq.read_metadata(path).num_rows


def _shares(files: list[Path], targets: TargetsConfig, config: FeaturesConfig) -> dict[str, float]:
    """Per target the probability to keep a negative, from the whole period's counts."""
    positives, negatives = dict.fromkeys(targets.names, 0), dict.fromkeys(targets.names, 0)
    for file in files:
        table = pq.read_table(file, columns=[SESSION, *map(label, targets.names)])
        session = table[SESSION].to_numpy()
        for target in targets.names:
            hit = table[label(target)].to_numpy() != 0
            useful = np.isin(session, session[hit])
            positives[target] += int(hit.sum())
            negatives[target] += int(useful.sum() - hit.sum())
    return {t: negative_share(positives[t], negatives[t], config.negatives.get(t, 20.0)) for t in targets.names}


def _sampled(block: Candidates, labels, maker: FeatureMaker, shares, targets: TargetsConfig, seed: int) -> pa.Table:
    session = block.session
    chosen = {t: sampled_rows(block.pointer, session, mask, shares[t], seed, targets.code(t)) for t, mask in labels.items()}
    keep = np.logical_or.reduce(list(chosen.values()))
    features = home(maker.make(block)[maker.device.bring(keep)])
    columns = {SESSION: session[keep], AID: block.aid[keep]}
    for target in labels:
        columns[label(target)] = labels[target][keep].astype(np.int8)
        columns[sampled(target)] = chosen[target][keep].astype(np.int8)
    for i, column in enumerate(maker.catalogue.columns):
        columns[column.name] = np.ascontiguousarray(features[:, i]).astype(column.dtype)
    return pa.table(columns)

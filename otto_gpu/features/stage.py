"""The stage `features`: of the validation period, the rows that the rankers are trained on. All other candidates' features
are made when they are scored, and never stored."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from otto_gpu.candidates.fuse import Candidates
from otto_gpu.candidates.settings import CandidatesConfig
from otto_gpu.candidates.stage import load_part, parts
from otto_gpu.columns import AID, SESSION, label, sampled
from otto_gpu.cooccurrence.matrix import MatrixStack
from otto_gpu.device import CPU, Device
from otto_gpu.device.arrays import pointers, ranges, to_host
from otto_gpu.embeddings.settings import ENCODER
from otto_gpu.embeddings.vectors import load_queries, load_vectors, queries_path
from otto_gpu.errors import UserError
from otto_gpu.events.items import Items
from otto_gpu.events.settings import TargetsConfig
from otto_gpu.events.split import Period
from otto_gpu.events.stage import load_period
from otto_gpu.features.catalogue import FeaturesConfig, saturating_cast
from otto_gpu.features.compute import FeatureMaker, PeriodState
from otto_gpu.features.encoder import Encoder
from otto_gpu.features.families import needing
from otto_gpu.features.sampling import drawn_sessions, negative_share, sampled_rows
from otto_gpu.run.directory import write_atomically, write_table
from otto_gpu.run.progress import Reporter
from otto_gpu.run.workers import IN_PROCESS, Shared, Workers

SPLIT = "validation"  # its labels train the rankers


def feature_maker(
    run_dir: Path, split: str, config: FeaturesConfig, candidates: CandidatesConfig, targets: TargetsConfig, rules,
    embeddings=(), period: Period | None = None, more_matrices=(), device: Device = CPU,
) -> FeatureMaker:  # fmt: skip
    """embeddings: the names of the vectors that families are made of; period: where it is loaded already;
    more_matrices: rules whose matrices shall lie in the stack too; device: where what is known lies and features are made."""
    period = load_period(run_dir, split) if period is None else period
    rules = config.rules if config.rules is not None else tuple(rules)
    stack = MatrixStack.load(run_dir / "matrices" / split, dict.fromkeys((*rules, *more_matrices)))
    names = embeddings if needing(config.families, "vectors") else ()
    vectors = {name: load_vectors(run_dir, split, name) for name in names}
    encoder = _encoder(run_dir, split, period) if needing(config.families, "encoder") else None
    items = Items.load(run_dir, period.known.n_items) if needing(config.families, "items") else None
    counted = period.counted if period.prefixes else None
    period_state = PeriodState.of(period.known, period.history, stack, candidates, vectors, encoder, device, items, counted)
    return FeatureMaker(config, period_state, candidates.sources, targets.types, device)


def _encoder(run_dir: Path, split: str, period: Period) -> Encoder:
    items, queries = load_vectors(run_dir, split, ENCODER), load_queries(run_dir, split, ENCODER)
    if queries is None:
        raise UserError(
            f"{queries_path(run_dir, split, ENCODER)}: the encoder's session vectors are missing; run its stage again"
        )
    return Encoder.of(queries, items, period.sessions, period.history.n_sessions)


@dataclass(frozen=True)
class _Sampler(Shared):
    """shares: per target what is kept; the other fields: as feature_maker's."""

    place: Path
    run_dir: Path
    config: FeaturesConfig
    candidates: CandidatesConfig
    targets: TargetsConfig
    rules: tuple[str, ...]
    embeddings: tuple[str, ...]
    shares: dict[str, _Share]
    device: Device

    @cached_property
    def maker(self) -> FeatureMaker:
        return feature_maker(
            self.run_dir, SPLIT, self.config, self.candidates, self.targets, self.rules, self.embeddings, device=self.device
        )


def run(
    folder: Path, run_dir: Path, config: FeaturesConfig, candidates_config: CandidatesConfig, targets: TargetsConfig, rules,
    reporter: Reporter, embeddings=(), workers: Workers = IN_PROCESS, device: Device = CPU,
) -> dict:  # fmt: skip
    """embeddings: as feature_maker's."""
    place = folder / "features" / SPLIT
    place.mkdir(parents=True, exist_ok=True)
    files = parts(run_dir, SPLIT)
    shares = _shares(files, targets, config)
    sampler = _Sampler(place, run_dir, config, candidates_config, targets, tuple(rules), tuple(embeddings), shares, device)
    catalogue = sampler.maker.catalogue
    (folder / "features/catalogue.json").write_text(json.dumps(catalogue.to_json(), indent=0))
    rows = 0
    sizes = {file: pq.read_metadata(file).num_rows for file in files}
    with reporter.work("features", "candidates", sum(sizes.values())) as work:
        for file, stayed in workers.map(_sample_part, sampler, files):
            rows += stayed
            work.advance(sizes[file])
    return {"columns": len(catalogue), "rows": rows}


def _sample_part(sampler: _Sampler, file: Path) -> int:
    """How many rows of the part stay."""
    path, targets, seed = sampler.place / file.name, sampler.targets, sampler.config.seed
    if not path.exists():
        candidates, labels = load_part(file, sampler.candidates.sources, targets.names)
        session, pointer = candidates.session, candidates.pointer
        chosen = {}
        for target, mask in labels.items():
            share = sampler.shares[target]
            drawn = np.repeat(drawn_sessions(candidates.sessions, share.sessions, seed), np.diff(pointer))
            chosen[target] = sampled_rows(pointer, session, mask & drawn, share.negatives, seed, targets.code(target))
        # features are made of whole sessions, which may be ranked within; sessions of which no row stays need none
        some = np.diff(pointers(np.logical_or.reduce(list(chosen.values())))[pointer]) > 0
        rows = np.repeat(some, np.diff(pointer))
        labels, chosen = ({t: mask[rows] for t, mask in masks.items()} for masks in (labels, chosen))
        candidates = candidates.of_sessions(some)
        tables = [sampler.maker.catalogue.schema(targets.names).empty_table()]
        for first, last in ranges(candidates.pointer, sampler.maker.at_once(sampler.config.chunk_rows)):
            part = slice(candidates.pointer[first], candidates.pointer[last])
            masks = ({t: mask[part] for t, mask in m.items()} for m in (labels, chosen))
            tables.append(_sampled(candidates.rows(first, last), *masks, sampler.maker))
        write_atomically(path, lambda p: write_table(pa.concat_tables(tables), p))
    return pq.read_metadata(path).num_rows


class _Share(NamedTuple):
    """The probabilities to keep a session, and a negative of a session that is kept."""

    sessions: float
    negatives: float


def _shares(files: list[Path], targets: TargetsConfig, config: FeaturesConfig) -> dict[str, _Share]:
    """Per target, from the whole period's counts."""
    positives, negatives = dict.fromkeys(targets.names, 0), dict.fromkeys(targets.names, 0)
    for file in files:
        table = pq.read_table(file, columns=[SESSION, *map(label, targets.names)])
        session = table[SESSION].to_numpy()
        for target in targets.names:
            hit = table[label(target)].to_numpy() != 0
            useful = np.isin(session, session[hit])
            positives[target] += int(hit.sum())
            negatives[target] += int(useful.sum() - hit.sum())
    shares = {}
    for target in targets.names:
        kept = negative_share(positives[target], negatives[target], config.negatives.get(target, 20.0))
        rows = positives[target] + kept * negatives[target]
        shares[target] = _Share(min(1.0, config.most_rows / rows) if rows else 1.0, kept)
    return shares


def _sampled(block: Candidates, labels, chosen, maker: FeatureMaker) -> pa.Table:
    """The chosen rows of some sessions with their features."""
    keep = np.logical_or.reduce(list(chosen.values()))
    features = to_host(maker.make(block)[maker.device.to_device(keep)])
    columns = {SESSION: block.session[keep], AID: block.aid[keep]}
    for target in labels:
        columns[label(target)] = labels[target][keep].astype(np.int8)
        columns[sampled(target)] = chosen[target][keep].astype(np.int8)
    for i, column in enumerate(maker.catalogue.columns):
        columns[column.name] = saturating_cast(np.ascontiguousarray(features[:, i]), column.dtype)
    return pa.table(columns, maker.catalogue.schema(labels))

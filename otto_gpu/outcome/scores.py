"""What a run came to, so that another one can be compared with it: metrics.json, and scores.parquet with the places of the
hits of every test session that has ground truth.

When the results of a run directory change, those before are kept in `previous/`, one generation of them.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from otto_gpu.columns import GROUND_TRUTH, ID, SESSION, WHOLE, hits_of, places_of, truth_of
from otto_gpu.errors import UserError
from otto_gpu.events.labels import Labels
from otto_gpu.events.settings import TargetsConfig
from otto_gpu.metrics import TargetHits, paired_interval
from otto_gpu.run.directory import remove, write_table

METRICS, SCORES, PREVIOUS = "metrics.json", "scores.parquet", "previous"
COUNTING = ("recall", "hit_rate")  # metrics that do not ask where in the list a hit stands
NO_RESULTS = ("stages", "versions", "config")  # of metrics.json: what may differ between runs of the same results


@dataclass(frozen=True)
class SessionScores:
    """ids: the user's own ids of the sessions [S]; ground_truth: uint64 [S], equal where the labels are; hits: of the targets'
    names, those of find_hits for lists of k. placed: False for a file of an earlier version, which knows how many hits there
    are, but not where: their places are made up. whole: int64 [S], see metrics.score."""

    names: tuple[str, ...]
    k: int
    ids: pa.Array
    ground_truth: np.ndarray
    hits: tuple[TargetHits, ...]
    placed: bool = True
    whole: np.ndarray | None = None

    @classmethod
    def load(cls, path: Path) -> SessionScores | None:
        """None where there is no such file, as where there were no labels."""
        if not path.is_file():
            return None
        table = pq.read_table(path)
        k, start = int(table.schema.metadata[b"k"]), truth_of("")
        names = tuple(c.removeprefix(start) for c in table.column_names if c.startswith(start))
        placed = all(places_of(name) in table.column_names for name in names)
        hits = []
        for name in names:
            if placed:
                lists = table[places_of(name)].combine_chunks()
                counts, place = np.diff(lists.offsets.to_numpy()), lists.flatten().to_numpy().astype(np.int32)
            else:
                counts = table[hits_of(name)].to_numpy().astype(np.int64)
                first = np.repeat(np.cumsum(counts) - counts, counts)
                place = (np.arange(1, len(first) + 1) - first).astype(np.int32)
            row = np.repeat(np.arange(len(counts)), counts)
            hits.append(TargetHits(k, table[truth_of(name)].to_numpy().astype(np.int32), row, place))
        whole = table[WHOLE].to_numpy() if WHOLE in table.column_names else None
        return cls(names, k, table[ID].combine_chunks(), table[GROUND_TRUTH].to_numpy(), tuple(hits), placed, whole)


def save_scores(
    path: Path, labels: Labels, hits: tuple[TargetHits, ...], whole: np.ndarray, sessions: pa.Array, items: pa.Array,
    targets: TargetsConfig,
) -> None:  # fmt: skip
    """hits: those of find_hits for the labels; whole: int64 [S], see metrics.score; sessions, items: the user's own ids by
    dense id."""
    scored = np.unique(labels.session)
    columns = {SESSION: scored, ID: sessions.take(pa.array(scored)), GROUND_TRUTH: _digests(labels, items, targets)}
    columns[WHOLE] = whole.astype(np.int32)
    for name, mine in zip(targets.names, hits, strict=True):
        offsets = np.append(0, np.cumsum(mine.per_session())).astype(np.int32)
        columns[places_of(name)] = pa.ListArray.from_arrays(pa.array(offsets), pa.array(mine.place.astype(np.int16)))
        columns[truth_of(name)] = mine.truth.astype(np.int16)
    write_table(pa.table(columns).replace_schema_metadata({"k": str(targets.k)}), path)


def _digests(labels: Labels, items: pa.Array, targets: TargetsConfig) -> np.ndarray:
    """uint64 [S], of the labels' items (by the user's own ids) and types (by name), for the sessions with labels, ascending.

    Equal counts do not say that the labels are the same: where one next item is the whole truth, every session counts 1.
    """
    own = items.cast(pa.int64()) if pa.types.is_signed_integer(items.type) else items  # whatever width they came in
    item = pd.util.hash_array(own.to_numpy(zero_copy_only=False), categorize=False)
    salt = np.array([int.from_bytes(hashlib.sha256(t.encode()).digest()[:8], "little") for t in targets.types], np.uint64)
    first = np.flatnonzero(np.diff(labels.session, prepend=-1))
    return np.add.reduceat(item[labels.aid] ^ salt[labels.type], first) if len(first) else np.empty(0, np.uint64)


def load_metrics(folder: Path) -> dict | None:
    """metrics.json of a folder; None where there is none, or half of one."""
    try:
        return json.loads((folder / METRICS).read_text())
    except (FileNotFoundError, NotADirectoryError, json.JSONDecodeError):
        return None


def same_results(one: dict, other: dict) -> bool:
    """Whether two metrics.json tell the same, but for their cost and the settings that led there."""
    return all(one.get(key) == other.get(key) for key in (one.keys() | other.keys()) - set(NO_RESULTS))


def keep_previous(folder: Path, run_dir: Path, metrics: dict) -> None:
    """folder/previous: what the run directory holds, if the new metrics tell other results, else what came before that.

    It is there whole or not at all. What a killed attempt left in the folder stays: since then the run directory's own files
    may have been replaced.
    """
    place, half = folder / PREVIOUS, folder / f"{PREVIOUS}.half"
    if place.exists():
        return
    before = load_metrics(run_dir)
    again = before is None or same_results(before, json.loads(json.dumps(metrics)))
    source = run_dir / PREVIOUS if again else run_dir
    files = [source / name for name in (SCORES, METRICS) if (source / name).is_file()]
    if not (source / METRICS).is_file():
        return
    remove(half)
    half.mkdir()
    for file in files:
        shutil.copy2(file, half / file.name)
    os.replace(half, place)


def paired(after: SessionScores | None, before: SessionScores | None, targets: TargetsConfig, names: tuple[str, str]) -> dict:
    """metrics.paired_interval of the sessions that both have, found by the user's own ids, and {"sessions": how many}.

    targets: whose metric and weights count; names: of both runs, for the messages. Raises UserError where nothing can be
    compared: no ground truth, other targets, no session in common, another ground truth, or no places where the metric asks
    for them.
    """
    for one, name in zip((after, before), names, strict=True):
        if one is None:
            raise UserError(f"{name}: no {SCORES}: its test sessions have no ground truth, so there is nothing to compare")
        if not one.placed and targets.metric not in COUNTING:
            raise UserError(
                f"{name}: its {SCORES} is of an earlier version and does not tell where the hits stand, which "
                f"{targets.metric_name} asks for: run the pipeline there once more"
            )
    told = f"{names[0]} and {names[1]}"
    if after.names != before.names or after.names != tuple(targets.names):
        raise UserError(f"{told}: their targets differ: {', '.join(after.names)} and {', '.join(before.names)}")
    if after.k != before.k:
        figures = (f"{targets.metric}@{one.k}" for one in (after, before))
        raise UserError(f"{told}: their lists differ in length: {' and '.join(figures)} are other figures")
    places = _places(after.ids, before.ids)
    mine = np.flatnonzero(places >= 0)
    theirs = places[mine]
    if not len(mine):
        raise UserError(f"{told}: they have no test session in common, so nothing can be compared session by session")
    ours, others = ([hits.take(rows) for hits in one.hits] for one, rows in ((after, mine), (before, theirs)))
    differ = after.ground_truth[mine] != before.ground_truth[theirs]
    for one, other in zip(ours, others, strict=True):
        differ |= one.truth != other.truth
    if differ.any():
        first = after.ids[int(mine[np.flatnonzero(differ)[0]])].as_py()
        raise UserError(
            f"{told}: their ground truths differ in {differ.sum():,} of {len(mine):,} common test sessions, first {first!r}: "
            "compare runs of the same log and split"
        )
    whole = None if after.whole is None else after.whole[mine]
    return paired_interval(ours, others, targets, whole=whole) | {"sessions": len(mine)}


def _places(ids: pa.Array, among: pa.Array) -> np.ndarray:
    """int64: where each id stands among the others, -1 where it does not; 7 and '7' are one."""
    if pa.types.is_integer(ids.type) != pa.types.is_integer(among.type):
        ids, among = ids.cast(pa.large_string()), among.cast(pa.large_string())
    if pa.types.is_integer(ids.type):
        wide = pa.uint64() if pa.uint64() in (ids.type, among.type) else pa.int64()
        try:
            ids, among = ids.cast(wide), among.cast(wide)
        except pa.ArrowInvalid:  # one has negative ids, the other some beyond int64
            return np.full(len(ids), -1)
    else:
        ids, among = ids.cast(pa.large_string()), among.cast(pa.large_string())
    return pc.fill_null(pc.index_in(ids, value_set=among), -1).to_numpy(zero_copy_only=False).astype(np.int64)

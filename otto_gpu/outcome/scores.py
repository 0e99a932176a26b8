"""What a run came to, so that another one can be compared with it: metrics.json, and scores.parquet with the hits of every
test session that has ground truth.

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

from otto_gpu.columns import GROUND_TRUTH, ID, SESSION, hits_of, truth_of
from otto_gpu.errors import UserError
from otto_gpu.events.labels import Labels
from otto_gpu.events.settings import TargetsConfig
from otto_gpu.metrics import paired_interval
from otto_gpu.run.directory import remove, write_table

METRICS, SCORES, PREVIOUS = "metrics.json", "scores.parquet", "previous"
NO_RESULTS = ("stages", "versions", "config")  # of metrics.json: what may differ between runs of the same results


@dataclass(frozen=True)
class Hits:
    """ids: the user's own ids of the sessions [S]; ground_truth: uint64 [S], equal where the labels are; hits, truth: int32
    [S, T] as those of count_hits for lists of k, of the targets' names."""

    names: tuple[str, ...]
    k: int
    ids: pa.Array
    ground_truth: np.ndarray
    hits: np.ndarray
    truth: np.ndarray

    @classmethod
    def load(cls, path: Path) -> Hits | None:
        """None where there is no such file, as where there were no labels."""
        if not path.is_file():
            return None
        table = pq.read_table(path)
        names = tuple(c.removeprefix(hits_of("")) for c in table.column_names if c.startswith(hits_of("")))
        hits, truth = (np.column_stack([table[of(n)].to_numpy().astype(np.int32) for n in names]) for of in (hits_of, truth_of))
        k = int(table.schema.metadata[b"k"])
        return cls(names, k, table[ID].combine_chunks(), table[GROUND_TRUTH].to_numpy(), hits, truth)


def save_hits(
    path: Path, labels: Labels, hits: np.ndarray, truth: np.ndarray, sessions: pa.Array, items: pa.Array,
    targets: TargetsConfig,
) -> None:  # fmt: skip
    """hits, truth: those of count_hits for the labels; sessions, items: the user's own ids by dense id."""
    scored = np.unique(labels.session)
    small = np.int8 if targets.k <= np.iinfo(np.int8).max else np.int16
    columns = {SESSION: scored, ID: sessions.take(pa.array(scored)), GROUND_TRUTH: _digests(labels, items, targets)}
    for t, name in enumerate(targets.names):
        columns[hits_of(name)] = hits[:, t].astype(small)
        columns[truth_of(name)] = truth[:, t].astype(small)
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


def paired(after: Hits | None, before: Hits | None, targets: TargetsConfig, names: tuple[str, str]) -> dict:
    """evaluate.paired_interval of the sessions that both have, found by the user's own ids, and {"sessions": how many}.

    targets: whose weights count; names: of both runs, for the messages. Raises UserError where nothing can be compared: no
    ground truth, other targets, no session in common, or another ground truth.
    """
    for one, name in zip((after, before), names, strict=True):
        if one is None:
            raise UserError(f"{name}: no {SCORES}: its test sessions have no ground truth, so there is nothing to compare")
    told = f"{names[0]} and {names[1]}"
    if after.names != before.names or after.names != tuple(targets.names):
        raise UserError(f"{told}: their targets differ: {', '.join(after.names)} and {', '.join(before.names)}")
    if after.k != before.k:
        raise UserError(f"{told}: their lists differ in length: recall@{after.k} and recall@{before.k} are other figures")
    places = _places(after.ids, before.ids)
    mine = np.flatnonzero(places >= 0)
    theirs = places[mine]
    if not len(mine):
        raise UserError(f"{told}: they have no test session in common, so nothing can be compared session by session")
    if not np.array_equal(after.truth[mine], before.truth[theirs]) or not np.array_equal(
        after.ground_truth[mine], before.ground_truth[theirs]
    ):
        differ = (after.truth[mine] != before.truth[theirs]).any(axis=1)
        differ |= after.ground_truth[mine] != before.ground_truth[theirs]
        first = after.ids[int(mine[np.flatnonzero(differ)[0]])].as_py()
        raise UserError(
            f"{told}: their ground truths differ in {differ.sum():,} of {len(mine):,} common test sessions, first {first!r}: "
            "compare runs of the same log and split"
        )
    found = paired_interval(after.hits[mine], before.hits[theirs], after.truth[mine], targets)
    return found | {"sessions": len(mine)}


def _places(ids: pa.Array, among: pa.Array) -> np.ndarray:
    """int64: where each id stands among the others, -1 where it does not."""
    if pa.types.is_integer(ids.type) != pa.types.is_integer(among.type):
        return np.full(len(ids), -1)
    if pa.types.is_integer(ids.type):
        wide = pa.uint64() if pa.uint64() in (ids.type, among.type) else pa.int64()
        try:
            ids, among = ids.cast(wide), among.cast(wide)
        except pa.ArrowInvalid:  # one has negative ids, the other some beyond int64
            return np.full(len(ids), -1)
    else:
        ids, among = ids.cast(pa.large_string()), among.cast(pa.large_string())
    return pc.fill_null(pc.index_in(ids, value_set=among), -1).to_numpy(zero_copy_only=False).astype(np.int64)

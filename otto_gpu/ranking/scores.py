"""What the stage `predictions` left, part by part, and the final lists that come of it under the blend's weights."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from otto_gpu.candidates.coverage import label_rows
from otto_gpu.candidates.fuse import Candidates
from otto_gpu.columns import AID, SESSION
from otto_gpu.events.labels import Labels
from otto_gpu.ranking.blend import best_lists, blended, reciprocal_ranks


class Scores:
    """A part of predictions/{split}/{target}: sessions int32 [S], pointer int64 [S + 1], aid int32 [m], scores [m, groups]."""

    def __init__(self, path: Path):
        table = pq.read_table(path)
        session = table[SESSION].to_numpy()
        first = np.flatnonzero(np.diff(session, prepend=-1))
        self.session = session
        self.sessions = session[first]
        self.pointer = np.append(first, len(session)).astype(np.int64)
        self.aid = np.array(table[AID])
        self.groups = tuple(table.column_names[2:])
        self.scores = np.stack([table[g].to_numpy() for g in self.groups], axis=1)

    def positive(self, labels: Labels, code: int, n_items: int) -> np.ndarray:
        """bool [m]: which rows are ground truth of the type `code`."""
        rows = Candidates(self.sessions, self.pointer, self.aid, self.scores, np.empty((0, 0)), ())
        return label_rows(rows, labels, code, n_items)


def score_paths(run_dir: Path, split: str, target: str) -> list[Path]:
    return sorted((run_dir / "predictions" / split / target).glob("part-*.parquet"))


def score_parts(run_dir: Path, split: str, target: str) -> Iterator[Scores]:
    for path in score_paths(run_dir, split, target):
        yield Scores(path)


def ranked_lists(
    run_dir: Path, split: str, target: str, weights: dict[str, float], k: int, damping: float
) -> tuple[np.ndarray, np.ndarray]:
    """(sessions int32 [S], lists int32 [S, k] padded with -1): a target's final lists under the blend's weights."""
    sessions, lists = [np.empty(0, np.int32)], [np.empty((0, k), np.int32)]
    for part in score_parts(run_dir, split, target):
        sessions.append(part.sessions)
        lists.append(lists_of(part.pointer, part.aid, part.scores, part.groups, weights, k, damping))
    return np.concatenate(sessions), np.concatenate(lists)


def lists_of(pointer, aid, scores, groups, weights: dict[str, float], k: int, damping: float) -> np.ndarray:
    """int32 [S, k] padded with -1: the k best of every session's candidates. scores: float32 [m, groups]."""
    places = reciprocal_ranks(pointer, scores, damping)
    return best_lists(pointer, aid, blended(places, [weights.get(g, 0.0) for g in groups]), k)

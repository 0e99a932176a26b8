"""The rows that the rankers of a target are trained on, part by part from features/validation: those of the target alone,
or those of all targets put together, for a target that has too few of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cached_property
from pathlib import Path
from threading import RLock

import numpy as np
import pyarrow.parquet as pq

from otto_gpu.columns import SESSION, label, sampled

TOGETHER = 16  # columns that are written into the rows at a time: a cache line of them
More = Callable[[np.ndarray, np.ndarray], np.ndarray]


class Samples:
    """The training rows of one target, in batches: (features float32 [m, n], label float32 [m], session int32 [m]).

    more: function (features, session) -> float32 [m, x], further columns behind those of the catalogue; asked once a part.
    kept_mb: rows that take no more memory are read once and kept.
    """

    def __init__(
        self, files: list[Path], target: str, catalogue: tuple[str, ...], batch_rows: int = 100_000, more: More | None = None,
        kept_mb: int = 0,
    ):  # fmt: skip
        self._files, self._target, self._catalogue, self._batch_rows = files, target, catalogue, batch_rows
        self.rows, self.positives = len(self._known[0]), int(np.count_nonzero(self._known[1]))
        self._ask: More | None = more
        self._more: dict[int, np.ndarray] = {}  # by part
        self._keep = self.rows * len(catalogue) * 4 <= kept_mb << 20
        self._kept: list | None = None
        self._lock = RLock()

    def __getstate__(self) -> dict:
        """Without what is kept in memory: whoever gets a copy reads the rows himself."""
        return {k: v for k, v in self.__dict__.items() if k not in ("_known", "_lock")} | {"_more": {}, "_kept": None}

    def __setstate__(self, state: dict) -> None:
        self.__dict__ |= state | {"_lock": RLock()}

    def _read(self) -> Iterator[tuple]:
        for file in self._files:
            table = pq.read_table(file)  # all rows: picking them here takes a third of the time that a filter of Parquet's does
            mine = table[sampled(self._target)].to_numpy() != 0
            features = np.empty((np.count_nonzero(mine), len(self._catalogue)), np.float32)
            for i in range(0, len(self._catalogue), TOGETHER):
                columns = [table[name].to_numpy()[mine] for name in self._catalogue[i : i + TOGETHER]]
                features[:, i : i + TOGETHER] = np.array(columns, np.float32).T
            yield features, table[label(self._target)].to_numpy()[mine].astype(np.float32), table[SESSION].to_numpy()[mine]

    def _parts(self) -> Iterator[tuple]:
        """With the further columns; from memory where the rows are kept there."""
        if self._keep:
            with self._lock:  # folds that are trained side by side wait for one reading, instead of each keeping its own
                if self._kept is None:
                    self._kept = list(self._whole())
        return iter(self._kept) if self._kept is not None else self._whole()

    def _whole(self) -> Iterator[tuple]:
        for i, (features, positive, session) in enumerate(self._read()):
            if self._ask is not None:
                with self._lock:
                    if i not in self._more:
                        self._more[i] = self._ask(features, session)
                features = np.hstack([features, self._more[i]])
            yield features, positive, session

    def batches(self, keep: Callable[[np.ndarray], np.ndarray]) -> Iterator[tuple]:
        """keep: function session int32 [m] -> bool [m]. At most so many rows at a time as was said, and never a part of a
        session; nothing empty."""
        for columns in self._parts():
            session = columns[-1]
            rows = np.flatnonzero(keep(session))
            first = 0
            while first < len(rows):
                last = min(first + self._batch_rows, len(rows))
                if last < len(rows):  # back to where the session that lies across the border begins, or on to its end
                    begin = np.searchsorted(session[rows], session[rows[last]])
                    last = begin if begin > first else np.searchsorted(session[rows], session[rows[last]], side="right")
                yield tuple(column[rows[first:last]] for column in columns)
                first = last

    @cached_property
    def _known(self) -> tuple[np.ndarray, np.ndarray]:
        """(session int32 [rows], label int8 [rows])"""
        columns = [SESSION, label(self._target)]
        table = pq.ParquetDataset(self._files, filters=[(sampled(self._target), "==", 1)]).read(columns=columns)
        return table[SESSION].to_numpy(), table[label(self._target)].to_numpy()

    def both_labels(self, keep: Callable[[np.ndarray], np.ndarray]) -> bool:
        """Whether there are positives and negatives among the rows; without both neither a model nor an AUC has a meaning."""
        session, positive = self._known
        return len(np.unique(positive[keep(session)])) == 2


class Pooled:
    """The rows of several targets: (features float32 [m, n + 1], label, session, weight float32 [m]) per batch.

    samples: {code of the target: Samples}. The last column is the code, so that a model may tell the targets apart where they
    differ; the rows of each target weigh the same in all, so that the rare one is heard.
    """

    def __init__(self, samples: dict[int, Samples]):
        self._samples = {code: s for code, s in samples.items() if s.rows}
        self.positives = sum(s.positives for s in self._samples.values())
        self.rows = sum(s.rows for s in self._samples.values())

    def batches(self, keep: Callable[[np.ndarray], np.ndarray]) -> Iterator[tuple]:
        """As those of Samples, one target after the other."""
        for code, samples in self._samples.items():
            weight = self.rows / len(self._samples) / samples.rows
            for features, positive, session in samples.batches(keep):
                yield with_target(features, code), positive, session, np.full(len(session), weight, np.float32)

    def both_labels(self, keep: Callable[[np.ndarray], np.ndarray]) -> bool:
        # each target's rows may have one label only: what counts is all of them together
        session, positive = (np.concatenate(parts) for parts in zip(*(s._known for s in self._samples.values()), strict=True))
        return len(np.unique(positive[keep(session)])) == 2


def with_target(features: np.ndarray, code: int) -> np.ndarray:
    """The rows as models of all targets take them: the target's code is the last column."""
    return np.column_stack([features, np.full(len(features), code, np.float32)])

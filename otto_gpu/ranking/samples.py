"""The rows that the rankers of a target are trained on, part by part from features/validation: those of the target alone,
or those of all targets put together, for a target that has too few of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from otto_gpu.columns import SESSION, label, sampled

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
        rows = [pq.read_table(f, columns=[sampled(target), label(target)]) for f in files]
        self.positives = sum(int(t[label(target)].to_numpy().sum()) for t in rows)
        self.rows = sum(int(t[sampled(target)].to_numpy().sum()) for t in rows)
        self._ask, self._more = more, None
        self._keep = self.rows * len(catalogue) * 4 <= kept_mb << 20
        self._kept: list | None = None

    def __getstate__(self) -> dict:
        """Without what is kept in memory: whoever gets a copy reads the rows himself."""
        return self.__dict__ | {"_more": None, "_kept": None}

    def _read(self) -> Iterator[tuple]:
        for file in self._files:
            table = pq.read_table(file, filters=[(sampled(self._target), "==", 1)])
            features = np.empty((len(table), len(self._catalogue)), np.float32)
            for i, name in enumerate(self._catalogue):
                features[:, i] = table[name].to_numpy()
            yield features, table[label(self._target)].to_numpy().astype(np.float32), table[SESSION].to_numpy()

    def _parts(self) -> Iterator[tuple]:
        """With the further columns; from memory where the rows are kept there."""
        if self._ask is not None and self._more is None:
            self._more = [self._ask(features, session) for features, _, session in self._read()]
        if self._kept is None and self._keep:
            self._kept = list(self._whole())
        return iter(self._kept) if self._kept is not None else self._whole()

    def _whole(self) -> Iterator[tuple]:
        for i, (features, positive, session) in enumerate(self._read()):
            yield features if self._more is None else np.hstack([features, self._more[i]]), positive, session

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

    def both_labels(self, keep: Callable[[np.ndarray], np.ndarray]) -> bool:
        """Whether there are positives and negatives among the rows; without both neither a model nor an AUC has a meaning."""
        return _both_labels(self.batches(keep))


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
        return _both_labels(self.batches(keep))


def with_target(features: np.ndarray, code: int) -> np.ndarray:
    """The rows as models of all targets take them: the target's code is the last column."""
    return np.column_stack([features, np.full(len(features), code, np.float32)])


def _both_labels(batches: Iterator[tuple]) -> bool:
    return {float(v) for _, positive, *_ in batches for v in np.unique(positive)} == {0.0, 1.0}

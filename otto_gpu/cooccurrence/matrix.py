"""The top-k neighbours of every item under one rule, and several such matrices stacked for look-ups."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from otto_gpu.columns import AID_X, AID_Y, WEIGHT
from otto_gpu.device.arrays import to_host
from otto_gpu.run.directory import write_table


@dataclass(frozen=True)
class Matrix:
    """pointer: int64 [n_items + 1]; neighbours: int32 [m]; weights: float32 [m].

    The neighbours of item x are neighbours[pointer[x]:pointer[x + 1]], by weight descending, then by aid.
    """

    pointer: np.ndarray
    neighbours: np.ndarray
    weights: np.ndarray
    items: pa.Array | None = field(default=None, repr=False)

    @property
    def n_items(self) -> int:
        return len(self.pointer) - 1

    def __len__(self) -> int:
        return len(self.neighbours)

    def to_host(self) -> Matrix:
        """The same in the host's memory."""
        return to_host(self)

    def lookup(self, aids, depth: int) -> tuple[np.ndarray, np.ndarray]:
        """The first `depth` neighbours of many items at once: (int32 [q, depth] padded with -1, float32 [q, depth]
        padded with 0). An aid outside 0..n_items-1 has none.
        """
        aids = np.asarray(aids, np.int64)
        known = (aids >= 0) & (aids < self.n_items)
        safe = np.where(known, aids, 0)
        first = self.pointer[safe] if self.n_items else np.zeros(len(aids), np.int64)
        length = np.where(known, self.pointer[safe + 1] - first, 0) if self.n_items else np.zeros(len(aids), np.int64)
        column = np.arange(depth)
        there = column < length[:, None]
        index = np.where(there, first[:, None] + column, 0)
        if not len(self):
            return np.full(index.shape, -1, np.int32), np.zeros(index.shape, np.float32)
        return (
            np.where(there, self.neighbours[index], -1).astype(np.int32),
            np.where(there, self.weights[index], 0).astype(np.float32),
        )

    def to_frame(self):
        """pandas frame aid_x, aid_y, weight; in the user's own ids where the log had a dictionary."""
        import pandas as pd

        left = np.repeat(np.arange(self.n_items, dtype=np.int32), np.diff(self.pointer))
        right = self.neighbours
        if self.items is not None:
            left, right = (self.items.take(pa.array(a)).to_pandas() for a in (left, right))
        return pd.DataFrame({AID_X: left, AID_Y: right, WEIGHT: self.weights})

    @classmethod
    def from_rows(cls, aid_x, aid_y, weight, n_items: int, items: pa.Array | None = None) -> Matrix:
        """From flat rows sorted by aid_x, weight descending, aid_y."""
        pointer = np.searchsorted(aid_x, np.arange(n_items + 1)).astype(np.int64)
        return cls(pointer, np.ascontiguousarray(aid_y, np.int32), np.ascontiguousarray(weight, np.float32), items)

    def save(self, path: Path) -> None:
        left = np.repeat(np.arange(self.n_items, dtype=np.int32), np.diff(self.pointer))
        table = pa.table({AID_X: left, AID_Y: self.neighbours, WEIGHT: self.weights})
        write_table(table.replace_schema_metadata({"n_items": str(self.n_items)}), path)

    @classmethod
    def load(cls, path: Path) -> Matrix:
        table = pq.read_table(path)
        n_items = int(table.schema.metadata[b"n_items"])
        return cls.from_rows(*(table[c].to_numpy() for c in (AID_X, AID_Y, WEIGHT)), n_items)


@dataclass(frozen=True)
class MatrixStack:
    """Several matrices in one set of flat arrays, so that one kernel can look into any of them.

    pointer: int64 [n_matrices, n_items + 1], places in neighbours int32 and weights float32. names[i] is row i.
    """

    names: tuple[str, ...]
    pointer: np.ndarray
    neighbours: np.ndarray
    weights: np.ndarray

    def index(self, name: str) -> int:
        return self.names.index(name)

    @cached_property
    def deepest(self) -> np.ndarray:
        """int64 [n_matrices], in the host's memory: the length of the longest row of each."""
        if self.pointer.size == len(self.pointer):  # no items
            return np.zeros(len(self.pointer), np.int64)
        return to_host(np.diff(self.pointer, axis=1).max(axis=1))

    @classmethod
    def of(cls, matrices: dict[str, Matrix]) -> MatrixStack:
        return cls._fill(tuple(matrices), (len(m) for m in matrices.values()), matrices.__getitem__)

    @classmethod
    def load(cls, folder: Path, names: Iterable[str]) -> MatrixStack:
        """Reads matrices/{name}.parquet one after the other into arrays made for all of them."""
        names = tuple(names)
        sizes = (pq.read_metadata(folder / f"{name}.parquet").num_rows for name in names)
        return cls._fill(names, sizes, lambda name: Matrix.load(folder / f"{name}.parquet"))

    @classmethod
    def _fill(cls, names, sizes, get) -> MatrixStack:
        places = np.concatenate([[0], np.cumsum(np.fromiter(sizes, np.int64))]).astype(np.int64)
        neighbours, weights = np.empty(places[-1], np.int32), np.empty(places[-1], np.float32)
        pointer = []
        for place, name in zip(places, names, strict=False):
            matrix = get(name)
            neighbours[place : place + len(matrix)] = matrix.neighbours
            weights[place : place + len(matrix)] = matrix.weights
            pointer.append(matrix.pointer + place)
        return cls(names, np.array(pointer, np.int64), neighbours, weights)

"""The families of features by name: a new one is a file with `columns` and `compute`, and a line here.

The files are imported when a family is first asked for: who only reads a configuration needs none of their kernels.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Literal

import numpy as np

RANK = "rank"  # no file of columns: it comes last and is made from the other families'


@dataclass(frozen=True)
class Column:
    name: str
    family: str
    dtype: Literal["float32", "int32", "int16", "uint8"]
    meaning: str
    ranked: bool = False  # whether the family `rank` gives it a place within the session
    categorical: bool = False  # whole numbers from 0 that name categories, -1: none; rankers that can treat them as such


@dataclass(frozen=True)
class Spec:
    """What the families need to know to declare their columns."""

    rules: tuple[str, ...]
    sources: tuple[str, ...]
    types: tuple[str, ...]
    vectors: tuple[str, ...] = ()  # the names of the items' vectors
    encoder: bool = False  # whether sessions have vectors of the session encoder
    families: tuple[str, ...] = ()  # all that are asked for
    item_times: tuple[str, ...] = ()  # the items' attributes, by kind
    item_numbers: tuple[str, ...] = ()
    item_codes: tuple[str, ...] = ()
    context_codes: tuple[str, ...] = ()  # what the log says of events besides
    context_numbers: tuple[str, ...] = ()
    utc_offset_hours: float = 0.0  # of the clock that tells hours and weekdays


@dataclass(frozen=True)
class Family:
    """module: its file, with the functions below; needs: what else has to be there, as the configuration calls it."""

    module: str
    needs: Literal["", "vectors", "encoder", "items", "context"] = ""

    def columns(self, spec: Spec) -> list[Column]:
        """Declares the family's columns; those of what a run has none of are none."""
        return importlib.import_module(self.module).columns(spec)

    def compute(self, chunk, out: np.ndarray) -> None:
        """Fills out, float32 [candidates, columns of the family], all zeros before, where the arrays of the chunk lie
        (compute.Chunk)."""
        importlib.import_module(self.module).compute(chunk, out)


FAMILIES = {
    "matrix": Family("otto_gpu.features.matrix"),
    "embedding": Family("otto_gpu.features.embedding", needs="vectors"),
    "encoder": Family("otto_gpu.features.encoder", needs="encoder"),
    "popularity": Family("otto_gpu.features.popularity"),
    "session": Family("otto_gpu.features.session"),
    "recall": Family("otto_gpu.features.recall"),
    "similarity": Family("otto_gpu.features.similarity", needs="vectors"),
    "attributes": Family("otto_gpu.features.attributes", needs="items"),
    "context": Family("otto_gpu.features.context", needs="context"),
}


def needing(families, what: str) -> list[str]:
    """Those of the families that need it."""
    return [name for name in families if name != RANK and FAMILIES[name].needs == what]

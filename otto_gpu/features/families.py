"""The families of features by name: a new one is a file with `columns` and `compute`, and a line here.

The files are imported when a family is first asked for: who only reads a configuration needs none of their kernels.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import numpy as np

    from otto_gpu.features.catalogue import Column, Spec
    from otto_gpu.features.compute import Chunk

RANK = "rank"  # no file of columns: it comes last and is made from the other families'


@dataclass(frozen=True)
class Family:
    """module: its file, with the functions below; needs: what else has to be there, as the configuration calls it."""

    module: str
    needs: Literal["", "vectors", "encoder", "items", "context"] = ""

    def columns(self, spec: Spec) -> list[Column]:
        """Declares the family's columns; those of what a run has none of are none."""
        return importlib.import_module(self.module).columns(spec)

    def compute(self, chunk: Chunk, out: np.ndarray) -> None:
        """Fills out, float32 [candidates, columns of the family], all zeros before, where the chunk's arrays lie."""
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

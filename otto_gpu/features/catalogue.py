"""Which features exist: every column declared with its family, dtype and meaning; names come from the declaration."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pyarrow as pa
from pydantic import Field, model_validator

from otto_gpu.columns import AID, SESSION, label, sampled
from otto_gpu.schema import Section, nearest


@dataclass(frozen=True)
class Column:
    name: str
    family: str
    dtype: Literal["float32", "int16", "uint8"]
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


@dataclass(frozen=True)
class Family:
    """columns(spec) declares; compute(chunk, out) fills out, float32 [rows, columns of the family], all zeros before."""

    columns: Callable[[Spec], list[Column]]
    compute: Callable[..., None]


FAMILIES: dict[str, Family] = {}
RANK = "rank"  # comes last and is made from the other families' columns
EMBEDDING, ENCODER = "embedding", "encoder"  # need vectors
KNOWN = ("matrix", EMBEDDING, ENCODER, "popularity", "session", "recall", RANK)


def register(name: str, columns: Callable[[Spec], list[Column]], compute: Callable[..., None]) -> None:
    """Makes a family known by its name; later sources of features move in here."""
    FAMILIES[name] = Family(columns, compute)


class FeaturesConfig(Section):
    """Which feature columns there are, and the rows that the rankers are trained on."""

    families: tuple[str, ...] = Field(
        ("matrix", "popularity", "session", "recall", RANK),
        min_length=1,
        description="of matrix, embedding, encoder, popularity, session, recall and rank (the others' places in a session)",
    )
    rules: tuple[str, ...] | None = Field(None, description="the rules whose matrices make features; null: all that are built")
    negatives: dict[str, float] = Field(
        {"clicks": 10.0, "carts": 20.0, "orders": 20.0}, description="target -> negatives sampled per positive; others: 20"
    )
    most_rows: int = Field(
        1_000_000, ge=1000, description="rows per target that rankers are trained on; where there are more, sessions are drawn"
    )
    seed: int = Field(42, ge=0, description="of the sampling of sessions and negatives")
    chunk_rows: int = Field(100_000, ge=1, description="candidates whose features are in memory at once")

    @model_validator(mode="after")
    def _sense(self):
        for name in self.families:
            if name not in KNOWN:
                raise ValueError(f"unknown family {name!r}; {nearest(name, KNOWN)}")
        if self.families == (RANK,):
            raise ValueError("the family 'rank' needs another one to rank")
        if min(self.negatives.values(), default=1) <= 0:
            raise ValueError("negatives: must be above 0")
        return self


class Catalogue:
    """The columns of a run in their order. names: tuple of str; ranked: int64, places of the columns that `rank` ranks."""

    def __init__(self, families: tuple[str, ...], spec: Spec):
        self.families = tuple(f for f in families if f != RANK)
        columns = [c for f in self.families for c in FAMILIES[f].columns(spec)]
        self.ranked = np.array([i for i, c in enumerate(columns) if c.ranked] if RANK in families else [], np.int64)
        self.columns = columns + [
            Column(f"{columns[i].name}_rank", RANK, "int16", f"place of {columns[i].name} within the session, highest first")
            for i in self.ranked
        ]
        self.names = tuple(c.name for c in self.columns)
        if len(set(self.names)) != len(self.names):
            raise AssertionError("two feature columns share a name")

    def __len__(self) -> int:
        return len(self.columns)

    def schema(self, targets: Iterable[str]) -> pa.Schema:
        """Of the rows that are kept for the rankers: keys, per target whether it hit and whether it is sampled, the columns."""
        fields = [(SESSION, pa.int32()), (AID, pa.int32())]
        fields += [(name, pa.int8()) for target in targets for name in (label(target), sampled(target))]
        return pa.schema(fields + [(c.name, pa.from_numpy_dtype(np.dtype(c.dtype))) for c in self.columns])

    def part(self, family: str) -> slice:
        places = [i for i, c in enumerate(self.columns) if c.family == family]
        return slice(places[0], places[-1] + 1) if places else slice(0, 0)


def narrowed(values: np.ndarray, dtype: str) -> np.ndarray:
    """Values in a column's dtype; what does not fit an integer stops at its ends and does not wrap."""
    if np.dtype(dtype).kind in "iu":
        values = np.clip(values, np.iinfo(dtype).min, np.iinfo(dtype).max)
    return values.astype(dtype)

"""Which features exist: every column declared with its family, dtype and meaning; names come from the declaration."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict

import numpy as np
import pyarrow as pa
from pydantic import Field, model_validator

from otto_gpu.columns import AID, SESSION, label, sampled
from otto_gpu.errors import UserError
from otto_gpu.features.families import FAMILIES, RANK, Column, Spec
from otto_gpu.schema import Section, did_you_mean


class FeaturesConfig(Section):
    """Which feature columns there are, and the rows that the rankers are trained on."""

    families: tuple[str, ...] = Field(
        ("matrix", "popularity", "session", "recall", RANK),
        min_length=1,
        description=f"of {', '.join(FAMILIES)} and rank (the others' places in a session)",
    )
    rules: tuple[str, ...] | None = Field(None, description="the rules whose matrices make features; null: all that are built")
    negatives: dict[str, float] = Field(
        {"clicks": 10.0, "carts": 20.0, "orders": 20.0}, description="target -> negatives sampled per positive; others: 20"
    )
    most_rows: int = Field(
        1_000_000, ge=1000, description="rows per target that rankers are trained on; where there are more, sessions are drawn"
    )
    seed: int = Field(42, ge=0, description="of the sampling of sessions and negatives")
    utc_offset_hours: float = Field(
        0.0, ge=-12, le=14, description="of the clock by which the family session tells hour and weekday: -3 for Brasilia"
    )
    chunk_rows: int = Field(100_000, ge=1, description="candidates whose features are in memory at once")

    @model_validator(mode="after")
    def _sense(self):
        known = (*FAMILIES, RANK)
        for name in self.families:
            if name not in known:
                raise ValueError(f"unknown family {name!r}; {did_you_mean(name, known)}")
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
            twice = next(name for name in self.names if self.names.count(name) > 1)
            raise UserError(f"two feature columns are called {twice!r}: give a rule, a source or an item's column another name")

    def __len__(self) -> int:
        return len(self.columns)

    def schema(self, targets: Iterable[str]) -> pa.Schema:
        """Of the rows that are kept for the rankers: keys, per target whether it hit and whether it is sampled, the columns."""
        fields = [(SESSION, pa.int32()), (AID, pa.int32())]
        fields += [(name, pa.int8()) for target in targets for name in (label(target), sampled(target))]
        return pa.schema(fields + [(c.name, pa.from_numpy_dtype(np.dtype(c.dtype))) for c in self.columns])

    def to_json(self) -> list[dict]:
        """The columns' declarations; `categorical` only where a column is."""
        return [{k: v for k, v in asdict(c).items() if k != "categorical" or v} for c in self.columns]

    def part(self, family: str) -> slice:
        places = [i for i, c in enumerate(self.columns) if c.family == family]
        return slice(places[0], places[-1] + 1) if places else slice(0, 0)


def saturating_cast(values: np.ndarray, dtype: str) -> np.ndarray:
    """Values in a column's dtype; what does not fit an integer stops at its ends and does not wrap."""
    if np.dtype(dtype).kind in "iu":
        values = np.clip(values, np.iinfo(dtype).min, np.iinfo(dtype).max)
    return values.astype(dtype)

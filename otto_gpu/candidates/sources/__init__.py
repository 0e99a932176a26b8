"""Who names candidates at the time of a period, whatever the session: asked by the stage, and for new sessions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from otto_gpu.candidates.fuse import Candidates, fuse, popular_items
from otto_gpu.candidates.lookup import Histories, evaluate_recipes
from otto_gpu.candidates.nearest import Index, nearest_items
from otto_gpu.candidates.recipes import CandidatesConfig
from otto_gpu.cooccurrence.matrix import MatrixStack
from otto_gpu.device import Device
from otto_gpu.device.arrays import to_host
from otto_gpu.embeddings.vectors import load_vectors
from otto_gpu.events.log import EventLog


@dataclass(frozen=True)
class Sources:
    """stack: the recipes' matrices, on the device; indexes: {source of candidates.nearest: the items' vectors}; popular:
    int32, the items that fill up where too few are named, most popular first."""

    config: CandidatesConfig
    types: tuple[str, ...]
    device: Device
    stack: MatrixStack
    indexes: Mapping[str, Index]
    popular: np.ndarray

    @classmethod
    def load(cls, run_dir: Path, split: str, known: EventLog, config: CandidatesConfig, device: Device) -> Sources:
        """known: the events from before the period and its histories."""
        stack = MatrixStack.load(run_dir / "matrices" / split, config.matrices)
        return cls.of(run_dir, split, known, config, device, device.to_device(stack))

    @classmethod
    def of(cls, run_dir: Path, split: str, known: EventLog, config: CandidatesConfig, device: Device, stack) -> Sources:
        """With matrices that are there already: stack holds those of the recipes, and perhaps others, on the device."""
        indexes = {n: Index(load_vectors(run_dir, split, s.vectors), device) for n, s in config.nearest.items()}
        popular = popular_items(known, config.popular_days, device)
        return cls(config, tuple(known.types), device, stack, indexes, popular)

    def name(self, sessions: np.ndarray, histories: Histories, queries: Mapping[str, np.ndarray | None]) -> Candidates:
        """Of the given sessions (int32 [S], ascending) what all sources name. histories: theirs, on the device or the host;
        queries: {source of candidates.nearest: float32 [S, dim], None: made of the histories}. In the host's memory."""
        here, to_device = self.device.to_device(histories), self.device.to_device
        found = evaluate_recipes(here, self.stack, self.config, self.types)
        named = {recipe: found[recipe] for recipe in self.config.outputs}
        for name, source in self.config.nearest.items():
            index = self.indexes[name]
            named[name] = to_device(nearest_items(to_host(histories), queries.get(name), index.vectors, source, index))
        return to_host(fuse(sessions, here, named, self.popular, self.config, self.types))

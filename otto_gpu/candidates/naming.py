"""Who names candidates at the time of a period, whatever the session: asked by the stage, and for new sessions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from otto_gpu.candidates.fuse import Candidates, fuse, popular_items
from otto_gpu.candidates.lookup import Histories
from otto_gpu.candidates.settings import CandidatesConfig
from otto_gpu.candidates.sources import KINDS
from otto_gpu.candidates.sources.loaded import Loaded, PeriodInputs, SessionChunk, load
from otto_gpu.candidates.trace import Parts
from otto_gpu.cooccurrence.matrix import MatrixStack
from otto_gpu.device import Device
from otto_gpu.device.arrays import to_host
from otto_gpu.events.log import EventLog


@dataclass(frozen=True)
class Sources:
    """kinds: those that the configuration has sources of, loaded; popular: int32, the items that fill up where too few are
    named, most popular first."""

    config: CandidatesConfig
    types: tuple[str, ...]
    device: Device
    kinds: Mapping[str, Loaded]
    popular: np.ndarray

    @classmethod
    def load(
        cls, run_dir: Path, split: str, known: EventLog, config: CandidatesConfig, device: Device,
        stack: MatrixStack | None = None,
    ) -> Sources:  # fmt: skip
        """known: the events from before the period and its histories. stack: matrices that are on the device already,
        those of the recipes and perhaps others."""
        inputs = PeriodInputs(run_dir, split, known, config, device, stack)
        kinds = {kind: load(kind, inputs, sources) for kind in KINDS if (sources := config.of_kind(kind))}
        return cls(config, tuple(known.types), device, kinds, popular_items(known, config.popular_days, device))

    @property
    def told(self) -> dict[str, str]:
        """{source: how it works here, for people}"""
        return {name: told for kind in self.kinds.values() for name, told in kind.told.items()}

    def name(self, sessions: np.ndarray, histories: Histories, queries: Mapping[str, np.ndarray]) -> Candidates:
        """Of the given sessions (int32 [S], ascending) what all sources name. histories: theirs, on the device or the host;
        queries: {vectors: float32 [S, dim]} of those by which sessions have vectors of their own. In the host's memory."""
        chunk = SessionChunk(sessions, self.device.to_device(histories), histories, queries)
        found = {name: lists for kind in self.kinds.values() for name, lists in kind.name(chunk).items()}
        named = {name: found[name] for name in self.config.named_by[1:]}
        return to_host(fuse(sessions, chunk.histories, named, self.popular, self.config, self.types))

    def trace(self, history: Histories) -> dict[str, Parts]:
        """{source: {item: what was added up for it}} of one session, on the host; sources that add nothing up are not there."""
        return {name: parts for kind in self.kinds.values() for name, parts in kind.trace(history).items()}

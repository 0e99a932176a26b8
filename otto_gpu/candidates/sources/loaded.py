"""Sources at the time of a period: what they are made of, what they are asked, and what each kind makes of it."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np

from otto_gpu.candidates.lookup import Histories
from otto_gpu.candidates.settings import CandidatesConfig
from otto_gpu.candidates.sources import KINDS, Source
from otto_gpu.candidates.trace import Parts
from otto_gpu.cooccurrence.matrix import MatrixStack
from otto_gpu.device import Device
from otto_gpu.device.arrays import to_host
from otto_gpu.events.log import EventLog


@dataclass(frozen=True)
class PeriodInputs:
    """What sources may be made of. known: the events from before the period and its histories; stack: matrices that are on the
    device already, those of config.matrices among them."""

    run_dir: Path
    split: str
    known: EventLog
    config: CandidatesConfig
    device: Device
    stack: MatrixStack | None = None


@dataclass(frozen=True)
class SessionChunk:
    """Some sessions to name items for. sessions: int32 [S], ascending; histories: theirs, on the device; given: the same, there
    or on the host; queries: {vectors: float32 [S, dim]} of those by which sessions have vectors of their own."""

    sessions: np.ndarray
    histories: Histories
    given: Histories
    queries: Mapping[str, np.ndarray] = field(default_factory=dict)

    @cached_property
    def on_host(self) -> Histories:
        return to_host(self.given)


class Loaded:
    """All sources of one kind at the time of a period. told: {source: how it works here, for people}, of those that tell."""

    told: Mapping[str, str] = {}

    def name(self, chunk: SessionChunk) -> dict[str, tuple]:
        """{source: (aids int32 [S, size] padded with -1, scores float32 [S, size])}, best first, on the device. A session gets
        the same in any chunk."""
        raise NotImplementedError

    def trace(self, history: Histories) -> dict[str, Parts]:
        """{source: {item: what was added up for it}} of one session, on the host, of those sources that add up."""
        return {}


def load(kind: str, inputs: PeriodInputs, sources: Mapping[str, Source]) -> Loaded:
    return importlib.import_module(KINDS[kind]).load(inputs, sources)

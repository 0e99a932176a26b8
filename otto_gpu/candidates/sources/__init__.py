"""The kinds of sources of candidates by name: a new one is a file and a line here.

A kind's file has `load(inputs, sources)`, which makes a Loaded of all sources of the kind at the time of a period, and, unless
they stand under a key of their own, `Settings`, a class of FurtherSource: what `candidates.other_sources` takes of this kind.
It is imported when the kind is first asked for; of what only computing needs, its functions import the rest.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field, ValidationError

from otto_gpu.schema import Section, as_user_error, did_you_mean

if TYPE_CHECKING:
    import numpy as np

    from otto_gpu.candidates.lookup import Histories
    from otto_gpu.candidates.settings import CandidatesConfig
    from otto_gpu.candidates.trace import Parts
    from otto_gpu.cooccurrence.matrix import MatrixStack
    from otto_gpu.device import Device
    from otto_gpu.events.log import EventLog

KINDS = {
    "recipes": "otto_gpu.candidates.sources.recipes",
    "nearest": "otto_gpu.candidates.sources.nearest",
}
OWN_KEYS = ("recipes", "nearest")  # of the section candidates; the sources of all other kinds are its other_sources


class Source(Section):
    """The settings of a source; every one has a size, the most items that it names for a session."""

    def needs(self) -> dict[str, tuple[str, ...]]:
        """What it asks of other sections: names of `matrices`, of `vectors`, of columns of the `items`, of `context`."""
        return {}

    def says(self) -> str:
        """What it names, for people."""
        return ""


class FurtherSource(Source):
    """One more source; further settings are those of its kind."""

    kind: str = Field(description="which of the further kinds of sources it is")
    size: int = Field(50, ge=1, le=1000, description="how many items it names")


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
        from otto_gpu.device.arrays import to_host

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


def further_kinds() -> dict[str, type[FurtherSource]]:
    """{kind: the class of its settings} of what other_sources takes."""
    return {kind: importlib.import_module(file).Settings for kind, file in KINDS.items() if kind not in OWN_KEYS}


def settings_of(name: str, given: Any) -> Any:
    """A source's settings by its kind; ValueError, one line, for what is none."""
    if not isinstance(given, dict):
        return given
    known, kind = further_kinds(), given.get("kind")
    if kind not in known:
        further = did_you_mean(str(kind), known) if known else "there are no further kinds yet"
        own = f" ({' and '.join(OWN_KEYS)} have sections of their own)"
        raise ValueError(f"{name}: unknown kind {kind!r}; {further}{own}")
    try:
        return known[kind].model_validate(given)
    except ValidationError as error:
        raise ValueError(str(as_user_error(error, known[kind], name))) from None

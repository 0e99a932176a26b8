"""Turns a chunk of candidates into features, in memory."""

from __future__ import annotations

from copy import copy
from dataclasses import dataclass, field, replace

import numpy as np

from otto_gpu.candidates.fuse import Candidates
from otto_gpu.candidates.lookup import Histories
from otto_gpu.candidates.settings import CandidatesConfig
from otto_gpu.cooccurrence.matrix import MatrixStack
from otto_gpu.device import CPU, Device, free_bytes
from otto_gpu.events.items import Items
from otto_gpu.events.log import EventLog
from otto_gpu.features.attributes import Attributes
from otto_gpu.features.catalogue import Catalogue, FeaturesConfig, Spec
from otto_gpu.features.encoder import Encoder
from otto_gpu.features.families import FAMILIES
from otto_gpu.features.popularity import Popularity
from otto_gpu.features.rank import add_ranks
from otto_gpu.features.weightings import HistoryItems

FEATURES_SHARE = 0.25  # of a GPU's free memory, for the features of a chunk


@dataclass(frozen=True)
class PeriodState:
    """What is known at the time of a period, whatever the session: made once, used for every chunk.

    vectors: {name: float32 [n_items, dim]}, rows of length 1 or 0; encoder: None where no session encoder was trained;
    attributes: what the items file says of the items.
    """

    stack: MatrixStack
    popularity: Popularity
    histories: Histories
    item_events: np.ndarray
    type_weight: np.ndarray
    vectors: dict[str, np.ndarray] = field(default_factory=dict)
    encoder: Encoder | None = None
    attributes: Attributes = field(default_factory=Attributes)

    @classmethod
    def of(
        cls, known: EventLog, history: EventLog, stack: MatrixStack, config: CandidatesConfig, vectors=None, encoder=None,
        device: Device = CPU, items: Items | None = None, counted: EventLog | None = None,
    ) -> PeriodState:  # fmt: skip
        """Worked out on the device, where all of it then lies. counted: the histories whose events are counted as the period's,
        None: all of them."""
        type_weight = np.array([config.type_weights.get(t, 1.0) for t in known.types], np.float32)
        item_events = np.bincount(known.on(device).aid, minlength=known.n_items)
        wanted = Popularity.of(known, history if counted is None else counted, item_events, type_weight, device)
        histories = Histories.of(history, config, device)
        attributes = Attributes() if items is None else Attributes.of(items)
        return device.to_device(cls(stack, wanted, histories, item_events, type_weight, vectors or {}, encoder, attributes))


@dataclass(frozen=True)
class Chunk:
    """Some sessions with their candidates and histories; last_ts: int64 [S], ms, the last event of each history."""

    candidates: Candidates
    histories: Histories
    items: HistoryItems
    last_ts: np.ndarray
    rules: np.ndarray
    spec: Spec
    period_state: PeriodState


class FeatureMaker:
    """make(candidates) -> float32 [m, len(catalogue)], on the device, where the period's state lies."""

    def __init__(self, config: FeaturesConfig, period_state: PeriodState, sources, types, device: Device = CPU):
        rules = config.rules if config.rules is not None else period_state.stack.names
        attributes, context = period_state.attributes, period_state.histories.context
        codes = tuple(name for name, values in context.items() if values.dtype.kind == "i")
        self._spec = Spec(
            tuple(rules), tuple(sources), tuple(types), tuple(period_state.vectors), period_state.encoder is not None,
            config.families, tuple(attributes.times), tuple(attributes.numbers), tuple(attributes.codes), codes,
            tuple(name for name in context if name not in codes), config.utc_offset_hours,
        )  # fmt: skip
        self.catalogue = Catalogue(config.families, self._spec)
        self.period_state, self.device = period_state, device
        self._rules = device.to_device(np.array([period_state.stack.index(r) for r in rules], np.int64))

    def about(self, histories: Histories, queries: np.ndarray | None = None) -> FeatureMaker:
        """The same, asked about other sessions. queries: the encoder's, float32 [S, dim], of sessions 0..S-1."""
        maker, encoder = copy(self), self.period_state.encoder
        if encoder is not None:
            queries, place = self.device.to_device((queries, np.arange(len(queries))))
            encoder = replace(encoder, queries=queries, place=place)
        maker.period_state = replace(self.period_state, histories=self.device.to_device(histories), encoder=encoder)
        return maker

    def at_once(self, rows: int) -> int:
        """How many candidates' features to have in memory at once: so many on a CPU, as many as there is room for on a GPU,
        which has no work for all of its threads with few."""
        if self.device.kind == "cpu":
            return rows
        return max(rows, int(FEATURES_SHARE * free_bytes() / (4 * len(self.catalogue))))

    def make(self, candidates: Candidates) -> np.ndarray:
        known = self.period_state
        candidates = self.device.to_device(candidates)
        histories = known.histories.chunk(candidates.sessions)
        chunk = Chunk(
            candidates,
            histories,
            HistoryItems.of(histories, known.item_events, known.type_weight),
            histories.ts[histories.starts[1:] - 1],
            self._rules,
            self._spec,
            known,
        )
        out = self.device.arrays().zeros((len(candidates), len(self.catalogue)), np.float32)
        for family in self.catalogue.families:
            FAMILIES[family].compute(chunk, out[:, self.catalogue.part(family)])
        add_ranks(candidates.pointer, out, self.catalogue.ranked, len(self.catalogue) - len(self.catalogue.ranked))
        return out

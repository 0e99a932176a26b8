"""Turns a chunk of candidates into features, in memory."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

# the modules register their families when they are loaded
from otto_gpu.candidates.fuse import Candidates
from otto_gpu.candidates.lookup import Histories
from otto_gpu.candidates.recipes import CandidatesConfig
from otto_gpu.cooccurrence.matrix import MatrixStack
from otto_gpu.events.log import EventLog
from otto_gpu.features import embedding, interaction, popularity, session  # noqa: F401
from otto_gpu.features.catalogue import FAMILIES, Catalogue, FeaturesConfig, Spec
from otto_gpu.features.encoder import Encoder
from otto_gpu.features.popularity import Popularity
from otto_gpu.features.rank import add_ranks
from otto_gpu.features.weightings import HistoryItems


@dataclass(frozen=True)
class Knowledge:
    """What is known at the time of a period, whatever the session: made once, used for every chunk.

    vectors: {name: float32 [n_items, dim]}, rows of length 1 or 0; encoder: None where no session encoder was trained.
    """

    stack: MatrixStack
    popularity: Popularity
    histories: Histories
    item_events: np.ndarray
    type_weight: np.ndarray
    vectors: dict[str, np.ndarray] = field(default_factory=dict)
    encoder: Encoder | None = None

    @classmethod
    def of(
        cls, known: EventLog, history: EventLog, stack: MatrixStack, config: CandidatesConfig, vectors=None, encoder=None
    ) -> Knowledge:
        type_weight = np.array([config.type_weights.get(t, 1.0) for t in known.types], np.float32)
        item_events = np.bincount(known.aid, minlength=known.n_items)
        return cls(
            stack,
            Popularity.of(known, history, item_events, type_weight),
            Histories.of(history, config),
            item_events,
            type_weight,
            vectors or {},
            encoder,
        )


@dataclass(frozen=True)
class Chunk:
    """Some sessions with their candidates and histories; last_ts: int64 [S], ms, the last event of each history."""

    candidates: Candidates
    histories: Histories
    items: HistoryItems
    last_ts: np.ndarray
    rules: np.ndarray
    knowledge: Knowledge


class FeatureMaker:
    """make(candidates) -> float32 [m, len(catalogue)]."""

    def __init__(self, config: FeaturesConfig, knowledge: Knowledge, sources, types):
        rules = config.rules if config.rules is not None else knowledge.stack.names
        spec = Spec(tuple(rules), tuple(sources), tuple(types), tuple(knowledge.vectors), knowledge.encoder is not None)
        self.catalogue = Catalogue(config.families, spec)
        self.knowledge = knowledge
        self._rules = np.array([knowledge.stack.index(r) for r in rules], np.int64)

    def make(self, candidates: Candidates) -> np.ndarray:
        known = self.knowledge
        histories = known.histories.chunk(candidates.sessions)
        chunk = Chunk(
            candidates,
            histories,
            HistoryItems.of(histories, known.item_events, known.type_weight),
            histories.ts[histories.starts[1:] - 1],
            self._rules,
            known,
        )
        out = np.zeros((len(candidates), len(self.catalogue)), np.float32)
        for family in self.catalogue.families:
            FAMILIES[family].compute(chunk, out[:, self.catalogue.part(family)])
        add_ranks(candidates.pointer, out, self.catalogue.ranked, len(self.catalogue) - len(self.catalogue.ranked))
        return out

"""Some sessions of a world with their candidates, made by the package and as frames for the oracle."""

from dataclasses import dataclass, replace
from functools import cache, cached_property

import numpy as np
import pandas as pd

from otto_gpu.candidates.fuse import Candidates
from otto_gpu.candidates.lookup import Histories
from otto_gpu.events.items import NO_TIME, Items
from otto_gpu.events.log import EventLog
from otto_gpu.features.attributes import Attributes
from otto_gpu.features.catalogue import FeaturesConfig
from otto_gpu.features.compute import FeatureMaker, PeriodState
from otto_gpu.features.encoder import Encoder
from tests.features import oracle
from tests.worlds import World

# few dimensions: then many cosines of random vectors are high
DIMENSIONS = {"word2vec": 3, "factorization_1": 4, "factorization_1_5": 5, "factorization_bought_1_9": 2, "seq2seq": 7}


def random_vectors(n: int, dim: int, seed: int) -> np.ndarray:
    """Rows of length 1, some of zeros."""
    random = np.random.default_rng([seed, dim])
    rows = random.standard_normal((n, dim))
    rows /= np.sqrt((rows**2).sum(axis=1, keepdims=True))
    rows[random.random(n) < 0.05] = 0
    return rows.astype(np.float32)


def random_items(n: int, around: int) -> Items:
    """A time (ms, within some days of a moment), a number and a code of every item, a tenth of each missing."""
    random = np.random.default_rng([n, 7])
    times = around + random.integers(-10 * 86_400_000, 86_400_000, n)
    words, category = random.integers(20, 400, n).astype(np.float32), random.integers(0, 4, n).astype(np.int32)
    for values, missing in ((times, NO_TIME), (words, np.nan), (category, -1)):
        values[random.random(n) < 0.1] = missing
    return Items(n, {"category": category}, {"words": words}, {"made": times})


def with_context(log: EventLog) -> EventLog:
    """The log with a code and a number for every event, a tenth of each missing."""
    random = np.random.default_rng([len(log), 8])
    device, scroll = random.integers(0, 5, len(log)).astype(np.int32), random.random(len(log)).astype(np.float32)
    device[random.random(len(log)) < 0.1], scroll[random.random(len(log)) < 0.1] = -1, np.nan
    return replace(log, context={"device": device, "scroll": scroll})


@dataclass(frozen=True, eq=False)
class Case:
    world: World
    candidates: Candidates

    @cached_property
    def period_state(self) -> PeriodState:
        """The world's, with vectors that nobody learnt, and what nobody knows of items and events."""
        known, sessions = self.world.known, self.world.sessions
        vectors = {name: random_vectors(known.n_items, dim, i) for i, (name, dim) in enumerate(DIMENSIONS.items())}
        queries, items = random_vectors(len(sessions), 6, 98), random_vectors(known.n_items, 6, 99)
        encoder = Encoder.of(queries, items, sessions, self.world.history.n_sessions)
        return replace(
            self.world.period_state, vectors=vectors, encoder=encoder, attributes=Attributes.of(self.attributes),
            histories=Histories.of(self.log, self.world.config),
        )  # fmt: skip

    @cached_property
    def attributes(self) -> Items:
        return random_items(self.world.known.n_items, self.world.known.span[1])

    @cached_property
    def log(self) -> EventLog:
        """The period's histories with their context."""
        return with_context(self.world.history)

    def maker(self, **config) -> FeatureMaker:
        return FeatureMaker(FeaturesConfig(**config), self.period_state, self.candidates.sources, self.world.known.types)

    def made(self, *families: str) -> pd.DataFrame:
        """What the package makes."""
        maker = self.maker(families=families)
        return pd.DataFrame(maker.make(self.candidates), columns=maker.catalogue.names)

    @cached_property
    def pairs(self) -> pd.DataFrame:
        return pd.DataFrame({"session": self.candidates.session, "aid": self.candidates.aid})

    @cached_property
    def known(self) -> pd.DataFrame:
        return oracle.frame_of(self.world.known)

    @cached_property
    def period(self) -> pd.DataFrame:
        return oracle.frame_of(self.world.history)

    @cached_property
    def history(self) -> pd.DataFrame:
        """The events of the case's own sessions."""
        return self.period[self.period["session"].isin(self.candidates.sessions)]

    @cached_property
    def item_events(self) -> dict:
        return oracle.item_events_of(self.known)

    @cached_property
    def items(self) -> pd.DataFrame:
        return oracle.item_weights(self.history, self.item_events)


@cache
def case_of(world: World, sessions: int) -> Case:
    return Case(world, world.candidates(world.some_sessions(sessions)))


def assert_same(found: pd.DataFrame, expected: pd.DataFrame, atol: float = 1e-7) -> None:
    """The same columns in the same order; values up to the order of float32 sums. atol: where a sum's terms cancel out."""
    assert list(found) == list(expected)
    for name in expected:
        np.testing.assert_allclose(found[name], expected[name], rtol=2e-4, atol=atol, err_msg=name)

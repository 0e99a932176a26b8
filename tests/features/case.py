"""Some sessions of a world with their candidates, made by the package and as frames for the oracle."""

from dataclasses import dataclass
from functools import cache, cached_property

import numpy as np
import pandas as pd

from otto_gpu.candidates.fuse import Candidates
from otto_gpu.features.catalogue import FeaturesConfig
from otto_gpu.features.compute import FeatureMaker
from tests.features import oracle
from tests.worlds import World


@dataclass(frozen=True, eq=False)
class Case:
    world: World
    candidates: Candidates

    def maker(self, **config) -> FeatureMaker:
        return FeatureMaker(FeaturesConfig(**config), self.world.knowledge, self.candidates.sources, self.world.known.types)

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


def assert_same(found: pd.DataFrame, expected: pd.DataFrame) -> None:
    """The same columns in the same order; values up to the order of float32 sums."""
    assert list(found) == list(expected)
    for name in expected:
        np.testing.assert_allclose(found[name], expected[name], rtol=2e-4, atol=1e-7, err_msg=name)

"""Candidates and features of the sessions of a test period, on the device and by all cores."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from pathlib import Path

import numpy as np

from benchmarks.gpu_steps.logs import FEW, MANY, World
from benchmarks.gpu_steps.step import Bench
from benchmarks.gpu_steps.watch import watched
from otto_gpu.candidates.fuse import Candidates, popular_items
from otto_gpu.candidates.lookup import Histories
from otto_gpu.candidates.naming import Sources
from otto_gpu.candidates.sources.loaded import PeriodInputs
from otto_gpu.candidates.sources.recipes import Recipes
from otto_gpu.device.arrays import ranges, to_host
from otto_gpu.features.catalogue import FeaturesConfig
from otto_gpu.features.compute import FeatureMaker, PeriodState

COMPARED = 200  # sessions whose features are
CLOSE = {"rtol": 1e-3, "atol": 1e-5}
ALIKE = 0.99  # of the candidates, and of the features' values, at least


def halves(bench: Bench) -> None:
    for name in (FEW, MANY):
        work = Work(bench, name)
        bench.part(f"{name}, candidates", work.candidates)
        bench.part(f"{name}, features", work.features)
        bench.part(f"{name}, kernels", work.kernels)
        del work  # with what it holds of the device's memory


class Work:
    """The test period of a world: names its candidates, makes their features."""

    def __init__(self, bench: Bench, name: str):
        self._bench, self._name, self._config = bench, name, FeaturesConfig()

    @cached_property
    def world(self) -> World:
        return self._bench.get(self._name)

    @cached_property
    def sources(self) -> Sources:
        world, device = self.world, self._bench.device
        popular = popular_items(world.known, world.config.popular_days, device)
        inputs = PeriodInputs(Path(), "", world.known, world.config, device, device.to_device(world.stack))
        recipes = Recipes(inputs, world.config.recipes)
        return Sources(world.config, world.known.types, device, {"recipes": recipes}, popular)

    @cached_property
    def histories(self) -> Histories:
        return self._bench.device.to_device(Histories.of(self.world.history, self.world.config, self._bench.device))

    @cached_property
    def maker(self) -> FeatureMaker:
        world, device = self.world, self._bench.device
        period_state = PeriodState.of(world.known, world.history, world.stack, world.config, device=device)
        return FeatureMaker(self._config, period_state, world.config.sources, world.known.types, device)

    @cached_property
    def made(self) -> list[Candidates]:
        return self._named(self.world.config.chunk_sessions)

    def _named(self, at_once: int) -> list[Candidates]:
        """The candidates, part by part as the stage names them; host's memory."""
        sessions = self.world.sessions
        parts = (sessions[i : i + at_once] for i in range(0, len(sessions), at_once))
        return [self.sources.name(part, self.histories.chunk(part), {}) for part in parts]

    def _featured(self, use: Callable = lambda features: None) -> int:
        """Makes the features of all candidates, as many at once as the device takes; how many columns there are."""
        limit = self.maker.at_once(self._config.chunk_rows)
        for made in self.made:
            for first, last in ranges(made.pointer, limit):
                use(self.maker.make(made.rows(first, last)))
        return len(self.maker.catalogue)

    def candidates(self) -> dict:
        n, stage = len(self.world.sessions), self.world.config.chunk_sessions
        found, made = {}, []
        for at_once in dict.fromkeys((stage, n)) if self._bench.device.kind == "cuda" else (stage,):
            timing, made = self._bench.timed(lambda at_once=at_once: self._named(at_once), 1)
            found[f"{at_once}_at_once"] = timing | {"sessions_per_s": n / timing["median_s"]}
        lengths, aid = (np.concatenate([part(m) for m in made]) for part in (lambda m: np.diff(m.pointer), lambda m: m.aid))
        self._bench.keep({"lengths": lengths, "aid": aid})
        best = min(found.values(), key=lambda timing: timing["median_s"])
        return {"sessions": n, "candidates": sum(map(len, made)), **best, "ways": found}

    def features(self) -> dict:
        rows = sum(map(len, self.made))
        timing, columns = self._bench.timed(self._featured, 1)
        some = self.made[0].rows(0, min(COMPARED, len(self.made[0].sessions)))
        self._bench.keep({"features": to_host(self.maker.make(some))})
        return {"rows": rows, "columns": columns, "rows_per_s": rows / timing["median_s"], **timing}

    def kernels(self) -> dict:
        with watched(self._bench) as kernels:
            self._named(self.world.config.chunk_sessions)
            self._featured()
        return {"kernels": kernels}


def compare(ours: dict, theirs: dict) -> dict:
    """Shares of the sessions with the same number of candidates, and of the candidates that both name in one place; of the
    features' values that are close."""
    if "features" in theirs:
        one, other = ours["features"], theirs["features"]
        if one.shape != other.shape:
            return {"ok": False, "shapes": [one.shape, other.shape]}
        close = np.isclose(one, other, **CLOSE)
        return {
            "ok": bool(close.mean() >= ALIKE),
            "close": float(close.mean()),
            "columns_apart": int((close.mean(0) < ALIKE).sum()),
        }
    lengths = ours["lengths"] == theirs["lengths"]
    ours_of, theirs_of = (half["aid"][np.repeat(lengths, half["lengths"])] for half in (ours, theirs))
    same = {"same_lengths": float(lengths.mean()), "same_places": float((ours_of == theirs_of).mean())}
    return {"ok": min(same.values()) >= ALIKE, **same}

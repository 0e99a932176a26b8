"""What steps are made of: parts, each in a try of its own, on the device and, to compare with, on the CPU beside it."""

from __future__ import annotations

import gc
import os
import pickle
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.measure import timing
from otto_gpu.cooccurrence.rule import RULES
from otto_gpu.device import Device, in_a_line
from otto_gpu.errors import MissingExtra

LOST = 70  # exit code of a process whose GPU answers no more
GPU, CPU, SAME = "gpu", "cpu", "same"  # the halves of a step


class Absent(Exception):
    """What a part needs is not there: told, and no failure."""


@dataclass(frozen=True)
class Sizes:
    """Sessions of the generated logs, and what else there is so much of."""

    log: int = 298_000  # 5M events, which all rules are compared on
    middle: int = 1_190_000  # 20M
    tiles: int = 43  # of `log`: 217M events, OTTO's size
    few: int = 59_500  # 1M events, 11,000 sessions to recommend for
    many: int = 1_190_000  # 220,000
    demo: int = 20_000
    # rows and columns drawn at random are others on a GPU; all of them are the same
    demo_changes: tuple[str, ...] = ("ranking.groups.binary.subsample=1", "ranking.groups.binary.colsample=1")
    rules: tuple[str, ...] = tuple(RULES)
    vectors: int = 1_860_000
    queries: int = 20_000
    rows: int = 1_000_000  # to train on
    held: int = 100_000  # to judge by
    learnt: int = 100_000  # by the models that score
    scored: int = 2_000_000
    trees: int = 500
    rounds: int = 100
    published: int = 10_000_000  # rows of the check against a published figure
    copied: int = 1 << 30  # bytes
    merged: int = 298_000  # sessions for the engine of data frames
    share: float = 0.1  # of the embeddings' work that is enough to see the CPU's pace

    @classmethod
    def dry(cls) -> Sizes:
        return cls(
            log=200, middle=300, tiles=2, few=200, many=300, demo=300,
            demo_changes=("ranking.folds=2", "ranking.groups.binary.rounds=10", "ranking.groups.binary.columns=null"),
            rules=("time_decay", "decay_6h", "buy2buy", "near_3_decay"),
            vectors=2000, queries=50, rows=2000, held=1000, learnt=1000, scored=1000, trees=5, rounds=5, published=1000,
            copied=1 << 20, merged=40, share=1.0,
        )  # fmt: skip


@dataclass(frozen=True)
class Step:
    """on, beside: its halves on the device and on the CPU, as functions of a Bench. limit, each: seconds at most of the
    device's half, and of a part of it. after: steps whose half on the CPU must be over before the device's begins.
    compare(ours, theirs) -> facts with `ok`, of what both halves kept of a part; against: the CPU's name of a part. alone: in a
    process of its own."""

    name: str
    on: Callable[[Bench], None] | None
    beside: Callable[[Bench], None] | None
    limit: float
    each: float
    after: tuple[str, ...] = ()
    compare: Callable[[dict, dict], dict] | None = None
    against: Callable[[str], str] = str
    alone: bool = False


@dataclass
class Bench:
    """Where a half works. tell(part, record): record None when the part begins. done: parts that an earlier process did, which
    are not done again."""

    device: Device
    half: str
    sizes: Sizes
    folder: Path  # of all halves, in memory if there is room
    tell: Callable[[str, dict | None], None] = lambda part, record: None
    step: str = ""
    done: frozenset[str] = frozenset()
    _part: str = ""

    def part(self, name: str, call: Callable[..., dict | None], *arguments) -> None:
        """Does one part and tells how it went: {ok, seconds, what it returns}, {skipped: why} or {ok: False, error, where}."""
        if name in self.done:
            return
        self._part = name
        self.tell(name, None)
        began = time.perf_counter()
        try:
            record = {"ok": True, **(call(*arguments) or {})}
            self.synchronize()
        except (Absent, MissingExtra) as error:
            record = {"skipped": str(error)}
        except Exception as error:
            traceback.print_exc()
            record = {"ok": False, "error": in_a_line(error)[:500], "where": _where(error)}
        record["seconds"] = round(time.perf_counter() - began, 3)
        self.tell(name, record)
        if not record.get("ok", True) and self._lost():
            os._exit(LOST)  # an error that a GPU does not forget: the next part needs a fresh process
        self.release()

    def synchronize(self) -> None:
        if self.device.kind == "cuda":
            self.device.arrays().cuda.runtime.deviceSynchronize()

    def timed(self, call: Callable[[], Any], repeats: int = 2) -> tuple[dict, Any]:
        """({first_s: with whatever is compiled, median_s, ...: of `repeats` more}, what the last call returned)."""
        seconds, made = [], None
        for _ in range(1 + repeats):
            made = None  # before the next one
            self.synchronize()
            began = time.perf_counter()
            made = call()
            self.synchronize()
            seconds.append(time.perf_counter() - began)
        return {"first_s": seconds[0], **timing(seconds[1:] or seconds)}, made

    def release(self) -> None:
        gc.collect()
        self.device.give_back()

    def _lost(self) -> bool:
        """Whether the GPU does nothing any more, as after a wrong address."""
        try:
            return int(self.device.arrays().arange(3).sum()) != 3
        except Exception:
            return True

    # ------------------------------------------------------------------------------------- what halves hand to each other
    def keep(self, arrays: dict[str, np.ndarray]) -> None:
        """What the part made, for the comparison with the other half."""
        path = kept(self.folder, self.step, self.half) / f"{self._part}.npz"
        path.parent.mkdir(parents=True, exist_ok=True)
        np.savez(path, **arrays)

    def put(self, name: str, thing) -> None:
        with (self.folder / f"{name}.part").open("wb") as file:
            pickle.dump(thing, file, protocol=5)
        (self.folder / f"{name}.part").rename(self.folder / f"{name}.pickle")

    def get(self, name: str):
        """What put(name, ...) was given, in whichever half. Absent where it has not come to that."""
        path = self.folder / f"{name}.pickle"
        if not path.exists():
            raise Absent(f"{name} has not been made")
        with path.open("rb") as file:
            return pickle.load(file)


def kept(folder: Path, step: str, half: str) -> Path:
    return folder / "kept" / step / half


def _where(error: Exception) -> list[str]:
    """file:line function, innermost last."""
    frames = traceback.extract_tb(error.__traceback__)[-4:]
    return [f"{'/'.join(Path(f.filename).parts[-3:])}:{f.lineno} {f.name}" for f in frames]

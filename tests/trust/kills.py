"""Runs that are killed at random moments, until they are through, and then compared with one that nobody killed."""

from __future__ import annotations

import shutil
import signal
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from tests.runs import EMBEDDED, GROUP, artifacts, forked, metrics, small
from tests.trust.machine import half_written, run

# seconds from the beginning of a stage to the death of a run, on average: some runs die early, others get far
MEANS = (0.3, 3.0)
PLAIN = small(
    300,
    candidates={"chunk_sessions": 20},
    ranking={"groups": {"binary": GROUP, "pairwise": GROUP | {"objective": "rank:pairwise"}}},
)
WITH_VECTORS = small(300, **EMBEDDED | {"candidates": EMBEDDED["candidates"] | {"chunk_sessions": 20}})


@dataclass
class Survived:
    """kills: that hit a run at work; stages: how many hit each; runs: that came through, with the right bytes."""

    kills: int = 0
    runs: int = 0
    stages: dict[str, int] = field(default_factory=dict)


def survive(config: Path, straight: Path, folder: Path, kills: int, seed: int) -> Survived:
    """Kills at least so many times; AssertionError where a run does not end with the bytes of `straight`."""
    draw, survived = np.random.default_rng(seed), Survived()
    while survived.kills < kills:
        run_dir = folder / f"run-{survived.runs}"
        while survived.kills < kills:
            stage = _killed(config, run_dir, draw.exponential(draw.choice(MEANS)))
            if stage is None:
                break
            survived.kills += 1
            survived.stages[stage] = survived.stages.get(stage, 0) + 1
        done = run("pipeline", "--config", config, "--run-dir", run_dir)
        assert done.code == 0, done.err
        same(run_dir, straight)
        survived.runs += 1
        shutil.rmtree(run_dir)
    return survived


def _killed(config: Path, run_dir: Path, after: float) -> str | None:
    """The stage in which a run died; None if it was through before."""
    log = run_dir / "run.log"
    size = log.stat().st_size if log.exists() else 0
    err = run_dir.with_suffix(".err")
    process = forked(err, "--config", config, "--run-dir", run_dir)
    began = time.monotonic()
    # a stage is at work: a kill before that would only hit what Python imports
    while process.exitcode is None and not (log.exists() and ": started" in log.read_text()[size:]):
        assert time.monotonic() - began < 300, "no stage begins"
        time.sleep(0.01)
    time.sleep(after)
    process.kill()
    process.join()
    if process.exitcode == 0:
        return None
    assert process.exitcode == -signal.SIGKILL, err.read_text()
    begun = [line.split()[2].rstrip(":") for line in log.read_text()[size:].splitlines() if line.endswith(": started")]
    return begun[-1] if begun else "between stages"


def same(run_dir: Path, straight: Path) -> None:
    mine, expected = artifacts(run_dir), artifacts(straight)
    assert mine.keys() == expected.keys(), mine.keys() ^ expected.keys()
    assert [name for name, content in expected.items() if mine[name] != content] == []
    assert metrics(run_dir) | {"stages": None} == metrics(straight) | {"stages": None}
    assert half_written(run_dir) == [] and list((run_dir / ".partial").iterdir()) == []

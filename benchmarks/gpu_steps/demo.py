"""The whole pipeline on the device and on the CPU, their lists compared; and the tests that need a GPU."""

from __future__ import annotations

import contextlib
import io
import json
from pathlib import Path

import numpy as np

from benchmarks.gpu_steps.step import Bench, Sizes
from otto_gpu.config import Config, load_config
from otto_gpu.pipeline import STAGES, run_pipeline

ROOT = Path(__file__).resolve().parents[2]
TAIL = 6000  # characters of the tests' output that are kept
LISTS, RECALL = 0.99, 0.002  # of the entries that both name, at least; the figures' difference, at most


def halves(bench: Bench) -> None:
    bench.part("pipeline", pipeline, bench)


def settings(sizes: Sizes) -> Config:
    """The demo with so many generated sessions."""
    return load_config("demo", [f"events.synthetic_sessions={sizes.demo}", *sizes.demo_changes])


def pipeline(bench: Bench) -> dict:
    run_dir = bench.folder / f"demo-{bench.half}"
    try:
        result = run_pipeline(settings(bench.sizes), run_dir=run_dir, device=bench.device.kind, to_stage="submission")
    finally:  # of one that fails, the stages that went well
        stages = {name: seconds for name in STAGES if (seconds := _manifest(run_dir, name).get("seconds")) is not None}
        print(f"seconds of the stages: {stages}", flush=True)
    bench.keep({"run_dir": np.array(str(run_dir))})
    return {"stages_s": stages, "recall": result.metrics["test"].get("weighted")}


def compare(ours: dict, theirs: dict) -> dict:
    runs = [Path(str(half["run_dir"])) for half in (ours, theirs)]
    recall = [json.loads((run / "metrics.json").read_text())["test"].get("weighted") for run in runs]
    lists = agreement(*(run / "submission.csv" for run in runs))
    near = None not in recall and abs(recall[0] - recall[1]) <= RECALL
    return {"ok": near and lists["same_entries"] >= LISTS, "recall": recall, **lists}


def agreement(ours: Path, theirs: Path) -> dict[str, float | int]:
    """{rows, same_entries: share of the listed items that both name for a row, same_places: that both name in one place} of two
    submission files. ValueError where their rows are others."""
    rows, listed, entries, places = 0, 0, 0, 0
    with ours.open() as one, theirs.open() as other:
        for a, b in zip(one, other, strict=True):
            (key, mine), (other_key, yours) = (line.strip().split(",") for line in (a, b))
            if key != other_key:
                raise ValueError(f"{ours} and {theirs} have different rows: {key}, {other_key}")
            if rows:  # the first one is the header
                mine, yours = mine.split(), yours.split()
                listed += max(len(mine), len(yours))
                entries += len(set(mine) & set(yours))
                places += sum(x == y for x, y in zip(mine, yours, strict=False))
            rows += 1
    return {"rows": rows - 1, "same_entries": entries / max(listed, 1), "same_places": places / max(listed, 1)}


def _manifest(run_dir: Path, stage: str) -> dict:
    path = run_dir / "manifests" / f"{stage}.json"
    return json.loads(path.read_text()) if path.is_file() else {}


# ---------------------------------------------------------------------------------------------------------------- tests
def tests(bench: Bench) -> None:
    bench.part("pytest", run_tests)


def run_tests() -> dict:
    """Those marked `gpu`, in this process, which has the kernels. outcomes: {test: outcome}."""
    import pytest

    outcomes: dict[str, str] = {}

    class Seen:
        def pytest_runtest_logreport(self, report):
            if report.when == "call" or report.outcome != "passed":
                outcomes[report.nodeid] = report.outcome

    marked = sorted(str(path) for path in (ROOT / "tests").rglob("test_*.py") if "pytest.mark.gpu" in path.read_text())
    marked = [path for path in marked if Path(path).parent.name != "benchmarks"]  # those of this script
    output = io.StringIO()
    with contextlib.redirect_stdout(output):
        code = pytest.main(["-m", "gpu", "-rs", "-p", "no:xdist", f"--rootdir={ROOT}", *marked], [Seen()])
    print(output.getvalue(), flush=True)
    return {"ok": code == 0, "outcomes": outcomes, "output": output.getvalue()[-TAIL:].splitlines()}

"""Real runs, killed by SIGKILL in the middle of every stage and called again."""

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from otto_gpu.pipeline import STAGES
from tests.runs import GROUP, ROOT, command, metrics, pipeline, small, write_config

# more than one part per stage, so that a kill can fall between two of them
SETTINGS = small(
    400,
    threads=2,
    candidates={"chunk_sessions": 20},
    ranking={"groups": {"binary": GROUP, "pairwise": GROUP | {"objective": "rank:pairwise"}}},
)
# what has to lie in a stage's partial folder before it is killed
BEGUN = {
    "events": "events/**/*.parquet",
    "matrices": "matrices/validation/*.parquet",
    "candidates": "candidates/validation/part-*",
    "features": "features/validation/part-*",
    "rankers": "models/clicks/binary/*.ubj",
    "predictions": "predictions/validation/clicks/part-*",
    "blend": "",
    "submission": "",
}
ATTEMPTS = 5


def artifacts(run_dir: Path, stages=tuple(STAGES)) -> dict[str, bytes]:
    """Every file that the stages made, by its name."""
    names = [name for stage in stages for name in json.loads((run_dir / "manifests" / f"{stage}.json").read_text())["files"]]
    return {name: (run_dir / name).read_bytes() for name in names if name != "metrics.json"}


def killed_in(stage: str, config: Path, run_dir: Path) -> set[str] | None:
    """Runs until the stage has begun, kills; the finished parts that it left. None if the stage was done before the kill."""
    arguments = command("--config", config, "--run-dir", run_dir)
    process = subprocess.Popen(arguments, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    manifest = run_dir / "manifests" / f"{stage}.json"
    began = time.monotonic()
    while not any(_begun(stage, run_dir)):
        if process.poll() is not None:
            assert process.returncode == 0, process.stderr.read().decode()
            return None
        assert time.monotonic() - began < 120, f"{stage} did not begin"
        time.sleep(0.001)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    if manifest.exists():
        return None
    left = (run_dir / ".partial").glob(f"{stage}-*/**/*")
    return {p.name for p in left if p.is_file() and not p.name.startswith(".")}


def _begun(stage: str, run_dir: Path):
    partial = run_dir / ".partial"
    return partial.glob(f"{stage}-*/{BEGUN[stage]}" if BEGUN[stage] else f"{stage}-*")


@pytest.fixture(scope="module")
def straight(tmp_path_factory):
    """(config file, run directory) of a run that was never killed."""
    folder = tmp_path_factory.mktemp("straight")
    config = write_config(folder / "small.yaml", SETTINGS)
    finished = pipeline("--config", config, "--run-dir", folder / "run")
    assert finished.returncode == 0, finished.stderr
    return config, folder / "run"


def test_a_run_that_was_killed_in_every_stage_ends_with_the_same_bytes(straight, tmp_path):
    config, expected = straight
    run_dir = tmp_path / "run"
    left = {}
    for stage in STAGES:
        for _ in range(ATTEMPTS):
            left[stage] = killed_in(stage, config, run_dir)
            if left[stage] is not None:
                break
            for later in list(STAGES)[list(STAGES).index(stage) :]:  # it was too quick for us: once more
                (run_dir / "manifests" / f"{later}.json").unlink(missing_ok=True)
    too_quick = [stage for stage, parts in left.items() if parts is None]
    # parts that were finished before a kill were there to be taken up
    for stage in ("matrices", "candidates", "rankers", "predictions"):
        assert left[stage] is None or left[stage], stage

    finished = pipeline("--config", config, "--run-dir", run_dir)
    assert finished.returncode == 0, finished.stderr
    assert artifacts(run_dir).keys() == artifacts(expected).keys()
    different = [name for name, content in artifacts(expected).items() if artifacts(run_dir)[name] != content]
    assert different == []
    assert metrics(run_dir) | {"stages": None} == metrics(expected) | {"stages": None}
    assert list((run_dir / ".partial").iterdir()) == []
    assert list(run_dir.rglob(".*.writing")) == []
    assert "started" not in pipeline("--config", config, "--run-dir", run_dir).stdout
    if too_quick:
        pytest.skip(f"no kill hit {', '.join(too_quick)} in {ATTEMPTS} attempts: done before it arrived")


def test_what_a_kill_left_of_other_settings_is_not_taken_up(straight, tmp_path):
    config, expected = straight
    run_dir = tmp_path / "run"
    other = write_config(
        tmp_path / "other.yaml", SETTINGS | {"candidates": {"chunk_sessions": 20, "fill_to": 5, "history_limit": 1}}
    )
    for _ in range(ATTEMPTS):
        if killed_in("candidates", other, run_dir) is not None:
            break
        (run_dir / "manifests/candidates.json").unlink()
    else:
        pytest.skip(f"no kill hit candidates in {ATTEMPTS} attempts")
    finished = pipeline("--config", config, "--run-dir", run_dir, "--to", "candidates")
    assert finished.returncode == 0, finished.stderr
    stages = ("events", "matrices", "candidates")
    assert artifacts(run_dir, stages) == artifacts(expected, stages)
    assert list((run_dir / ".partial").iterdir()) == []

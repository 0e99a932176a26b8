"""Real runs, killed by SIGKILL in the middle of every stage and called again."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from otto_gpu.pipeline import STAGES
from tests.runs import (
    EMBEDDED,
    GROUP,
    ROOT,
    artifacts,
    command,
    forked,
    metrics,
    needs_embeddings,
    pipeline,
    small,
    write_config,
)

# more than one part per stage, so that a kill can fall between two of them
CANDIDATES = EMBEDDED["candidates"] | {"chunk_sessions": 20}
SETTINGS = small(
    400,
    **EMBEDDED | {"candidates": CANDIDATES},
    threads=2,
    ranking={"groups": {"binary": GROUP, "pairwise": GROUP | {"objective": "rank:pairwise"}}},
)
# what has to lie in a stage's partial folder before it is killed; a stage of two halves is killed in both; factorization and
# seq2seq share their code with word2vec
BEGUN = {
    "events": ["events/**/*.parquet"],
    "matrices": ["matrices/validation/*.parquet"],
    "word2vec": ["embeddings/*/word2vec.npy"],
    "encoder": ["embeddings/validation/encoder.npy"],
    "candidates": ["named/validation/part-*", "candidates/validation/part-*"],
    "features": ["features/validation/part-*"],
    "rankers": ["models/clicks/binary/*.ubj"],
    "predictions": ["predictions/validation/clicks/part-*"],
    "blend": [""],
    "submission": [""],
    "report": [""],
}
ATTEMPTS = 5


def killed_in(stage: str, begun: str, config: Path, run_dir: Path) -> set[str] | None:
    """Runs until the stage has begun, kills; the finished parts that it left. None if the stage was done before the kill."""
    err, partial = run_dir.with_suffix(".err"), run_dir / ".partial"
    process = forked(err, "--config", config, "--run-dir", run_dir)
    manifest = run_dir / "manifests" / f"{stage}.json"
    began = time.monotonic()
    while not any(partial.glob(f"{stage}-*/{begun}".rstrip("/"))):
        if process.exitcode is not None:
            assert process.exitcode == 0, err.read_text()
            return None
        assert time.monotonic() - began < 300, f"{stage} did not begin"
        time.sleep(0.001 if any(partial.glob(f"{stage}-*")) else 0.004)
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    assert process.exitcode == -signal.SIGKILL, err.read_text()
    if manifest.exists():
        return None
    left = (run_dir / ".partial").glob(f"{stage}-*/**/*")
    return {p.name for p in left if p.is_file() and not p.name.startswith(".")}


@pytest.fixture(scope="module")
def straight(tmp_path_factory):
    """(config file, run directory) of a run that was never killed."""
    needs_embeddings()
    folder = tmp_path_factory.mktemp("straight")
    config = write_config(folder / "small.yaml", SETTINGS)
    finished = pipeline("--config", config, "--run-dir", folder / "run")
    assert finished.returncode == 0, finished.stderr
    return config, folder / "run"


def test_a_run_that_was_killed_in_every_stage_ends_with_the_same_bytes(straight, tmp_path):
    config, expected = straight
    run_dir = tmp_path / "run"
    left = {}
    for stage, begun in [(name, pattern) for name in STAGES for pattern in BEGUN.get(name, [])]:
        for _ in range(ATTEMPTS):
            left[stage, begun] = killed_in(stage, begun, config, run_dir)
            if left[stage, begun] is not None:
                break
            for later in list(STAGES)[list(STAGES).index(stage) :]:  # it was too quick for us: once more
                (run_dir / "manifests" / f"{later}.json").unlink(missing_ok=True)
    too_quick = [stage for (stage, _), parts in left.items() if parts is None]
    # parts that were finished before a kill were there to be taken up
    for (stage, _), parts in left.items():
        assert parts is None or parts or stage in ("events", "features", "blend", "submission", "report"), stage

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


def test_a_file_that_a_kill_cut_short_is_none_of_the_runs(tmp_path):
    """A manifest names every file below a stage's folders: also what was left half-written there, if nobody clears it away."""
    config = write_config(tmp_path / "c.yaml", small(100))
    dies = "import os, signal; from otto_gpu import pipeline; from otto_gpu.events import official;" \
           "official._write_lines = lambda *_: os.kill(os.getpid(), signal.SIGKILL); pipeline.main()"  # fmt: skip
    line = [sys.executable, "-c", dies, *command("--config", config, "--run-dir", tmp_path / "run", "--to", "events")[3:]]
    assert subprocess.run(line, cwd=ROOT, check=False).returncode == -signal.SIGKILL
    assert [p.stat().st_size for p in (tmp_path / "run/.partial").glob("*/official/.*")] == [0]
    for run_dir in ("run", "straight"):
        assert pipeline("--config", config, "--run-dir", tmp_path / run_dir, "--to", "events").returncode == 0
    assert artifacts(tmp_path / "run", ("events",)) == artifacts(tmp_path / "straight", ("events",))


def test_what_a_kill_left_of_other_settings_is_not_taken_up(straight, tmp_path):
    config, expected = straight
    run_dir = tmp_path / "run"
    other = write_config(tmp_path / "other.yaml", SETTINGS | {"candidates": CANDIDATES | {"fill_to": 5, "history_limit": 1}})
    for _ in range(ATTEMPTS):
        if killed_in("candidates", BEGUN["candidates"][0], other, run_dir) is not None:
            break
        (run_dir / "manifests/candidates.json").unlink()
    else:
        pytest.skip(f"no kill hit candidates in {ATTEMPTS} attempts")
    finished = pipeline("--config", config, "--run-dir", run_dir, "--to", "candidates")
    assert finished.returncode == 0, finished.stderr
    stages = tuple(STAGES)[: list(STAGES).index("candidates") + 1]
    assert artifacts(run_dir, stages) == artifacts(expected, stages)
    assert list((run_dir / ".partial").iterdir()) == []

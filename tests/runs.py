"""What the tests of whole runs share: settings with which a run takes seconds, logs on disk, and the command line."""

import json
import multiprocessing
import os
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from importlib import import_module
from io import StringIO
from multiprocessing.process import BaseProcess
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from otto_gpu.events.log import TYPES
from otto_gpu.events.synthetic import synthetic_log
from otto_gpu.pipeline import STAGES

ROOT = Path(__file__).resolve().parent.parent
GROUP = {"rounds": 4, "depth": 3, "early_stopping": 2}
MODULES = {"serve": "otto_gpu.serve.__main__", "report": "otto_gpu.report.__main__"}
LOADED = ("otto_gpu.pipeline", "numba", "pandas", "xgboost", "torch", "gensim.models", "faiss")
LEAFWISE = {"ranker": "lightgbm", "objective": "rank_xendcg", "rounds": 4, "leaves": 6, "early_stopping": 2}
TINY = {"dim": 8, "epochs": 1}
# every stage of vectors in use, and the fusion that is trained on what they name: sections for small and of_file
EMBEDDED = {
    "embeddings": {
        "word2vec": TINY,
        "factorization": {"factorization_1": TINY, "factorization_1_5": None, "factorization_bought_1_9": None},
        "seq2seq": TINY,
        "encoder": TINY,
    },
    "candidates": {
        "nearest": {"encoder": {"vectors": "encoder", "size": 10}},
        "fusion": {"keep": 40, "rounds": 5, "folds": 2, "min_sessions": 20},
    },
    "features": {"families": ["session", "recall", "embedding", "encoder", "similarity"]},
}


def small(sessions: int = 500, **sections) -> dict:
    """A configuration of everything that a run has, small: few columns, one group, two folds, one thread.

    sections: taken over key by key where both are mappings.
    """
    settings = {
        "name": "small",
        "device": "cpu",
        "threads": 1,
        "events": {"format": "synthetic", "synthetic_sessions": sessions},
        "features": {"families": ["session", "recall"]},
        "ranking": {"folds": 2, "min_positives": 5, "groups": {"binary": GROUP}},
    }
    for name, value in sections.items():
        merge = isinstance(value, dict) and isinstance(settings.get(name), dict)
        settings[name] = {**settings[name], **value} if merge else value
    return settings


def of_file(**sections) -> dict:
    """The same for a log on disk."""
    return small(**{"events": {}, **sections}) | {"events": sections.get("events", {})}


def needs_embeddings() -> None:
    """Skips the test where the packages behind EMBEDDED are not installed."""
    for package, extra in (("torch", "embeddings"), ("gensim", "embeddings"), ("faiss", "cpu")):
        pytest.importorskip(package, reason=f"{package} is not installed: pip install 'otto_gpu[{extra}]'")


def write_config(path: Path, settings: dict) -> Path:
    path.write_text(yaml.safe_dump(settings))
    return path


def frame(sessions: int, seed: int = 7, types=TYPES):
    """A generated log with ids that are nobody's dense ones."""
    log = synthetic_log(sessions, seed).to_frame()
    return log.assign(
        session=log["session"] * 3 + 7_000_000, aid=log["aid"] * 10 + 500_000, type=log["type"].map(dict(enumerate(types)))
    )


def write_parquet(path: Path, log) -> Path:
    pq.write_table(pa.Table.from_pandas(log, preserve_index=False), path)
    return path


def command(*arguments) -> list[str]:
    return [sys.executable, "-m", "otto_gpu.pipeline", *map(str, arguments)]


def forked(err: Path, *arguments) -> BaseProcess:
    """The pipeline's command line in a process of its own, forked from one that has loaded its modules and done nothing else:
    seconds less than `command`. err: where it writes what goes wrong."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(LOADED))
    process = context.Process(target=_forked, args=(err, [str(a) for a in arguments]))
    process.start()
    return process


def _forked(err: Path, line: list[str]) -> None:
    for number, path in ((1, os.devnull), (2, err)):
        with open(path, "a") as file:
            os.dup2(file.fileno(), number)
    sys.exit(import_module("otto_gpu.pipeline").main(line))


def pipeline(*arguments, cwd: Path | None = None, module: str = "pipeline") -> subprocess.CompletedProcess:
    """The command line, in a folder of its own where one is named."""
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    line = [sys.executable, "-m", f"otto_gpu.{module}", *map(str, arguments)]
    return subprocess.run(line, cwd=cwd or ROOT, env=environment, capture_output=True, text=True, timeout=300)


def called(*arguments, module: str = "pipeline") -> subprocess.CompletedProcess:
    """The same in this process, which has all its modules loaded: a second less."""
    line = [str(a) for a in arguments]
    with redirect_stdout(StringIO()) as out, redirect_stderr(StringIO()) as err:
        try:
            code = import_module(MODULES.get(module, f"otto_gpu.{module}")).main(line)
        except SystemExit as end:  # of the options' parser
            code = end.code
    return subprocess.CompletedProcess(line, code, out.getvalue(), err.getvalue())


def said(finished: subprocess.CompletedProcess) -> str:
    """The one line of a user's error."""
    assert finished.returncode == 2, finished.stdout + finished.stderr
    assert "Traceback" not in finished.stdout + finished.stderr
    lines = finished.stderr.strip().splitlines()
    assert len(lines) == 1 and lines[0].startswith("error: "), finished.stderr
    return lines[0]


def metrics(run_dir: Path) -> dict:
    return json.loads((run_dir / "metrics.json").read_text())


def artifacts(run_dir: Path, stages=tuple(STAGES)) -> dict[str, bytes]:
    """Every file that the stages made, by its name, but for those that tell seconds."""
    names = [name for stage in stages for name in json.loads((run_dir / "manifests" / f"{stage}.json").read_text())["files"]]
    return {name: (run_dir / name).read_bytes() for name in names if Path(name).name not in ("metrics.json", "report.html")}

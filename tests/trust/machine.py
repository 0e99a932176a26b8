"""Command lines in this process, which is quick, and in others, which can be killed or kept from writing."""

from __future__ import annotations

import importlib
import io
import json
import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path

from tests.runs import ROOT


@dataclass(frozen=True)
class Done:
    code: int
    out: str
    err: str


def call(module: str, *arguments) -> Done:
    """main() of a module of otto_gpu. Whatever is not caught there is raised here."""
    main = importlib.import_module(f"otto_gpu.{module}").main
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        try:
            code = main(list(map(str, arguments)))
        except SystemExit as end:
            code = end.code
    return Done(code, out.getvalue(), err.getvalue())


def start(module: str, *arguments, before: Callable[[], None] | None = None, **how) -> subprocess.Popen:
    line = [sys.executable, "-m", f"otto_gpu.{module}", *map(str, arguments)]
    environment = os.environ | {"PYTHONPATH": str(ROOT)} | how.pop("env", {})
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(line, cwd=ROOT, env=environment, preexec_fn=before, **pipes | how)


def run(module: str, *arguments, before: Callable[[], None] | None = None, **how) -> Done:
    process = start(module, *arguments, before=before, **how)
    out, err = process.communicate(timeout=300)
    return Done(process.returncode, out, err)


def mistake(done: Done) -> str:
    """The one line of a mistake."""
    lines = done.err.strip().splitlines()
    assert done.code == 2, (done.code, done.out[-500:], done.err[-2000:])
    assert len(lines) == 1 and lines[0].startswith("error: "), done.err[-2000:]
    assert "Traceback" not in done.out
    return lines[0]


def half_written(folder: Path) -> list[str]:
    """What was begun below a folder and left; what a manifest promises and is not there."""
    left = [str(p.relative_to(folder)) for p in folder.rglob(".*.writing")]
    for manifest in folder.rglob("manifests/*.json"):
        try:
            files = json.loads(manifest.read_text())["files"]
        except (ValueError, LookupError, TypeError):
            continue  # the test spoilt it
        run_dir = manifest.parent.parent
        left += [f"{n} of {manifest.name}" for n, size in files.items() if not _there(run_dir / n, size)]
    return left


def _there(path: Path, size: int) -> bool:
    return path.is_file() and path.stat().st_size == size

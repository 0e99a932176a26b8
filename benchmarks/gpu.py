"""What does a GPU bring, stage by stage, and does it name the same items? `python -m benchmarks.gpu` (or benchmarks/on_gpu.sh)

On the GPU and on the CPU of the same machine the pipeline works through generated logs: a process per device, the smallest log
first, on which kernels are compiled. `python -m otto_gpu.device` comes before that; after it both engines of matrices for a GPU
side by side, with the CPU's, and the tests marked `gpu`. Every step
has a limit; one that fails does not stop the others, and the exit code is 1. `--device cpu` compares the CPU with itself: a dry
run.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.measure import EVENTS_PER_SESSION, environment, write_json
from otto_gpu.config import Config, load_config
from otto_gpu.device import choose_device
from otto_gpu.pipeline import STAGES, run_pipeline
from otto_gpu.progress import Reporter

ROOT = Path(__file__).resolve().parents[1]
SESSIONS = (20_000, 298_000)  # the demo, and 5M events
LARGE = 50_000  # sessions from which on there are fewer and smaller rankers: the minutes are for what comes before them
FEWER = ("ranking.folds=2", "ranking.groups.binary.rounds=100")
LIMITS = {"device": 20, "gpu": 150, "cpu": 160, "engines": 40, "tests": 100}  # seconds, together less than eight minutes
TAIL = 4000  # characters of a step's output that are kept
RESULTS = Path(os.environ.get("OUT") or ROOT / "benchmarks" / "results")


def settings(sessions: int, changes=()) -> Config:
    """The demo with so many generated sessions."""
    fewer = FEWER if sessions >= LARGE else ()
    return load_config("demo", [f"events.synthetic_sessions={sessions}", *fewer, *changes])


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


def compared(ours: Path, theirs: Path) -> dict:
    """Seconds of every stage that both runs have, {stage: {gpu_s, cpu_s, times}}; recall and agreement where both are whole."""
    stages = {}
    for name in STAGES:
        seconds = [_manifest(run, name).get("seconds") for run in (ours, theirs)]
        if None not in seconds:
            stages[name] = {"gpu_s": seconds[0], "cpu_s": seconds[1], "times": round(seconds[1] / max(seconds[0], 1e-3), 2)}
    found: dict = {"stages": stages}
    if all((run / "metrics.json").is_file() for run in (ours, theirs)):
        figures = [json.loads((run / "metrics.json").read_text()) for run in (ours, theirs)]
        found["recall"] = {side: f["test"].get("weighted") for side, f in zip(("gpu", "cpu"), figures, strict=True)}
        found["lists"] = agreement(ours / "submission.csv", theirs / "submission.csv")
    return found


def _manifest(run_dir: Path, stage: str) -> dict:
    path = run_dir / "manifests" / f"{stage}.json"
    return json.loads(path.read_text()) if path.is_file() else {}


def step(name: str, command: list[str], limit: float) -> dict:
    """{ok, seconds, output: its end}: a command and what it started, ended at the limit."""
    print(f"== {name}: {' '.join(command[1:])} (at most {limit:.0f} s)", flush=True)
    began = time.monotonic()
    process = subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    )
    try:
        output, _ = process.communicate(timeout=max(limit, 1))
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        output = process.communicate()[0] + f"\nended after {limit:.0f} s"
    print(output[-TAIL:], flush=True)
    return {"ok": process.returncode == 0, "seconds": round(time.monotonic() - began, 1), "output": output[-TAIL:]}


def steps(args: argparse.Namespace, work: Path) -> dict[str, tuple[list[str], float]]:
    """{name: (command, limit)}; only those that --steps names."""
    python = sys.executable
    marked = sorted(str(p.relative_to(ROOT)) for p in (ROOT / "tests").rglob("*.py") if _marked(p))
    sizes = [f"--sessions={','.join(map(str, args.sessions))}", *(f"--set={change}" for change in args.set)]
    args.out.mkdir(parents=True, exist_ok=True)
    commands = {
        "device": [python, "-m", "otto_gpu.device"],
        "tests": [python, "-m", "pytest", "-m", "gpu", "-rs", *marked],
        "engines": [
            python,
            "-m",
            "benchmarks.matrices",
            f"--events={max(args.sessions) * EVENTS_PER_SESSION}",
            "--no-memory",
            "--repeats=2",
            "--engines=pairs,selfmerge,rowwise",
            f"--device={args.device}",
            f"--out={args.out / 'gpu-engines.json'}",
        ],
        "gpu": [python, "-m", "benchmarks.gpu", f"--device={args.device}", f"--work={work / 'gpu'}", "--only-run", *sizes],
        "cpu": [python, "-m", "benchmarks.gpu", "--device=cpu", f"--work={work / 'cpu'}", "--only-run", *sizes],
    }
    return {name: (commands[name], LIMITS[name]) for name in args.steps}


def _marked(path: Path) -> bool:
    return path.name.startswith("test_") and "pytest.mark.gpu" in path.read_text()


def show(result: dict) -> None:
    for sessions, found in result["runs"].items():
        print(f"\n{int(sessions):,} sessions{'':14} {'gpu, s':>10} {'cpu, s':>10} {'times':>8}")
        for name, row in found["stages"].items():
            print(f"{name:28} {row['gpu_s']:10.2f} {row['cpu_s']:10.2f} {row['times']:8.2f}")
        if "lists" in found:
            recall, lists = found["recall"], found["lists"]
            print(f"weighted recall@20: gpu {recall['gpu']}, cpu {recall['cpu']}")
            print(f"entries that both name: {lists['same_entries']:.2%}; in the same place: {lists['same_places']:.2%}")
    for name, done in result["steps"].items():
        print(f"{name}: {'done' if done['ok'] else 'FAILED'} in {done['seconds']} s")


def main(argv: list[str] | None = None) -> int:
    args = _parser().parse_args(argv)
    if args.only_run:
        for sessions in args.sessions:
            config = settings(sessions, args.set)
            run_pipeline(config, run_dir=args.work / str(sessions), device=args.device, reporter=Reporter())
        return 0
    gpu = choose_device("auto")
    name = gpu.reason if gpu.kind == args.device == "cuda" else "dry run"
    with tempfile.TemporaryDirectory() as temporary:
        work = args.work or Path(temporary)
        began, done = time.monotonic(), {}
        for what, (command, limit) in steps(args, work).items():
            done[what] = step(what, command, min(limit, args.budget - (time.monotonic() - began)))
        runs = {str(n): compared(work / "gpu" / str(n), work / "cpu" / str(n)) for n in args.sessions}
    result = {
        "gpu": name,
        "environment": environment(),
        "settings": {str(n): list(FEWER) * (n >= LARGE) + args.set for n in args.sessions},
        "steps": done,
        "runs": runs,
    }
    show(result)
    write_json(args.out / f"gpu-{name.replace(' ', '-')}.json", result)
    return 0 if all(d["ok"] for d in done.values()) else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=__doc__.split("\n")[0])
    parser.add_argument(
        "--device", choices=("cuda", "cpu"), default="cuda", help="what is compared with the CPU; cpu: a dry run"
    )
    parser.add_argument(
        "--sessions", type=lambda text: [int(n) for n in text.split(",")], default=list(SESSIONS), metavar="N,N",
        help=f"sessions of the generated logs, smallest first (default: {','.join(map(str, SESSIONS))})",
    )  # fmt: skip
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="change the config of all runs")
    parser.add_argument("--steps", nargs="+", choices=LIMITS, default=list(LIMITS), help="default: all, in this order")
    parser.add_argument("--budget", type=float, default=470, metavar="S", help="seconds for all steps (default: 470)")
    parser.add_argument("--work", type=Path, metavar="DIR", help="keep the runs there (default: removed at the end)")
    parser.add_argument("--out", type=Path, default=RESULTS, metavar="DIR", help="of the JSON ($OUT, or benchmarks/results)")
    parser.add_argument("--only-run", action="store_true", help="run the pipeline in this process, as the steps do")
    return parser


if __name__ == "__main__":
    sys.exit(main())

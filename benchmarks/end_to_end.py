"""How long does the whole pipeline take, and what does each stage hold in memory? `python -m benchmarks.end_to_end --help`

The log is generated. Each way to run it (one process and, with --cluster, the workers of a Dask cluster) goes in turn, in fresh
processes with kernels compiled, into an empty run directory; the lists must be the same bytes before a time is printed.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.measure import EVENTS_PER_SESSION, environment, plot_bars, timing, write_json
from otto_gpu.errors import UserError
from otto_gpu.pipeline import STAGES

ONE = "one process"
WARM_UP_SESSIONS = 300


def ways(cluster: str | None) -> dict[str, list[str]]:
    """{name: what is added to the command line}"""
    return {ONE: []} | ({f"cluster {cluster}": ["--cluster", cluster]} if cluster else {})


def run(sessions: int, folder: Path, more: list[str], changes: list[str]) -> dict:
    """{all_s: the command from start to end; stages: {stage: manifest's seconds, peak}; lists: digest; test: figures}"""
    changes = [f"events.synthetic_sessions={sessions}", *changes]
    command = [sys.executable, "-m", "otto_gpu.pipeline", "--run-dir", str(folder), *more]
    began = time.perf_counter()
    if subprocess.run([*command, *(part for c in changes for part in ("--set", c))], check=False).returncode:
        raise UserError(f"the pipeline failed: see {folder / 'run.log'}")
    spent = time.perf_counter() - began
    manifests = {stage: json.loads((folder / f"manifests/{stage}.json").read_text()) for stage in STAGES}
    return {
        "all_s": spent,
        "stages": {s: {"seconds": m["seconds"], "peak_gb": m["peak_memory_mb"] * 1024**2 / 1e9} for s, m in manifests.items()},
        "lists": hashlib.sha256((folder / "submission.csv").read_bytes()).hexdigest(),
        "test": json.loads((folder / "metrics.json").read_text())["test"],
        "log": {name: manifests["events"][name] for name in ("events", "sessions", "items")},
    }


def compare(sessions: int, cluster: str | None, repeats: int, changes: list[str], place: Path) -> dict:
    """The result as it is written to the JSON file. UserError where the ways do not make the same lists."""
    found: dict[str, list[dict]] = {name: [] for name in ways(cluster)}
    for name, more in ways(cluster).items():  # compiles
        run(WARM_UP_SESSIONS, place / f"warm-up {name}", more, changes)
    for i in range(repeats):
        for name, more in ways(cluster).items():
            found[name].append(run(sessions, place / f"{name} {i}", more, changes))
    runs = [r for each in found.values() for r in each]
    if len({r["lists"] for r in runs}) > 1:
        raise UserError(f"the lists differ between {' and '.join(found)}: see {place}")
    result = {"benchmark": "end_to_end", "environment": environment(), "log": runs[0]["log"], "changes": changes, "ways": {}}
    for name, each in found.items():
        stages = {
            s: timing([r["stages"][s]["seconds"] for r in each]) | {"peak_gb": max(r["stages"][s]["peak_gb"] for r in each)}
            for s in STAGES
        }
        result["ways"][name] = {"all": timing([r["all_s"] for r in each]), "stages": stages}
    return result | {"test": runs[0]["test"]}


def show(result: dict) -> None:
    print("{events:,} events, {sessions:,} sessions, {items:,} items".format(**result["log"]))
    for name, way in result["ways"].items():
        for stage, t in way["stages"].items():
            if t["median_s"] >= 0.05:
                print(f"{name:20} {stage:12} {t['median_s']:9.1f} s, peak {t['peak_gb']:.2f} GB")
        peak = max(t["peak_gb"] for t in way["stages"].values())
        print(f"{name:20} {'all':12} {way['all']['median_s']:9.1f} s, peak {peak:.2f} GB")


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.end_to_end", description=__doc__.splitlines()[0].split("`")[0])
    parser.add_argument("--events", type=float, default=1e6, help="about how many events to generate (default %(default)g)")
    parser.add_argument("--cluster", metavar="WHERE", help="compare with this cluster, such as local:2")
    parser.add_argument("--repeats", type=int, default=1, help="runs of each way (default 1)")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="change the config (repeatable)")
    parser.add_argument("--folder", type=Path, help="keep the run directories here (default: a folder that goes at the end)")
    parser.add_argument("--out", type=Path, help="JSON file; a plot goes beside it")
    args = parser.parse_args(argv)
    sessions = round(args.events / EVENTS_PER_SESSION)
    try:
        if args.repeats < 1 or sessions < 10:
            raise UserError("--repeats must be at least 1 and --events at least 168")
        if args.folder is not None and args.folder.exists() and any(args.folder.iterdir()):
            raise UserError(f"--folder {args.folder}: is not empty, and runs that are there already take no time")
        with tempfile.TemporaryDirectory() as place:
            result = compare(sessions, args.cluster, args.repeats, args.set, args.folder or Path(place))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    show(result)
    if args.out is not None:
        write_json(args.out, result)
        stages = {s: {w: way["stages"][s] for w, way in result["ways"].items()} for s in STAGES}
        shown = {s: t for s, t in stages.items() if max(w["median_s"] for w in t.values()) >= 0.05}
        title = f"The pipeline on {result['log']['events']:,} events, {result['environment']['cores']} cores"
        plot_bars(args.out.with_suffix(".png"), title, shown)
    return 0


if __name__ == "__main__":
    sys.exit(main())

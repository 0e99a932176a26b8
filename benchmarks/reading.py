"""How fast is a log read? read_log against a plain orjson loop and pandas, on one generated JSONL file.

    python -m benchmarks.reading [--events N] [--out FILE.json]

Every run is a process of its own, so that its peak memory is its own; the engines take turns (A B C A B C), after one
round that warms up. All runs of all engines must give the same log, or no time is printed.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import multiprocessing
import os
import platform
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import numpy as np

from otto_gpu.events.log import TYPES, EventLog
from otto_gpu.events.synthetic import write_log

EVENTS_PER_SESSION = 16.8


def with_read_log(file: Path) -> EventLog:
    from otto_gpu.events.read import read_log
    from otto_gpu.events.settings import EventsConfig, TargetsConfig

    return read_log(file, EventsConfig(), TargetsConfig()).log


def with_orjson(file: Path) -> EventLog:
    import orjson

    session, aid, ts, kind = [], [], [], []
    with file.open("rb") as lines:
        for line in lines:
            record = orjson.loads(line)
            for event in record["events"]:
                session.append(record["session"])
                aid.append(event["aid"])
                ts.append(event["ts"])
                kind.append(TYPES.index(event["type"]))
    return _log(np.array(session), np.array(aid), np.array(ts), np.array(kind))


def with_pandas(file: Path) -> EventLog:
    import pandas as pd

    parts = []
    for chunk in pd.read_json(file, lines=True, chunksize=50_000):
        exploded = chunk.explode("events").dropna(subset="events")
        events = pd.DataFrame(exploded["events"].tolist())
        parts.append(events.assign(session=exploded["session"].to_numpy(), type=events["type"].map(TYPES.index)))
    frame = pd.concat(parts)
    return _log(*(frame[name].to_numpy() for name in ("session", "aid", "ts", "type")))


ENGINES: dict[str, Callable[[Path], EventLog]] = {"read_log": with_read_log, "orjson": with_orjson, "pandas": with_pandas}


def _log(session, aid, ts, kind) -> EventLog:
    sessions, session = np.unique(session, return_inverse=True)
    items, aid = np.unique(aid, return_inverse=True)
    import pyarrow as pa

    return EventLog.from_arrays(
        session, aid, ts, kind, n_sessions=len(sessions), n_items=len(items), items=pa.array(items), sessions=pa.array(sessions)
    )


def _digest(log: EventLog) -> str:
    state = hashlib.sha256()
    for column in (log.session, log.aid, log.ts, log.type, log.items.to_numpy(), log.sessions.to_numpy()):
        state.update(np.ascontiguousarray(column, np.int64))
    return state.hexdigest()


def _run(name: str, file: Path) -> dict:
    """In a process of its own; numba's compilation, cached on disk, is loaded before the clock starts."""
    if name == "read_log":
        from otto_gpu.events.scan import scan

        scan(b'{"session":1,"events":[{"aid":1,"ts":1,"type":"clicks"}]}\n', False, False, [b'"clicks"'], True)
    begin = time.perf_counter()
    log = ENGINES[name](file)
    seconds = time.perf_counter() - begin
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"seconds": seconds, "peak_mib": peak, "digest": _digest(log), "events": len(log)}


def measure(file: Path, repeats: int, engines: list[str]) -> dict:
    """{engine: seconds median, min, max, events per second, peak memory}; raises AssertionError if the logs differ."""
    runs = {name: [] for name in engines}
    for turn in range(repeats + 1):
        for name in engines:
            # a pool of one process for one task: spawned, so that nothing of this process counts
            with multiprocessing.get_context("spawn").Pool(1) as pool:
                run = pool.apply(_run, (name, file))
            runs[name].append(run)
            print(f"  {'warm-up' if turn == 0 else f'turn {turn}':8} {name:9} {run['seconds']:7.2f} s", file=sys.stderr)
    digests = {run["digest"] for of_engine in runs.values() for run in of_engine}
    if len(digests) != 1:
        raise AssertionError(f"the engines read different logs: { {n: r[0]['digest'][:12] for n, r in runs.items()} }")
    results = {}
    for name, of_engine in runs.items():
        seconds = [run["seconds"] for run in of_engine[1:]]
        results[name] = {
            "median_s": statistics.median(seconds),
            "min_s": min(seconds),
            "max_s": max(seconds),
            "events_per_s": of_engine[0]["events"] / statistics.median(seconds),
            "peak_mib": max(run["peak_mib"] for run in of_engine),
        }
    return results


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.reading", description=__doc__.split("\n")[0])
    parser.add_argument("--events", type=int, default=1_000_000, help="about how many events (default: 1,000,000)")
    parser.add_argument("--repeats", type=int, default=3, help="measured turns per engine (default: 3)")
    parser.add_argument("--engines", default=",".join(ENGINES), help="which of them (default: all)")
    parser.add_argument("--out", type=Path, help="write the figures as JSON")
    args = parser.parse_args(argv)
    engines = args.engines.split(",")
    if unknown := set(engines) - set(ENGINES):
        parser.error(f"unknown engine {min(unknown)!r}; known: {', '.join(ENGINES)}")

    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "log.jsonl"
        events = write_log(file, max(10, round(args.events / EVENTS_PER_SESSION)), 42, format="jsonl")
        size = file.stat().st_size
        results = measure(file, args.repeats, engines)
    report = {
        "benchmark": "reading",
        "events": events,
        "bytes": size,
        "repeats": args.repeats,
        "cores": len(os.sched_getaffinity(0)),
        "machine": platform.machine(),
        "python": platform.python_version(),
        "versions": {name: version(name) for name in ("numba", "numpy", "orjson", "pandas", "pyarrow")},
        "results": results,
    }
    print(f"{events:,} events, {size / 2**20:.0f} MiB of JSONL, {report['cores']} cores; the engines agree")
    print(f"{'engine':10}{'median s':>10}{'min':>8}{'max':>8}{'events/s':>13}{'peak MiB':>10}")
    for name, r in results.items():
        figures = f"{r['median_s']:10.2f}{r['min_s']:8.2f}{r['max_s']:8.2f}{r['events_per_s']:13,.0f}{r['peak_mib']:10.0f}"
        print(f"{name:10}{figures}")
    if args.out is not None:
        args.out.write_text(json.dumps(report, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

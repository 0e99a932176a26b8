"""How fast is a log read? `python -m benchmarks.reading --help`

read_log against a plain orjson loop and pandas, on one generated JSONL file. All must read the same log before a time is
printed.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import orjson
import pandas as pd
import pyarrow as pa

from benchmarks.measure import EVENTS_PER_SESSION, alternate, environment, peak_memory, plot_bars, write_json
from otto_gpu.errors import UserError
from otto_gpu.events.log import TYPES, EventLog
from otto_gpu.events.read import read_log
from otto_gpu.events.settings import EventsConfig, TargetsConfig
from otto_gpu.events.synthetic import write_log
from otto_gpu.schema import did_you_mean

WARM_UP_SESSIONS = 100


def with_read_log(file: Path) -> EventLog:
    return read_log(file, EventsConfig(), TargetsConfig()).log


def with_orjson(file: Path) -> EventLog:
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
    return EventLog.from_arrays(
        session, aid, ts, kind, n_sessions=len(sessions), n_items=len(items), items=pa.array(items), sessions=pa.array(sessions)
    )


def same(a: EventLog, b: EventLog) -> bool:
    """The same events in the same order, and the same ids of the user."""
    for ours, theirs in ((a.items, b.items), (a.sessions, b.sessions)):
        if ours.to_pylist() != theirs.to_pylist():
            return False
    return all(np.array_equal(getattr(a, name), getattr(b, name)) for name in ("session", "aid", "ts", "type"))


def _prepare(name: str, file: Path, small: Path) -> Callable[[], object]:
    ENGINES[name](small)
    return partial(ENGINES[name], file)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.reading", description=__doc__.split("\n")[0])
    parser.add_argument("--engines", default=",".join(ENGINES), help="of them (default %(default)s)")
    parser.add_argument("--no-memory", action="store_true", help="do not measure the peak memory in fresh processes")
    parser.add_argument("--events", type=int, default=1_000_000, help="about how many events (default: 1,000,000)")
    parser.add_argument("--repeats", type=int, default=5, help="timed turns per engine (default: 5)")
    parser.add_argument("--out", type=Path, help="write the figures to this JSON file")
    args = parser.parse_args(argv)
    engines = args.engines.split(",")
    for name in engines:
        if name not in ENGINES:
            print(f"error: --engines: unknown {name!r}; {did_you_mean(name, ENGINES)}", file=sys.stderr)
            return 2
    with tempfile.TemporaryDirectory() as folder:
        file, small = Path(folder) / "log.jsonl", Path(folder) / "small.jsonl"
        try:
            events = write_log(file, round(args.events / EVENTS_PER_SESSION), format="jsonl")
            write_log(small, WARM_UP_SESSIONS, format="jsonl")
        except UserError as error:
            print(error, file=sys.stderr)
            return 2
        size = file.stat().st_size
        with_read_log(small)
        for name in engines[1:]:
            if not same(ENGINES[engines[0]](file), ENGINES[name](file)):
                print(f"{engines[0]} and {name} read different logs; no times", file=sys.stderr)
                return 1
        found = alternate({name: partial(ENGINES[name], file) for name in engines}, args.repeats)
        for name in engines:
            found[name]["events_per_s"] = events / found[name]["median_s"]
            found[name] |= {} if args.no_memory else peak_memory(_prepare, name, file, small)
    print(f"{events:,} events, {size / 1e6:.0f} MB of JSONL" + ("; all engines read the same log" if engines[1:] else ""))
    print(f"{'engine':10}{'median s':>10}{'min':>8}{'max':>8}{'events/s':>13}{'peak GB':>9}")
    for name, r in found.items():
        times = f"{r['median_s']:10.2f}{r['min_s']:8.2f}{r['max_s']:8.2f}{r['events_per_s']:13,.0f}"
        print(f"{name:10}{times}{r.get('peak_gb', r['process_peak_gb']):9.2f}")
    if args.out is not None:
        write_json(args.out, {"environment": environment(), "log": {"events": events, "bytes": size}, "engines": found})
        plot_bars(args.out.with_suffix(".png"), f"Reading {events:,} events of JSONL", {"reading": found})
    return 0


if __name__ == "__main__":
    sys.exit(main())

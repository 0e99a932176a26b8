"""What does a crawler's session cost the matrices? `python -m benchmarks.crawlers --help`

The same generated log without and with sessions that no person makes, all rules, engine rowwise, in turn. In CPU seconds, which
mean the same on a machine that others use too.
"""

from __future__ import annotations

import argparse
import sys
import time
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks.measure import EVENTS_PER_SESSION, alternate, environment, write_json
from otto_gpu.cooccurrence.build import build_matrix
from otto_gpu.cooccurrence.rule import DAY_MS, RULES
from otto_gpu.errors import UserError
from otto_gpu.events.log import EventLog
from otto_gpu.events.settings import MOST_EVENTS
from otto_gpu.events.synthetic import synthetic_log

ITEMS, FEW_ITEMS = 50_000, 50
# name: (sessions, share of the events that each of them has, items, ms from first to last event)
CRAWLERS = {
    "wide": (1, 1.0, ITEMS, 10 * DAY_MS),
    "narrow": (1, 1.0, FEW_ITEMS, DAY_MS // 24),
    "twenty": (20, 0.2, ITEMS, 10 * DAY_MS),
}


def with_crawlers(log: EventLog, events: int, sessions: int = 1, items: int = ITEMS, span: int = 10 * DAY_MS) -> EventLog:
    """The log and behind its sessions so many more, each of `events` clicks on random items, evenly over the last `span` ms."""
    random, n = np.random.default_rng(7), events * sessions
    ts = log.span[1] - random.integers(0, span, n)
    mine = np.repeat(np.arange(log.n_sessions, log.n_sessions + sessions), events), random.integers(0, items, n), ts
    columns = zip((log.session, log.aid, log.ts), mine, strict=True)
    kind = np.concatenate([log.type, np.zeros(n, np.int8)])
    ids = {"n_sessions": log.n_sessions + sessions, "n_items": max(log.n_items, items)}
    return EventLog.from_arrays(*map(np.concatenate, columns), kind, **ids)


def run(events: int, repeats: int, most_events: int | None, seed: int = 42) -> dict:
    """events: of the log without crawlers, about, and of a crawler that is alone."""
    log = synthetic_log(max(1, round(events / EVENTS_PER_SESSION)), seed=seed)
    logs = {"none": log}
    for name, (sessions, share, items, span) in CRAWLERS.items():
        logs[name] = with_crawlers(log, round(share * events), sessions, items, span)
    calls = {name: partial(_all_rules, one, most_events) for name, one in logs.items()}
    calls["none"]()  # compiles
    timings = alternate(calls, repeats, time.process_time)
    for name, timing in timings.items():
        timing |= {"events": len(logs[name]), "times": timing["median_s"] / timings["none"]["median_s"]}
        told = f"median {timing['median_s']:.2f} CPU s, {timing['min_s']:.2f} to {timing['max_s']:.2f}"
        print(f"{name:8} {timing['events']:10,} events  {told} ({timing['times']:.2f} x none)", flush=True)
    return {"benchmark": "crawlers", "environment": environment(), "most_events": most_events, "logs": timings}


def _all_rules(log: EventLog, most_events: int | None) -> None:
    kept = log.newest(most_events)
    for rule in RULES.values():
        build_matrix(kept, rule, device="cpu", most_events=None)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.crawlers", description=__doc__.splitlines()[0].split("`")[0])
    parser.add_argument("--events", type=float, default=1e5, help="of the log, and of a crawler (default %(default)g)")
    parser.add_argument("--repeats", type=int, default=5, help="timed runs, after one to warm up (default 5)")
    parser.add_argument("--most-events", type=int, default=MOST_EVENTS, help="0: no bound (default %(default)s)")
    parser.add_argument("--out", type=Path, help="JSON file")
    options = parser.parse_args(argv)
    try:
        if options.repeats < 1 or not 100 <= options.events <= 1e9 or options.most_events < 0:
            raise UserError("--repeats must be at least 1, --events 100 to 1e9 and --most-events 0 or more")
        result = run(round(options.events), options.repeats, options.most_events or None)
        if options.out:
            write_json(options.out, result)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())

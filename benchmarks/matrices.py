"""How fast does each engine build a matrix? `python -m benchmarks.matrices --help`

The engines are those of otto_gpu and, for the rules that they can do, the peers of matrix_peers.py. All get the same generated
log and must agree, up to ties, before a time is printed.
"""

from __future__ import annotations

import argparse
import importlib.util
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks.matrix_peers import PEERS
from benchmarks.measure import EVENTS_PER_SESSION, alternate, environment, peak_memory, plot_bars, write_json
from otto_gpu.cooccurrence.build import build_matrix
from otto_gpu.cooccurrence.matrix import Matrix
from otto_gpu.cooccurrence.rule import RULES, MatrixRule
from otto_gpu.errors import MissingExtra, UserError
from otto_gpu.events.log import EventLog
from otto_gpu.events.settings import MOST_EVENTS
from otto_gpu.events.synthetic import synthetic_log
from otto_gpu.schema import did_you_mean

ALL_RULES = {**RULES, "count": MatrixRule(keep=20)}  # count: in how many sessions both items occur
RELATIVE, ABSOLUTE = 1e-4, 1e-30  # absolute: weights so small that float32 rounds them to 0


ENGINES = ("rowwise", "selfmerge", *PEERS)  # by default
KNOWN = (*ENGINES, "pairs")  # made for GPUs


def builder(engine: str, device: str) -> Callable[[EventLog, MatrixRule], Matrix]:
    # rowwise has no GPU form: with --device cuda it stands beside as the CPU's best
    if engine not in PEERS:
        return partial(build_matrix, engine=engine, device="cpu" if engine == "rowwise" else device)
    return lambda log, rule: PEERS[engine].build(log.newest(MOST_EVENTS), rule)  # as build_matrix does


# --------------------------------------------------------------------------------------------------------- agreement
def difference(a: Matrix, b: Matrix) -> str:
    """'' if two matrices are the same up to float32 sums: row lengths, weights by rank, and neighbours but for those that
    tie with the last kept place. Else the first thing that differs, in words.
    """
    if not np.array_equal(a.pointer, b.pointer):
        x = int(np.flatnonzero(np.diff(a.pointer) != np.diff(b.pointer))[0])
        return f"item {x} has {np.diff(a.pointer)[x]} and {np.diff(b.pointer)[x]} neighbours"
    rows = np.repeat(np.arange(a.n_items), np.diff(a.pointer))
    apart = np.flatnonzero(~np.isclose(a.weights, b.weights, RELATIVE, ABSOLUTE))
    if len(apart):
        return f"a weight of item {rows[apart[0]]} is {a.weights[apart[0]]} and {b.weights[apart[0]]}"
    keys = [rows.astype(np.int64) * a.n_items + m.neighbours for m in (a, b)]
    _, in_a, in_b = np.intersect1d(*keys, assume_unique=True, return_indices=True)
    apart = np.flatnonzero(~np.isclose(a.weights[in_a], b.weights[in_b], RELATIVE, ABSOLUTE))
    if len(apart):
        i, j = in_a[apart[0]], in_b[apart[0]]
        return f"the weight of items {rows[i]}, {a.neighbours[i]} is {a.weights[i]} and {b.weights[j]}"
    for m, common in ((a, in_a), (b, in_b)):
        alone = np.setdiff1d(np.arange(len(m)), common)
        last_kept = m.weights[m.pointer[rows[alone] + 1] - 1]
        wrong = alone[~np.isclose(m.weights[alone], last_kept, RELATIVE, ABSOLUTE)]
        if len(wrong):
            return f"only one has the pair of items {rows[wrong[0]]}, {m.neighbours[wrong[0]]}"
    return ""


# --------------------------------------------------------------------------------------------------------------- run
def prepare(engine: str, device: str, rule: str, sessions: int, seed: int) -> Callable[[], object]:
    """For a fresh process: the log, an engine that is warm, and the call that is measured."""
    build = builder(engine, device)
    build(synthetic_log(100, seed=seed), ALL_RULES[rule])
    log = synthetic_log(sessions, seed=seed)
    return partial(build, log, ALL_RULES[rule])


def run(
    events: float, rules: list[str], engines: list[str], repeats: int, device: str, seed: int = 42, memory: bool = True
) -> dict:
    """The result as it is written to the JSON file. UserError where engines do not agree."""
    sessions = max(1, round(events / EVENTS_PER_SESSION))
    log = synthetic_log(sessions, seed=seed)
    print(f"{len(log):,} events, {log.n_sessions:,} sessions, {log.n_items:,} items")
    result = {
        "benchmark": "matrices",
        "environment": environment(),
        "log": {"events": len(log), "sessions": log.n_sessions, "items": log.n_items, "seed": seed},
        "device": device,
        "repeats": repeats,
        "rules": {},
    }
    for name in rules:
        rule = ALL_RULES[name]
        able = [e for e in engines if e not in PEERS or PEERS[e].able(rule)]
        for engine in sorted(set(engines) - set(able)):
            print(f"{name}: {engine} left out, it cannot do this rule")
        contestants = {e: partial(builder(e, device), log, rule) for e in able}
        made: dict[str, Matrix] = {}
        for engine in able:  # a small log compiles what there is to compile
            builder(engine, device)(synthetic_log(100, seed=seed), rule)
        timings = alternate({e: _kept(e, call, made) for e, call in contestants.items()}, repeats)
        first, *rest = able
        for engine in rest:
            if different := difference(made[first], made[engine]):
                raise UserError(f"rule {name}: engines {first} and {engine} do not agree: {different}")
        for engine, timing in timings.items():
            timing["events_per_s"] = len(log) / timing["median_s"]
            timing |= peak_memory(prepare, engine, device, name, sessions, seed) if memory else {}
            peak = f", peak {timing['process_peak_gb']:.2f} GB"
            peak += f", alone {timing['peak_gb']:.2f} GB ({timing['before_gb']:.2f} before)" if memory else ""
            ratio = timing["median_s"] / timings[first]["median_s"]
            print(
                f"{name:16} {engine:10} median {timing['median_s']:8.3f} s, {timing['min_s']:.3f} to {timing['max_s']:.3f}"
                f" ({ratio:6.1f} x {first}){peak}",
                flush=True,
            )
        result["rules"][name] = {"pairs_kept": len(made[first]), "agreed": able, "engines": timings}
    return result


def _kept(engine: str, call: Callable[[], Matrix], made: dict[str, Matrix]) -> Callable[[], None]:
    """The call, whose latest matrix stays."""

    def kept() -> None:
        made[engine] = call()

    return kept


def choose(wanted: str, known, what: str, every=None) -> list[str]:
    """every: what `all` means, unless it is all that is known."""
    names = list(every or known) if wanted == "all" else [w.strip() for w in wanted.split(",") if w.strip()]
    if not names:
        raise UserError(f"--{what}: name at least one, or all")
    for name in names:
        if name not in known:
            raise UserError(f"--{what}: unknown {name!r}; {did_you_mean(name, known)}")
    return list(dict.fromkeys(names))


def installed(engines: list[str]) -> list[str]:
    """Without the peers that are missing; each is a line."""
    for engine in engines:
        if engine in PEERS and importlib.util.find_spec(engine) is None:
            print(f"left out: {MissingExtra(f'engine {engine}', engine, 'bench')}")
    there = [e for e in engines if e not in PEERS or importlib.util.find_spec(e)]
    if not there:
        raise UserError("none of the engines is installed")
    return there


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.matrices", description=__doc__.splitlines()[0].split("`")[0])
    parser.add_argument("--events", type=float, default=5e6, help="about how many events to generate (default %(default)g)")
    parser.add_argument("--rules", default="time_decay", help="rules by name, comma-separated, or all (default %(default)s)")
    parser.add_argument(
        "--engines", default=",".join(ENGINES), help="the first is the one to compare with (default %(default)s)"
    )
    parser.add_argument("--repeats", type=int, default=3, help="timed runs of each engine, after one to warm up (default 3)")
    parser.add_argument(
        "--device", choices=("cpu", "cuda"), default="cpu", help="of the engines selfmerge and pairs (default cpu)"
    )
    parser.add_argument("--seed", type=int, default=42)
    parser.add_argument("--no-memory", action="store_true", help="do not measure the peak memory in fresh processes")
    parser.add_argument("--out", type=Path, help="JSON file; a plot goes beside it")
    options = parser.parse_args(argv)
    try:
        if options.repeats < 1 or not 1 <= options.events <= 1e10:
            raise UserError("--repeats must be at least 1 and --events 1 to 1e10")
        rules = choose(options.rules, ALL_RULES, "rules", RULES)
        engines = installed(choose(options.engines, KNOWN, "engines", ENGINES))
        result = run(options.events, rules, engines, options.repeats, options.device, options.seed, not options.no_memory)
        if options.out:
            write_json(options.out, result)
            title = f"Matrices of {result['log']['events']:,} events on {result['environment']['cores']} cores"
            plot_bars(options.out.with_suffix(".png"), title, {n: r["engines"] for n, r in result["rules"].items()})
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""How fast does each engine build a matrix? `python -m benchmarks.matrices --help`

The engines are the two of otto_gpu and, for rules like time_decay, two peers: a streaming self-join in polars and an SQL
self-join in duckdb. All get the same generated log and must agree, up to ties, before a time is printed.
"""

from __future__ import annotations

import argparse
import importlib.util
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks.measure import alternate, environment, peak_memory, plot_bars, write_json
from otto_gpu.cooccurrence.build import build_matrix
from otto_gpu.cooccurrence.matrix import Matrix
from otto_gpu.cooccurrence.rule import RULES, MatrixRule
from otto_gpu.errors import MissingExtra, UserError
from otto_gpu.events.log import EventLog
from otto_gpu.events.synthetic import synthetic_log
from otto_gpu.schema import nearest

EVENTS_PER_SESSION = 16.8  # of the generated log
RELATIVE, ABSOLUTE = 1e-4, 1e-30  # absolute: weights so small that float32 rounds them to 0


# ------------------------------------------------------------------------------------------------------------- peers
def like_time_decay(rule: MatrixRule) -> bool:
    """What the peers can do: all types, a tail, an absolute time gap, the latest pair once, half-life × recency."""
    able = MatrixRule(
        tail=rule.tail,
        gap_seconds=rule.gap_seconds,
        weight={"half_life_hours": rule.weight.half_life_hours, "recency": rule.weight.recency},
        keep=rule.keep,
    )
    gap = rule.gap_seconds
    return rule == able and (gap is None or (gap.abs and gap.lo is None))


def _terms(log: EventLog, rule: MatrixRule) -> tuple[int, int, float, float, int, float]:
    """(tail, gap in ms, decay per ms, recency at the log's first event, that event's ts, recency per ms)."""
    begin, end = (int(log.ts.min()), int(log.ts.max())) if len(log) else (0, 0)
    a, b = rule.weight.recency or (1.0, 1.0)
    half_life = rule.weight.half_life_hours
    return (
        rule.tail or len(log) + 1,
        int(rule.gap_seconds.hi_ms) if rule.gap_seconds and rule.gap_seconds.hi else 2**62,
        0.0 if half_life is None else 1 / (half_life * 3_600_000),
        a,
        begin,
        (b - a) / max(end - begin, 1),
    )


def build_polars(log: EventLog, rule: MatrixRule) -> Matrix:
    import polars as pl

    tail, gap, decay, recency, begin, slope = _terms(log, rule)
    events = (
        pl.LazyFrame({"session": log.session, "aid": log.aid, "ts": log.ts})
        .with_columns(position=pl.int_range(pl.len(), dtype=pl.Int32).over("session"), n=pl.len().over("session"))
        .filter(pl.col("n") - pl.col("position") <= tail)
        .drop("n")
    )
    dt = (pl.col("ts_y") - pl.col("ts")).abs()
    pairs = (
        events.join(events, on="session", suffix="_y")
        .filter((pl.col("aid") != pl.col("aid_y")) & (dt < gap))
        .with_columns(weight=0.5 ** (dt * decay) * (recency + (pl.col("ts") - begin) * slope))
        # the latest pair is the one with the largest x, then y
        .with_columns(place=pl.col("position").cast(pl.Int64) * 2**31 + pl.col("position_y"))
        .group_by("session", "aid", "aid_y")
        .agg(pl.col("weight").sort_by("place").last())
    )
    sums = (
        pairs.group_by("aid", "aid_y")
        .agg(pl.col("weight").sum().cast(pl.Float32))
        .sort(["aid", "weight", "aid_y"], descending=[False, True, False])
        .filter(pl.int_range(pl.len()).over("aid") < rule.keep)
        .collect(engine="streaming")
    )
    return Matrix.from_rows(*(sums[c].to_numpy() for c in ("aid", "aid_y", "weight")), log.n_items)


def build_duckdb(log: EventLog, rule: MatrixRule) -> Matrix:
    import duckdb
    import pyarrow as pa

    tail, gap, decay, recency, begin, slope = _terms(log, rule)
    order = np.arange(len(log), dtype=np.int64)
    log_table = pa.table({"session": log.session, "aid": log.aid, "ts": log.ts, "position": order})
    with duckdb.connect() as connection:
        connection.register("log_table", log_table)
        sums = connection.execute(f"""
            WITH events AS (
                SELECT * FROM log_table
                QUALIFY row_number() OVER (PARTITION BY session ORDER BY position DESC) <= {tail}
            ), pairs AS (
                SELECT x.aid AS aid_x, y.aid AS aid_y,
                    arg_max(
                        pow(0.5, abs(y.ts - x.ts) * {decay!r}::DOUBLE)
                            * ({recency!r}::DOUBLE + (x.ts - {begin}) * {slope!r}::DOUBLE),
                        x.position * 2147483648 + y.position
                    ) AS weight
                FROM events x JOIN events y ON x.session = y.session
                WHERE x.aid <> y.aid AND abs(y.ts - x.ts) < {gap}
                GROUP BY x.session, x.aid, y.aid
            ), sums AS (
                SELECT aid_x, aid_y, sum(weight)::FLOAT AS weight FROM pairs GROUP BY aid_x, aid_y
            )
            SELECT * FROM sums
            QUALIFY row_number() OVER (PARTITION BY aid_x ORDER BY weight DESC, aid_y) <= {rule.keep}
            ORDER BY aid_x, weight DESC, aid_y
        """).fetchnumpy()
    return Matrix.from_rows(sums["aid_x"], sums["aid_y"], sums["weight"], log.n_items)


PEERS: dict[str, Callable[[EventLog, MatrixRule], Matrix]] = {"polars": build_polars, "duckdb": build_duckdb}
ENGINES = ("rowwise", "selfmerge", *PEERS)


def builder(engine: str, device: str) -> Callable[[EventLog, MatrixRule], Matrix]:
    # rowwise has no GPU form: with --device cuda it stands beside as the CPU's best
    return (
        PEERS[engine]
        if engine in PEERS
        else partial(build_matrix, engine=engine, device="cpu" if engine == "rowwise" else device)
    )


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
    build(synthetic_log(100, seed=seed), RULES[rule])
    log = synthetic_log(sessions, seed=seed)
    return partial(build, log, RULES[rule])


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
        rule = RULES[name]
        able = [e for e in engines if e not in PEERS or like_time_decay(rule)]
        for engine in sorted(set(engines) - set(able)):
            print(f"{name}: {engine} left out, it is written for rules like time_decay only")
        contestants = {e: partial(builder(e, device), log, rule) for e in able}
        # the warm-up is the comparison
        first, *rest = able
        reference = contestants[first]()
        for engine in rest:
            if different := difference(reference, contestants[engine]()):
                raise UserError(f"rule {name}: engines {first} and {engine} do not agree: {different}")
        timings = alternate(contestants, repeats)
        for engine, timing in timings.items():
            timing["events_per_s"] = len(log) / timing["median_s"]
            timing |= peak_memory(prepare, engine, device, name, sessions, seed) if memory else {}
            peak = f", peak {timing['peak_gb']:.2f} GB ({timing['before_gb']:.2f} before)" if memory else ""
            ratio = timing["median_s"] / timings[first]["median_s"]
            print(
                f"{name:16} {engine:10} median {timing['median_s']:8.3f} s, {timing['min_s']:.3f} to {timing['max_s']:.3f}"
                f" ({ratio:6.1f} x {first}){peak}",
                flush=True,
            )
        result["rules"][name] = {"pairs_kept": len(reference), "agreed": able, "engines": timings}
    return result


def choose(wanted: str, known, what: str) -> list[str]:
    names = list(known) if wanted == "all" else [w.strip() for w in wanted.split(",") if w.strip()]
    if not names:
        raise UserError(f"--{what}: name at least one, or all")
    for name in names:
        if name not in known:
            raise UserError(f"--{what}: unknown {name!r}; {nearest(name, known)}")
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
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu", help="of the engine selfmerge (default cpu)")
    parser.add_argument("--seed", type=int, default=42)
    parser.add_argument("--no-memory", action="store_true", help="do not measure the peak memory in fresh processes")
    parser.add_argument("--out", type=Path, help="JSON file; a plot goes beside it")
    options = parser.parse_args(argv)
    try:
        if options.repeats < 1 or not 1 <= options.events <= 1e10:
            raise UserError("--repeats must be at least 1 and --events 1 to 1e10")
        rules = choose(options.rules, RULES, "rules")
        engines = installed(choose(options.engines, ENGINES, "engines"))
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

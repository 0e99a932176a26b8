"""Matrices by every engine: all rules on 5M events, the weightiest ones at 20M and at OTTO's size, and cuDF's engine."""

from __future__ import annotations

import importlib
import importlib.util

import numpy as np

from benchmarks.gpu_steps.logs import LARGE, LOG, MIDDLE
from benchmarks.gpu_steps.step import Absent, Bench
from benchmarks.gpu_steps.watch import Clock, watched
from benchmarks.matrices import ABSOLUTE, RELATIVE, difference
from otto_gpu.cooccurrence import rows
from otto_gpu.cooccurrence.build import build_matrix
from otto_gpu.cooccurrence.matrix import Matrix
from otto_gpu.cooccurrence.rule import RULES, MatrixRule
from otto_gpu.device import Device
from otto_gpu.errors import MissingExtra
from otto_gpu.events.log import EventLog
from otto_gpu.events.synthetic import synthetic_log

ON_GPU, ON_CPU = ("rows", "pairs"), ("rowwise",)
WEIGHTY = ("time_decay", "decay_6h", "buy2buy")
FIELDS = ("pointer", "neighbours", "weights")


def rules_on(bench: Bench) -> None:
    _rules(bench, bench.get(LOG), ON_GPU)


def rules_beside(bench: Bench) -> None:
    _rules(bench, bench.get(LOG), ON_CPU)


def selfmerge_on(bench: Bench) -> None:
    """In a process of its own, with logs of its own: cuDF changes the allocator of all arrays."""
    if bench.device.kind == "cuda" and importlib.util.find_spec("cudf") is None:
        bench.part("cudf", _no_cudf)
        return
    bench.part("pool", _async_pool, bench.device)
    _merged(bench, "selfmerge")


def selfmerge_beside(bench: Bench) -> None:
    _merged(bench, "rowwise")


def _merged(bench: Bench, engine: str) -> None:
    _rules(bench, synthetic_log(bench.sizes.merged), (engine,))
    bench.part(f"{MIDDLE}, {engine} {WEIGHTY[0]}", _one, bench, engine, synthetic_log(bench.sizes.middle), WEIGHTY[0], 1)


def _no_cudf() -> None:
    raise MissingExtra("engine selfmerge", "cudf", "cuda13")


def _async_pool(device: Device) -> dict:
    """Whose memory cuDF takes: RMM's own default asks the driver for every array."""
    device.frames()
    if device.kind == "cpu":
        return {}
    import rmm

    return {"resource": type(rmm.mr.get_current_device_resource()).__name__}


def large_on(bench: Bench) -> None:
    for name in (MIDDLE, LARGE):
        log = bench.get(name)
        for engine in ON_GPU:
            for rule in WEIGHTY:
                bench.part(f"{name}, {engine} {rule}", _one, bench, engine, log, rule, 2 if name == MIDDLE else 1)
        if name == MIDDLE:
            for rule in WEIGHTY:
                bench.part(f"{name}, kernels of pairs {rule}", _kernels, bench, log, rule)
    bench.part(f"{LARGE}, all rules", _all, bench, log)


def large_beside(bench: Bench) -> None:
    for name in (MIDDLE, LARGE):
        log = bench.get(name)
        for rule in WEIGHTY:
            bench.part(f"{name}, rowwise {rule}", _one, bench, "rowwise", log, rule, 2 if name == MIDDLE else 0)


def of_rowwise(part: str) -> str:
    """The CPU's name of a part."""
    *size, engine_and_rule = part.split(", ")
    return ", ".join([*size, f"rowwise {engine_and_rule.split()[-1]}"])


def compare(ours: dict, theirs: dict) -> dict:
    different = apart(*(Matrix(*(m[name] for name in FIELDS)) for m in (ours, theirs)))
    return {"ok": not different} | ({"different": different} if different else {})


def apart(a: Matrix, b: Matrix) -> str:
    """benchmarks.matrices.difference, of the rows that are not alike already: the whole of a large matrix would be sorted."""
    if not np.array_equal(a.pointer, b.pointer):
        return difference(a, b)
    unlike = (a.neighbours != b.neighbours) | ~np.isclose(a.weights, b.weights, RELATIVE, ABSOLUTE)
    lengths = np.diff(a.pointer)
    if not unlike.any():
        return ""
    rows = np.zeros(a.n_items, bool)
    rows[np.repeat(np.arange(a.n_items), lengths)[unlike]] = True
    pointer, entries = np.concatenate([[0], np.cumsum(lengths * rows)]), np.repeat(rows, lengths)
    return difference(*(Matrix(pointer, m.neighbours[entries], m.weights[entries]) for m in (a, b)))


# ---------------------------------------------------------------------------------------------------------------- parts
def _rules(bench: Bench, log: EventLog, engines: tuple[str, ...]) -> None:
    for engine in engines:
        for rule in bench.sizes.rules:
            bench.part(f"{engine} {rule}", _one, bench, engine, log, rule, 1)


def _one(bench: Bench, engine: str, log: EventLog, rule: str, repeats: int) -> dict:
    """Timed, and kept for the comparison. parts_s: of the last run, where the engine tells its parts."""
    timing, (matrix, parts) = bench.timed(lambda: _built(bench, engine, log, RULES[rule]), repeats)
    bench.keep({name: getattr(matrix, name) for name in FIELDS})
    return {"pairs_kept": len(matrix), "events_per_s": len(log) / timing["median_s"], **timing, "parts_s": parts}


def _built(bench: Bench, engine: str, log: EventLog, rule: MatrixRule) -> tuple[Matrix, dict[str, float]]:
    if engine != "rows":
        return build_matrix(log, rule, engine, bench.device), {}
    if bench.device.kind == "cpu" or not rows.able(rule):
        raise Absent(f"rows: {'on CUDA only' if bench.device.kind == 'cpu' else 'not this rule'}")
    clock = Clock(bench)
    return rows.build(log, rule, bench.device, clock), clock.seconds


def _all(bench: Bench, log: EventLog) -> dict:
    """All rules one after the other, each by the engine that the pipeline takes; their matrices are let go."""
    seconds, kept = {}, 0
    for name in bench.sizes.rules:
        timing, matrix = bench.timed(lambda rule=RULES[name]: build_matrix(log, rule, device=bench.device), 0)
        seconds[name], kept = timing["first_s"], kept + len(matrix)
    return {"all_s": sum(seconds.values()), "rules_s": seconds, "pairs_kept": kept}


def _kernels(bench: Bench, log: EventLog, rule: str) -> dict:
    with watched(bench) as kernels:
        build_matrix(log, RULES[rule], "pairs", bench.device)
    return {"kernels": kernels}

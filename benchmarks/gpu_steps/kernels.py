"""Every kernel alone on a small log, with what the CPU gave it and what it made of it; then the chains of them."""

from __future__ import annotations

import importlib
import sys
import time

import numpy as np

from benchmarks.gpu_steps.step import Bench
from tests.device import cuda_bodies

CALLS = "calls of kernels"
CLOSE = {"rtol": 1e-5, "atol": 1e-7, "equal_nan": True}


def beside(bench: Bench) -> None:
    bench.part(CALLS, _record, bench)


def _record(bench: Bench) -> dict:
    calls = []

    def call(kernel, *arguments):
        before = _copied(arguments)
        cuda_bodies.on_the_cpu(kernel, *arguments)
        calls.append((_place_of(kernel), before, _copied(arguments)))

    cuda_bodies.results(call)
    bench.put(CALLS, calls)
    return {"calls": len(calls)}


def on(bench: Bench) -> None:
    for i, (place, before, after) in enumerate(bench.get(CALLS)):
        bench.part(f"{i} {place[1].strip('_')}", _one, bench, place, before, after)


def _one(bench: Bench, place: tuple[str, str], before: tuple, after: tuple) -> dict:
    """Twice: what it takes with compiling, and without."""
    kernel = getattr(importlib.import_module(place[0]), place[1])
    run = cuda_bodies.as_cuda if bench.device.kind == "cuda" else cuda_bodies.on_the_cpu
    seconds = []
    for _ in range(2):
        arguments = _copied(before)
        began = time.perf_counter()
        run(kernel, *arguments)
        bench.synchronize()
        seconds.append(time.perf_counter() - began)
    wrong = [i for i, pair in enumerate(zip(arguments, after, strict=True)) if not _close(*pair)]
    return {"ok": not wrong, "first_s": seconds[0], "again_s": seconds[1]} | ({"wrong_arguments": wrong} if wrong else {})


def _place_of(kernel) -> tuple[str, str]:
    """(module, name), where whoever loads the package finds the kernel."""
    for module in list(sys.modules):
        if module.startswith("otto_gpu."):
            for name, thing in vars(sys.modules[module]).items():
                if thing is kernel:
                    return module, name
    raise LookupError(f"no module has the kernel {kernel}")


def _copied(arguments: tuple) -> tuple:
    return tuple(a.copy() if isinstance(a, np.ndarray) else a for a in arguments)


def _close(ours, theirs) -> bool:
    if not isinstance(ours, np.ndarray):
        return True  # a number, which no kernel changes
    return np.allclose(ours, theirs, **CLOSE) if ours.dtype.kind == "f" else bool((ours == theirs).all())


# --------------------------------------------------------------------------------------------------------------- chains
def chains(bench: Bench) -> None:
    for name, chain in {"matrices": cuda_bodies.matrices, "recipes to features": cuda_bodies.chain}.items():
        bench.part(name, _chain, bench, chain)


def _chain(bench: Bench, chain) -> dict:
    timing, made = bench.timed(lambda: chain(bench.device), 1)
    bench.keep(made)
    return timing


def compare(ours: dict, theirs: dict) -> dict:
    wrong = [name for name, array in theirs.items() if not (array.shape == ours[name].shape and _close(ours[name], array))]
    return {"ok": not wrong, "arrays": len(theirs)} | ({"wrong": wrong} if wrong else {})

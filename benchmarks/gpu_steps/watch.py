"""Where the seconds go: of every kernel that is called meanwhile, and of the parts of an engine that has a clock."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from benchmarks.gpu_steps.step import Bench
from otto_gpu.device.kernel import Kernel


@contextmanager
def watched(bench: Bench) -> Iterator[dict[str, dict]]:
    """{kernel: {calls, seconds, gb: of all arrays that it was given, each once, gb_per_s}}, complete after the block. Calls
    wait for each other meanwhile. A kernel reads parts of its arrays, or some of them often: GB/s are a hint."""
    seen: dict[str, dict] = {}
    call = Kernel.__call__

    def timed(kernel, *arguments):
        bench.synchronize()
        began = time.perf_counter()
        call(kernel, *arguments)
        bench.synchronize()
        row = seen.setdefault(kernel.body.__name__, {"calls": 0, "seconds": 0.0, "gb": 0.0})
        row["calls"] += 1
        row["seconds"] += time.perf_counter() - began
        row["gb"] += sum({id(a): getattr(a, "nbytes", 0) for a in arguments}.values()) / 1e9

    Kernel.__call__ = timed
    try:
        yield seen
    finally:
        Kernel.__call__ = call
        for row in seen.values():
            row["gb_per_s"] = row["gb"] / max(row["seconds"], 1e-9)


class Clock:
    """clock(part): the seconds since the last call are the part's."""

    def __init__(self, bench: Bench):
        self.seconds: dict[str, float] = {}
        self._bench, self._last = bench, time.perf_counter()

    def __call__(self, part: str) -> None:
        self._bench.synchronize()
        now = time.perf_counter()
        self.seconds[part] = self.seconds.get(part, 0.0) + now - self._last
        self._last = now

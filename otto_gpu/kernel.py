"""Kernels: a body that does one unit of work over flat arrays, run on the CPU's threads or the GPU's by the same call.

The arrays decide: where the first one lies, the kernel runs. On the CPU it is a numba.njit(parallel) wrapper that calls the
body session by session; for CUDA the body itself is compiled (device.cuda_kernel) when it is first called, and its form says
what a thread gets: body(s, ...) a session; body(s, first, last, ...) one candidate of a session; body(s, part, ...) one entry
of the argument that `parts` names, within a session. The first array is always the pointer of the sessions' events or
candidates.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import cached_property
from math import prod

import numba
import numpy as np

from otto_gpu.arrays import arrays_of, on_device
from otto_gpu.bisect import first_after
from otto_gpu.device import cuda_kernel, free_bytes

MOST_WORKERS = 1 << 18  # threads of a launch, about what the largest GPUs have at work at once; more units share them
MOST_SENT = 1 << 16  # bytes of a host array that a call takes along
SCRATCH_SHARE = 0.25  # of the device's free memory, that the scratch of all threads may take


class Kernel:
    """on_cpu: the wrapper; body: what CUDA runs; scratch: {name: (dtype, what it is filled with, None: nothing)}.

    Scratch is memory of a worker's own. A call gives its length (or shape) in its place; wrapper and body find arrays
    [workers, length] and [length]. The body leaves what was filled as it found it.
    """

    def __init__(self, on_cpu: Callable, body: Callable, scratch: dict[str, tuple] | None = None, parts: str = ""):
        self._on_cpu, self.body, self.scratch, self._parts = on_cpu, body, scratch or {}, parts
        names = list(inspect.signature(getattr(body, "py_func", body)).parameters)
        self.by_candidate = names[1:3] == ["first", "last"]
        by_part = names[1:2] == ["part"]
        if by_part != bool(parts):
            raise ValueError(f"{body.__name__}: a body that takes `part` needs `parts`, and no other one does")
        self.names = ["rows", *names[3:]] if self.by_candidate else names[2:] if by_part else names[1:]

    def __call__(self, *arguments) -> None:
        """The body's arguments after those that name the unit; by candidate: rows int64 [S + 1], candidates [m], ..."""
        if not on_device(arguments[0]):
            sessions = len(arguments[0]) - 1
            if sessions:
                self._on_cpu(*self.with_scratch(np, min(numba.get_num_threads(), sessions), arguments))
            return
        units = self.units(arguments)
        if units:
            workers = self._workers(units, arguments)
            given = self.with_scratch(arrays_of(arguments[0]), workers, arguments)
            self.launch(units, workers, *map(_sent, given))

    def units(self, arguments) -> int:
        """How many threads would do the work, one unit each."""
        if self.by_candidate:
            return len(arguments[1])
        sessions = len(arguments[0]) - 1
        return sessions * len(arguments[self.names.index(self._parts)]) if self._parts else sessions

    @cached_property
    def launch(self) -> Callable:
        """The CUDA kernel: launch(units, workers, *arguments), scratch as arrays [workers, ...]."""
        return cuda_kernel(self._unit_body(), tuple(self.scratch), self.names)

    def _unit_body(self) -> Callable:
        """body(unit, *arguments), whatever the body's own form."""
        from numba import cuda

        if self.by_candidate:
            body = cuda.jit(device=True)(getattr(self.body, "py_func", self.body))

            def unit_body(r, rows, *arguments):
                body(first_after(rows, 0, len(rows), r) - 1, r, r + 1, *arguments)

        elif self._parts:
            body, place = cuda.jit(device=True)(getattr(self.body, "py_func", self.body)), self.names.index(self._parts)

            def unit_body(unit, *arguments):
                parts = len(arguments[place])
                body(unit // parts, unit % parts, *arguments)

        else:
            return self.body
        return unit_body

    def _workers(self, units: int, arguments) -> int:
        """As many threads as there is work, and as memory has scratch for."""
        each = sum(
            prod(np.atleast_1d(length).tolist()) * np.dtype(self.scratch[name][0]).itemsize
            for name, length in zip(self.names, arguments, strict=True)
            if name in self.scratch
        )
        most = int(SCRATCH_SHARE * free_bytes() / each) if each else MOST_WORKERS
        return max(1, min(units, most, MOST_WORKERS))

    def with_scratch(self, xp, workers: int, arguments) -> list:
        """The arguments with scratch for so many workers in the place of its length. xp: numpy or cupy."""
        given = list(arguments)
        for name, (dtype, filled) in self.scratch.items():
            place = self.names.index(name)
            shape = (workers, *np.atleast_1d(given[place]).tolist())
            given[place] = xp.empty(shape, dtype) if filled is None else xp.full(shape, filled, dtype)
        return given


def _sent(argument):
    """Settings in small host arrays go along with the call, and do not come back."""
    if not isinstance(argument, np.ndarray) or on_device(argument):
        return argument
    if argument.nbytes > MOST_SENT:
        raise ValueError(
            f"an array {argument.dtype} {argument.shape} of the host's in a kernel on the device: bring it there once"
        )
    from numba import cuda

    return cuda.to_device(argument)

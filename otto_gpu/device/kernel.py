"""Kernels: a body that does one unit of work over flat arrays, run on the CPU's threads or the GPU's by the same call.

The arrays decide: where the first one lies, the kernel runs. On the CPU it is a numba.njit(parallel) wrapper that calls the
body session by session; for CUDA the body itself is compiled (device.cuda_kernel) when it is first called, and its form says
what a thread gets: body(s, ...) a session; body(s, first, last, ...) one candidate of a session; body(s, part, ...) one entry
of the argument that `parts` names, within a session. The first array is always the pointer of the sessions' events or
candidates. A wrapper tells the unit's number as int64: prange counts in uint64, for which a body is compiled once more.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import cached_property, lru_cache
from math import prod
from typing import Any

import numba
import numpy as np

from otto_gpu.device import free_bytes
from otto_gpu.device.arrays import arrays_of, on_device
from otto_gpu.device.bisect import first_after
from otto_gpu.device.cuda_kernels import cuda_kernel
from otto_gpu.device.memory import keepers

MOST_WORKERS = 1 << 18  # threads of a launch, about what the largest GPUs have at work at once; more units share them
MOST_SENT = 1 << 16  # bytes of a host array that a call takes along
MOST_SETTINGS = 256  # such arrays that stay on the device
SCRATCH_SHARE = 0.25  # of the device's free memory, that the scratch of all threads may take

_kept: dict[tuple, Any] = {}  # on the device: the scratch that was filled, one array [n] per name, dtype and filling


def forget_scratch() -> None:
    """Gives back what kernels keep on the device from call to call."""
    _kept.clear()
    _settings.cache_clear()


keepers.append(forget_scratch)


class Kernel:
    """on_cpu: the wrapper; body: what CUDA runs; scratch: {name: (dtype, what it is filled with, None: nothing)}.

    Scratch is memory of a worker's own. A call gives its length (or shape) in its place; wrapper and body find arrays
    [workers, length] and [length]. The body leaves what was filled as it found it: on the device it serves the next call.
    side_by_side: on the device, what is not filled lies worker by worker in every place of it, for bodies that walk through
    it from its beginning: threads side by side then read what lies side by side.
    """

    def __init__(
        self, on_cpu: Callable, body: Callable, scratch: dict[str, tuple] | None = None, parts: str = "",
        side_by_side: bool = False,
    ):  # fmt: skip
        self._on_cpu, self.body, self.scratch, self._parts = on_cpu, body, scratch or {}, parts
        self._side_by_side = side_by_side
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
            lengths = {name: arguments[self.names.index(name)] for name in self.scratch}
            workers = min(units, self.most_workers(**lengths))
            given = self.with_scratch(arrays_of(arguments[0]), workers, arguments, True)
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

    def most_workers(self, **lengths) -> int:
        """As many threads as a device can use, and has memory for. lengths: of all its scratch, as a call gives them."""
        each = sum(_size(lengths[name]) * np.dtype(dtype).itemsize for name, (dtype, _) in self.scratch.items())
        if not each:
            return MOST_WORKERS
        free = free_bytes() + sum(array.nbytes for array in list(_kept.values()))
        return min(max(int(SCRATCH_SHARE * free / each), 1), MOST_WORKERS)

    def with_scratch(self, xp, workers: int, arguments, on_cuda: bool = False) -> list:
        """The arguments with scratch for so many workers in the place of its length. xp: numpy or cupy; on_cuda: as CUDA's
        threads want it."""
        given = list(arguments)
        for name, (dtype, filled) in self.scratch.items():
            place = self.names.index(name)
            shape = (workers, *np.atleast_1d(given[place]).tolist())
            if filled is not None:
                given[place] = _filled(xp, name, shape, dtype, filled) if on_cuda else xp.full(shape, filled, dtype)
            elif on_cuda and self._side_by_side:
                given[place] = xp.empty(shape[::-1], dtype).T
            else:
                given[place] = xp.empty(shape, dtype)
        return given


def _size(length) -> int:
    return prod(np.atleast_1d(length).tolist())


def _filled(xp, name: str, shape: tuple[int, ...], dtype, value):
    """What an earlier call left as it had found it, if that is enough."""
    key, size = (xp.__name__, name, np.dtype(dtype), value), prod(shape)
    array = _kept.get(key)
    if array is None or len(array) < size:
        array = None
        _kept.pop(key, None)  # first, so that never both are in memory
        array = _kept[key] = xp.full(size, value, dtype)
    return array[:size].reshape(shape)


def _sent(argument):
    """Settings in small host arrays go along with the call, and do not come back."""
    if not isinstance(argument, np.ndarray) or on_device(argument):
        return argument
    if argument.nbytes > MOST_SENT:
        raise ValueError(
            f"an array {argument.dtype} {argument.shape} of the host's in a kernel on the device: bring it there once"
        )
    return _settings(argument.tobytes(), argument.dtype, argument.shape)


@lru_cache(MOST_SETTINGS)
def _settings(content: bytes, dtype: np.dtype, shape: tuple[int, ...]):
    """Brought once: the next call comes with the same ones, and no body writes to them."""
    from numba import cuda

    return cuda.to_device(np.ndarray(shape, dtype, content).copy())

"""Arrays of a host and of a device: where they lie, how they get there, and what CuPy does otherwise than NumPy.

CuPy's arrays answer to NumPy's functions (`np.diff(array)` is CuPy's where the array is), so code is written once, in what the
two share. Host and device are never mixed: CuPy refuses it.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import fields, is_dataclass, replace
from typing import Any

import numpy as np

PIECE = 1 << 26  # bytes that travel at a time


def on_device(array) -> bool:
    return hasattr(array, "__cuda_array_interface__")


def arrays_of(array):
    """numpy or cupy: the module whose array it is."""
    return importlib.import_module("cupy") if on_device(array) else np


def to_host(thing):
    """The thing with its arrays in the host's memory; what is there already is the same object."""
    return map_arrays(thing, _brought)


def to_gpu(thing):
    """The thing with its arrays on the GPU; what is there already is the same object."""
    return map_arrays(thing, _sent)


# Large arrays travel in pieces through two buffers of the host's whose pages are locked, on a stream beside the device's other
# work: while one buffer is copied, the other is on its way. The libraries' own way locks a buffer as large as the array, or
# goes through the driver's only one.
def _brought(array) -> np.ndarray:
    if not on_device(array):
        return array
    if array.nbytes <= PIECE:
        return array.get()
    xp = arrays_of(array)
    source, out = xp.ascontiguousarray(array), np.empty(array.shape, array.dtype)
    waiting = None
    for stream, buffer, piece in _pieces(xp, array.nbytes):
        _bytes(source)[piece].get(stream=stream, out=buffer, blocking=False)
        done = stream.record()
        if waiting is not None:
            _copy_on(*waiting)
        waiting = done, _bytes(out)[piece], buffer
    _copy_on(*waiting)
    return out


def _copy_on(done, target: np.ndarray, buffer: np.ndarray) -> None:
    done.synchronize()
    np.copyto(target, buffer)


def _sent(array):
    xp = importlib.import_module("cupy")
    if on_device(array) or array.nbytes <= PIECE:
        return xp.asarray(array)
    source, out = np.ascontiguousarray(array), xp.empty(array.shape, array.dtype)
    on_the_way: list = []
    for stream, buffer, piece in _pieces(xp, array.nbytes):
        if len(on_the_way) == 2:
            on_the_way.pop(0).synchronize()
        np.copyto(buffer, _bytes(source)[piece])
        _bytes(out)[piece].set(buffer, stream=stream)
        on_the_way.append(stream.record())
    on_the_way[-1].synchronize()
    return out


def _pieces(xp, n: int):
    """(stream, buffer, slice of n bytes): the two buffers in turn."""
    stream = xp.cuda.Stream(non_blocking=True)
    stream.wait_event(xp.cuda.get_current_stream().record())  # what the array's memory is used for until now comes first
    buffers = [np.frombuffer(xp.cuda.alloc_pinned_memory(PIECE), np.uint8, PIECE) for _ in range(2)]
    for i, first in enumerate(range(0, n, PIECE)):
        last = min(first + PIECE, n)
        yield stream, buffers[i % 2][: last - first], slice(first, last)


def _bytes(array):
    return array.reshape(-1).view(np.uint8)


def map_arrays(thing, move: Callable[[Any], Any]):
    """The thing with move(array) in place of every array: in dataclasses, dicts and tuples, at any depth."""
    if isinstance(thing, np.ndarray) or on_device(thing):
        return move(thing)
    if isinstance(thing, dict):
        return {name: map_arrays(value, move) for name, value in thing.items()}
    if isinstance(thing, tuple):
        return tuple(map_arrays(value, move) for value in thing)
    if is_dataclass(thing):
        return replace(thing, **{f.name: map_arrays(getattr(thing, f.name), move) for f in fields(thing) if f.init})
    return thing


def pointers(counts):
    """int64 [n + 1]: where each of n parts begins that are so long (integers or bool [n]), and where the last one ends."""
    ends = arrays_of(counts).zeros(len(counts) + 1, np.int64)
    np.cumsum(counts, out=ends[1:])
    return ends


def spread(values, pointer):
    """values [n, ...] of parts, once for each of their entries: [pointer[-1], ...]. pointer: int64 [n + 1], from 0."""
    if on_device(pointer):  # CuPy repeats everything alike only
        entry = arrays_of(pointer).arange(int(pointer[-1]))
        return values[np.searchsorted(pointer, entry, side="right") - 1]
    return np.repeat(values, np.diff(pointer), axis=0)


def order_by(first, second):
    """int64 [n]: the order by `first`, ties by `second`, then as they stand."""
    if on_device(first):  # CuPy's lexsort takes one array, so keys of one dtype
        order = np.argsort(second, kind="stable")
        return order[np.argsort(first[order], kind="stable")]
    return np.lexsort((second, first))


def longest(pointer) -> int:
    """The length of the longest part, at least 1. pointer: int64 [n + 1]."""
    return max(int(np.diff(pointer).max()), 1) if len(pointer) > 1 else 1


def ranges(before: np.ndarray, limit: float) -> list[tuple[int, int]]:
    """Ranges first..last-1 of things, as long as they can be with at most `limit` in sum; one thing may pass it alone.

    before [n + 1]: how much stands before each thing, and in all.
    """
    found, first, n = [], 0, len(before) - 1
    while first < n:
        last = max(int(np.searchsorted(before, before[first] + limit, side="right")) - 1, first + 1)
        found.append((first, last))
        first = last
    return found

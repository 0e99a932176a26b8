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


def on_device(array) -> bool:
    return hasattr(array, "__cuda_array_interface__")


def arrays_of(array):
    """numpy or cupy: the module whose array it is."""
    return importlib.import_module("cupy") if on_device(array) else np


def home(thing):
    """The thing with its arrays in the host's memory; what is there already is the same object."""
    return moved(thing, lambda array: array.get() if on_device(array) else array)


def moved(thing, move: Callable[[Any], Any]):
    """The thing with move(array) in place of every array: in dataclasses, dicts and tuples, at any depth."""
    if isinstance(thing, np.ndarray) or on_device(thing):
        return move(thing)
    if isinstance(thing, dict):
        return {name: moved(value, move) for name, value in thing.items()}
    if isinstance(thing, tuple):
        return tuple(moved(value, move) for value in thing)
    if is_dataclass(thing):
        return replace(thing, **{f.name: moved(getattr(thing, f.name), move) for f in fields(thing) if f.init})
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

from dataclasses import dataclass

import numpy as np
import pytest

from otto_gpu.device import CPU
from otto_gpu.device.arrays import longest, map_arrays, pointers, spread, to_host


@dataclass(frozen=True)
class Both:
    numbers: np.ndarray
    name: str
    more: dict


def test_moved_at_any_depth():
    thing = Both(np.arange(3), "it", {"pair": (np.ones(2), 4), "none": None})
    found = map_arrays(thing, lambda array: array + 1)
    assert found.numbers.tolist() == [1, 2, 3] and found.name == "it"
    assert found.more["pair"][0].tolist() == [2, 2] and found.more["pair"][1] == 4 and found.more["none"] is None


def test_on_the_cpu_nothing_moves():
    array = np.arange(3)
    assert CPU.to_device(array) is array and to_host(array) is array
    thing = Both(array, "it", {})
    assert CPU.to_device(thing) is thing and to_host(thing).numbers is array


@pytest.mark.parametrize("counts", [[], [0], [2, 0, 3], [0, 0, 1]])
def test_parts(counts):
    pointer = pointers(np.array(counts, np.int64))
    assert pointer.dtype == np.int64 and pointer.tolist() == [0, *np.cumsum(counts, dtype=int)]
    assert longest(pointer) == max([*counts, 1])
    assert spread(np.arange(len(counts)), pointer).tolist() == [i for i, n in enumerate(counts) for _ in range(n)]


def test_of_a_mask():
    assert pointers(np.array([True, False, True])).tolist() == [0, 1, 1, 2]

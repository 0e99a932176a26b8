"""Places in sorted numbers, for the kernels (CPU and CUDA)."""

from __future__ import annotations

from numba import njit


@njit(cache=True)
def first_after(values, low, high, x):
    """The place of the first value greater than x within values[low:high], which ascend; high where there is none."""
    while low < high:
        middle = (low + high) // 2
        if values[middle] <= x:
            low = middle + 1
        else:
            high = middle
    return low

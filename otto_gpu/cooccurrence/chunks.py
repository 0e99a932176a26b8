"""Work cut into ranges that fit into memory."""

from __future__ import annotations

import numpy as np


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

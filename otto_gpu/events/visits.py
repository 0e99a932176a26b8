"""Visits of users, cut where they pause: for logs that know who acts, and not in which visit."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

BETWEEN = (
    "#"  # a user's id and the number of the visit: what follows the last one is the number, so that no two ids are the same
)
MINUTE_MS = 60_000


def cut_visits(user: np.ndarray, ts: np.ndarray, users: pa.Array, minutes: float) -> tuple[np.ndarray, pa.Array]:
    """(visit int32 [n], their ids): user: dense ids [n]; ts: ms [n], in any order; users: their own ids. A user's visits are
    numbered from 1, in the order of time: 7#1, 7#2. The ids are sorted, as dense ids are."""
    order = np.lexsort((ts, user))
    begins = _begins(user[order], ts[order], minutes)
    visit = np.empty(len(order), np.int64)
    visit[order] = np.cumsum(begins) - 1
    owner = user[order][begins]
    first = np.searchsorted(owner, owner)  # of the owner's visits
    number = pa.array(np.arange(len(owner)) - first + 1).cast(pa.string())
    ids = pc.binary_join_element_wise(users.take(pa.array(owner)).cast(pa.string()), number, BETWEEN)
    sorting = pc.sort_indices(ids).to_numpy()
    place = np.empty(len(sorting), np.int32)
    place[sorting] = np.arange(len(sorting), dtype=np.int32)
    return place[visit], ids.take(pa.array(sorting))


def last_visits(user: np.ndarray, ts: np.ndarray, minutes: float) -> np.ndarray:
    """bool [n]: the events after each user's last pause."""
    order = np.lexsort((ts, user))
    visit = np.cumsum(_begins(user[order], ts[order], minutes))
    ends = np.flatnonzero(np.diff(user[order], append=-1))
    last = np.repeat(visit[ends], np.diff(ends, prepend=-1))
    keep = np.empty(len(order), bool)
    keep[order] = visit == last
    return keep


def _begins(user: np.ndarray, ts: np.ndarray, minutes: float) -> np.ndarray:
    """bool [n], of events sorted by user and time: which ones begin a visit."""
    begins = np.ones(len(user), bool)
    begins[1:] = (user[1:] != user[:-1]) | (ts[1:] - ts[:-1] > minutes * MINUTE_MS)
    return begins

"""The union of what the sources name, with every source's score and rank, filled up with popular items."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
from numba import njit, prange

from otto_gpu.candidates.keys import ALL
from otto_gpu.candidates.lookup import Histories, touch
from otto_gpu.columns import AID, SESSION, recall_rank, recall_score
from otto_gpu.device import CPU, Device
from otto_gpu.device.arrays import arrays_of, order_by, pointers, to_host
from otto_gpu.device.hashing import first_slot, table_size
from otto_gpu.device.kernel import Kernel
from otto_gpu.events.log import EventLog

if TYPE_CHECKING:
    from otto_gpu.candidates.settings import CandidatesConfig

UNRANKED = -1


@dataclass(frozen=True)
class Candidates:
    """sessions: int32 [S], ascending; pointer: int64 [S + 1]; aid: int32 [m]; scores: float32 [m, sources] (0 where the
    source does not name the item); ranks: int16 [m, sources] from 0 (-1 where not). Candidates of a session stand in the order
    of their first mention: history newest first, then recipe by recipe, then popular items.
    """

    sessions: np.ndarray
    pointer: np.ndarray
    aid: np.ndarray
    scores: np.ndarray
    ranks: np.ndarray
    sources: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.aid)

    @property
    def session(self) -> np.ndarray:
        """int32 [m]"""
        return np.repeat(self.sessions, np.diff(self.pointer))

    def rows(self, first: int, last: int) -> Candidates:
        """The sessions at the places first..last-1."""
        part = slice(int(self.pointer[first]), int(self.pointer[last]))
        pointer = self.pointer[first : last + 1] - self.pointer[first]
        return Candidates(self.sessions[first:last], pointer, self.aid[part], self.scores[part], self.ranks[part], self.sources)

    def where(self, mask: np.ndarray) -> Candidates:
        """Those for which the mask (bool [m]) holds."""
        pointer = np.concatenate([[0], np.cumsum(mask)])[self.pointer]
        return Candidates(self.sessions, pointer, self.aid[mask], self.scores[mask], self.ranks[mask], self.sources)

    def of_sessions(self, some: np.ndarray) -> Candidates:
        """All candidates of some sessions: bool [S]."""
        mask = np.repeat(some, np.diff(self.pointer))
        pointer = pointers(np.diff(self.pointer)[some])
        return Candidates(self.sessions[some], pointer, self.aid[mask], self.scores[mask], self.ranks[mask], self.sources)

    def with_source(self, name: str, scores: np.ndarray, ranks: np.ndarray) -> Candidates:
        """The same candidates with one more source, the last: scores float32 [m], ranks int16 [m]."""
        scores, ranks = np.column_stack([self.scores, scores]), np.column_stack([self.ranks, ranks])
        return Candidates(self.sessions, self.pointer, self.aid, scores, ranks, (*self.sources, name))

    def to_table(self) -> pa.Table:
        columns = {SESSION: self.session, AID: self.aid}
        for i, source in enumerate(self.sources):
            columns[recall_score(source)] = self.scores[:, i]
            columns[recall_rank(source)] = self.ranks[:, i]
        return pa.table(columns)

    @classmethod
    def from_table(cls, table: pa.Table, sources: tuple[str, ...]) -> Candidates:
        session = table[SESSION].to_numpy()
        first = np.flatnonzero(np.diff(session, prepend=-1))
        scores = np.stack([table[recall_score(s)].to_numpy() for s in sources], axis=1)
        ranks = np.stack([table[recall_rank(s)].to_numpy() for s in sources], axis=1)
        pointer = np.append(first, len(session)).astype(np.int64)
        return cls(np.array(session[first]), pointer, np.array(table[AID]), scores, ranks, tuple(sources))


def ranks_in_session(pointer: np.ndarray, score: np.ndarray) -> np.ndarray:
    """int64 [m]: every candidate's place in its session, 0 the highest score; ties in the order in which they stand."""
    lengths = np.diff(pointer)
    order = np.lexsort((-score, np.repeat(np.arange(len(lengths)), lengths)))
    place = np.empty(len(order), np.int64)
    place[order] = np.arange(len(order)) - np.repeat(pointer[:-1], lengths)
    return place


def popular_items(known: EventLog, days: float, device: Device = CPU) -> np.ndarray:
    """int32, in the host's memory: the log's items by events in its last days, most first; ties: by events in all, then the
    smaller aid. device: who counts."""
    if not len(known):
        return np.empty(0, np.int32)
    there = known.on(device)
    recent = there.aid[there.ts >= known.span[1] - days * 86_400_000]
    counts, total = (np.bincount(aid, minlength=known.n_items) for aid in (recent, there.aid))
    return to_host(order_by(-counts, -total)[: int(np.count_nonzero(total))].astype(np.int32))


def fuse(
    sessions: np.ndarray, histories: Histories, named: dict[str, tuple], popular: np.ndarray, config: CandidatesConfig, types
) -> Candidates:
    """Candidates of some sessions: their histories, what each source names, popular items; where all of these lie.

    named: {source: (aids int32 [S, n], scores float32 [S, n])}.
    """
    n = len(histories)
    popular = popular[: config.fill_to]  # they alone would be enough, whatever else there is
    aids = np.concatenate([a for a, _ in named.values()], axis=1)
    scores = np.concatenate([s for _, s in named.values()], axis=1)
    owner = np.repeat(np.arange(1, len(named) + 1), [a.shape[1] for a, _ in named.values()])
    place = np.concatenate([np.arange(a.shape[1]) for a, _ in named.values()])
    type_weight = np.array([config.type_weights.get(t, 1.0) for t in types], np.float32)
    width = config.history_limit + aids.shape[1] + len(popular)
    # pass one counts, pass two writes; a union of a few lists is cheap enough to be made twice
    xp = arrays_of(aids)
    counts = xp.zeros(n, np.int64)
    empty = (xp.empty(0, np.int32), xp.empty((0, 1), np.float32), xp.empty((0, 1), np.int16))
    args = (
        histories.starts, histories.aid, histories.type, histories.bits, aids, scores, owner, place, popular, type_weight,
        config.history_limit, config.fill_to, width, table_size(width),
    )  # fmt: skip
    _union(*args, False, counts, xp.zeros(n + 1, np.int64), *empty)
    pointer = pointers(counts)
    m, sources = int(pointer[-1]), len(named) + 1
    out = xp.empty(m, np.int32), xp.zeros((m, sources), np.float32), xp.full((m, sources), UNRANKED, np.int16)
    _union(*args, True, counts, pointer, *out)
    return Candidates(sessions, pointer, *out, ("history", *named))


@njit(cache=True)
def session_union(
    s, starts, aid, kind, bits, aids, scores, owner, place, popular, type_weight, history_limit, fill_to, mine, table, write,
    counts, pointer, out_aid, out_scores, out_ranks,
):  # fmt: skip
    """The body for one session (CPU and CUDA). mine, table (all -1, a power of two): scratch of the worker."""
    mask, n = len(table) - 1, 0
    begin, end = starts[s], starts[s + 1]
    for i in range(end - 1, begin - 1, -1):
        if n < history_limit and bits[i] & ALL:
            found, n = touch(aid[i], mine, table, mask, n)
            if write:
                row = pointer[s] + found
                out_ranks[row, 0] = found
                for j in range(begin, end):  # the same score as that of a long history, oldest weight .1
                    if aid[j] == aid[i]:
                        age = 0.1 + 0.9 * (j - begin) / max(end - begin - 1, 1)
                        out_scores[row, 0] += np.float32((2.0**age - 1) * type_weight[kind[j]])
    for c in range(aids.shape[1]):
        y = aids[s, c]
        if y < 0:
            continue
        found, n = touch(y, mine, table, mask, n)
        if write:
            out_scores[pointer[s] + found, owner[c]] = scores[s, c]
            out_ranks[pointer[s] + found, owner[c]] = place[c]
    for i in range(len(popular)):
        if n >= fill_to:
            break
        _, n = touch(popular[i], mine, table, mask, n)
    counts[s] = n
    for i in range(n):
        if write:
            out_aid[pointer[s] + i] = mine[i]
        slot = first_slot(mine[i], mask)  # leave the table as it was found
        while table[slot] >= 0:
            table[slot] = -1
            slot = (slot + 1) & mask


@njit(parallel=True, cache=True)
def _every_session(
    starts, aid, kind, bits, aids, scores, owner, place, popular, type_weight, history_limit, fill_to, mine, table, write,
    counts, pointer, out_aid, out_scores, out_ranks,
):  # fmt: skip
    workers = len(table)
    for w in prange(workers):
        for s in range(w, len(starts) - 1, workers):
            session_union(
                s, starts, aid, kind, bits, aids, scores, owner, place, popular, type_weight, history_limit, fill_to, mine[w],
                table[w], write, counts, pointer, out_aid, out_scores, out_ranks,
            )  # fmt: skip


_union = Kernel(_every_session, session_union, {"mine": (np.int32, None), "table": (np.int32, -1)})

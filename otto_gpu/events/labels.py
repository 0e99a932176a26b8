"""Ground truth: what a session's visitor does after the cut."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from otto_gpu.columns import AID, SESSION, TYPE
from otto_gpu.errors import UserError
from otto_gpu.events.log import EventLog
from otto_gpu.events.settings import TargetsConfig
from otto_gpu.run.directory import write_table


@dataclass(frozen=True)
class Labels:
    """Which items of which type follow in which session; unique, sorted by session, type, aid.

    session: int32 [n], type: int8 [n] (index into the log's types), aid: int32 [n]; dense ids, as in the log.
    """

    session: np.ndarray
    type: np.ndarray
    aid: np.ndarray

    def __len__(self) -> int:
        return len(self.session)

    @classmethod
    def from_arrays(cls, session, type, aid) -> Labels:
        """Sorts, and drops what stands twice."""
        columns = np.asarray(session, np.int32), np.asarray(type, np.int8), np.asarray(aid, np.int32)
        order = np.lexsort(columns[::-1])
        session, type, aid = (column[order] for column in columns)
        fresh = np.ones(len(order), bool)
        fresh[1:] = (np.diff(session) != 0) | (np.diff(type) != 0) | (np.diff(aid) != 0)
        return cls(session[fresh], type[fresh], aid[fresh])

    def of_type(self, code: int) -> tuple[np.ndarray, np.ndarray]:
        """(session int32, aid int32) of the labels of one type, sorted."""
        mask = self.type == code
        return self.session[mask], self.aid[mask]

    def save(self, path: Path) -> None:
        write_table(pa.table({SESSION: self.session, TYPE: self.type, AID: self.aid}), path)

    @classmethod
    def load(cls, path: Path) -> Labels:
        table = pq.read_table(path)
        return cls(*(table[c].to_numpy() for c in (SESSION, TYPE, AID)))


def ground_truth(log: EventLog, cuts: np.ndarray, targets: TargetsConfig) -> Labels:
    """The labels of every session that is cut.

    cuts: int64 [log.n_sessions], how many events of the session are its history (0: the session is not cut and gets no
    labels). For targets.next_only the first event of the type after the cut counts, however many of other types come
    before it; for the other targets every item of the type after the cut. Types that are no targets give no labels.
    With targets.click_zero_is_no_click the item whose own id is 0, coming next, is no label: the label maker of
    otto-de/recsys-dataset asks for the truth of the id.
    """
    if tuple(targets.types) != tuple(log.types):
        raise UserError(f"targets.types: {targets.types} are not the types of the log, {list(log.types)}")
    cut = np.repeat(cuts, np.diff(log.starts))
    place = np.arange(len(log)) - np.repeat(log.starts[:-1], np.diff(log.starts))
    after = np.flatnonzero((cut > 0) & (place >= cut))
    kind = log.type[after]
    picked = []
    for name in targets.names:
        events = after[kind == targets.code(name)]
        if name in targets.next_only:
            session = log.session[events]
            events = events[np.flatnonzero(np.diff(session, prepend=-1))]
            if targets.click_zero_is_no_click:
                events = events[log.aid[events] != _aid_zero(log)]
        picked.append(events)
    picked = np.concatenate(picked)
    return Labels.from_arrays(log.session[picked], log.type[picked], log.aid[picked])


def _aid_zero(log: EventLog) -> int:
    """The dense id of the item whose own id is the number 0; -1 where there is none."""
    if log.items is None:
        return 0
    return pc.index(log.items, pa.scalar(0, log.items.type)).as_py() if pa.types.is_integer(log.items.type) else -1

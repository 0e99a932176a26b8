"""A split as the peers see it: what is known, and the sessions to recommend for. No labels."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq


@dataclass(frozen=True)
class Split:
    """The events of the train period and of the histories, sorted by session and time.

    session, aid: int32 [n]; ts: int64 [n], ms; type: int8 [n]; sessions: int32 [S], ascending: those to recommend for.
    """

    session: np.ndarray
    aid: np.ndarray
    ts: np.ndarray
    type: np.ndarray
    sessions: np.ndarray
    n_items: int
    n_types: int

    @classmethod
    def load(cls, folder: Path) -> Split:
        """folder: holds train.parquet and history.parquet."""
        tables = [pq.read_table(folder / f"{name}.parquet") for name in ("train", "history")]
        meta = tables[0].schema.metadata
        columns = {c: np.concatenate([t[c].to_numpy() for t in tables]) for c in ("session", "aid", "ts", "type")}
        order = np.argsort(columns["session"], kind="stable")  # each file is sorted by session and time, none is in both
        return cls(
            **{name: column[order] for name, column in columns.items()},
            sessions=np.unique(tables[1]["session"].to_numpy()),
            n_items=int(meta[b"n_items"]),
            n_types=len(meta[b"types"].split(b",")),
        )

    @cached_property
    def known_sessions(self) -> np.ndarray:
        """int32 [N], ascending: every session with events."""
        return np.unique(self.session)

    @cached_property
    def starts(self) -> np.ndarray:
        """int64 [N + 1]: the events of known_sessions[i] are starts[i]:starts[i + 1]."""
        return np.append(np.searchsorted(self.session, self.known_sessions), len(self.session))

    @cached_property
    def rows(self) -> np.ndarray:
        """int64 [S]: where the sessions to recommend for stand in known_sessions."""
        return np.searchsorted(self.known_sessions, self.sessions)

    @cached_property
    def newest_first(self) -> np.ndarray:
        """int64 [N]: places in known_sessions by the sessions' last events, newest first; ties: the later id first."""
        return np.lexsort((self.known_sessions, self.ts[self.starts[1:] - 1]))[::-1]

    def events_of(self, places: np.ndarray) -> np.ndarray:
        """int64: the events of the sessions at some places of known_sessions, session by session."""
        lengths = np.diff(self.starts)[places]
        return np.arange(lengths.sum()) + np.repeat(self.starts[places] - (np.cumsum(lengths) - lengths), lengths)

    def of_recent_items(self, most: int) -> np.ndarray:
        """int64, ascending: the events of the items met first when one goes back session by session, `most` of them."""
        items, met = np.unique(self.aid[self.events_of(self.newest_first)], return_index=True)
        kept = np.zeros(self.n_items, bool)
        kept[items[np.argsort(met)[:most]]] = True
        return np.flatnonzero(kept[self.aid])

    def matrix(self):
        """scipy CSR, float32 [N, n_items]: how many events of each session are of each item."""
        from scipy.sparse import csr_matrix

        parts = (np.ones(len(self.aid), np.float32), self.aid.copy(), self.starts.copy())  # summed up in place
        counts = csr_matrix(parts, (len(self.starts) - 1, self.n_items))
        counts.sum_duplicates()
        return counts


def padded(row: np.ndarray, item: np.ndarray, n_rows: int, width: int) -> np.ndarray:
    """int32 [n_rows, width], -1 where there is nothing: the items of each row in the order in which they come.

    row: int [m], not descending; item: int [m]. What lies beyond the width is dropped.
    """
    place = np.arange(len(row)) - np.searchsorted(row, row)
    keep = place < width
    lists = np.full((n_rows, width), -1, np.int32)
    lists[row[keep], place[keep]] = item[keep]
    return lists

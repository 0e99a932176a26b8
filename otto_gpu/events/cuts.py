"""Where the sessions of a period are cut: what of them is history, and what is asked.

- random: 1..n-1 of a session's n events are its history (split.py; OTTO's own rule).
- last: all events but the last one. A session's order is that of the log (ts, then input order): ties in time are cut by this
  order, and an item that the history holds already can be the answer.
- every: each place of a session is asked for the event that comes next. Its 1..n-1 first events are histories of their own,
  with ids of their own behind those of the log: the session `s` with n known events is called `s#n`. They take the square of
  a session's length, so of a session's places the last MOST_EVENTS are asked, and of a history the newest ones known.
- time: a moment for everybody. What comes before it is history, what follows in the days after it is asked.

Where nothing is removed from a session, an answer may be an item that nobody knew before: no list can name it, and it counts.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from otto_gpu.errors import UserError
from otto_gpu.events.labels import Labels, ground_truth
from otto_gpu.events.log import EventLog
from otto_gpu.events.settings import MOST_EVENTS, TargetsConfig


def random_cuts(lengths: np.ndarray, seed: int) -> np.ndarray:
    """int64 [n]: for each session of `lengths` (int [n], 2 or more) how many events it keeps, uniform in 1..length-1."""
    return np.random.default_rng(seed).integers(1, lengths, dtype=np.int64)


def cut_at(log: EventLog, cuts: np.ndarray, targets: TargetsConfig) -> tuple[EventLog, Labels]:
    """(the first cuts[s] events of every session, the ground truth of what follows); cuts: int64 [log.n_sessions]."""
    return log.where(places(log) < cuts[log.session]), ground_truth(log, cuts, targets)


def before_last(log: EventLog) -> np.ndarray:
    """int64 [n_sessions]: all events but the last one; 0 for sessions without two."""
    return np.maximum(np.diff(log.starts) - 1, 0)


def at_moment(log: EventLog, start: int, end: int, asked: np.ndarray, targets: TargetsConfig) -> tuple[EventLog, Labels]:
    """(the events before `start`, the ground truth of those in start..end-1) of the sessions `asked` (bool [n_sessions])."""
    mine = log.where(asked[log.session] & (log.ts < end))
    early = np.bincount(mine.session[mine.ts < start], minlength=log.n_sessions)
    return cut_at(mine, early.astype(np.int64), targets)


@dataclass(frozen=True)
class Prefixes:
    """Every beginning of some sessions as a session. log: its events and the one that follows, with ids from `first` on; cuts:
    int64 [log.n_sessions], its own events; whole: int64 [prefixes], the session that each is the beginning of; known: int64
    [prefixes], how many of that one's events it has, or had."""

    log: EventLog
    cuts: np.ndarray
    whole: np.ndarray
    known: np.ndarray
    first: int

    @classmethod
    def of(cls, log: EventLog, first: int, most: int = MOST_EVENTS) -> Prefixes:
        """By session, then by length. Sessions with fewer than two events have none."""
        places = np.maximum(np.diff(log.starts) - 1, 0)
        sizes = np.minimum(places, most)  # prefixes per session
        whole = np.repeat(np.arange(log.n_sessions), sizes)
        known = np.arange(len(whole)) - np.repeat(np.cumsum(sizes) - places, sizes) + 1
        held = np.minimum(known, most)
        owner = np.repeat(np.arange(len(whole)), held + 1)
        place = np.arange(len(owner)) - np.repeat(np.cumsum(held + 1) - (known + 1), held + 1)
        expanded = log.take(log.starts[whole][owner] + place, session=(first + owner).astype(np.int32))
        n = first + len(whole)
        return cls(replace(expanded, n_sessions=n), np.append(np.zeros(first, np.int64), held), whole, known, first)

    def named(self, sessions: pa.Array) -> pa.Array:
        """Own ids: `s#n` of the first n events of session s. sessions: the log's own ids, as text."""
        known = pa.array(self.known).cast(pa.string())
        return pc.binary_join_element_wise(sessions.take(pa.array(self.whole)), known, "#")


def with_prefixes(sessions: pa.Array | None, n: int, prefixes: list[Prefixes]) -> pa.Array:
    """The dictionary of the sessions, n own ids, with those of prefixes behind them; all are text. UserError where one of the
    log's own ids reads like that of a prefix."""
    sessions = (pa.array(np.arange(n)) if sessions is None else sessions).cast(pa.string())
    new = pa.concat_arrays([p.named(sessions) for p in prefixes])
    taken = pc.index_in(sessions, new)
    if taken.null_count < len(taken):
        raise UserError(
            f"split.cut is 'every': session {sessions.filter(taken.is_valid())[0].as_py()!r} of the log is called like the "
            "beginning of another one (id#number of events); rename it"
        )
    return pa.concat_arrays([sessions, new])


def places(log: EventLog) -> np.ndarray:
    """int64 [n]: the place of every event in its session, from 0."""
    return np.arange(len(log)) - np.repeat(log.starts[:-1], np.diff(log.starts))

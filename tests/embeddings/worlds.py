"""Logs of which it is known what can be learnt."""

import numpy as np

from otto_gpu.events.log import EventLog

GROUPS, SIZE = 8, 6
LONELY = GROUPS * SIZE  # an item whose only session has no other event
ITEMS = LONELY + 3  # the last two have no event at all


def grouped(sessions: int = 800, structured: bool = True, seed: int = 1) -> EventLog:
    """Every session stays in one of the groups of items; not structured: the same events, items dealt out anew.
    The last session is the lonely item's."""
    random = np.random.default_rng(seed)
    lengths = random.integers(1, 12, sessions)
    session = np.repeat(np.arange(sessions), lengths)
    group = np.repeat(random.integers(0, GROUPS, sessions), lengths)
    aid = group * SIZE + random.integers(0, SIZE, len(session))
    if not structured:
        aid = random.permutation(aid)
    session, aid = np.append(session, sessions), np.append(aid, LONELY)
    ts = 1_600_000_000_000 + session * 1_000_000 + np.arange(len(session)) * 1000
    kind = random.integers(0, 3, len(session))
    return EventLog.from_arrays(session, aid, ts, kind, n_sessions=sessions + 1, n_items=ITEMS)


def sessions_of(log: EventLog) -> list[list[tuple[int, int]]]:
    """(aid, ts) by session, oldest first."""
    made = [[] for _ in range(log.n_sessions)]
    for s, a, t in zip(log.session.tolist(), log.aid.tolist(), log.ts.tolist(), strict=True):
        made[s].append((a, t))
    return made

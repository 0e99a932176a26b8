"""What the figures of a period are of, and what they leave out.

Every event of a period (split.Scope) has one fate, the first of these that is true of it:

- began_earlier: by time, its session began before the period; began_in_it: with the cut time, its session began in it.
- unknown_items: with the cut random, its item has no event in what is known before the period.
- one_event: its session has no two events (with the cut random: of known items).
- not_drawn: its session is not asked, of more than max_test_sessions or max_validation_sessions.
- histories: it is known when its session is asked.
- asked: it follows the cut, so that it is ground truth, if it is of a target and next in line.

A session's is the last of them that one of its events has, in the order of FATES.
"""

from __future__ import annotations

import numpy as np

from otto_gpu.events.log import EventLog
from otto_gpu.events.settings import MOST_EVENTS, SplitConfig, TargetsConfig
from otto_gpu.events.split import Period, Scope

# in this order: of a session's fates the last one is its own
FATES = ("unknown_items", "one_event", "not_drawn", "began_earlier", "began_in_it", "histories", "asked")
UNKNOWN, ONE, NOT_DRAWN, EARLIER, IN_IT, HISTORY, ASKED = range(len(FATES))


def left_out(
    log: EventLog, periods: dict[str, Period], split: SplitConfig, targets: TargetsConfig, apart: np.ndarray | None = None
) -> dict[str, dict]:
    """{period: {"sessions", "events": {"all" of it, and each fate that split.cut and split.by know: how many}, "targets":
    {target: the same of its events}}}; {} for a period without a scope, which is as it was given.

    With the cut random also "items": {"unknown_items": how many different ones}, and "one_event_before": events before the
    period of which nothing is learnt, as their sessions have one there; with the cut time of the test period "after": events
    behind it. log: all that was split; apart: bool [log.n_sessions], the sessions of a test file, which are in no other period.
    """
    test = periods["test"].scope
    return {
        name: {} if period.scope is None else _of(log, period, split, targets, apart, test) for name, period in periods.items()
    }


def _of(
    log: EventLog, period: Period, split: SplitConfig, targets: TargetsConfig, apart: np.ndarray | None, test: Scope | None
) -> dict:
    """test: the scope of the test period."""
    scope, n = period.scope, len(period.scope.asked)
    rows = np.flatnonzero(_inside(log, scope, apart))
    session, kind = log.session[rows], log.type[rows]
    fate = np.full(len(rows), ASKED, np.int8)
    if scope.drawn is None:
        earlier = (_began(log) < scope.start)[session]
        fate[~earlier if split.cut == "time" else earlier] = IN_IT if split.cut == "time" else EARLIER
    if split.cut == "random":
        met = np.zeros(log.n_items, bool)
        met[period.train.aid] = True
        fate[(fate == ASKED) & ~met[log.aid[rows]]] = UNKNOWN
    if split.cut != "time":
        left = fate == ASKED
        fate[left & (np.bincount(session[left], minlength=n) < 2)[session]] = ONE
    fate[(fate == ASKED) & ~scope.asked[session]] = NOT_DRAWN
    if split.cut != "time":  # where the period's sessions are in it from their first event on
        left = np.flatnonzero(fate == ASKED)
        lengths = np.bincount(session[left] if period.prefixes else period.history.session, minlength=n)
        if period.prefixes:  # every event is asked but the first, and of long sessions those before the last ones
            lengths = np.maximum(lengths - MOST_EVENTS, 1)
        fate[left[_place(session[left]) < lengths[session[left]]]] = HISTORY
    table = np.bincount(fate.astype(np.int64) * len(log.types) + kind, minlength=len(FATES) * len(log.types))
    table = table.reshape(len(FATES), -1)
    first = np.flatnonzero(np.diff(session, prepend=-1))
    own = np.bincount(np.maximum.reduceat(fate, first), minlength=len(FATES)) if len(first) else np.zeros(len(FATES), int)
    possible = _possible(split)
    found: dict = {
        "sessions": _counts(own, [name for name in possible if name != "histories"]),
        "events": _counts(table.sum(axis=1), possible),
        "targets": {name: _counts(table[:, targets.code(name)], possible) for name in targets.names},
    }
    if split.cut == "random":
        found["items"] = {"unknown_items": len(np.unique(log.aid[rows[fate == UNKNOWN]]))}
        found["one_event_before"] = int(np.count_nonzero(_before(log, scope, apart, test))) - len(period.train)
    if split.cut == "time" and scope is test:
        found["after"] = int(np.count_nonzero(log.ts >= scope.end))
    return found


def answers(period: Period, targets: TargetsConfig) -> dict:
    """{"unknown_answers": {target: answers whose item has no event in what is known, nor in their session's own history},
    "unanswered": sessions that are asked and have no answer}; {} where nobody knows the answers."""
    labels = period.labels
    if labels is None:
        return {}
    met = np.zeros(max(period.train.n_items, period.history.n_items), bool)
    met[period.train.aid] = True
    if not period.prefixes:
        met[period.history.aid] = True
    unknown = ~met[labels.aid]
    if period.prefixes and unknown.any():  # nothing is learnt from them, but what a session has seen is known of it
        width, own = len(met), ~met[period.history.aid]
        seen = period.history.session[own].astype(np.int64) * width + period.history.aid[own]
        unknown &= ~np.isin(labels.session.astype(np.int64) * width + labels.aid, seen)
    kinds = np.bincount(labels.type[unknown], minlength=len(targets.types))
    return {
        "unknown_answers": {name: int(kinds[targets.code(name)]) for name in targets.names},
        "unanswered": len(period.sessions) - len(np.unique(labels.session)),
    }


def _possible(split: SplitConfig) -> list[str]:
    """The fates that there are, in the order in which they are told."""
    if split.cut == "time":
        return ["began_in_it", "not_drawn", "asked"]
    found = ["began_earlier"] if split.by == "time" else []
    found += ["unknown_items"] if split.cut == "random" else []
    return [*found, "one_event", "not_drawn", "histories", "asked"]


def _counts(table: np.ndarray, possible: list[str]) -> dict[str, int]:
    return {"all": int(table.sum())} | {name: int(table[FATES.index(name)]) for name in possible}


def _inside(log: EventLog, scope: Scope, apart: np.ndarray | None) -> np.ndarray:
    """bool [n]: the events of the period."""
    if scope.drawn is not None:
        return scope.drawn[log.session]
    inside = log.ts >= scope.start
    if scope.end is not None:
        inside &= log.ts < scope.end
    return inside if apart is None else inside & ~apart[log.session]


def _before(log: EventLog, scope: Scope, apart: np.ndarray | None, test: Scope | None) -> np.ndarray:
    """bool [n]: the events before a period; by session, of those that are drawn neither for it nor for the test period."""
    if scope.drawn is None:
        before = log.ts < scope.start
    else:
        before = ~(scope.drawn if test is None else scope.drawn | test.drawn)[log.session]
    return before if apart is None else before & ~apart[log.session]


def _began(log: EventLog) -> np.ndarray:
    """int64 [n_sessions]: when the session's first event is; the greatest int64 without one."""
    began = np.full(log.n_sessions, np.iinfo(np.int64).max)
    held = np.flatnonzero(np.diff(log.starts))
    began[held] = log.ts[log.starts[held]]
    return began


def _place(session: np.ndarray) -> np.ndarray:
    """int64 [n]: the place of every row among its session's; session: ascending."""
    first = np.flatnonzero(np.diff(session, prepend=-1))
    return np.arange(len(session)) - np.repeat(first, np.diff(first, append=len(session)))

"""The periods of a log: what is known before each, its truncated sessions and what they are followed by.

The rules, after otto-de/recsys-dataset (src/testset.py):
- by time, a session belongs to a period if its first event lies at or after the period's start; the other sessions lose
  what lies at or after it. (Official: first event after `last event - days`, so that a session beginning in that very
  millisecond belongs to nobody; here it belongs to the period.)
- Sessions left with fewer than 2 events go. In a period, events of items unknown before it go first.
- Each session of a period is cut at a random place: 1..n-1 of its n events are the history, the labels follow.
- The validation period is cut in the same way out of all that is known before the test period, which is whole
  sessions again for the test period itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property

import numpy as np

from otto_gpu.errors import UserError
from otto_gpu.events.labels import Labels, ground_truth
from otto_gpu.events.log import EventLog
from otto_gpu.events.settings import SplitConfig, TargetsConfig

DAY_MS = 24 * 60 * 60 * 1000


@dataclass(frozen=True)
class Period:
    """train: all that is known from before the period; history: the period's sessions up to their cuts;
    labels: what follows, None where nobody knows. No session has events in both train and history."""

    train: EventLog
    history: EventLog
    labels: Labels | None

    @cached_property
    def known(self) -> EventLog:
        """What may be learnt from: train and histories in one log."""
        return self.train.merged_with(self.history)

    @cached_property
    def sessions(self) -> np.ndarray:
        """int32, ascending: the sessions to recommend for."""
        return np.flatnonzero(np.diff(self.history.starts)).astype(np.int32)


def split_log(
    log: EventLog, config: SplitConfig, targets: TargetsConfig, from_test_file: np.ndarray | None = None
) -> dict[str, Period]:
    """{"validation": Period, "test": Period} with the ids of `log`.

    from_test_file: bool [log.n_sessions]; the sessions it marks are the test period as they are (nothing is filtered
    or cut, labels are None), and only the validation period is cut from the rest. Raises UserError that names the
    setting to change where a period, or what lies before it, would be empty.
    """
    _require(len(log), "the log holds no events: there is nothing to split")
    if from_test_file is None:
        start = _start("test", config, end=int(log.ts.max()))
        test = _cut(*_divide(log, "test", config, start), targets, config.seed, config.max_test_sessions)
    else:
        marked = from_test_file[log.session]
        test = Period(_two_or_more(log, ~marked), log.where(marked), None)
        _require(len(test.history), "the test file holds no events: it must hold the sessions to predict")
        _require(len(test.train), "no session of the log has 2 events: there is nothing to learn from")
        start = int(test.train.ts.max())
    start = _start("validation", config, end=start)
    parts = _divide(test.train, "validation", config, start, from_test_file)
    validation = _cut(*parts, targets, config.seed + 1, config.max_validation_sessions)
    return {"validation": validation, "test": test}


def random_cuts(lengths: np.ndarray, seed: int) -> np.ndarray:
    """int64 [n]: for each session of `lengths` (int [n], 2 or more) how many events it keeps, uniform in 1..length-1."""
    return np.random.default_rng(seed).integers(1, lengths, dtype=np.int64)


def _divide(
    log: EventLog, name: str, config: SplitConfig, start: int, from_test_file: np.ndarray | None = None
) -> tuple[EventLog, EventLog]:
    """(what is known before the period, the period's whole sessions without unknown items); neither is empty."""
    if config.by == "time":
        began = np.full(log.n_sessions, np.iinfo(np.int64).max)
        held = np.flatnonzero(np.diff(log.starts))
        began[held] = log.ts[log.starts[held]]
        chosen = (began >= start)[log.session]
        before = log.ts < start
        where = f"begins at {_iso(start)}, the log that it is cut from runs from {_iso(log.ts.min())} to {_iso(log.ts.max())}"
        longer = f"raise split.{name}_days, or set split.{name}_start earlier"
        shorter = f"lower split.{name}_days, or set split.{name}_start later"
    else:
        chosen = _drawn(log.n_sessions, name, config, from_test_file)[log.session]
        before = ~chosen
        where = f"is a share of {getattr(config, f'{name}_fraction'):g} of {log.n_sessions} sessions"
        longer = f"raise split.{name}_fraction or give more sessions"
        shorter = f"lower split.{name}_fraction or give more sessions"
    train = _two_or_more(log, before)
    _require(len(train), f"split: no session with 2 events lies before the {name} period, which {where}: {shorter}")
    known = np.zeros(log.n_items, bool)
    known[train.aid] = True
    full = _two_or_more(log, chosen & known[log.aid])
    _require(len(full), f"split: no session with 2 events of known items lies in the {name} period, which {where}: {longer}")
    return train, full


def _cut(train: EventLog, full: EventLog, targets: TargetsConfig, seed: int, most: int | None) -> Period:
    lengths = np.diff(full.starts)
    sessions = np.flatnonzero(lengths)
    cuts = np.zeros(full.n_sessions, np.int64)
    cuts[sessions] = random_cuts(lengths[sessions], seed)
    if most is not None:  # after the draw of the cuts, so that a sample's sessions are cut as in the whole
        cuts[np.random.default_rng([seed, 1]).permutation(sessions)[most:]] = 0
    place = np.arange(len(full)) - np.repeat(full.starts[:-1], lengths)
    return Period(train, full.where(place < cuts[full.session]), ground_truth(full, cuts, targets))


def _start(name: str, config: SplitConfig, end: int) -> int:
    """Where the period begins, ms: as the setting says, or `days` before its end."""
    given = getattr(config, f"{name}_start")
    return end - round(getattr(config, f"{name}_days") * DAY_MS) if given is None else round(given.timestamp() * 1000)


def _drawn(n_sessions: int, name: str, config: SplitConfig, from_test_file: np.ndarray | None) -> np.ndarray:
    """bool [n_sessions]: a random share of the sessions. The draw depends on the number of sessions alone, and the
    validation sessions are never test sessions."""
    order = np.random.default_rng(config.seed).permutation(n_sessions)
    n_test = round(n_sessions * config.test_fraction)
    if from_test_file is not None:
        order, n_test = order[~from_test_file[order]], 0
    n_validation = round(len(order) * config.validation_fraction)
    drawn = np.zeros(n_sessions, bool)
    drawn[order[:n_test] if name == "test" else order[n_test : n_test + n_validation]] = True
    return drawn


def _two_or_more(log: EventLog, mask: np.ndarray) -> EventLog:
    """The events that the mask (bool [n]) keeps, of sessions in which it keeps at least 2."""
    lengths = np.diff(log.starts)
    held = np.flatnonzero(lengths)
    kept = np.zeros(log.n_sessions, np.int64)
    if len(held):
        kept[held] = np.add.reduceat(mask, log.starts[held], dtype=np.int64)
    return log.where(mask & np.repeat(kept >= 2, lengths))


def _require(there: int, message: str) -> None:
    if not there:
        raise UserError(message)


def _iso(ms: int) -> str:
    return datetime.fromtimestamp(int(ms) / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")

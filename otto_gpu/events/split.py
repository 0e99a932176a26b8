"""The periods of a log: what is known before each, its truncated sessions and what they are followed by.

The rules, after otto-de/recsys-dataset (src/testset.py):
- by time, a session belongs to a period if its first event lies at or after the period's start; the other sessions lose
  what lies at or after it. (Official: first event after `last event - days`, so that a session beginning in that very
  millisecond belongs to nobody; here it belongs to the period.)
- Sessions left with fewer than 2 events go. In a period, events of items unknown before it go first.
- Each session of a period is cut at a random place: 1..n-1 of its n events are the history, the labels follow.
- The validation period is cut in the same way out of all that is known before the test period, which is whole
  sessions again for the test period itself.

These are those of split.cut: random. With the other cuts (cuts.py) no event is removed for its item, and sessions of one event
stay in what is known before. By session, whoever is not asked (one event, or one too many for max_..._sessions) is known whole;
by time, what lies at or after the period's start is known of those alone who are asked.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from otto_gpu.errors import UserError
from otto_gpu.events.advice import Nobody, advise
from otto_gpu.events.auto import Chosen
from otto_gpu.events.cuts import Prefixes, at_moment, before_last, cut_at, random_cuts, with_prefixes
from otto_gpu.events.labels import Labels
from otto_gpu.events.log import EventLog
from otto_gpu.events.settings import SplitConfig, TargetsConfig
from otto_gpu.events.span import DAY_MS, iso, number_of

TRIED = 2_000_000  # events of a log on which an advice is tried before it is given


@dataclass(frozen=True)
class Scope:
    """Which part of the log a period is: of what happened from `start` to before `end` (ms; None: to the log's end), or by
    session all events of the sessions that were `drawn` (bool [n_sessions]). asked: bool [n_sessions], whose histories the
    period holds, or whose beginnings."""

    asked: np.ndarray
    start: int | None = None
    end: int | None = None
    drawn: np.ndarray | None = None


@dataclass(frozen=True)
class Period:
    """train: all that is known from before the period; history: the period's sessions up to their cuts;
    labels: what follows, None where nobody knows. No session has events in both train and history.
    prefixes: histories are beginnings of one session, of which the longer ones hold the answers of the shorter ones.
    scope: None for the sessions of a test file, and where the period was loaded."""

    train: EventLog
    history: EventLog
    labels: Labels | None
    prefixes: bool = False
    scope: Scope | None = None

    @cached_property
    def known(self) -> EventLog:
        """What may be learnt from: train and histories in one log; of prefixes nothing is learnt."""
        return self.train if self.prefixes else self.train.merged_with(self.history)

    @cached_property
    def counted(self) -> EventLog:
        """The histories that may be learnt from: all of them, or none where they are prefixes."""
        return self.history.where(np.zeros(len(self.history), bool)) if self.prefixes else self.history

    @cached_property
    def sessions(self) -> np.ndarray:
        """int32, ascending: the sessions to recommend for."""
        return np.flatnonzero(np.diff(self.history.starts)).astype(np.int32)


def split_log(
    log: EventLog,
    config: SplitConfig,
    targets: TargetsConfig,
    from_test_file: np.ndarray | None = None,
    answers: Labels | None = None,
    chosen: bool = False,
) -> dict[str, Period]:
    """{"validation": Period, "test": Period} with the ids of `log`; where every place is asked, there are more sessions.

    from_test_file: bool [log.n_sessions]; the sessions it marks are the test period as they are (nothing is filtered
    or cut, labels are the `answers`), and only the validation period is cut from the rest. Raises UserError that names the
    setting to change, and what would fit the log, where a period, or what lies before it, would be empty. chosen: the settings
    are those of split: auto, which needs no such advice: the error is Nobody.
    """
    _require(len(log), "the log holds no events: there is nothing to split")
    try:
        return _periods(log, config, targets, from_test_file, answers)
    except Nobody as nobody:
        if chosen:
            raise

        def works(found: Chosen) -> bool:
            """Whether what would be advised holds somebody; of large logs it is taken for granted."""
            with suppress(Nobody):
                kept = log if found.before is None else log.where(log.ts < found.before)
                return len(log) > TRIED or bool(_periods(kept, found.split, targets, from_test_file, answers))
            return False

        raise UserError(advise(nobody, log, config, targets, from_test_file, works)) from None


def _periods(
    log: EventLog, config: SplitConfig, targets: TargetsConfig, from_test_file: np.ndarray | None, answers: Labels | None
) -> dict[str, Period]:
    cut = _Cutter(config, targets, from_test_file)
    if from_test_file is None:
        start = _start("test", config, end=int(log.ts.max()))
        test = cut("test", log, start, config.seed, config.max_test_sessions)
        before = test.known if config.cut == "time" else test.train
    else:
        marked = from_test_file[log.session]
        before = _two_or_more(log, ~marked) if config.cut == "random" else log.where(~marked)
        test = Period(before, log.where(marked), answers)
        _require(len(test.history), "the test file holds no events: it must hold the sessions to predict")
        _require(len(before), "no session of the log has 2 events: there is nothing to learn from")
        start = int(before.ts.max())
    first, end = _start("validation", config, end=start), start if from_test_file is None else None
    validation = cut("validation", before, first, config.seed + 1, config.max_validation_sessions, end)
    return cut.numbered({"validation": validation, "test": test}, log)


class _Cutter:
    """Cuts periods, one after the other; remembers the prefixes that it made, whose ids follow one another."""

    def __init__(self, config: SplitConfig, targets: TargetsConfig, from_test_file: np.ndarray | None):
        self._config, self._targets, self._from_test_file = config, targets, from_test_file
        self._prefixes: list[Prefixes] = []

    def __call__(self, name: str, log: EventLog, start: int, seed: int, most: int | None, end: int | None = None) -> Period:
        """A period that begins at `start` (ms); most: sessions that are asked; end: where it ends at the latest."""
        config, targets = self._config, self._targets
        if config.cut == "time":
            return _at_moment(log, name, config, targets, start, end, seed, most)
        choice = _choose(log, name, config, start, self._from_test_file)
        where = {"start": start, "end": end} if config.by == "time" else {"drawn": choice.chosen}
        if config.cut == "random":
            period = _cut(*_divide(log, choice), targets, seed, most)
            return replace(period, scope=Scope(_held(period.history), **where))
        train, full = _asked(log, config, choice, seed, most)
        scope = Scope(_held(full), **where)
        if config.cut == "last":
            return Period(train, *cut_at(full, before_last(full), targets), scope=scope)
        prefixes = Prefixes.of(full, self._prefixes[-1].log.n_sessions if self._prefixes else log.n_sessions)
        self._prefixes.append(prefixes)
        return Period(train, *cut_at(prefixes.log, prefixes.cuts, targets), prefixes=True, scope=scope)

    def numbered(self, periods: dict[str, Period], log: EventLog) -> dict[str, Period]:
        """The periods with one dictionary of sessions."""
        if not self._prefixes:
            return periods
        sessions = with_prefixes(log.sessions, log.n_sessions, self._prefixes)
        ids = {"sessions": sessions, "n_sessions": len(sessions)}
        return {
            name: replace(period, train=replace(period.train, **ids), history=replace(period.history, **ids))
            for name, period in periods.items()
        }


@dataclass(frozen=True)
class _Choice:
    """chosen: bool [n_sessions], the sessions of a period; before: bool [n], the events before it; where: what is said of it,
    for errors; start: ms, None by session."""

    name: str
    chosen: np.ndarray
    before: np.ndarray
    where: str
    start: int | None

    def require(self, there: int, what: str, short: bool) -> None:
        """Nobody, unless something is there. short: whether it is the period that is empty, not what lies before it."""
        if not there:
            where = f"split: no {what} {'lies in' if short else 'lies before'} the {self.name} period, which {self.where}"
            raise _nobody(where, self.name, self.start, short)


def _choose(log: EventLog, name: str, config: SplitConfig, start: int, from_test_file: np.ndarray | None = None) -> _Choice:
    if config.by == "time":
        began = np.full(log.n_sessions, np.iinfo(np.int64).max)
        held = np.flatnonzero(np.diff(log.starts))
        began[held] = log.ts[log.starts[held]]
        where = f"begins at {iso(start)}, the log that it is cut from runs from {iso(log.ts.min())} to {iso(log.ts.max())}"
        return _Choice(name, began >= start, log.ts < start, where, start)
    chosen = _drawn(log.n_sessions, name, config, from_test_file)
    where = f"is a share of {getattr(config, f'{name}_fraction'):g} of {number_of(log.n_sessions, 'session')}"
    return _Choice(name, chosen, ~chosen[log.session], where, None)


def _nobody(where: str, name: str, start: int | None, short: bool) -> Nobody:
    remedy = f"{'raise' if short else 'lower'} split.{name}_days, or set split.{name}_start {'earlier' if short else 'later'}"
    if start is None:
        remedy = f"{'raise' if short else 'lower'} split.{name}_fraction or give more sessions"
    return Nobody(where, name, start, short, remedy)


def _divide(log: EventLog, choice: _Choice) -> tuple[EventLog, EventLog]:
    """(what is known before the period, the period's whole sessions without unknown items); neither is empty."""
    train = _two_or_more(log, choice.before)
    choice.require(len(train), "session with 2 events", short=False)
    known = np.zeros(log.n_items, bool)
    known[train.aid] = True
    full = _two_or_more(log, choice.chosen[log.session] & known[log.aid])
    choice.require(len(full), "session with 2 events of known items", short=True)
    return train, full


def _cut(train: EventLog, full: EventLog, targets: TargetsConfig, seed: int, most: int | None) -> Period:
    lengths = np.diff(full.starts)
    sessions = np.flatnonzero(lengths)
    cuts = np.zeros(full.n_sessions, np.int64)
    cuts[sessions] = random_cuts(lengths[sessions], seed)
    if most is not None:  # after the draw of the cuts, so that a sample's sessions are cut as in the whole
        cuts[np.random.default_rng([seed, 1]).permutation(sessions)[most:]] = 0
    return Period(train, *cut_at(full, cuts, targets))


def _asked(log: EventLog, config: SplitConfig, choice: _Choice, seed: int, most: int | None) -> tuple[EventLog, EventLog]:
    """(what is known before the period, the whole sessions that are asked: two events or more); neither is empty."""
    sessions = np.flatnonzero(choice.chosen & (np.diff(log.starts) >= 2))
    asked = _some(sessions, log.n_sessions, seed, most)
    choice.require(len(sessions), "session with 2 events", short=True)
    mine = asked[log.session]
    train = log.where(~mine if config.by == "session" else choice.before)
    choice.require(len(train), "event", short=False)
    return train, log.where(mine)


def _at_moment(
    log: EventLog, name: str, config: SplitConfig, targets: TargetsConfig, start: int, latest: int | None, seed: int, most
) -> Period:
    """Everybody with events before the moment is asked, whether or not anything follows: nothing later decides about it."""
    end = start + round(getattr(config, f"{name}_days") * DAY_MS)
    end += getattr(config, f"{name}_start") is None  # days that are counted from the log's last event hold that event
    end = end if latest is None else min(end, latest)
    before = log.where(log.ts < start)
    runs = f"the log that it is cut from runs from {iso(log.ts.min())} to {iso(log.ts.max())}"
    if not len(before):
        where = f"split: no event lies before the moment of the {name} period, {iso(start)}; {runs}"
        raise _nobody(where, name, start, short=False)
    asked = _some(np.flatnonzero(np.diff(before.starts)), log.n_sessions, seed, most)
    history, labels = at_moment(log, start, end, asked, targets)
    if not len(labels):
        where = f"split: nobody known before the moment of the {name} period, {iso(start)}, does anything that is asked until "
        raise _nobody(f"{where}{iso(end)}; {runs}", name, start, short=True)
    return Period(before.where(~asked[before.session]), history, labels, scope=Scope(asked, start, end))


def _held(log: EventLog) -> np.ndarray:
    """bool [n_sessions]: those that have events in the log."""
    return np.diff(log.starts) > 0


def _some(sessions: np.ndarray, n: int, seed: int, most: int | None) -> np.ndarray:
    """bool [n]: these sessions, or a random sample of `most`."""
    asked = np.zeros(n, bool)
    asked[sessions if most is None else np.random.default_rng([seed, 1]).permutation(sessions)[:most]] = True
    return asked


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

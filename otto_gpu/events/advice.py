"""Why a period holds nobody, or hardly anybody, and which settings fit the log at hand."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from otto_gpu.errors import UserError
from otto_gpu.events.auto import EARLIER, Chosen, choose_split
from otto_gpu.events.log import EventLog
from otto_gpu.events.settings import SplitConfig, TargetsConfig
from otto_gpu.events.span import DAY_MS, FEW, SHARE, day, duration, iso, number_of

VISITS = (
    "here a session seems to be a customer, not a visit: set split.cut: time (everybody is asked for what follows a moment), "
    "split.by: session, or events.visit_minutes: 30 (cuts visits at pauses)"
)
HARDLY_ANYBODY, FEW_OF = 30, 0.05  # sessions that are asked, where the log has more to give


class Nobody(UserError):
    """A period, or what lies before it, would be empty. start: ms, None where periods are shares of the sessions; short:
    whether it is the period that is empty; remedy: the settings to change."""

    def __init__(self, message: str, name: str, start: int | None, short: bool, remedy: str):
        super().__init__(f"{message}: {remedy}")
        self.message, self.name, self.start, self.short, self.remedy = message, name, start, short, remedy


def advise(
    nobody: Nobody,
    log: EventLog,
    config: SplitConfig,
    targets: TargetsConfig,
    marked: np.ndarray | None,
    works: Callable[[Chosen], bool],
) -> str:
    """What is wrong, why in this log, and what would do. marked: bool [n_sessions], the sessions of a test file; works: whether
    a choice holds somebody."""
    fit, why = fitting(log, config, targets, marked), ""
    if fit is not None and not works(fit):
        drawn = fitting(log, config.model_copy(update={"by": "session"}), targets, marked)
        fit = drawn if drawn is not None and works(drawn) else None
    log = log if marked is None else log.where(~marked[log.session])
    if nobody.start is not None and nobody.short:
        why = gap(log.ts, nobody.start)
        inside, earlier = began_earlier(log, nobody.start)
        if not why and config.cut != "time" and earlier > EARLIER * inside and not (fit and _by_visits(fit)):
            why = f"{earlier:,} of {number_of(inside, 'session')} with events in it began before it, {VISITS}"
    few = usable(log)
    small = f"; the log has no more than {number_of(few, 'session')} with 2 events" if few < HARDLY_ANYBODY else ""
    return f"{nobody.message}: {why or nobody.remedy}{_told(fit)}{small}"


def usable(log: EventLog) -> int:
    """How many sessions have two events or more."""
    return int((np.diff(log.starts) >= 2).sum())


def gap(ts: np.ndarray, start: int) -> str:
    """Whether a period is nearly empty because a few events lie behind a gap, and the setting that leaves them out."""
    few = max(FEW, int(SHARE * len(ts)))
    if len(ts) <= 2 * few:
        return ""
    last = np.sort(np.partition(ts, len(ts) - few - 1)[len(ts) - few - 1 :])
    widest = int(np.argmax(np.diff(last)))
    before, after = int(last[widest]), int(last[widest + 1])
    if after - before < max(int(last[-1]) - start, DAY_MS):
        return ""
    n = len(last) - widest - 1
    at = (before // DAY_MS + 1) * DAY_MS
    return (
        f"the log's last {number_of(n, 'event')} {'lies' if n == 1 else 'lie'} {duration(after - before)} after all others "
        f"(nothing between {iso(before)} and {iso(after)}): if a clock was wrong, set events.before: {day(at)}"
    )


def began_earlier(log: EventLog, start: int) -> tuple[int, int]:
    """(sessions with events at or after `start`, ms; how many of them began before it)."""
    held = np.flatnonzero(np.diff(log.starts))
    first, last = log.ts[log.starts[held]], log.ts[log.starts[held + 1] - 1]
    return int((last >= start).sum()), int(((last >= start) & (first < start)).sum())


def fitting(log: EventLog, config: SplitConfig, targets: TargetsConfig, marked: np.ndarray | None) -> Chosen | None:
    """What split: auto would take; None where it finds nothing either."""
    cut = config.cut if config.cut in ("last", "every") else "random"
    free = SplitConfig(seed=config.seed, auto=True, cut=cut, by=config.by)
    try:
        return choose_split(log, free, targets, marked)
    except UserError:
        return None


def _by_visits(fit: Chosen) -> bool:
    return fit.split.by == "time" and fit.split.cut != "time"


def _told(fit: Chosen | None) -> str:
    return "" if fit is None else f"; split: auto would take {fit.as_text()}"


def doubts(log: EventLog, asked: int, config: SplitConfig, targets: TargetsConfig, start: int | None) -> str | None:
    """A warning where a test period by time holds hardly anybody, or leaves most of its sessions out; None where there is none.
    asked: the sessions of the period; start: ms, where it begins, None where it is none that begins."""
    if start is None or config.cut == "time":
        return None
    inside, earlier = began_earlier(log, start)
    early = earlier > EARLIER * inside
    few = asked < HARDLY_ANYBODY and asked < FEW_OF * usable(log)
    if not early and not few:
        return None
    fit = fitting(log, config, targets, None)
    if early and not (fit and _by_visits(fit)):
        told = (
            f"{earlier:,} of {number_of(inside, 'session')} with events in the test period began before it, and are not asked"
        )
        return f"{told}: {VISITS}{_told(fit)}"
    if few and (config.max_test_sessions is None or asked < config.max_test_sessions):
        told, why = f"the test period asks {number_of(asked, 'session')}, of which little can be told", gap(log.ts, start)
        return f"{told}{': ' + why if why else ''}{_told(fit)}"
    return None

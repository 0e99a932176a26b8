"""From what was read to what is split: events far from the log's own days and a thin tail go, split: auto chooses."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from otto_gpu.errors import UserError
from otto_gpu.events.advice import Nobody, doubts, usable
from otto_gpu.events.auto import Chosen, choose_split
from otto_gpu.events.auto import told as lines_of
from otto_gpu.events.labels import Labels
from otto_gpu.events.log import EventLog
from otto_gpu.events.read import ReadResult
from otto_gpu.events.settings import EventsConfig, SplitConfig, TargetsConfig
from otto_gpu.events.span import DAY_MS, SAMPLE, between, day, duration, iso, number_of, own_days
from otto_gpu.events.split import Period, split_log
from otto_gpu.events.times import YEAR_1990_MS

Say = Callable[[str], None]


@dataclass(frozen=True)
class Prepared:
    """result: what was read, without what is left out for its time; split: the settings as they are; chosen: what split: auto
    chose, None where the settings say it."""

    result: ReadResult
    split: SplitConfig
    chosen: Chosen | None = None


def prepare(result: ReadResult, events: EventsConfig, split: SplitConfig, targets: TargetsConfig, say: Say) -> Prepared:
    """say: is told what goes, what was chosen and why. Raises UserError where the log is too small for split: auto."""
    result = _own_days(result, events, split, say)
    if not split.auto:
        return Prepared(result, split)
    chosen = choose_split(result.log, split, targets, result.from_test_file, tail=events.before is None)
    if chosen.before is not None:
        kept = result.log.ts < chosen.before
        if result.from_test_file is not None:
            kept |= result.from_test_file[result.log.session]
        result = _keep(result, kept, "tail")
    _tell(chosen, say)
    return Prepared(result, chosen.split, chosen)


def split_prepared(
    prepared: Prepared, log: EventLog, targets: TargetsConfig, truth: Labels | None, say: Say
) -> tuple[dict[str, Period], Prepared]:
    """(periods of the log, what they were made with). log: the prepared one, which may know more items. Where split: auto chose
    a period by time that turns out to hold nobody, such as for unknown items alone, sessions are drawn instead."""
    marked, chosen = prepared.result.from_test_file, prepared.chosen
    try:
        periods = split_log(log, prepared.split, targets, marked, truth, chosen is not None)
    except Nobody as nobody:
        if chosen is None:
            raise
        found = f"split: auto finds no split for this log of {number_of(usable(log), 'session')} with 2 events or more: "
        if chosen.split.by == "session":
            raise UserError(f"{found}{nobody.message}; give a longer log") from None
        drawn = choose_split(log, chosen.split.model_copy(update={"by": "session"}), targets, marked)
        why = f"by time there is nobody ({nobody.message}); {drawn.why}"
        chosen = replace(drawn, before=chosen.before, tail=chosen.tail, why=why)
        prepared = replace(prepared, split=chosen.split, chosen=chosen)
        _tell(chosen, say)
        try:
            periods = split_log(log, chosen.split, targets, marked, truth, True)
        except Nobody as nobody:
            raise UserError(f"{found}{nobody.message}; give a longer log") from None
    if chosen is not None:
        say(f"  {answers(periods, targets)}")
    elif scope := periods["test"].scope:
        asked = len(periods["test"].sessions)
        if (doubt := doubts(log, asked, prepared.split, targets, scope.start)) is not None:
            say(f"  warning: {doubt}")
    return periods, prepared


def answers(periods: dict[str, Period], targets: TargetsConfig) -> str:
    """How many answers each period has, in words."""
    parts = []
    for name, period in periods.items():
        found = "no answers"
        if period.labels is not None:
            numbers = np.bincount(period.labels.type, minlength=len(targets.types))
            found = ", ".join(f"{t} {numbers[targets.code(t)]:,}" for t in targets.names)
        parts.append(f"{name}: {number_of(len(period.sessions), 'session')}, answers {found}")
    return "; ".join(parts)


def _tell(chosen: Chosen, say: Say) -> None:
    for line in lines_of(chosen):
        say(f"  {line}")


def _own_days(result: ReadResult, events: EventsConfig, split: SplitConfig, say: Say) -> ReadResult:
    """Without the few events far before and far behind all others, where periods are counted in days from the last event; told
    in any case."""
    log, marked = result.log, result.from_test_file
    if not len(log) or events.generated:
        return result
    ts = log.ts if marked is None else log.ts[~marked[log.session]]
    if not len(ts):
        return result
    days = own_days(ts)
    counted = split.by == "time" and getattr(split, "test_start" if marked is None else "validation_start") is None
    if not len(days.early) and not len(days.late):
        _tell_future(log.ts, say)
        _tell_1970(ts, say)
        return result
    kept, told = np.ones(len(log), bool), False
    for found, key, side in ((days.early, "after", "before"), (days.late, "before", "after")):
        if not len(found) or getattr(events, key) is not None:
            continue
        at = days.first // DAY_MS * DAY_MS if key == "after" else (days.last // DAY_MS + 1) * DAY_MS
        gap = days.first - int(found[-1]) if key == "after" else int(found[0]) - days.last
        where = day(found[0]) if day(found[0]) == day(found[-1]) else between(int(found[0]), int(found[-1]))
        line = f"{number_of(len(found), 'event')} of {len(log):,} {'lies' if len(found) == 1 else 'lie'} in {where}, "
        line += f"{duration(gap)} {side} all others ({between(days.first, days.last)})"
        if counted:
            say(f"  {line}: left out, as periods are days counted from the log's end; events.{key}: {day(at)} says so for good")
            kept &= (log.ts >= days.first) if key == "after" else (log.ts <= days.last)
        else:
            say(f"  warning: {line}: if a clock was wrong, set events.{key}: {day(at)}")
            told = told or key == "before"
    if marked is not None:
        kept |= marked[log.session]
    result = result if kept.all() else _keep(result, kept, "far")
    if not told:
        _tell_future(result.log.ts, say)
    return result


def _tell_future(ts: np.ndarray, say: Say) -> None:
    """A log may lie in the future as a whole, as generated ones do; parts of it are doubtful."""
    now = int(time.time() * 1000)
    if len(ts) and int(ts.max()) > now + DAY_MS and int(ts.min()) <= now:
        n = int((ts > now + DAY_MS).sum())
        lie = "lies" if n == 1 else "lie"
        say(f"  warning: {number_of(n, 'event')} {lie} after today, the last at {iso(ts.max())}; events.before leaves them out")


def _tell_1970(ts: np.ndarray, say: Say) -> None:
    """Times of the first year of the clock among others of our days are times that somebody did not know."""
    if int(ts.min()) < 365 * DAY_MS and float(np.median(ts[:: max(1, len(ts) // SAMPLE)])) > YEAR_1990_MS:
        n = int((ts < 365 * DAY_MS).sum())
        told = f"{number_of(n, 'event')} of {len(ts):,} {'lies' if n == 1 else 'lie'} in 1970, as where a time was not known"
        say(f"  warning: {told}; events.after leaves them out")


def _keep(result: ReadResult, kept: np.ndarray, name: str) -> ReadResult:
    """Of what was read the events `kept` (bool [n]); name: under which the others are counted. The ids are as if those had
    never been there."""
    log, sessions = result.log.where(kept).compacted()
    per_type = np.bincount(log.type, minlength=len(log.types)).tolist()
    counts = result.counts | {"events": len(log), name: int(len(kept) - kept.sum())}
    counts["types"] = dict(zip(log.types, per_type, strict=True))
    marked = None if result.from_test_file is None else result.from_test_file[sessions]
    return replace(result, log=log, counts=counts, from_test_file=marked)

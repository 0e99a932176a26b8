"""split: auto looks at a log and chooses where its periods lie, how its sessions are cut, and which thin tail is left out.

What is looked at: whether the times are a clock at all, how long the log is, whether its sessions are visits or customers (of
whom most were there before any period begins), and how many answers of every target a period would hold. A period gets a tenth
to a fifth of the sessions, more only for lack of answers, and whole weeks where the log has enough of them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from otto_gpu.errors import UserError
from otto_gpu.events.cuts import places
from otto_gpu.events.log import EventLog
from otto_gpu.events.settings import SPLITS, SplitConfig, TargetsConfig
from otto_gpu.events.span import DAY_MS, FEW, HOUR_MS, MINUTE_MS, WEEK_MS, day, duration, iso, number_of

ENOUGH = 200  # answers of a target in a period: with fewer, intervals are wide ones
LEAST, MOST, FOR_ANSWERS = 0.1, 0.2, 0.3  # of the sessions in a period: at least; at most; at most where answers are few
LUMP = 0.4  # at most, where no period of another length holds anybody
LEAST_EVENTS = 0.05  # of the events, where everybody is asked for what follows a moment
EARLIER = 0.5  # of a period's sessions: where more began before it, they are customers rather than visits
LENGTHS = (
    *(n * MINUTE_MS for n in (1, 2, 5, 10, 15, 20, 30)),
    *(n * HOUR_MS for n in (1, 2, 3, 4, 6, 8, 12)),
    *(n * DAY_MS for n in (1, 2, 3, 4, 5, 7, 14, 21, 28, 42, 56, 84, 112, 168, 364)),
)  # fmt: skip
SHORT = 3 * DAY_MS  # a log that is shorter has no whole days to give
SAMPLE = 2_000_000  # events that are looked at, of whole sessions
CHUNK = 1 << 22  # events at a time
THIN, TAIL_SHARE = 0.1, 0.02  # a day is thin with so little of a usual day's events; a tail holds no more than this share


@dataclass(frozen=True)
class Chosen:
    """split: settings with what was chosen; why: a sentence; periods: which of them it is about; before: ms, the events from
    there on are a thin tail (None: there is none); tail: how many they are."""

    split: SplitConfig
    why: str
    periods: tuple[str, ...] = SPLITS
    before: int | None = None
    tail: int = 0

    @property
    def settings(self) -> dict[str, dict]:
        """What to write into a config to have the same without auto."""
        split = {"cut": self.split.cut, "by": self.split.by}
        kind = "days" if self.split.by == "time" else "fraction"
        split |= {f"{name}_{kind}": _number(getattr(self.split, f"{name}_{kind}")) for name in reversed(self.periods)}
        return {"split": split} | ({} if self.before is None else {"events": {"before": iso(self.before)}})

    def as_text(self) -> str:
        """As one would write it into a config."""
        parts = {name: ", ".join(f"{k}: {v}" for k, v in found.items()) for name, found in self.settings.items()}
        return ", ".join(f"{name}: {{{found}}}" for name, found in parts.items())


def choose_split(
    log: EventLog, config: SplitConfig, targets: TargetsConfig, from_test_file: np.ndarray | None = None, tail: bool = True
) -> Chosen:
    """What fits this log. config: its seed, its numbers of sessions and another `cut` or `by` than the defaults stay as they
    are; from_test_file: bool [n_sessions], the sessions that are the test period already; tail: whether one may be left out.
    Raises UserError where the log has too few sessions for any split."""
    rest = log if from_test_file is None else log.where(~from_test_file[log.session])
    before = thin_tail(rest.ts) if tail and config.by == "time" else None
    short = rest if before is None else rest.where(rest.ts < before)
    seen = _Seen.of(short, config.cut, targets)
    n = seen.sessions
    if n < 3:
        raise UserError(
            f"split: auto: the log has {number_of(n, 'session')} with 2 events or more: to learn, to validate and to test it "
            "takes 3 at least, and hundreds to say anything; give a longer log, or see whether events.columns.session is the "
            "column of the visit or the customer"
        )
    chosen = None
    if config.by == "time" and seen.has_clock:
        chosen = _by_time(seen, config, from_test_file is None)
    if chosen is None:
        chosen, before = _by_session(seen, config), None
    return Chosen(
        SplitConfig.model_validate(config.model_dump() | {"auto": False} | chosen[0]),
        chosen[1],
        SPLITS if from_test_file is None else SPLITS[:1],
        before,
        0 if before is None else len(rest) - len(short),
    )


def thin_tail(ts: np.ndarray) -> int | None:
    """The midnight (ms, UTC) from which on a log of a week or more has two days or more with next to nothing; None: none has.
    ts: int64 [n], ms."""
    if not len(ts) or int(ts.max()) - int(ts.min()) < 7 * DAY_MS:
        return None
    first = int(ts.min()) // DAY_MS
    if int(ts.max()) // DAY_MS - first > 100_000:  # no clock that a person has set
        return None
    counts = np.zeros(int(ts.max()) // DAY_MS - first + 1, np.int64)
    for start in range(0, len(ts), CHUNK):
        counts += np.bincount(ts[start : start + CHUNK] // DAY_MS - first, minlength=len(counts))
    ordered = np.sort(counts)
    usual = ordered[np.searchsorted(np.cumsum(ordered), len(ts) / 2)]  # half of the events fall on days as full as this one
    thin = counts < THIN * usual
    there = max((int(ts.max()) % DAY_MS + 1) / DAY_MS, 1 / 24)  # of the last day, which may not be a whole one
    thin[-1] = counts[-1] < THIN * usual * there or (thin[-2] and counts[-1] <= FEW)
    end = len(counts) if thin.all() else len(counts) - int(np.argmin(thin[::-1]))
    inside = counts[end:].sum()
    return (first + end) * DAY_MS if len(counts) - end >= 2 and inside <= TAIL_SHARE * len(ts) else None


@dataclass(frozen=True)
class _Seen:
    """What is looked at of a log: all sessions, or every `scale`-th one. log: their events; usable: int64 [s], those with two
    events or more; there: the targets that the log has; cut: how sessions will be cut, where not at a moment."""

    log: EventLog
    usable: np.ndarray
    there: tuple[str, ...]
    targets: TargetsConfig
    cut: str
    scale: int

    @classmethod
    def of(cls, log: EventLog, cut: str, targets: TargetsConfig) -> _Seen:
        log, scale = replace(log, extra=None, context={}), max(1, -(-len(log) // SAMPLE))
        if scale > 1:
            log = log.where(log.session % scale == 0)
        there = tuple(name for name in targets.names if (log.type == targets.code(name)).any())
        return cls(log, np.flatnonzero(np.diff(log.starts) >= 2), there, targets, cut, scale)

    @cached_property
    def sessions(self) -> int:
        return len(self.usable) * self.scale

    @cached_property
    def first(self) -> np.ndarray:
        """int64 [s], ms: the sessions' first events."""
        return self.log.ts[self.log.starts[self.usable]]

    @cached_property
    def last(self) -> np.ndarray:
        return self.log.ts[self.log.starts[self.usable + 1] - 1]

    @cached_property
    def _begins(self) -> np.ndarray:
        """int64 [n], ms: when the session of every event begins."""
        return np.repeat(self.log.ts[self.log.starts[:-1][np.diff(self.log.starts) > 0]], self._lengths)

    @cached_property
    def _lengths(self) -> np.ndarray:
        lengths = np.diff(self.log.starts)
        return lengths[lengths > 0]

    @cached_property
    def _known_from(self) -> np.ndarray:
        """int64 [n_items], ms: when an item was met first."""
        found = np.full(self.log.n_items, np.iinfo(np.int64).max)
        np.minimum.at(found, self.log.aid, self.log.ts)
        return found

    @cached_property
    def span(self) -> tuple[int, int]:
        return self.log.span

    @cached_property
    def typical(self) -> float:
        """ms that half of the sessions last at most."""
        return float(np.median(self.last - self.first))

    @cached_property
    def has_clock(self) -> bool:
        """Times that begin anew with every session, or that are all equal, tell nothing of before and after."""
        low, high = self.span
        if low == high:
            return False
        usual = np.median(self.first)
        same = (self.first == usual).mean() >= 0.9
        return not (same and (high - low < DAY_MS or low < DAY_MS))

    def of_period(self, start: int, end: int) -> tuple[int, np.ndarray, int]:
        """(sessions that begin in start..end-1, their answers per target, sessions with events there that began before)."""
        mine = (self.first >= start) & (self.first < end)
        earlier = (self.first < start) & (self.last >= start)
        return int(mine.sum()) * self.scale, self.answers(start, end), int(earlier.sum()) * self.scale

    def answers(self, start: int, end: int) -> np.ndarray:
        """float64 [targets]: how many answers the sessions that begin in start..end-1 are likely to give."""
        mine = (self._begins >= start) & (self._begins < end)
        if self.cut == "random" and start > self.span[0]:  # events of unknown items go
            mine &= self._known_from[self.log.aid] < start
        part = self.log.where(mine)
        lengths = np.diff(part.starts)
        place, rest = places(part), np.repeat(lengths - 1, lengths)
        if self.cut == "last":
            asked = (place == rest) & (rest > 0)
        elif self.cut == "every":
            asked = place > 0
        else:  # the share of the places 1..n-1 where a cut comes before this event
            asked = place / np.maximum(rest, 1)
        found = []
        for name in self.there:
            values = np.where(part.type == self.targets.code(name), asked, 0.0)
            if name in self.targets.next_only and self.cut == "random":  # one at most: most cuts come before the last of them
                held = part.starts[:-1][lengths > 0]
                found.append(np.maximum.reduceat(values, held).sum() if len(held) else 0.0)
            else:
                found.append(values.sum())
        return np.array(found) * self.scale

    def after_moment(self, start: int, end: int) -> tuple[int, np.ndarray]:
        """(events in start..end-1, answers per target of those who were there before)."""
        inside = (self.log.ts >= start) & (self.log.ts < end)
        mine, found = inside & (self._begins < start), []
        for name in self.there:
            asked = self.log.session[mine & (self.log.type == self.targets.code(name))]
            found.append(len(np.unique(asked)) if name in self.targets.next_only else len(asked))
        return int(inside.sum()) * self.scale, np.array(found, float) * self.scale


def _by_time(seen: _Seen, config: SplitConfig, both: bool) -> tuple[dict, str] | None:
    """(settings, why), None where no period by time holds anybody. both: the test period is chosen too."""
    low, high = seen.span
    length = None if config.cut == "time" else _visits(seen, high)
    long = length is None
    if length is not None:
        start, lengths = high - length, [length]
        if both and (before := _visits(seen, start, length)) is not None:
            lengths.append(before)
        n, _, earlier = seen.of_period(start, high + 1)
        long = earlier > EARLIER * (n + earlier)
        if not long and len(lengths) == 1 + both:
            return _days(lengths), (
                f"sessions last {duration(seen.typical)} at the median, the log {duration(high - low)}, and "
                f"{100 * n / seen.sessions:.2g} % of them begin within {duration(length)} of its end"
            )
    # visits that are long for so short a log, or for which another cut is asked
    if not long or config.cut in ("last", "every") or (seen.typical < DAY_MS / 2 and high - low < SHORT):
        return None
    judged, length = length, _moment(seen)
    if length is None:
        return None
    judged = judged or length
    n, _, earlier = seen.of_period(high - judged, high + 1)
    why = f"sessions last {duration(seen.typical)} at the median, the log {duration(high - low)}, and {earlier:,} of the "
    why += f"{n + earlier:,} with events in its last {duration(judged)} began before: "
    why = "as cut: time says, " if config.cut == "time" else why
    asked = f"everybody is asked for what follows a moment, within {duration(length)}"
    return _days([length] * (1 + both)) | {"cut": "time"}, why + asked


def _days(lengths: list[int]) -> dict[str, float]:
    """Settings of the periods' lengths (ms): of the last one, and of that before it. A test file is the last one itself."""
    names = ("test", "validation") if len(lengths) == 2 else ("validation",)
    return {f"{name}_days": round(length / DAY_MS, 6) for name, length in zip(names, lengths, strict=True)}


def _visits(seen: _Seen, end: int, like: int | None = None) -> int | None:
    """How long, ms, a period is that ends at `end` and asks those who begin in it; None where none fits. like: the length of
    the period after it, taken where it will do."""
    low, high = seen.span
    found = {}
    for length in LENGTHS:
        if end - length > low:
            n = ((seen.first >= end - length) & (seen.first < end + (end == high))).sum() / len(seen.first)
            if n > LUMP:
                break
            answers = seen.answers(end - length, end + (end == high)) if n >= LEAST / 2 else np.zeros(1)
            found[length] = (float(n), bool((answers >= ENOUGH).all()))
    if like in found and LEAST / 2 <= found[like][0] <= FOR_ANSWERS:
        return like
    days = {length: at for length, at in found.items() if length >= DAY_MS}
    # people come by days: parts of a day are for short logs
    return (_best(days) if high - low >= SHORT else None) or _best(found)


def _best(found: dict[int, tuple[float, bool]]) -> int | None:
    """Of {length: (share of the sessions, enough answers)} the length to take."""
    fitting = {length: enough for length, (share, enough) in found.items() if LEAST <= share <= FOR_ANSWERS}
    if not fitting:  # a log that is short or lumpy: the least that holds anybody worth the name leaves most to learn from
        return next((length for length, (share, _) in found.items() if share >= LEAST), None)
    length = next((length for length, enough in fitting.items() if enough), max(fitting))
    # all days of the week, where they are to be had
    return WEEK_MS if DAY_MS <= length < WEEK_MS and WEEK_MS in fitting else length


def _moment(seen: _Seen) -> int | None:
    """How long, ms, the periods are in which everybody is asked."""
    low, high = seen.span
    chosen = None
    for length in LENGTHS:
        if not (high - low) / 200 <= length <= (high - low) / 3 or (length < DAY_MS and high - low >= SHORT):
            continue
        events, answers = seen.after_moment(high - length, high + 1)
        _, before = seen.after_moment(high - 2 * length, high - length)
        share = events / (len(seen.log) * seen.scale)
        if not answers.any() or not before.any() or (chosen is not None and share > FOR_ANSWERS):
            continue
        chosen = length
        if share >= LEAST_EVENTS and min(answers.min(), before.min()) >= ENOUGH:
            break
    return chosen


def _by_session(seen: _Seen, config: SplitConfig) -> tuple[dict, str]:
    low, high = seen.span
    n, answers = seen.sessions, seen.answers(low, high + 1)
    share = LEAST if (LEAST * answers >= ENOUGH).all() else MOST
    if n < 50:  # of few sessions a third each, or nobody would be asked
        share = 0.3
    share = max(share, 1 / n)
    if config.by == "session":
        why = "by session, as it is said"
    elif low == high:
        why = "all events have the same time, which says nothing of before and after"
    elif not seen.has_clock:
        why = "the sessions' times all begin at the same moment, which says nothing of before and after"
    else:
        lasts = f"sessions last {duration(seen.typical)} at the median, the log {duration(high - low)}"
        why = f"{lasts}: no period by time holds enough"
    cut = "random" if config.cut == "time" else config.cut
    shares = {"by": "session", "cut": cut, "validation_fraction": share, "test_fraction": share}
    return shares, f"{why}; {100 * share:.3g} % of the sessions are drawn for each period"


def _number(value: float) -> float | int:
    return int(value) if value == int(value) else value


def told(chosen: Chosen) -> list[str]:
    """What was chosen and why, in a line or two."""
    lines = [f"split: auto chose {chosen.as_text()}", f"because {chosen.why}"]
    if chosen.before is not None:
        lines[1] += f"; {number_of(chosen.tail, 'event')} of the thin tail from {day(chosen.before)} on left out"
    return lines

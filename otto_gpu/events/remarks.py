"""What is said of a period that leaves much out: in the terminal, on the page and on the card."""

from __future__ import annotations

from collections.abc import Iterable

from otto_gpu.events.settings import SPLITS
from otto_gpu.events.span import number_of

# shares of a target's events or answers, and of sessions, above which something is said; how many it takes at least
MANY, MOST, LEAST = 0.2, 0.5, 10

UNKNOWN_ITEMS = (
    "In the {period} period {shares} are of items that have no event before it{alike}. They are left out, and no figure counts "
    "them as missed."
)
UNKNOWN_ANSWERS = (
    "In the {period} period {shares} are of items without an event in what is known{alike}. Lists that are made of events "
    "cannot hold them; they count as missed."
)
BEGAN_EARLIER = (
    "In the {period} period {shares} are of sessions that began before it{alike}. They are left out: neither asked "
    "about nor learnt from. If a session is a user, split.cut: time asks about everybody."
)
BEGAN_IN_IT = (
    "In the {period} period {shares} are of sessions without an event before it{alike}. They are left out: split.cut: time "
    "asks about those of whom something is known."
)
ONE_EVENT = (
    "In the {period} period {shares} stand alone in their session{alike}. They are left out: it takes an event that is known "
    "and one that follows it."
)
SAID = {
    "unknown_items": UNKNOWN_ITEMS,
    "unknown_answers": UNKNOWN_ANSWERS,
    "began_earlier": BEGAN_EARLIER,
    "began_in_it": BEGAN_IN_IT,
    "one_event": ONE_EVENT,
}
SHORT = {
    "began_earlier": "of sessions that began before it {:,}",
    "began_in_it": "of sessions without an event before it {:,}",
    "unknown_items": "of items unknown before it {:,}",
    "one_event": "alone in their session {:,}",
}


def warnings(periods: dict[str, dict], targets: Iterable[str]) -> list[str]:
    """Sentences about what is left out, or cannot be found, in large part. periods: {split: its facts in events/summary.json};
    of facts that do not tell, as an earlier version's, nothing is said."""
    targets, found = list(targets), []
    for fate, said in SAID.items():
        shares = {split: _shares(periods.get(split) or {}, fate, targets) for split in reversed(SPLITS)}
        much = [split for split, told in shares.items() if told]
        if much:
            alike = f", and likewise in the {much[1]} period" if much[1:] else ""
            found.append(said.format(period=much[0], shares=_listed(shares[much[0]]), alike=alike))
    return found


def in_short(split: str, facts: dict, targets: Iterable[str]) -> list[str]:
    """A line about what a period leaves out, and one about what cannot be found in it, where either is much."""
    targets, found = list(targets), []
    if any(_shares(facts, fate, targets) for fate in SHORT):
        counts = facts["left_out"]
        gone = [called.format(n) for fate, called in SHORT.items() if (n := counts["events"].get(fate))]
        there = f"{number_of(counts['events']['all'], 'event')}, {number_of(counts['sessions']['all'], 'session')}"
        found.append(f"left out of the {split} period ({there}): events {', '.join(gone)}")
    if shares := _shares(facts, "unknown_answers", targets):
        found.append(f"{split} period: {_listed(shares)} are of items without an event in what is known")
    return found


def _shares(facts: dict, fate: str, targets: list[str]) -> list[str]:
    """What is to be said of a fate: nothing where it is of few."""
    if fate == "unknown_answers":
        labels, unknown = facts.get("labels") or {}, facts.get(fate) or {}
        rows = [(f"{name} that are asked", unknown.get(name, 0), labels.get(name, 0)) for name in targets]
        return _over(MANY, rows)
    counts = facts.get("left_out") or {}
    if fate not in counts.get("events", {}):
        return []
    rows = [(name, counts["targets"][name][fate], counts["targets"][name]["all"]) for name in targets]
    if fate not in ("began_earlier", "began_in_it"):
        return _over(MANY, rows)
    sessions = counts["sessions"]
    if sessions["all"] and sessions[fate] > MOST * sessions["all"]:
        return _over(0, rows)
    return _over(MOST, rows)


def _over(share: float, rows: Iterable[tuple[str, int, int]]) -> list[str]:
    """Of (what, how many, of how many)."""
    return [
        f"{n:,} of {of:,} {what} ({100 * n / of:.0f}\N{NO-BREAK SPACE}%)"
        for what, n, of in rows
        if n >= LEAST and n > share * of
    ]


def _listed(names: list[str]) -> str:
    *most, last = names
    return f"{', '.join(most)} and {last}" if most else last

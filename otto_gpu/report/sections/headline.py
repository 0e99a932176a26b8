"""The figures that come first."""

from __future__ import annotations

from otto_gpu.report import words
from otto_gpu.report.compare import since_before
from otto_gpu.report.layout import Tile
from otto_gpu.report.record import Record
from otto_gpu.report.sections.beside import BASELINES

TONES = {"better": "good", "worse": "bad"}


def kicker(record: Record) -> str:
    return f"otto_gpu · run of {words.day(record.finished)}"


def summary(record: Record) -> str:
    counts, sizes = record.metrics["events"]["counts"], record.sizes
    test, span = record.metrics["events"]["periods"]["test"], record.spans["test"]["history"]
    when = f" ({words.between(span)})" if span else ""
    return (
        f"{words.count(counts['events'])} events of {words.count(sizes['sessions'])} sessions and "
        f"{words.count(sizes['items'])} items; lists for the {words.count(test['sessions'])} sessions of the test period{when}."
    )


def tiles(record: Record) -> list[Tile]:
    figures = record.figures(record.shown_split)
    if figures is None:
        return []
    name, interval = record.metric_name, figures["interval"] or {}
    where = "" if record.shown_split == "test" else "validation: "
    sessions = f"{words.count(figures['sessions'])} sessions"
    note = _within(interval.get("weighted"), sessions)
    made = [Tile(f"{where}{name}, weighted", words.share(figures["weighted"]), note, main=True)]
    if new := figures.get("new_to_the_session"):
        note = _within((new["interval"] or {}).get("weighted"), f"{words.count(new['sessions'])} sessions")
        made.append(Tile(f"{where}{name}, weighted, new to the session", words.share(new["weighted"]), note))
    for target in record.targets.names:
        value, answers = figures[name][target], f"{words.count(record.answers(figures)[target])} answers"
        note = "absent" if value is None else _within(interval.get(target), answers)
        made.append(Tile(f"{where}{name}, {target}", words.share(value), note))
    for baseline, called in BASELINES.items():
        if found := figures.get("baselines", {}).get(baseline):
            made.append(change(f"weighted, against {called}", found["gain_over_it"]))
    made.append(change("weighted, against the hand-set order", figures["gain_over_hand_set_order"]))
    before = since_before(record)
    if before is not None and before[1].found is not None:
        made.append(change("weighted, against the run before", before[1].found))
    return made


def _within(interval, of_how_many: str) -> str:
    return f"95 % {words.ends(interval)}, {of_how_many}" if interval else of_how_many


def change(label: str, found: dict) -> Tile:
    """found: of paired_interval."""
    value, interval = found["difference"]["weighted"], (found["interval"] or {}).get("weighted")
    verdict = words.better_or_worse(value, interval)
    note = f"95 % {words.signed_ends(interval)}" if interval else ""
    return Tile(label, words.signed(value), note, TONES.get(verdict, ""))

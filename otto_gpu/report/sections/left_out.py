"""What of the log and of its periods is in the figures, and what is left out."""

from __future__ import annotations

from otto_gpu.events.stage import SPLITS
from otto_gpu.events.told import NOUNS
from otto_gpu.report import words
from otto_gpu.report.charts import Table
from otto_gpu.report.record import Record

# what is said of each fate, in the order of the rows
ROWS = {
    "all": "all of the {period} period",
    "began_earlier": "left out: of sessions that began before it",
    "began_in_it": "left out: of sessions without an event before it",
    "unknown_items": "left out: of items without an event before it",
    "one_event": "{gone}: alone in their session",
    "not_drawn": "{gone}: of sessions beyond split.max_{period}_sessions",
    "histories": "known: up to the cut",
    "asked": "asked: after the cut",
}
ALWAYS = ("all", "histories", "asked")
RULES = {
    ("random", "time"): "A period asks about sessions that begin in it; what older ones do in it is left out. So are events of "
    "items that have none before the period, and sessions of which fewer than two events stay.",
    ("random", "session"): "Events of items that no session outside the period has are left out of it, and so are sessions of "
    "which fewer than two events stay.",
}
ANSWERS = {
    "other_sessions": "{} of {} rows of events.test_answers are of sessions that the test file lacks: left out.",
    "not_next": "{} of {} rows of events.test_answers come after the first of a type of which the next one is asked: left out.",
}
# of the counts of the log, in the order of the rows
READ = {
    "missing": "left out: no {}",
    "left_out": "left out: type {}",
    "reasons": "rejected: {}",
    "duplicates": "left out: stood there before",
    "later": "left out: at or after events.before",
    "earlier": "left out: before events.after",
    "far": "left out: far from all others in time",
    "tail": "left out: a thin tail, found by split: auto",
    "unsampled": "left out: sessions outside events.sample_sessions",
}


def of_the_log(record: Record) -> Table | None:
    """Why rows of the log are no events of the run; None where all of them are, or where nobody counted."""
    counts = record.metrics["events"]["counts"]
    rows: list[tuple[str, int]] = []
    for name, called in READ.items():
        found = counts.get(name) or {}
        found = found if isinstance(found, dict) else {"": found}
        rows += [(called.format(NOUNS.get(value, value) or "none"), n) for value, n in found.items() if n]
    if not rows or not counts.get("read"):
        return None
    told = [
        ["rows read", words.count(counts["read"]), ""],
        *([c, words.count(n), words.rate(n / counts["read"])] for c, n in rows),
    ]
    return Table(["", "rows", "share"], told)


def of_periods(record: Record) -> dict[str, Table]:
    """{what it is of: the fates of the events of a period, and its answers}; none in a run of an earlier version."""
    found = {}
    for split in reversed(SPLITS):
        facts = record.metrics["events"]["periods"][split]
        if rows := [*_fates(record, split, facts), *_answers(record, facts)]:
            found[f"What becomes of the {split} period"] = Table(["", "sessions", "events", *record.targets.names], rows)
    return found


def _fates(record: Record, split: str, facts: dict) -> list[list[str]]:
    counts, settings = facts.get("left_out"), record.split
    if not counts:  # of a test file, which is taken as it is, or of an earlier version
        return []
    # whoever is drawn by session and not asked is known whole, but for the cut random
    stays = settings["by"] == "session" and settings.get("cut", "random") != "random"
    gone = "known, not asked" if stays else "left out"
    columns, rows = [counts["events"], *(counts["targets"][t] for t in record.targets.names)], []
    for fate, called in ROWS.items():
        if fate in counts["events"] and (counts["events"][fate] or fate in ALWAYS):
            sessions = words.count(counts["sessions"].get(fate))
            name = called.format(period=split, gone=gone)
            rows.append([name, sessions, *(_share(column[fate], column["all"]) for column in columns)])
    return rows


def _answers(record: Record, facts: dict) -> list[list[str]]:
    """Of the answers, as many as there are."""
    labels, unknown = facts.get("labels"), facts.get("unknown_answers")
    if labels is None or unknown is None:
        return []
    targets = record.targets.names
    # of beginnings of sessions it is not known how many sessions they are
    sessions = "" if facts.get("prefixes") else words.count(facts["sessions"] - facts["unanswered"])
    rows = [["answers", sessions, "", *(words.count(labels[t]) for t in targets)]]
    if any(unknown.values()):
        told = (_share(unknown[t], labels[t]) for t in targets)
        rows.append(["answers of items without an event in what is known", "", "", *told])
    return rows


def _share(n: int, of: int) -> str:
    return words.count(n) if n == of or not n else f"{words.count(n)}\n({words.rate(n / of)})"


def texts(record: Record) -> list[str]:
    """The rule, and what the tables do not tell."""
    settings, periods = record.split, record.metrics["events"]["periods"]
    gone = {split: periods[split].get("left_out") or {} for split in reversed(SPLITS)}
    rule = RULES.get((settings.get("cut", "random"), settings["by"]))
    found = [rule] if rule and any(gone.values()) else []
    if alone := {split: n for split, counts in gone.items() if (n := counts.get("one_event_before"))}:
        told = words.listed(f"{words.count(n)} before the {split} period" for split, n in alone.items())
        found.append(f"Nothing is learnt from events that are alone in their session: {told}.")
    if n := gone["test"].get("after"):
        found.append(f"{words.count(n)} events come after the test period: they are not used.")
    if any(any((facts.get("unknown_answers") or {}).values()) for facts in periods.values()):
        found.append(
            "Lists that are made of events cannot hold an item without an event in what is known: it counts as missed."
        )
    if any(facts.get("unanswered") for facts in periods.values()):
        found.append("Sessions without an answer have lists, but no figure.")
    taken = periods["test"].get("answers") or {}
    found += [told.format(words.count(taken[n]), words.count(taken["answers"])) for n, told in ANSWERS.items() if taken.get(n)]
    return found


def side_by_side(records: list[Record]) -> Table | None:
    """Of the test periods of several runs, without the heads of the runs' columns; None where nothing is left out."""
    found: dict[str, list[str]] = {}
    for i, record in enumerate(records):
        facts = record.metrics["events"]["periods"]["test"]
        for name, n, of in _parts(record, facts):
            found.setdefault(name, [words.DASH] * len(records))[i] = f"{words.count(n)} of {words.count(of)}" if n else "0"
    rows = [[name, *cells] for name, cells in found.items() if set(cells) - {"0", words.DASH}]
    return Table([""], rows) if rows else None


def _parts(record: Record, facts: dict):
    """(what, how many, of how many) of all that is left out, or cannot be found."""
    gone, labels = facts.get("left_out") or {}, facts.get("labels") or {}
    for what, counts in {"events": gone.get("events"), **gone.get("targets", {})}.items():
        for fate, called in ROWS.items():
            if counts and fate in counts and fate not in ALWAYS:
                yield f"{what}, {called.partition(': ')[2].format(period='test')}", counts[fate], counts["all"]
    for target, n in (facts.get("unknown_answers") or {}).items():
        yield f"answers, {target}, of items without an event in what is known", n, labels[target]

"""What of the log and of its periods is in the figures, and what is left out."""

from __future__ import annotations

from otto_gpu.events.stage import SPLITS
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
    "histories": "known: in the histories",
    "asked": "asked: what follows them",
}
ALWAYS = ("all", "histories", "asked")
RULES = {
    ("random", "time"): "A period asks about sessions that begin in it; what older ones do in it is left out. So are events of "
    "items that have none before the period, and sessions of which fewer than two events stay.",
    ("random", "session"): "Events of items that no session outside the period has are left out of it, and so are sessions of "
    "which fewer than two events stay.",
    ("time", "time"): "Whoever has no event before a period is not asked in it.",
}
ANSWERS = {
    "other_sessions": "{} of {} rows of events.test_answers are of sessions that the test file lacks: left out.",
    "not_next": "{} of {} rows of events.test_answers come after the first of a type of which the next one is asked: left out.",
}
# of the counts of the log, in the order of the rows
READ = {
    "missing": "left out: without {}",
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
        rows += [(called.format(value), n) for value, n in found.items() if n]
    if not rows or not counts.get("read"):
        return None
    told = [
        ["rows read", words.count(counts["read"]), ""],
        *([c, words.count(n), words.rate(n / counts["read"])] for c, n in rows),
    ]
    return Table(["", "rows", "share"], told)


def of_periods(record: Record) -> dict[str, Table]:
    """{what it is of: the fates of the events of a period}, of those periods that are known; none in a run of an earlier
    version."""
    found = {}
    for split in reversed(SPLITS):
        if counts := record.metrics["events"]["periods"][split].get("left_out"):
            found[f"What becomes of the {split} period"] = _table(record, split, counts)
    return found


def _table(record: Record, split: str, counts: dict) -> Table:
    targets = [t for t in record.targets.names if t in counts["targets"]]
    settings = record.split
    # whoever is drawn by session and not asked is known whole, but for the cut random
    stays = settings["by"] == "session" and settings.get("cut", "random") != "random"
    gone = "known, not asked" if stays else "left out"
    columns = [counts["events"], *(counts["targets"][t] for t in targets)]
    rows = []
    for fate, called in ROWS.items():
        if fate not in counts["events"] or not (counts["events"][fate] or fate in ALWAYS):
            continue
        sessions = words.count(counts["sessions"].get(fate))
        rows.append(
            [called.format(period=split, gone=gone), sessions, *(_share(column[fate], column["all"]) for column in columns)]
        )
    return Table(["", "sessions", "events", *targets], rows)


def _share(n: int, of: int) -> str:
    return words.count(n) if n == of or not n else f"{words.count(n)}\n({words.rate(n / of)})"


def texts(record: Record) -> list[str]:
    """The rule, and what the tables do not tell: events of which nothing is learnt, answers that lists cannot hold, sessions
    without an answer."""
    found, split = [], record.split
    periods = record.metrics["events"]["periods"]
    rule = RULES.get((split.get("cut", "random"), split["by"]))
    if rule and any("left_out" in facts for facts in periods.values()):
        found.append(rule)
    for name in reversed(SPLITS):
        found += _more(name, periods[name])
    return found


def _more(split: str, facts: dict) -> list[str]:
    found, gone = [], facts.get("left_out") or {}
    if n := gone.get("one_event_before"):
        found.append(
            f"Before the {split} period {words.count(n)} events are alone in their session: nothing is learnt from them."
        )
    if n := gone.get("after"):
        found.append(f"{words.count(n)} events come after the {split} period: they are not used.")
    labels = facts.get("labels") or {}
    told = [f"{words.count(n)} of {words.count(labels[t])} {t}" for t, n in (facts.get("unknown_answers") or {}).items() if n]
    if told:
        found.append(
            f"Of the {split} period's answers {words.listed(told)} are of items without an event in what is known. Lists that "
            "are made of events cannot hold them; they count as missed."
        )
    if n := facts.get("unanswered"):
        found.append(
            f"Of the {words.count(facts['sessions'])} sessions of the {split} period {words.count(n)} have no answer: their "
            "lists are in no figure."
        )
    for name, said in ANSWERS.items():
        if n := (facts.get("answers") or {}).get(name):
            found.append(said.format(words.count(n), words.count(facts["answers"]["answers"])))
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

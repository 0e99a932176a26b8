"""What was read and what of it was left out, in lines with shares of the rows that were read, and reasons in a table."""

from __future__ import annotations

from rich.table import Table

from otto_gpu.columns import AID, SESSION
from otto_gpu.events.span import number_of
from otto_gpu.run.progress import Reporter

NOUNS = {SESSION: "session", AID: "item"}
ROWS = 12  # of a table of reasons; the others are added up
# what a count of the summary is called; {s} are / is, {w} were / was
LINES = {
    "duplicates": "stood there before (the same session, item, time and type): taken once",
    "unsorted": "{w} not in the order of time within the session: put there",
    "later": "{s} at or after events.before: left out",
    "earlier": "{s} before events.after: left out",
    "unsampled": "{s} of sessions outside events.sample_sessions: left out",
}
MANY, REPEATS = 0.05, "; if they are real, as with times in whole seconds or days, set events.duplicates: keep"


def tell_counts(counts: dict, reporter: Reporter) -> None:
    """counts: those of a ReadResult."""
    read = counts.get("read", counts["events"])
    if counts.get("rejected"):
        tell_reasons(counts.get("reasons", {}), counts["rejected"], read, reporter)
    if left := counts.get("left_out"):
        named = ", ".join(f"{value or 'none'} {n:,}" for value, n in left.items())
        reporter.say(f"  left out on purpose (events.types): {share(sum(left.values()), read)}: {named}")
    for name, n in counts.get("missing", {}).items():
        has = "has" if n == 1 else "have"
        reporter.say(f"  warning: {share(n, read)} {has} no {NOUNS[name]}: left out (events.missing)")
    for name, line in LINES.items():
        if n := counts.get(name):
            words = {"s": "is", "w": "was"} if n == 1 else {"s": "are", "w": "were"}
            many = REPEATS if name == "duplicates" and n > MANY * read else ""
            reporter.say(f"  {name}: {share(n, read)} {line.format(**words)}{many}")


def tell_reasons(reasons: dict[str, int], rejected: int, read: int, reporter: Reporter) -> None:
    """How many rows were rejected, for one reason in the line, for several in a table."""
    if len(reasons) == 1:
        reporter.say(f"  rejected: {share(rejected, read)}: {next(iter(reasons))}")
        return
    reporter.say(f"  rejected: {share(rejected, read)}")
    if reasons:
        table = Table()
        for column in ("reason", "rows", "share"):
            table.add_column(column, justify="left" if column == "reason" else "right")
        ordered = sorted(reasons.items(), key=lambda pair: -pair[1])
        more = ordered[ROWS:]
        for reason, n in ordered[:ROWS] + ([("other reasons", sum(n for _, n in more))] if more else []):
            table.add_row(reason, f"{n:,}", f"{100 * n / max(read, 1):.3g} %")
        reporter.show(table)


def share(n: int, read: int) -> str:
    """1 of 17,526 rows (0.00571 %)"""
    return f"{n:,} of {number_of(read, 'row')} ({100 * n / max(read, 1):.3g} %)"

"""What a dry run says of the data: columns, bad rows and their reasons, what is left out, and the split as it would be.

A small log is read whole, with the lines and errors of a run; of a large one the first rows of every file are looked at, which
takes a moment.
"""

from __future__ import annotations

from pathlib import Path

from rich.table import Table

from otto_gpu.errors import UserError
from otto_gpu.events.load import Loaded, load
from otto_gpu.events.prepare import answers, prepare, split_prepared
from otto_gpu.events.read import ReadResult, TooManyRejected, read_log
from otto_gpu.events.readers.files import files_beside
from otto_gpu.events.settings import EventsConfig, ItemsConfig, SplitConfig, TargetsConfig
from otto_gpu.events.span import between, iso, number_of
from otto_gpu.events.told import tell_counts, tell_reasons
from otto_gpu.run.progress import Reporter

WHOLE_BYTES = 24 << 20  # of files: what is read whole
PLAIN = (".csv", ".tsv", ".txt", ".json", ".jsonl", ".ndjson")
PACKED = 5  # a compressed file, or Parquet, holds about so many times its size
ROWS, PIECE_BYTES = 10_000, 1 << 18


def preview(
    data: Path | None,
    files: list[Path],
    events: EventsConfig,
    split: SplitConfig,
    targets: TargetsConfig,
    reporter: Reporter,
    items: ItemsConfig | None = None,
    others: tuple[str, ...] = (),
) -> None:
    """files: those of the log and beside it; others as in `load`. Raises UserError where the run would end with it."""
    if events.generated or data is None:
        return
    if sum(file.stat().st_size * (1 if file.suffix in PLAIN else PACKED) for file in files) <= WHOLE_BYTES:
        loaded = load(data, events, split, targets, reporter, items, others)
        _tell_log(loaded.result, "", reporter)
        _show_periods(loaded, targets, reporter)
        return
    result = _sample(data, events, targets, reporter, files_beside(data, events, items, others))
    what = f"the first rows of {number_of(result.counts['files'], 'file')}, a sample: "
    for note in result.notes:
        reporter.say(f"  {note}")
    _tell_log(result, what, reporter)
    alone = "  the split: these rows alone do not show it"
    if result.counts["files"] == 1 and split.by == "time":  # the beginning of a log says nothing of its end
        reporter.say(alone)
        return
    try:
        prepared = prepare(result, events, split, targets, lambda line: None)
        periods, prepared = split_prepared(prepared, prepared.result.log, targets, None, lambda line: None)
    except UserError:  # the rest may be other
        reporter.say(alone)
        return
    if prepared.chosen is not None:
        reporter.say(f"  split: auto would take {prepared.chosen.as_text()} for these rows; a run looks at the whole log")
    reporter.say(f"  the split of these rows alone: {answers(periods, targets)}")


def _sample(data: Path, events: EventsConfig, targets: TargetsConfig, reporter: Reporter, beside: list[Path]) -> ReadResult:
    glance = events.model_copy(update={"chunk_bytes": PIECE_BYTES})
    try:
        result = read_log(data, glance, targets, beside=beside, rows=ROWS)
        tell_counts(result.counts, reporter)
        return result
    except TooManyRejected as error:
        bad = sum(error.reasons.values())
        tell_reasons(error.reasons, bad, error.read, reporter)
        if 2 * bad > error.read:
            raise
        share = f"{100 * bad / error.read:.3g} % of these rows"
        reporter.say(f"  warning: {share} are bad: if the others are alike, events.max_rejected ends the run")
    return read_log(data, glance.model_copy(update={"max_rejected": 1.0}), targets, beside=beside, rows=ROWS)


def _tell_log(result: ReadResult, what: str, reporter: Reporter) -> None:
    log, counts = result.log, result.counts
    types = ", ".join(f"{n:,} {name}" for name, n in counts["types"].items())
    size = f"{number_of(len(log), 'event')} ({types}), {number_of(log.n_sessions, 'session')}, {number_of(log.n_items, 'item')}"
    reporter.say(f"  {what}{size}, {between(*log.span)}")
    # whether the columns are what they are taken for, and the times in their unit, people see best by an event
    session, aid = (own[int(ids[0])].as_py() for own, ids in ((log.sessions, log.session), (log.items, log.aid)))
    reporter.say(f"  such as session {session!r}, item {aid!r}, {iso(log.ts[0])}, {log.types[log.type[0]]}")


def _show_periods(loaded: Loaded, targets: TargetsConfig, reporter: Reporter) -> None:
    table = Table()
    for column in ("period", "begins", "known before", "sessions", *(f"answers: {t}" for t in targets.names)):
        table.add_column(column, justify="left" if column in ("period", "begins") else "right")
    for name, period in loaded.periods.items():
        start = period.scope.start if period.scope else None
        begins = "a test file" if period.scope is None else "drawn" if start is None else iso(start)
        found = ["" for _ in targets.names]
        if period.labels is not None:
            found = [f"{int((period.labels.type == targets.code(t)).sum()):,}" for t in targets.names]
        known = number_of(len(period.train) or len(period.known), "event")
        table.add_row(name, begins, known, f"{len(period.sessions):,}", *found)
    reporter.show(table)

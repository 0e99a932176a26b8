"""The log of a run with all that lies beside it, in memory: read, checked, prepared and split. A dry run shows it, the stage
`events` writes it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa

from otto_gpu.errors import UserError
from otto_gpu.events.answers import Answers, read_answers
from otto_gpu.events.attributes import ItemTable, check_overlap, read_items, with_ids
from otto_gpu.events.auto import Chosen
from otto_gpu.events.left_out import answers as answers_of
from otto_gpu.events.left_out import left_out
from otto_gpu.events.log import EventLog
from otto_gpu.events.prepare import prepare, split_prepared
from otto_gpu.events.read import ReadResult, TooManyRejected, read_log
from otto_gpu.events.readers.files import beside, files_beside, names_of
from otto_gpu.events.remarks import in_short
from otto_gpu.events.settings import MOST_EVENTS, EventsConfig, ItemsConfig, SplitConfig, TargetsConfig
from otto_gpu.events.split import Period
from otto_gpu.events.synthetic import synthetic_log
from otto_gpu.events.synthetic_news import read_generated
from otto_gpu.events.times import suspicious_unit
from otto_gpu.events.told import tell_counts, tell_reasons
from otto_gpu.run.progress import Reporter


@dataclass(frozen=True)
class Loaded:
    """log: with the ids of the items file and of the answers, and of the periods' sessions; table: what is known of the items;
    chosen: what split: auto chose; absent: types that the log does not have; facts: by period what events/summary.json says
    of it (docs/artifacts.md)."""

    result: ReadResult
    log: EventLog
    table: ItemTable | None
    periods: dict[str, Period]
    chosen: Chosen | None
    absent: list[str]
    facts: dict[str, dict]


def load(
    data: Path | None,
    events: EventsConfig,
    split: SplitConfig,
    targets: TargetsConfig,
    reporter: Reporter,
    items: ItemsConfig | None = None,
    others: tuple[str, ...] = (),
) -> Loaded:
    """others: names of files in the data folder that are no part of the log, besides the items file. Raises UserError for
    everything that does not fit, TooManyRejected above events.max_rejected."""
    with reporter.work("reading", "events") as work:
        if events.generated:
            result = (_synthetic if events.format == "synthetic" else read_generated)(events, targets)
        else:
            try:
                result = read_log(data, events, targets, work.advance, files_beside(data, events, items, others))
            except TooManyRejected as error:
                tell_reasons(error.reasons, sum(error.reasons.values()), error.read, reporter)
                raise
    for note in result.notes:
        reporter.say(f"  {note}")
    tell_counts(result.counts, reporter)
    doubt = None if events.generated else suspicious_unit(result.log.ts, events.ts_unit)
    if doubt:
        reporter.say(f"  warning: {doubt}")
    try:
        prepared = prepare(result, events, split, targets, reporter.say)
    except UserError as error:
        raise UserError(f"{error}; {doubt}" if doubt else str(error)) from error
    result = prepared.result
    log, counts = result.log, result.counts
    if events.test_file is not None and data is not None and data.is_dir() and result.from_test_file is None:
        named = names_of(events.test_file)
        reporter.say(f"  {data}: no file {named} (events.test_file): the test period is cut from the log")
    if lacking := [name for name in events.context if name not in log.context]:
        raise UserError(f"events.context: a generated log has no column {lacking[0]!r}; leave it out")
    table = result.items if items is None else _items(data, items, log, reporter)
    answers = None if result.from_test_file is None else _answers(data, events, targets, reporter)
    further = [] if table is None else [table.ids]
    further += [] if answers is None else [answers.aid]
    log = with_ids(log, *further) if further else log
    truth, unused = None, {}
    if answers is not None:
        truth, unused = answers.labels(log, result.from_test_file, beside(data, events.test_answers), reporter.say)
    try:
        periods, prepared = split_prepared(prepared, log, targets, truth, reporter.say)
    except UserError as error:
        raise UserError(f"{error}; {doubt}" if doubt else str(error)) from error
    if prepared.split.cut == "every" and (n := int(np.count_nonzero(np.diff(log.starts) > MOST_EVENTS + 1))):
        reporter.say(f"  warning: split.cut is every: of {n:,} long sessions only the last {MOST_EVENTS:,} events are asked")
    gone = left_out(log, periods, prepared.split, targets, result.from_test_file)
    facts = {name: _facts(period, targets, gone[name]) for name, period in periods.items()}
    if unused:
        facts["test"]["answers"] = unused
    log = replace(log, sessions=periods["test"].history.sessions, n_sessions=periods["test"].history.n_sessions)
    absent = [t for t in targets.types if not counts["types"].get(t)]
    for name in absent:
        reporter.say(f"  the log has no {name}: reported as absent, left out of the weighted score")
    if counts.get("no_numbers"):
        reporter.say(f"  events.context: {counts['no_numbers']:,} values are no numbers: counted as missing")
    for name, values in log.context.items():
        if not (values >= 0).any() if values.dtype.kind == "i" else np.isnan(values).all():
            reporter.say(f"  warning: events.context: no event has a value of {name!r}")
    for name, found in facts.items():
        for line in in_short(name, found, targets.names):
            reporter.say(f"  {line}")
    return Loaded(result, log, table, periods, prepared.chosen, absent, facts)


def _facts(period: Period, targets: TargetsConfig, gone: dict) -> dict:
    labels = period.labels
    facts = {
        "sessions": len(period.sessions),
        "train_events": len(period.train),
        "history_events": len(period.history),
        "labels": None if labels is None else {t: int((labels.type == targets.code(t)).sum()) for t in targets.names},
    }
    facts |= answers_of(period, targets) | ({"left_out": gone} if gone else {})
    return facts | {"prefixes": True} if period.prefixes else facts


def _items(data: Path | None, config: ItemsConfig, log: EventLog, reporter: Reporter) -> ItemTable:
    if data is None:
        raise UserError("items: a generated log has no items file; leave this section out")
    file = beside(data, config.file)
    table = read_items(file, config, reporter.say)
    check_overlap(table, log, file, config)
    return table


def _answers(data: Path | None, events: EventsConfig, targets: TargetsConfig, reporter: Reporter) -> Answers | None:
    """None where there is no file of answers."""
    if data is None or events.test_answers is None:
        return None
    file = beside(data, events.test_answers)
    if file.is_file():
        return read_answers(file, events, targets)
    reporter.say(f"  {file}: no such file (events.test_answers): the test period has no labels")
    return None


def _synthetic(events: EventsConfig, targets: TargetsConfig) -> ReadResult:
    log = synthetic_log(events.synthetic_sessions, events.synthetic_seed, types=tuple(targets.types))
    types = {t: int(n) for t, n in zip(targets.types, np.bincount(log.type, minlength=len(targets.types)), strict=True)}
    rejected = pa.table(
        {
            "file": pa.array([], pa.string()),
            "row": pa.array([], pa.int64()),
            "reason": pa.array([], pa.string()),
            "text": pa.array([], pa.string()),
        }
    )
    return ReadResult(log, rejected, {"events": len(log), "rejected": 0, "files": 0, "types": types}, None)

"""The stage `events`: log in, periods, labels and official files out."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from otto_gpu.columns import ID
from otto_gpu.errors import UserError
from otto_gpu.events.answers import Answers, read_answers
from otto_gpu.events.attributes import CODES, ItemTable, by_item, check_overlap, read_items, with_ids
from otto_gpu.events.checks import suspicious_unit
from otto_gpu.events.items import ATTRIBUTES
from otto_gpu.events.labels import Labels
from otto_gpu.events.left_out import answers as answers_of
from otto_gpu.events.left_out import left_out
from otto_gpu.events.log import EventLog
from otto_gpu.events.official import write_labels, write_sessions
from otto_gpu.events.prepare import prepare, split_prepared
from otto_gpu.events.read import ReadResult, TooManyRejected, read_log
from otto_gpu.events.readers.files import beside, files_beside
from otto_gpu.events.remarks import in_short, warnings
from otto_gpu.events.settings import SPLITS as SPLITS
from otto_gpu.events.settings import EventsConfig, ItemsConfig, SplitConfig, TargetsConfig
from otto_gpu.events.split import Period
from otto_gpu.events.synthetic import synthetic_log
from otto_gpu.events.synthetic_news import read_generated
from otto_gpu.events.told import tell_counts, tell_reasons
from otto_gpu.events.typed import CONTEXT, save_dictionaries
from otto_gpu.run.directory import write_atomically, write_table
from otto_gpu.run.progress import Reporter


def run(
    folder: Path,
    data: Path | None,
    events: EventsConfig,
    split: SplitConfig,
    targets: TargetsConfig,
    reporter: Reporter,
    run_dir: Path,
    items: ItemsConfig | None = None,
    others: tuple[str, ...] = (),
):
    """others: names of files in the data folder that are no part of the log, besides the items file."""
    with reporter.work("reading", "events") as work:
        if events.generated:
            result = (_synthetic if events.format == "synthetic" else read_generated)(events, targets)
        else:
            try:
                result = read_log(data, events, targets, work.advance, files_beside(data, events, items, others))
            except TooManyRejected as error:
                rejected = error.rejected
                tell_reasons(error.reasons, sum(error.reasons.values()), error.read, reporter)
                write_atomically(run_dir / "rejected.parquet", lambda p: write_table(rejected, p))
                raise error.told(f"; all of them: {run_dir / 'rejected.parquet'}") from None
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
        reporter.say(f"  {data / events.test_file}: no such file (events.test_file): the test period is cut from the log")
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
    gone = left_out(log, periods, prepared.split, targets, result.from_test_file)
    log = replace(log, sessions=periods["test"].history.sessions, n_sessions=periods["test"].history.n_sessions)
    absent = [t for t in targets.types if not counts["types"].get(t)]
    for name in absent:
        reporter.say(f"  the log has no {name}: reported as absent, left out of the weighted score")
    if counts.get("no_numbers"):
        reporter.say(f"  events.context: {counts['no_numbers']:,} values are no numbers: counted as missing")
    for name, values in log.context.items():
        if not (values >= 0).any() if values.dtype.kind == "i" else np.isnan(values).all():
            reporter.say(f"  warning: events.context: no event has a value of {name!r}")
    tell_counts(counts, reporter)
    for sub in ("events", "labels", "official"):
        (folder / sub).mkdir(exist_ok=True)
    _save_ids(folder / "events/sessions.parquet", log.sessions, log.n_sessions)
    _save_ids(folder / "events/items.parquet", log.items, log.n_items)
    if table is not None:
        by_item(table, log).save(folder / "events" / ATTRIBUTES)
        save_dictionaries(folder / "events" / CODES, table.dictionaries)
    if log.context:
        save_dictionaries(folder / "events" / CONTEXT, result.context)
    summary = {"counts": counts, "absent": absent, "periods": {}}
    if prepared.chosen is not None:
        summary["split"] = prepared.chosen.settings | {"because": prepared.chosen.why}
    for name, period in periods.items():
        place = folder / "events" / name
        place.mkdir(exist_ok=True)
        period.train.save(place / "train.parquet")
        period.history.save(place / "history.parquet")
        if period.labels is not None:
            period.labels.save(folder / "labels" / f"{name}.parquet")
        summary["periods"][name] = _facts(period, targets, gone[name])
    if unused:
        summary["periods"]["test"]["answers"] = unused
    test = periods["test"]
    history = replace(test.history, items=log.items, sessions=log.sessions)
    write_sessions(folder / "official/test_sessions.jsonl", history)
    if test.labels is not None:
        write_labels(
            folder / "official/test_labels.jsonl", test.sessions, test.labels, history, targets.names, targets.next_only
        )
    write_table(result.rejected, folder / "rejected.parquet")
    (folder / "events/summary.json").write_text(json.dumps(summary, indent=1))
    sizes = summary["periods"]
    for name, facts in sizes.items():
        if warnings({name: facts}, targets.names) and (told := in_short(name, facts)):
            reporter.say(f"  {told}")
    return {
        "events": len(log), "sessions": result.log.n_sessions, "items": log.n_items, "rejected": int(counts.get("rejected", 0)),
        "periods": "; ".join(f"{n} {p['sessions']:,} sessions after {_before(p)}" for n, p in sizes.items()),
    }  # fmt: skip


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


def _before(facts: dict) -> str:
    return f"{facts['train_events']:,} events" if facts["train_events"] else f"their own {facts['history_events']:,} events"


def _save_ids(path: Path, ids: pa.Array | None, n: int) -> None:
    """The dictionary: row i holds the user's own id of dense id i."""
    ids = pa.array(np.arange(n, dtype=np.int32)) if ids is None else ids
    write_table(pa.table({ID: ids}), path)


def load_ids(run_dir: Path, name: str) -> pa.Array:
    """The user's own ids by dense id; name: sessions or items."""
    return pq.read_table(run_dir / "events" / f"{name}.parquet")[ID].combine_chunks()


def load_period(run_dir: Path, split: str) -> Period:
    """A period as the stage left it; labels are None where there are none."""
    place = run_dir / "events" / split
    labels = run_dir / "labels" / f"{split}.parquet"
    summary = run_dir / "events/summary.json"
    facts = json.loads(summary.read_text())["periods"].get(split, {}) if summary.is_file() else {}
    return Period(
        EventLog.load(place / "train.parquet"),
        EventLog.load(place / "history.parquet"),
        Labels.load(labels) if labels.is_file() else None,
        facts.get("prefixes", False),
    )

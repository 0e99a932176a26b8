"""What a reader should know before believing a run's figures: bad rows, absent types, models that could not be trained."""

from __future__ import annotations

from dataclasses import dataclass

from otto_gpu.events.long_sessions import sentence
from otto_gpu.events.remarks import warnings
from otto_gpu.events.stage import SPLITS
from otto_gpu.events.told import MANY
from otto_gpu.ranking.models import POOL
from otto_gpu.ranking.settings import RECALL
from otto_gpu.report import words
from otto_gpu.report.record import Record

FEW = 200  # items of ground truth, below which an interval is a wide one
WARNING, NOTE = "warning", "note"
COUNTED = {
    "duplicates": "{n} events ({share}) stood twice in the log; each was taken once.",
    "unsorted": "{n} events ({share}) were not in the order of time; they were put there.",
    "later": "{n} events ({share}) at or after events.before were left out.",
    "earlier": "{n} events ({share}) before events.after were left out.",
    "far": "{n} events ({share}) lie far from the log's own days, and were left out; run.log says when they are.",
    "tail": "{n} events ({share}) of a thin tail of the log were left out, as split: auto chose.",
    "unsampled": "{n} events ({share}) of sessions outside the sample (events.sample_sessions) were left out.",
    "left_out": "{n} rows ({share}) are of types that events.types leaves out.",
    "missing": "{n} rows ({share}) without an id (events.missing) were left out.",
}
# of what may be so by mistake, where it is many
DOUBTFUL = {
    "duplicates": " If they are real, as with times in whole seconds or days, set events.duplicates: keep.",
    "missing": "",
}


@dataclass(frozen=True)
class Note:
    """level: warning where figures or lists suffer, else note."""

    level: str
    text: str


def notes(record: Record) -> list[Note]:
    """Warnings first."""
    return sorted([*_log(record), *_periods(record), *_models(record)], key=lambda note: note.level != WARNING)


def _log(record: Record) -> list[Note]:
    events, found = record.metrics["events"], []
    counts = events["counts"]
    # of an earlier version's run it is not known how many rows were read
    read = counts.get("read") or counts["events"] + counts.get("rejected", 0) + counts.get("duplicates", 0)
    if rejected := counts.get("rejected", 0):
        told = (
            f"{words.count(rejected)} rows of the log ({words.rate(rejected / read)}) were rejected; rejected.parquet says why."
        )
        found.append(Note(WARNING, told))
    for name, told in COUNTED.items():
        n = sum(counts[name].values()) if isinstance(counts.get(name), dict) else counts.get(name, 0)
        if n:
            many = name in DOUBTFUL and n > MANY * read
            told = told.format(n=words.count(n), share=words.rate(n / read)) + (DOUBTFUL[name] if many else "")
            found.append(Note(WARNING if many else NOTE, told))
    for stage, periods in record.metrics.get("long_sessions", {}).items():
        for split, told in periods.items():
            found.append(Note(NOTE, f"{sentence(told, record.config[stage]['most_events'], stage, split)}."))
    for name in events["absent"]:
        more = ", so there is nothing to learn and to score for that target" if name in record.targets.names else ""
        found.append(Note(WARNING, f"The log has no {name}{more}."))
    return found


def _periods(record: Record) -> list[Note]:
    found = [Note(WARNING, told) for told in warnings(record.metrics["events"]["periods"], record.targets.names)]
    for split in SPLITS:
        figures = record.figures(split)
        if figures is None:
            found.append(Note(NOTE, f"The {split} period has no ground truth: its lists are not scored."))
            continue
        few = [f"{words.count(n)} {t}" for t, n in figures["labels"].items() if 0 < n < FEW]
        if few:
            found.append(Note(WARNING, f"Little ground truth in the {split} period ({', '.join(few)}): mind the intervals."))
        missing = [t for t in figures["absent"] if t not in record.metrics["events"]["absent"]]
        if missing:
            told = f"The {split} period has no ground truth of {words.listed(missing)}: left out of its weighted score."
            found.append(Note(WARNING, told))
    return found


def _models(record: Record) -> list[Note]:
    found, absent = [], record.metrics["events"]["absent"]
    without = [t for t in record.targets.names if t not in record.folders and t not in absent]
    if without:
        told = f"No rankers for {words.listed(without)}: too few positives to train on, so the hand-set order stands."
        found.append(Note(WARNING, told))
    pooled = [t for t in record.targets.names if record.folders.get(t) == POOL and t not in absent]
    if pooled:
        found.append(Note(NOTE, f"Too few positives of {words.listed(pooled)} alone: ranked by models of all targets."))
    for folder, groups in record.models.items():
        for group, folds in groups.items():
            if missing := record.ranking.folds - len(folds):
                told = f"{missing} of {record.ranking.folds} folds of {folder}, {group} could not be trained."
                found.append(Note(WARNING, told))
    weights = {t: dict(zip(b["groups"], b["weights"], strict=True)) for t, b in record.metrics["blend"].items()}
    alone = [t for t in record.targets.names if t in record.folders and weights[t].get(RECALL) == 1]
    if alone:
        told = (
            f"The blend gives the models of {words.listed(alone)} no weight: they did not order better than the hand-set order."
        )
        found.append(Note(WARNING, told))
    if record.candidates.fusion and not record.fusion_learnt:
        found.append(Note(NOTE, "The fusion had too few sessions to learn from: reciprocal ranks chose the candidates."))
    return found

"""How the vectors of items and sessions were learnt, where any are used."""

from __future__ import annotations

import numpy as np

from otto_gpu.events.stage import SPLITS
from otto_gpu.report import charts, words
from otto_gpu.report.charts import Chart, Line, Table
from otto_gpu.report.layout import Group, Section, TableBlock
from otto_gpu.report.record import Record


def section(record: Record) -> Section | None:
    found = record.metrics.get("embeddings") or {}
    if not found:
        return None
    texts = [
        "How the vectors that features or candidates use were made. The AUC is of pairs in held-out sessions: 0.5 is chance."
    ]
    for split in SPLITS:
        if unlearnt := [name for name, by_split in found.items() if not made(by_split[split])]:
            texts.append(f"Before the {split} period {words.listed(unlearnt)} found nothing to learn from: all zeros.")
    table = _table(found)
    chart = _losses({name: by_split["test"]["loss"] for name, by_split in found.items()}, table)
    if chart is None:
        return Section("vectors", "Vectors", texts, tables=[TableBlock("How they were learnt", table)])
    return Section("vectors", "Vectors", texts, [Group("", [chart])])


def made(facts: dict) -> bool:
    """Whether there are vectors other than zeros."""
    return bool(facts["loss"] or facts.get("items"))


def _table(found: dict[str, dict]) -> Table:
    rows = []
    for name, by_split in found.items():
        for split in SPLITS:
            facts = by_split[split]
            ends = [f"{facts['loss'][i]:.4g}" if facts["loss"] else words.DASH for i in (0, -1)]
            rows.append([f"{name}, {split}", str(len(facts["loss"])), *ends, words.share(facts.get("auc"))])
    return Table(["vectors", "epochs", "first loss", "last loss", "held-out AUC"], rows)


def _losses(losses: dict[str, list[float]], table: Table) -> Chart | None:
    """Of the vectors that learnt something; None where none did."""
    series = []
    for i, (name, found) in enumerate(losses.items()):
        loss, dash = np.array(found, float), i // charts.SERIES % len(charts.DASHES)
        if len(loss):
            shares = loss / (loss[0] or 1)
            series.append(Line(np.arange(1, len(loss) + 1), shares, charts.colour(i), name, dash, marks=[len(loss) - 1]))
    if not series:
        return None
    longest = max(len(line.x) for line in series)
    return Chart(
        "Loss per epoch, over that of the first",
        charts.lines(series, "epoch", "loss over the first epoch's", x_ticks=charts.ticks(longest), from_zero=False),
        "Losses of the vectors by epoch, as shares of the first epoch's; in numbers below.",
        "A line that still falls at its end may gain from more epochs.", tuple(line.legend() for line in series), table,
    )  # fmt: skip

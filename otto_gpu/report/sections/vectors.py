"""How the vectors of items and sessions were learnt, where any are used."""

from __future__ import annotations

import numpy as np

from otto_gpu.events.stage import SPLITS
from otto_gpu.report import charts, words
from otto_gpu.report.charts import Chart, Line, Table
from otto_gpu.report.layout import Group, Section
from otto_gpu.report.record import Record


def section(record: Record) -> Section | None:
    found = record.metrics.get("embeddings") or {}
    if not found:
        return None
    series, rows = [], []
    for i, (name, by_split) in enumerate(found.items()):
        loss = np.array(by_split["test"]["loss"], float)
        dash = i // charts.SERIES % len(charts.DASHES)
        series.append(
            Line(np.arange(1, len(loss) + 1), loss / (loss[0] or 1), charts.colour(i), name, dash, marks=[len(loss) - 1])
        )
        for split in SPLITS:
            facts = by_split[split]
            ends = [f"{facts['loss'][i]:.4g}" for i in (0, -1)]
            rows.append([f"{name}, {split}", str(len(facts["loss"])), *ends, words.share(facts.get("auc"))])
    table = Table(["vectors", "epochs", "first loss", "last loss", "held-out AUC"], rows)
    longest = max(len(line.x) for line in series)
    chart = Chart(
        "Loss per epoch, over that of the first",
        charts.lines(series, "epoch", "loss over the first epoch's", x_ticks=charts.ticks(longest), from_zero=False),
        "Losses of the vectors by epoch, as shares of the first epoch's; in numbers below.",
        "A line that still falls at its end may gain from more epochs.", tuple(line.legend() for line in series), table,
    )  # fmt: skip
    texts = [
        "How the vectors that features or candidates use were learnt. The AUC is of pairs in held-out sessions: 0.5 is chance."
    ]
    return Section("vectors", "Vectors", texts, [Group("", [chart])])

"""Seconds and memory, stage by stage."""

from __future__ import annotations

from otto_gpu.report import charts, words
from otto_gpu.report.charts import Chart, Table
from otto_gpu.report.layout import Group, Section
from otto_gpu.report.record import Record

SHOWN = 0.05  # seconds; stages that did nothing are in the table only


def section(record: Record) -> Section:
    stages = {s: c for s, c in record.stages.items() if c["seconds"] >= SHOWN} or record.stages
    seconds = [(s, [c["seconds"]]) for s, c in stages.items()]
    memory = [(s, [float(c["peak_memory_mb"])]) for s, c in stages.items()]
    total = sum(c["seconds"] for c in record.stages.values())
    longest = max(stages, key=lambda s: stages[s]["seconds"])
    most = words.seconds(stages[longest]["seconds"])
    widest = max(stages, key=lambda s: stages[s]["peak_memory_mb"])
    table = Table(
        ["stage", "seconds", "peak memory, MB"],
        [[s, f"{c['seconds']:,.1f}", words.count(c["peak_memory_mb"])] for s, c in record.stages.items()],
    )
    drawn = [
        Chart(
            "Seconds per stage", charts.bars(seconds, ["s0"], words.seconds),
            "Seconds per stage: " + "; ".join(f"{s} {v[0]:,.1f}" for s, v in seconds),
            f"{words.seconds(total)} in all; the longest stage is {longest}, {most}.", (), table,
        ),
        Chart(
            "Peak memory per stage", charts.bars(memory, ["s2"], words.megabytes),
            "Peak memory per stage, MB: " + "; ".join(f"{s} {v[0]:,.0f}" for s, v in memory),
            f"At most {words.megabytes(stages[widest]['peak_memory_mb'])}, in {widest}. A process keeps what earlier stages "
            "loaded, so a stage alone may need less.",
        ),
    ]  # fmt: skip
    texts = ["What each stage took when it last ran, this page not counted."]
    return Section("cost", "Cost", texts, [Group("", drawn)])

"""Against the results that the run directory held before: what was changed, and what it did."""

from __future__ import annotations

from otto_gpu.report import words
from otto_gpu.report.charts import Table
from otto_gpu.report.compare import since_before
from otto_gpu.report.layout import Group, Section, TableBlock
from otto_gpu.report.record import Record
from otto_gpu.report.sections.score import difference_chart

SAYS = {
    "better": "Better than before: the interval of the weighted difference lies above zero.",
    "worse": "Worse than before: the interval of the weighted difference lies below zero.",
    "no difference": "No difference that could be told from chance: the interval of the weighted difference holds zero.",
    "unknown": "There is too little ground truth to tell.",
}


def section(record: Record) -> Section | None:
    found = since_before(record)
    if found is None:
        return None
    changes, change = found
    texts, groups, tables = [], [], []
    if change.found is None:
        texts.append(f"The scores cannot be compared session by session. {change.why[0].upper()}{change.why[1:]}.")
    else:
        keys = [key for key in record.keys if change.found["difference"].get(key) is not None]
        chart = difference_chart("Difference to the run before, test", change.found, keys, record.metric_name, SAYS)
        groups.append(Group("", [chart]))
        texts.append(
            f"Both runs were scored on {words.count(change.found['sessions'])} test sessions that they have in common. The "
            "intervals are paired: each draw takes the same sessions of both."
        )
    if changes is None:
        texts.append("The settings of the run before were not kept.")
    elif not changes:
        texts.append("No setting changed: the log or the program did.")
    else:
        tables.append(TableBlock("What changed", Table(["setting", "before", "now"], [[k, *v] for k, v in changes]), False))
    return Section("before", "Since the run before", texts, groups, tables)

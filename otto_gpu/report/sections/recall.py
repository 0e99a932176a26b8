"""What shorter lists would hold."""

from __future__ import annotations

import numpy as np

from otto_gpu.report import charts, words
from otto_gpu.report.charts import Chart, Legend, Line, Table
from otto_gpu.report.layout import Group, Section
from otto_gpu.report.record import Record
from otto_gpu.report.tally import RecallCurve, TargetTally


def section(record: Record, tallies: dict[str, TargetTally]) -> Section | None:
    drawn = []
    for target, found in tallies.items():
        curves = {s: found.recall[s] for s in record.periods if s in found.recall and not np.isnan(found.recall[s].final[-1])}
        if curves:
            drawn.append(_chart(record, target, curves))
    if not drawn:
        return None
    texts = [
        "Recall at k counts against what k places can hold, so the curve of a target with several items per session need not "
        "begin at the bottom. A blue line above its dashed one: the models brought the right items forward."
    ]
    return Section("recall", "Recall along the list", texts, [Group("", drawn)])


def _chart(record: Record, target: str, curves: dict[str, RecallCurve]) -> Chart:
    k = np.arange(1, record.targets.k + 1)
    main, *others = curves
    series = [Line(k, curves[s].final, "s7", f"final lists, {s}", dash=2, width=1.5) for s in others]
    series += [
        Line(k, curves[main].hand_set, "s1", f"hand-set order, {main}", dash=1, width=1.7),
        Line(k, curves[main].final, "s0", f"final lists, {main}"),
    ]
    final, middle = curves[main].final, max(record.targets.k // 4, 1)
    first = "first place reaches" if middle == 1 else f"first {middle} places reach"
    says = f"The {first} {words.share(final[middle - 1])}, all {len(k)} {words.share(final[-1])}"
    says += (
        f"; the hand-set order {words.share(curves[main].hand_set[middle - 1])} and {words.share(curves[main].hand_set[-1])}."
    )
    columns = [v for c in curves.values() for v in (c.final, c.hand_set)]
    table = Table(
        ["k", *(f"{what}, {s}" for s in curves for what in ("final lists", "hand-set order"))],
        [[str(n), *(words.share(v[n - 1]) for v in columns)] for n in k],
    )
    legend: tuple[Legend, ...] = tuple(line.legend() for line in reversed(series))
    return Chart(
        f"Recall at k, {target}",
        charts.lines(series, "k, the length of the list", "recall at k", x_ticks=charts.ticks(len(k))),
        f"Recall at 1 to {len(k)} of {target}. {says}", says, legend, table,
    )  # fmt: skip

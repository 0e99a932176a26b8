"""What the binary rankers call a probability, against how often it came true."""

from __future__ import annotations

from otto_gpu.metrics import wilson
from otto_gpu.report import charts, words
from otto_gpu.report.charts import Chart, Legend, Line, Table
from otto_gpu.report.layout import Group, Section
from otto_gpu.report.record import Record
from otto_gpu.report.tally import Calibration, TargetTally


def section(tallies: dict[str, TargetTally], record: Record) -> Section | None:
    drawn = [_chart(t, g, c) for t, found in tallies.items() for g, c in found.calibration.items()]
    if not drawn:
        return None
    texts = [
        "The probabilities that the binary rankers give, out of fold, against the share of all validation candidates that "
        "came true. The models are trained on the positives and a sample of the negatives, of sessions that have a positive. "
        "So the odds that they give are too high, by as much as the positives are more frequent among the training rows "
        "(dashed). Divided by that factor they should lie on the dotted diagonal (blue). The order of the lists is the same "
        "either way.",
    ]
    ranked = [g for g, settings in record.ranking.groups.items() if settings.by_session]
    if ranked:
        texts.append(f"Scores of {words.listed(ranked)} only order the candidates of a session: they are no probabilities.")
    return Section("calibration", "Calibration", texts, [Group("", drawn)])


def _chart(target: str, group: str, c: Calibration) -> Chart:
    observed = c.positives / c.n
    there = observed > 0  # what never came has no place on this scale
    points = range(int(there.sum()))
    series = [
        Line(c.predicted[there], observed[there], "s1", "as predicted", dash=1, width=1.5, marks=points),
        Line(c.shifted[there], observed[there], "s0", "after the expected shift", marks=points),
    ]
    low, high = wilson(c.positives, c.n)
    upright = [(x, lo, hi, "s0") for x, lo, hi in zip(c.shifted[there], low[there], high[there], strict=True)]
    table = Table(
        ["candidates", "predicted", "after the shift", "hits", "observed"],
        [
            [words.count(n), words.rate(p), words.rate(s), words.count(hits), words.rate(o)]
            for n, p, s, hits, o in zip(c.n, c.predicted, c.shifted, c.positives, observed, strict=True)
        ],
    )
    ratio = float((c.shifted * c.n).sum() / c.positives.sum())
    says = (
        f"{words.rate(c.hits / c.rows)} of {words.count(c.rows)} candidates are hits, but {words.rate(c.sampled_rate)} of the "
        f"training rows: the odds are expected to be {_times(c.odds)} times too high. After that shift the predictions add "
        f"up to {ratio:.2f} times the hits."
    )
    svg = charts.lines(
        series, "predicted probability", "observed rate, with 95 % interval", log_x=True, log_y=True, height=290, percent=True,
        diagonal=True, upright=upright,
    )  # fmt: skip
    legend = (*(line.legend() for line in reversed(series)), Legend("perfect", "muted", "dotted"))
    return Chart(
        f"{target}, {group}",
        svg,
        f"Predicted against observed rates of {target} in {len(c.n)} bins. {says}",
        says,
        legend,
        table,
    )


def _times(value: float) -> str:
    return f"{value:.1f}" if value < 20 else f"{value:,.0f}"

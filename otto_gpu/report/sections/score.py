"""What the lists hold of what came, beside the hand-set order and the run before."""

from __future__ import annotations

from otto_gpu.report import charts, words
from otto_gpu.report.charts import Chart, Legend, Span, Table
from otto_gpu.report.layout import Group, Section, TableBlock
from otto_gpu.report.record import Record

SAYS = {
    "better": "The models order better than the hand-set order: the interval of the weighted difference lies above zero.",
    "worse": "The models order worse than the hand-set order: look at the rankers before these lists are used.",
    "no difference": "Whether the models order better than the hand-set order cannot be told: the interval of the weighted "
    "difference holds zero.",
    "unknown": "There is too little ground truth to tell.",
}


def section(record: Record) -> Section:
    drawn, tables = [], []
    before = record.previous[0] if record.previous else {}
    for split, name in record.periods.items():
        figures = record.figures(split)
        if figures is None or figures["weighted"] is None:
            continue
        older = before.get(split) or {}
        drawn.append(_chart(record, split, figures, older if record.recall_name in older else None))
        tables.append(TableBlock(f"{name[0].upper()}{name[1:]}", _table(record, figures)))
    figures = record.figures(record.shown_split)
    if drawn:
        drawn.insert(1, _gain(record, record.shown_split, figures))
    texts = [
        f"Of what followed the cut of a session, the share that its list of {record.targets.k} holds. In brackets, and as "
        "lines in the charts: 95 % intervals, by a bootstrap over sessions. The hand-set order is that of the candidates "
        "before any model has seen them.",
    ]
    if record.figures("test") is None:
        texts.append(
            "The test period has no ground truth here. Validation was scored out of fold, by models that have not seen its "
            "sessions."
        )
    return Section("score", "Score", texts, [Group("", drawn)] if drawn else [], tables)


def of(figures: dict, name: str, key: str) -> float | None:
    """The recall of a target, or the weighted one."""
    return figures["weighted"] if key == "weighted" else figures[name].get(key)


def _keys(record: Record, figures: dict) -> list[str]:
    return [key for key in record.keys if of(figures, record.recall_name, key) is not None]


def _chart(record: Record, split: str, figures: dict, older: dict | None) -> Chart:
    name = record.recall_name
    series = [(figures, "s0", "this run"), (older, "s2", "run before"), (figures["hand_set_order"], "s1", "hand-set order")]
    series = [entry for entry in series if entry[0] is not None]
    rows = {
        key: [Span(of(f, name, key), (f["interval"] or {}).get(key), shown) for f, shown, _ in series]
        for key in _keys(record, figures)
    }
    table = Table(
        ["", *(label for *_, label in series)],
        [[key, *(f"{words.share(s.value)} {words.ends(s.ends)}" for s in spans)] for key, spans in rows.items()],
    )
    told = "; ".join(f"{key} {words.share(spans[0].value)}" for key, spans in rows.items())
    says = "Intervals of two orders overlap because both meet the same easy and hard sessions; the difference takes that out."
    if split != record.shown_split:
        says = "The blend's weights were chosen on these sessions, so the test period is the stricter figure."
    return Chart(
        f"{name}, {split}", charts.spans(rows, name),
        f"{name}, {record.periods[split]}, with intervals: {told}.", says,
        tuple(Legend(label, shown, "dot") for _, shown, label in series), table,
    )  # fmt: skip


def _gain(record: Record, split: str, figures: dict) -> Chart:
    gain = figures["gain_over_hand_set_order"]
    return difference_chart(f"Over the hand-set order, {split}", gain, _keys(record, figures), record.recall_name, SAYS)


def difference_chart(title: str, found: dict, keys: list[str], name: str, says: dict[str, str]) -> Chart:
    """found: of paired_interval; says: the caption by words.better_or_worse of the weighted difference."""
    intervals = found["interval"] or {}
    values = {key: found["difference"].get(key) for key in keys}
    rows = {key: [Span(value, intervals.get(key), "s0")] for key, value in values.items()}
    table = Table(["", "difference"], [[key, words.signed(v, intervals.get(key))] for key, v in values.items()])
    told = "; ".join(f"{key} {words.signed(v, intervals.get(key))}" for key, v in values.items())
    verdict = words.better_or_worse(values.get("weighted"), intervals.get("weighted"))
    return Chart(
        title, charts.spans(rows, f"difference in {name}", zero=True), f"Differences with intervals: {told}.", says[verdict],
        (), table,
    )  # fmt: skip


def _table(record: Record, figures: dict) -> Table:
    name, rows = record.recall_name, []
    gain, intervals = figures["gain_over_hand_set_order"], figures["interval"] or {}
    for key in record.keys:
        value, whole = of(figures, name, key), key == "weighted"
        if value is None:
            rows.append([key, "absent", "", "", "", ""])
            continue
        change = f"{words.signed(gain['difference'][key])}\n{words.signed_ends((gain['interval'] or {}).get(key))}"
        rows.append([
            key, f"{words.share(value)}\n{words.ends(intervals.get(key))}",
            words.share(of(figures["hand_set_order"], name, key)), change,
            "" if whole else words.count(figures["labels"][key]), "" if whole else f"{record.targets.weights[key]:g}",
        ])  # fmt: skip
    return Table(["target", name, "hand-set order", "difference", "ground truth", "weight"], rows)

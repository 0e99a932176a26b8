"""What the lists hold of what came, beside the hand-set order and the run before."""

from __future__ import annotations

from otto_gpu.metrics import METRICS
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
        drawn.append(_chart(record, split, figures, older if record.metric_name in older else None))
        tables.append(TableBlock(f"{name[0].upper()}{name[1:]}", _table(record, figures)))
    figures = record.figures(record.shown_split)
    if drawn:
        drawn.insert(1, _gain(record, record.shown_split, figures))
    what = f"Of what followed the cut of a session, the share that its list of {record.targets.k} holds."
    if record.targets.metric != "recall":
        metric = METRICS[record.targets.metric]
        what = f"{metric.called} of the first {record.targets.k}: {metric.meaning}; a session without a hit counts 0."
    texts = [
        f"{what} In brackets, and as lines in the charts: 95 % intervals, by a bootstrap over sessions. The hand-set order is "
        "that of the candidates before any model has seen them. New to the session: of answers whose item the session's "
        "history does not hold.",
    ]
    if record.figures("test") is None:
        texts.append(
            "The test period has no ground truth here. Validation was scored out of fold, by models that have not seen its "
            "sessions."
        )
    return Section("score", "Score", texts, [Group("", drawn)] if drawn else [], tables)


def of(figures: dict, name: str, key: str) -> float | None:
    """The figure of a target, or the weighted one; also one that is not the run's own. None where it is not known."""
    if name not in figures:
        return figures.get("beside", {}).get(name, {}).get(key)
    return figures["weighted"] if key == "weighted" else figures[name].get(key)


def _keys(record: Record, figures: dict) -> list[str]:
    return [key for key in record.keys if of(figures, record.metric_name, key) is not None]


def _chart(record: Record, split: str, figures: dict, older: dict | None) -> Chart:
    name = record.metric_name
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
    return difference_chart(f"Over the hand-set order, {split}", gain, _keys(record, figures), record.metric_name, SAYS)


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
    name, rows = record.metric_name, []
    gain, intervals = figures["gain_over_hand_set_order"], figures["interval"] or {}
    for key in record.keys:
        value, whole = of(figures, name, key), key == "weighted"
        if value is None:
            rows.append([key, "absent", "", "", "", "", ""])
            continue
        new = figures.get("new_to_the_session")
        told_new = "" if new is None else f"{words.share(of(new, name, key))}\n{words.ends((new['interval'] or {}).get(key))}"
        change = f"{words.signed(gain['difference'][key])}\n{words.signed_ends((gain['interval'] or {}).get(key))}"
        rows.append([
            key, f"{words.share(value)}\n{words.ends(intervals.get(key))}", told_new,
            words.share(of(figures["hand_set_order"], name, key)), change,
            _number(record, figures, new, key), "" if whole else f"{record.targets.weights[key]:g}",
        ])  # fmt: skip
    head = ["target", name, "new to the session", "hand-set order", "difference", "answers, new ones", "weight"]
    return Table(head, rows)


def _number(record: Record, figures: dict, new: dict | None, key: str) -> str:
    """How many answers a row's figures are of."""
    found = [figures] if new is None else [figures, new]
    if key == "weighted":
        return "\n".join(f"{words.count(f['sessions'])} sessions" for f in found)
    return "\n".join(words.count(record.answers(f)[key]) for f in found)

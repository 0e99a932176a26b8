"""What one figure does not tell: every metric, the lists themselves, baselines, and parts of the sessions and answers."""

from __future__ import annotations

from otto_gpu.metrics import METRICS
from otto_gpu.report import words
from otto_gpu.report.charts import Table
from otto_gpu.report.layout import Hidden, Section, TableBlock
from otto_gpu.report.record import Record
from otto_gpu.report.sections.score import of

BASELINES = {"most_popular": "most popular", "last_seen": "last seen"}
LISTS = {
    "catalogue_coverage": "share of the log's items that stand in some list",
    "known_coverage": "share of the items with a known event that do",
    "novelty": "novelty, bits: mean of -log2 of an item's share of the known events",
}
SLICES = {
    "history_length": ("By the length of the history", "events"),
    "answer_popularity": ("By the popularity of the answer", "tenth of the known events"),
}


def section(record: Record) -> Section | None:
    figures, period = record.figures(record.shown_split), record.periods[record.shown_split]
    if figures is None or "beside" not in figures:  # of an earlier version
        return None
    k = record.targets.k
    texts = [
        f"In the {period}, with lists of {k}; the run is chosen by {record.metric_name}. The baselines name the same for "
        "everybody (the most popular items of the last days that are known), or what the session has seen, the last item "
        "first. An answer is new to the session where its item is not in the session's history.",
        "An answer's tenth: items in the order of their known events, most first, cut where a tenth, two tenths, ... of all "
        "these events are reached; the first tenth are the fewest items and the most popular ones.",
    ]
    tables = [
        TableBlock("Every metric", _metrics(record, figures)),
        TableBlock(f"Baselines, {record.metric_name}", _baselines(record, figures)),
        *(TableBlock(title, _slices(record, figures["slices"][what], of_what)) for what, (title, of_what) in SLICES.items()),
    ]
    meanings = Table(["metric", "what it is"], [[f"{m.called} at {k}", m.meaning] for m in METRICS.values()])
    return Section("beside", "Beside the score", texts, [], tables, [Hidden("What the metrics are", table=meanings)])


def _metrics(record: Record, figures: dict) -> Table:
    rows = []
    for metric, described in METRICS.items():
        found = figures["beside"][record.targets.figure(metric)]
        rows.append([f"{described.called} at {record.targets.k}", *(words.share(found[key]) for key in record.keys)])
    lists = record.metrics[record.shown_split]["lists"]
    for name, called in LISTS.items():
        shown = words.share if name != "novelty" else _bits
        rows.append([called, *(shown(lists[name][t]) for t in record.targets.names), ""])
    rows.append(["sessions with answers", *(words.count(figures["sessions_of"][t]) for t in record.targets.names), ""])
    rows.append(["answers, as many as a list can hold", *(words.count(figures["labels"][t]) for t in record.targets.names), ""])
    return Table(["", *record.keys], rows)


def _bits(value: float | None) -> str:
    return words.DASH if value is None else f"{value:.1f}"


def _baselines(record: Record, figures: dict) -> Table:
    name, rows = record.metric_name, []
    new = figures["new_to_the_session"]
    rows.append(["this run", *(_both(figures, new, name, key) for key in record.keys), ""])
    for baseline, called in BASELINES.items():
        found = figures["baselines"][baseline]
        lead = found["gain_over_it"]
        told = words.signed(lead["difference"]["weighted"], (lead["interval"] or {}).get("weighted"))
        rows.append([called, *(_both(found, found["new_to_the_session"], name, key) for key in record.keys), told])
    answers = [
        f"{words.count(record.answers(figures)[t])} / {words.count(record.answers(new)[t])}" for t in record.targets.names
    ]
    rows.append(["number of answers", *answers, "", ""])
    return Table(["all / new to the session", *record.keys, "this run's lead, weighted"], rows)


def _both(found: dict, new: dict, name: str, key: str) -> str:
    return f"{words.share(of(found, name, key))} / {words.share(of(new, name, key))}"


def _slices(record: Record, slices: dict[str, dict], of_what: str) -> Table:
    name, rows = record.metric_name, []
    for called, found in slices.items():
        cells = [f"{words.share(found[name][t])} of {words.count(record.answers(found)[t])}" for t in record.targets.names]
        rows.append([called, *cells, words.share(found["weighted"]), words.count(found["sessions"])])
    return Table([of_what, *(f"{t}, of answers" for t in record.targets.names), "weighted", "sessions"], rows)

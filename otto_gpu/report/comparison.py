"""Several runs side by side: what their settings did to score, coverage and cost. The first run is what the others are held
against."""

from __future__ import annotations

from functools import cached_property

from rich.markup import escape
from rich.table import Table as Shown

from otto_gpu.report import charts, words
from otto_gpu.report.charts import Chart, Legend, Span, Table
from otto_gpu.report.compare import against_first, changed_settings, distinct_names, kept_coverage
from otto_gpu.report.layout import Group, Hidden, Section, TableBlock, Tile
from otto_gpu.report.record import Record
from otto_gpu.report.sections import left_out
from otto_gpu.report.sections.cost import SHOWN
from otto_gpu.report.sections.headline import TONES
from otto_gpu.report.sections.score import of

SHORT = 60  # characters of a setting in a terminal


class Comparison:
    """records: two runs or more. Raises UserError where their test sessions or ground truths cannot be compared."""

    def __init__(self, records: list[Record]):
        self.records, self.names = records, distinct_names(records)
        self.differences = against_first(records, self.names)
        self.changes = changed_settings([record.config for record in records])
        self.targets = list(dict.fromkeys(t for record in records for t in record.targets.names))
        self.metric_name = records[0].metric_name

    @cached_property
    def keys(self) -> list[str]:
        """What has a score, in one of the runs at least."""
        return [key for key in [*self.targets, "weighted"] if any(self.score(r, key)[0] is not None for r in self.records)]

    def score(self, record: Record, key: str) -> tuple[float | None, list | None]:
        """(recall of a target or the weighted one, its interval) in the test period."""
        figures = record.figures("test")
        if figures is None:
            return None, None
        interval = figures["interval"] if self.metric_name in figures else None
        return of(figures, self.metric_name, key), (interval or {}).get(key)

    @property
    def paired(self) -> dict[str, dict]:
        """{run: what outcome.paired found}, of those that can be compared with the first one."""
        return {name: d.found for name, d in zip(self.names[1:], self.differences, strict=True) if d.found is not None}

    @property
    def partly(self) -> list[str]:
        """Of which runs the difference is of a part of their test sessions alone: they are of other logs or splits."""
        told = []
        for record, name in zip(self.records[1:], self.names[1:], strict=True):
            if name in self.paired:
                common, sizes = self.paired[name]["sessions"], [len(r.hits.ids) for r in (record, self.records[0])]
                if common < max(sizes):
                    of = f"of {words.count(sizes[0])} and {words.count(sizes[1])}"
                    told.append(
                        f"{name} and {self.names[0]} have {words.count(common)} test sessions in common, {of}: their scores "
                        "are of different sessions, and the difference is of these alone"
                    )
        return told


def page(c: Comparison) -> dict:
    """What the template takes."""
    others = f"{words.listed(c.names[1:])} {'is' if len(c.names) == 2 else 'are'}"
    gone = _left_out(c)
    return {
        "title": " · ".join(c.names),
        "kicker": "otto_gpu · comparison of runs",
        "summary": f"{len(c.records)} runs; {others} held against {c.names[0]}.",
        "tiles": _tiles(c),
        "notes": [],
        "sections": [_settings(c), _scores(c), _coverage(c), *([gone] if gone else []), _cost(c)],
    }


def shown(c: Comparison) -> list[Shown]:
    """The same for the terminal, in short."""
    scores = Shown(title=f"{c.metric_name}, test; below it the difference to {escape(c.names[0])}", title_justify="left")
    for column in ("run", *c.keys):
        scores.add_column(column, justify="left" if column == "run" else "right")
    for record, name in zip(c.records, c.names, strict=True):
        scores.add_row(
            escape(name), *(words.share(c.score(record, key)[0]) for key in c.keys), end_section=name not in c.paired
        )
        if name in c.paired:
            scores.add_row("", *(_difference(c.paired[name], key) for key in c.keys), end_section=True)
    changes = Shown(title="Settings that differ", title_justify="left")
    for column in ("setting", *c.names):
        changes.add_column(escape(column))
    for key, values in c.changes:
        changes.add_row(escape(key), *(escape(v if len(v) <= SHORT else f"{v[: SHORT - 3]}...") for v in values))
    return [scores, *([changes] if c.changes else [])]


def _change(found: dict, key: str) -> tuple[float | None, list | None]:
    return found["difference"].get(key), (found["interval"] or {}).get(key)


def _difference(found: dict, key: str) -> str:
    return words.signed(*_change(found, key))


def _tiles(c: Comparison) -> list[Tile]:
    tiles = []
    for record, name in zip(c.records, c.names, strict=True):
        value, interval = c.score(record, "weighted")
        note, tone = f"95 % {words.ends(interval)}" if interval else "no ground truth", ""
        if name in c.paired:
            note = f"{_difference(c.paired[name], 'weighted')} to {c.names[0]}"
            tone = TONES.get(words.better_or_worse(*_change(c.paired[name], "weighted")), "")
        tiles.append(Tile(f"{name}: {c.metric_name}, weighted", words.share(value), note, tone))
    return tiles


def _settings(c: Comparison) -> Section:
    if not c.changes:
        return Section("settings", "What differs", ["No setting: the log, the program or chance did what is told below."])
    table = Table(["setting", *c.names], [[key, *values] for key, values in c.changes])
    return Section("settings", "What differs", [], [], [TableBlock("Settings", table, False)])


def _scores(c: Comparison) -> Section:
    texts = [f"{d.why}: its scores are held against nothing." for d in c.differences if d.found is None]
    texts += [f"{told}." for told in c.partly]
    if not c.keys:
        return Section("score", "Score", ["None of the runs has ground truth for its test period: there are no scores."])
    colours = {name: charts.colour(i) for i, name in enumerate(c.names)}
    rows = {key: [Span(*c.score(r, key), colours[n]) for r, n in zip(c.records, c.names, strict=True)] for key in c.keys}
    table = Table(
        ["", *c.names], [[key, *(f"{words.share(s.value)} {words.ends(s.ends)}" for s in spans)] for key, spans in rows.items()]
    )
    says = "A run's own interval is about which sessions there are; all runs have these in common, so the difference counts."
    told = "; ".join(f"{key} {', '.join(words.share(s.value) for s in spans)}" for key, spans in rows.items())
    legend = {name: Legend(name, colour, "dot") for name, colour in colours.items()}
    drawn = [
        Chart(
            f"{c.metric_name}, test", charts.spans(rows, c.metric_name), f"Scores: {told}.", says, tuple(legend.values()), table
        )
    ]
    if c.paired:
        drawn.append(_differences(c, legend))
        sizes = words.listed(sorted({words.count(found["sessions"]) for found in c.paired.values()}))
        texts.insert(
            0,
            f"The differences are of {sizes} test sessions in common; each draw of the bootstrap takes the same sessions of "
            "both runs.",
        )
    return Section("score", "Score", texts, [Group("", drawn)])


def _differences(c: Comparison, legend: dict[str, Legend]) -> Chart:
    rows = {key: [Span(*_change(found, key), legend[name].colour) for name, found in c.paired.items()] for key in c.keys}
    table = Table(["", *c.paired], [[key, *(_difference(found, key) for found in c.paired.values())] for key in c.keys])
    told = []
    for name, found in c.paired.items():
        verdict = words.better_or_worse(*_change(found, "weighted"))
        told.append(
            f"{name} is {verdict} than {c.names[0]}"
            if verdict in TONES
            else f"Between {name} and {c.names[0]} no difference can be told from chance"
        )
    says = "; ".join(told) + ", by the weighted score."
    return Chart(
        f"Difference to {c.names[0]}, test", charts.spans(rows, f"difference in {c.metric_name}", zero=True), says, says,
        tuple(legend[name] for name in c.paired), table,
    )  # fmt: skip


def _coverage(c: Comparison) -> Section:
    kept = [kept_coverage(record.coverage("test")) for record in c.records]
    rows = [["candidates a session", *(f"{k['candidates']['mean']:.1f}" for k in kept)]]
    for target in c.targets:
        depths = {depth for k in kept for depth in k.get(target, {})}
        for depth in sorted(depths, key=lambda d: float("inf") if d == "all" else int(d)):
            found = [k.get(target, {}).get(depth) for k in kept]
            if any(value is not None for value in found):
                rows.append([f"{target}, {'all' if depth == 'all' else f'at {depth}'}", *map(words.share, found)])
    texts = ["The share of the test period's ground truth that is among the candidates: what rankers can reach."]
    return Section("coverage", "Coverage", texts, [], [TableBlock("Coverage of the test period", Table(["", *c.names], rows))])


def _left_out(c: Comparison) -> Section | None:
    found = left_out.side_by_side(c.records)
    if found is None:
        return None
    texts = ["Of the test period's events, those that no figure counts; and answers that lists made of events cannot hold."]
    return Section("left-out", "Left out", texts, [], [TableBlock("Of the test period", Table(["", *c.names], found.rows))])


def _cost(c: Comparison) -> Section:
    stages = list(dict.fromkeys(s for record in c.records for s in record.stages))
    seconds = [(s, [r.stages[s]["seconds"] if s in r.stages else None for r in c.records]) for s in stages]
    drawn = [(s, values) for s, values in seconds if max(v or 0 for v in values) >= SHOWN] or seconds
    totals = [sum(cost["seconds"] for cost in r.stages.values()) for r in c.records]
    peaks = [max(cost["peak_memory_mb"] for cost in r.stages.values()) for r in c.records]
    colours = [charts.colour(i) for i in range(len(c.records))]
    rows = [[s, *(words.DASH if v is None else f"{v:,.1f}" for v in values)] for s, values in seconds]
    rows += [["all", *(f"{t:,.1f}" for t in totals)], ["peak memory, MB", *map(words.count, peaks)]]
    chart = Chart(
        "Seconds per stage", charts.bars(drawn, colours, words.seconds), "Seconds per stage of each run; in numbers below.",
        "In all " + ", ".join(f"{n} {words.seconds(t)}" for n, t in zip(c.names, totals, strict=True)) + ".",
        tuple(Legend(n, k, "fill") for n, k in zip(c.names, colours, strict=True)),
    )  # fmt: skip
    texts = ["What each stage took when it last ran in its run directory, on the machine where it ran."]
    hidden = [Hidden("Seconds per stage and peak memory", table=Table(["stage", *c.names], rows))]
    return Section("cost", "Cost", texts, [Group("", [chart])], [], hidden)

"""What the candidates hold, source by source, and how many there are."""

from __future__ import annotations

import numpy as np

from otto_gpu.candidates.settings import EVERYTHING, FUSION
from otto_gpu.report import charts, words
from otto_gpu.report.charts import Chart, Legend, Line, Table
from otto_gpu.report.compare import kept_coverage
from otto_gpu.report.layout import Group, Hidden, Section
from otto_gpu.report.record import Record
from otto_gpu.report.tally import candidate_sizes

BARS = 40  # of the histogram, at most
STANDARD = 20  # the depth at which sources are held against each other


def section(record: Record) -> Section:
    split = record.shown_split
    drawn = [_coverage(record, split, t) for t in record.targets.names] if record.curves is not None else []
    drawn = [chart for chart in [*drawn, _sizes(record)] if chart is not None]
    texts = [
        "Coverage is the share of the ground truth that is among a session's candidates: no ranker can bring more of it into "
        "the lists. A source at N is its N best items; all of them at N is the hand-set order."
    ]
    figures = record.figures(split)
    if figures is not None:
        kept, recall = kept_coverage(record.coverage(split)), record.recall(figures)
        told = [
            f"{words.percent(min(recall[t] / kept[t]['all'], 1))} for {t}"
            for t in record.targets.names
            if recall[t] is not None and kept[t]["all"]
        ]
        if told:
            texts.append(
                f"Of what the candidates hold, the lists of {record.targets.k} keep about {', '.join(told)} ({split}). What "
                "is missing there is for better rankers to win; what is missing in the coverage, for better candidates."
            )
    hidden = [Hidden(f"Coverage by source, {name}", table=_table(record, s)) for s, name in record.periods.items()]
    return Section("candidates", "Candidates", texts, [Group("", drawn)], [], hidden)


def _coverage(record: Record, split: str, target: str) -> Chart | None:
    curves, depths = record.curves[split], record.curves["depths"]
    known = {s: c[target] for s, c in curves.items() if c.get(target) and c[target][0] is not None}
    if not known:
        return None
    # as deep as anything grows
    deepest = max(next(i for i, v in enumerate(c) if v >= c[-1]) for c in known.values())
    depths = depths[: max(deepest + 1, 5)]
    order = [s for s in known if s not in (EVERYTHING, FUSION)]
    series = [
        Line(depths, known[s][: len(depths)], charts.colour(i), s, min(i // charts.SERIES, 2)) for i, s in enumerate(order)
    ]
    for source, name, dash in ((EVERYTHING, "all of them", 0), (FUSION, "kept by fusion", 1)):
        if source in known:
            series.append(Line(depths, known[source][: len(depths)], "ink", name, dash, width=2.4))
    table = Table(["depth", *known], [[str(d), *(words.share(c[i]) for c in known.values())] for i, d in enumerate(depths)])
    whole = record.coverage(split)[EVERYTHING][target]["all"]
    says = f"All sources together reach {words.share(whole)}."
    if order and STANDARD in depths:
        at = depths.index(STANDARD)
        best = max(order, key=lambda s: known[s][at])
        says += f" Alone, {best} does best at {STANDARD}: {words.share(known[best][at])}."
    kept = record.coverage(split).get(FUSION)
    if kept is not None:
        says += f" What fusion keeps holds {words.share(kept[target]['all'])}."
    marks = [t for t in (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000) if t <= depths[-1]]
    return Chart(
        f"Coverage of {target}, {split}",
        charts.lines(series, "the source's best N", "coverage at N", log_x=True, x_ticks=marks),
        f"Coverage of {target} by depth and source, {split} period. {says}", says,
        tuple(line.legend() for line in series), table,
    )  # fmt: skip


def _sizes(record: Record) -> Chart | None:
    sizes = {split: candidate_sizes(record.run_dir, split) for split in record.periods}
    if not all(counts.any() for counts in sizes.values()):
        return None
    least, most = (of(np.flatnonzero(c)[end] for c in sizes.values()) for of, end in ((min, 0), (max, -1)))
    least = max(min(least, most - BARS // 2), 0)  # where all have about as many, there is still an axis
    width = max(-(-(most - least + 1) // BARS), 1)
    edges = np.arange(least, most + width + 1, width) - 0.5
    shares, rows = [], []
    for (split, counts), shown in zip(sizes.items(), ("s0", "s1"), strict=True):
        padded = np.zeros((len(edges) - 1) * width, np.int64)
        padded[: len(counts) - least] = counts[least:]
        shares.append((padded.reshape(-1, width).sum(axis=1) / counts.sum(), shown))
        at = np.searchsorted(np.cumsum(counts), np.array([0.05, 0.25, 0.5, 0.75, 0.95]) * counts.sum())
        mean = float(counts @ np.arange(len(counts)) / counts.sum())
        rows.append([split, words.count(counts.sum()), f"{mean:.1f}", *map(str, at), str(len(counts) - 1)])
    table = Table(["period", "sessions", "mean", "5 %", "25 %", "median", "75 %", "95 %", "most"], rows)
    first = rows[0]
    says = f"Half of the {first[0]} sessions have {first[5]} candidates or fewer, one in twenty {first[3]} or fewer."
    if record.candidates.fusion:
        says += f" Fusion keeps at most {record.candidates.fusion.keep}."
    return Chart(
        "Candidates per session", charts.histogram(shares, edges, "candidates", "share of the sessions"),
        f"Distribution of the number of candidates. {says}", says,
        (Legend(first[0], "s0", "fill"), Legend(rows[1][0], "s1")), table,
    )  # fmt: skip


def _table(record: Record, split: str) -> Table:
    coverage, targets = record.coverage(split), record.targets.names
    depths = list(coverage[EVERYTHING][targets[0]])
    rows = [
        [source, f"{row['candidates']['mean']:.1f}", *(words.share(row[t][d]) for t in targets for d in depths)]
        for source, row in coverage.items()
    ]
    return Table(["source", "candidates", *(f"{t}, {d}" for t in targets for d in depths)], rows)

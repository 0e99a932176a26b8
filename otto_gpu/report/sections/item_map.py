"""A map of the items by their vectors, where a run has some."""

from __future__ import annotations

import numpy as np

from otto_gpu.device import CPU, choose_device
from otto_gpu.embeddings.map import FEWEST, MOST, NEAR, kept, places
from otto_gpu.embeddings.settings import ENCODER
from otto_gpu.embeddings.vectors import load_vectors, vectors_path
from otto_gpu.errors import MissingExtra
from otto_gpu.report import charts, words
from otto_gpu.report.charts import Chart, Legend, Table
from otto_gpu.report.layout import Group, Section
from otto_gpu.report.record import Record
from otto_gpu.report.sections.vectors import made
from otto_gpu.report.tally import item_events

# what nearness means, by vectors that are learnt from the log, and by others
LEARNT = (
    "items that follow each other in sessions lie near each other. "
    "Dots that stand together are items that visitors see together"
)
READY = "items that are alike by them lie near each other"
SPLIT = "test"  # whose vectors know most of the log
FIRST = (ENCODER, "word2vec")  # before others
# shares of the items, the most popular first, with their look; many small dots below few large ones
LOOKS = ((0.05, "s1", 6.0), (0.2, "s0", 4.5), (0.5, "s6", 3.5), (1.0, "s7", 2.5))


def section(record: Record) -> Section | None:
    found = record.metrics.get("embeddings") or {}
    known = [n for n in found if made(found[n][SPLIT]) and vectors_path(record.run_dir, SPLIT, n).is_file()]
    if not known:
        return None
    name = next((n for n in FIRST if n in known), known[0])
    vectors = load_vectors(record.run_dir, SPLIT, name)
    events = item_events(record.run_dir, SPLIT, len(vectors))
    items = np.argsort(-events, kind="stable")
    items = items[(events[items] > 0) & vectors[items].any(axis=1)]
    if len(items) < FEWEST:
        return None
    shown, device = items[:MOST], choose_device("auto") if record.config.get("device") == "cuda" else CPU
    try:
        where, method = places(vectors[shown], device)
    except MissingExtra as missing:
        return Section("map", "Map of the items", [f"{str(missing)[0].upper()}{str(missing)[1:]}"])
    texts = [
        f"The vectors of {name} on a plane, by {method}: {LEARNT if found[name][SPLIT]['loss'] else READY}; "
        "axes and the room between groups mean nothing."
    ]
    chart = _chart(where, events[shown], len(items), kept(vectors[shown], where))
    return Section("map", "Map of the items", texts, [Group("", [chart])])


def _chart(where: np.ndarray, events: np.ndarray, of: int, near: float) -> Chart:
    """events: int64 [n], descending."""
    n, groups, legend, rows, above = len(events), [], [], [], None
    for share, colour, size in LOOKS:
        least = int(events[int(np.ceil(share * n)) - 1])
        mask = (events >= least) & (events < (np.inf if above is None else above))
        if not mask.any():
            continue  # as many events as those above
        label = _events(least, None if above is None else above - 1)
        groups.append((mask, colour, size))
        legend.append(Legend(label, colour, "dot"))
        rows.append([label, words.count(mask.sum()), words.percent(events[mask].sum() / events.sum())])
        above = least
    which = f"All {words.count(n)} items" if n == of else f"The {words.count(n)} most popular of {words.count(of)} items"
    says = f"{which}. Of an item's {NEAR} nearest by the vectors {words.percent(near)} are among its {NEAR} nearest here."
    return Chart(
        "Items by popularity", charts.dots(where, groups[::-1]),
        f"{which} as dots on a plane, coloured by their events; in numbers below.", says, tuple(legend),
        Table(["dots", "items", "their share of the events"], rows),
    )  # fmt: skip


def _events(least: int, most: int | None) -> str:
    """most: None for no end."""
    unit = "event" if (most or least) == 1 else "events"
    if most is None:
        return f"{words.count(least)} {unit} and more"
    return f"{words.count(least)} {unit}" if least == most else f"{words.count(least)} to {words.count(most)} {unit}"

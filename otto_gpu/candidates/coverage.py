"""Coverage: the share of the ground truth that is among the candidates, the ceiling of any ranker."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from rich.table import Table

from otto_gpu.candidates.fuse import UNRANKED, Candidates, ranks_in_session
from otto_gpu.candidates.settings import MOST_DEPTH
from otto_gpu.events.labels import Labels

CURVE = (1, 2, 3, 5, 7, 10, 15, 20, 30, 50, 70, 100, 150, 200, 300, 500, MOST_DEPTH)
PERCENTILES = (5, 25, 50, 75, 95)


def label_rows(candidates: Candidates, labels: Labels, code: int, n_items: int) -> np.ndarray:
    """bool [m]: which candidates are ground truth of the type with this code."""
    mine = labels.type == code
    truth = labels.session[mine].astype(np.int64) * n_items + labels.aid[mine]
    truth.sort()
    keys = candidates.session.astype(np.int64) * n_items + candidates.aid
    if not len(truth):
        return np.zeros(len(keys), bool)
    place = np.minimum(np.searchsorted(truth, keys), len(truth) - 1)
    return truth[place] == keys


class Coverage:
    """Adds up chunk by chunk; `table()` gives per source, and for `all`, candidates per session and coverage per target,
    `curves()` the coverage at more depths."""

    def __init__(self, sources, targets: dict[str, int], orders: dict[str, str], depths: Sequence[int]):
        """targets: {name: type code}; orders: {target: the source whose order stands for all candidates}; depths: of the table,
        none above MOST_DEPTH."""
        self.sources, self.targets, self.orders, self.depths = tuple(sources), targets, orders, tuple(depths)
        self.sizes: dict[str, list[np.ndarray]] = {s: [] for s in (*self.sources, "all")}
        # by rank from 0; the last place is for all that are deeper
        self.found = {(s, t): np.zeros(MOST_DEPTH + 1, np.int64) for s in self.sizes for t in targets}

    def add(self, candidates: Candidates, label: dict[str, np.ndarray]) -> None:
        """label: {target: bool [m]}; without ground truth an empty dict."""
        session_of = np.repeat(np.arange(len(candidates.sessions)), np.diff(candidates.pointer))
        for source in self.sizes:
            if source == "all":
                self.sizes[source].append(np.diff(candidates.pointer))
            else:
                there = candidates.ranks[:, self.sources.index(source)] != UNRANKED
                self.sizes[source].append(np.bincount(session_of[there], minlength=len(candidates.sessions)))
            for target, hit in label.items():
                rank = candidates.ranks[:, self.sources.index(self.orders[target] if source == "all" else source)]
                rank = rank.astype(np.int64)
                if source == "all":
                    # the hand-set order: by rank, then the others in the order of mention
                    rank = ranks_in_session(candidates.pointer, -np.where(rank == UNRANKED, np.iinfo(np.int16).max, rank))
                named = np.minimum(rank[hit & (rank >= 0)], MOST_DEPTH)
                self.found[source, target] += np.bincount(named, minlength=MOST_DEPTH + 1)

    def table(self, totals: dict[str, int]) -> dict:
        """totals: {target: how much ground truth there is}. JSON-ready; coverage is None where there is none."""
        result, depths = {}, (*self.depths, None)
        for source, sizes in self.sizes.items():
            counts = np.concatenate(sizes) if sizes else np.zeros(1, np.int64)
            result[source] = {
                "candidates": {
                    "mean": round(float(counts.mean()), 2),
                    **{f"p{p}": float(np.percentile(counts, p)) for p in PERCENTILES},
                },
                **{
                    target: dict(
                        zip((*map(str, self.depths), "all"), self._shares(source, target, totals, depths), strict=True)
                    )
                    for target in self.targets
                },
            }
        return result

    def curves(self, totals: dict[str, int]) -> dict[str, dict[str, list[float | None]]]:
        """{source: {target: coverage at each depth of CURVE}}; totals as for table."""
        return {s: {t: self._shares(s, t, totals, CURVE) for t in self.targets} for s in self.sizes}

    def _shares(self, source: str, target: str, totals: dict[str, int], depths) -> list[float | None]:
        """None is a depth too: as deep as it goes."""
        found = np.cumsum(self.found[source, target])
        total = totals.get(target)
        return [round(float(found[-1 if d is None else d - 1]) / total, 5) if total else None for d in depths]


def depths_of(figures: dict, target: str) -> list[str]:
    """The depths in the figures of Coverage.table; the last one is "all"."""
    return list(figures["all"][target])


def coverage_table(title: str, figures: dict, targets) -> Table:
    """The table of Coverage.table's figures, for people: a row per source."""
    table = Table(title=title, title_justify="left")
    for column in ("source", "candidates", *(f"p{p}" for p in PERCENTILES)):
        table.add_column(column, justify="left" if column == "source" else "right")
    for target in targets:
        for depth in depths_of(figures, target):
            table.add_column(f"{target} {depth}", justify="right")
    for source, row in figures.items():
        sizes = [f"{row['candidates']['mean']:.1f}", *(f"{row['candidates'][f'p{p}']:.0f}" for p in PERCENTILES)]
        shares = [v for t in targets for v in row[t].values()]
        table.add_row(
            source, *sizes, *("" if v is None else f"{v:.3f}" for v in shares), style="bold" if source == "all" else None
        )
    return table

"""What a period's lists are worth: the score, what it is held against, and what one figure does not tell.

All of it is made of the places of the labels in the lists, found once. A slice is a part of the labels, or of the sessions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from otto_gpu.columns import AID, SESSION, TS
from otto_gpu.events.labels import Labels
from otto_gpu.events.settings import TargetsConfig
from otto_gpu.metrics import METRICS, TargetHits, hits_of_places, label_places, paired_interval, point_score, score

DAY = 86_400_000  # ms
BATCH = 1 << 20  # events read at a time
POPULAR, LAST_SEEN = "most_popular", "last_seen"  # the baselines
LENGTHS = {"1": (1, 1), "2-3": (2, 3), "4-10": (4, 10), "more than 10": (11, None)}  # events of a history
DECILES = 10
NO_EVENT = "no event"


@dataclass(frozen=True)
class Known:
    """What is known in a period. session, aid: int32 [n], the events of its histories, by session and time; events, recent:
    int64 [n_items], those of every item, and those of the last days; prefixes: the histories are beginnings of the same
    sessions, by session and length, so that they hold answers: their events do not count."""

    session: np.ndarray
    aid: np.ndarray
    events: np.ndarray
    recent: np.ndarray
    prefixes: bool = False

    @classmethod
    def load(cls, run_dir: Path, split: str, n_items: int, days: float, prefixes: bool = False) -> Known:
        """days: of what is recent, up to the last event that is known."""
        place = run_dir / "events" / split
        histories = place / "history.parquet"
        files = [place / "train.parquet"] if prefixes else [place / "train.parquet", histories]
        last = max((int(ts.max()) for file in files for (ts,) in _batches(file, TS)), default=0)
        events, recent = np.zeros(n_items, np.int64), np.zeros(n_items, np.int64)
        for file in files:
            for aid, ts in _batches(file, AID, TS):
                events += np.bincount(aid, minlength=n_items)
                recent += np.bincount(aid[ts >= last - days * DAY], minlength=n_items)
        history = pq.read_table(histories, columns=[SESSION, AID])
        return cls(history[SESSION].to_numpy(), history[AID].to_numpy(), events, recent, prefixes)

    @cached_property
    def popular(self) -> np.ndarray:
        """int32: the items by their recent events, most first; ties: by events in all, then the smaller one."""
        order = np.lexsort((-self.events, -self.recent))
        return order[: np.count_nonzero(self.events)].astype(np.int32)

    @cached_property
    def decile(self) -> np.ndarray:
        """int64 [n_items]: 1 for the most popular items, which have a tenth of all events, to 10; 0 without an event. An item
        is where its first event is, the items' events in a row by how many there are."""
        order = np.argsort(-self.events, kind="stable")
        before = np.cumsum(self.events[order]) - self.events[order]
        decile = np.empty(len(order), np.int64)
        decile[order] = before * DECILES // max(int(self.events.sum()), 1) + 1
        return np.where(self.events > 0, decile, 0)

    def in_history(self, session: np.ndarray, aid: np.ndarray) -> np.ndarray:
        """bool [n]: whether the item is in the session's history."""
        width = len(self.events)
        there = np.unique(self.session.astype(np.int64) * width + self.aid)
        return np.isin(session.astype(np.int64) * width + aid, there)

    def lengths(self, session: np.ndarray) -> np.ndarray:
        """int64 [n]: the events of each session's history."""
        return np.searchsorted(self.session, session, "right") - np.searchsorted(self.session, session)

    def whole(self, sessions: np.ndarray) -> np.ndarray:
        """int64 [n]: equal for sessions with a history that are beginnings of one session."""
        if not self.prefixes:
            return sessions.astype(np.int64)
        ids, lengths = np.unique(self.session, return_counts=True)
        return np.cumsum(lengths == 1)[np.searchsorted(ids, sessions)]

    def last_seen(self, sessions: np.ndarray, k: int) -> np.ndarray:
        """int32 [n, k], -1 where there are fewer: the different items of each session's history, the last one first."""
        session, aid = self.session[::-1], self.aid[::-1]
        _, first = np.unique(session.astype(np.int64) * len(self.events) + aid, return_index=True)
        first.sort()
        session, aid = session[first][::-1], aid[first][::-1]  # ascending sessions again, each from its oldest item on
        place = np.searchsorted(session, session, "right") - 1 - np.arange(len(session))
        row = np.searchsorted(sessions, session)
        row[row == len(sessions)] = 0
        there = (place < k) & (sessions[row] == session) if len(sessions) else np.zeros(len(session), bool)
        lists = np.full((len(sessions), k), -1, np.int32)
        lists[row[there], place[there]] = aid[there]
        return lists


def _batches(file: Path, *columns: str):
    for batch in pq.ParquetFile(file).iter_batches(BATCH, columns=list(columns)):
        yield tuple(batch.column(name).to_numpy() for name in columns)


def of_lists(lists: dict[str, np.ndarray], known: Known) -> dict:
    """{"catalogue_coverage": {target: share of the log's items that stand in some list}, "known_coverage": the same of the
    items with a known event, "novelty": {target: mean of -log2 of the item's share of the known events over the lists' entries;
    an item without an event counts as one with one}}; no label plays a part."""
    total = max(int(known.events.sum()), 1)
    bits = -np.log2(np.maximum(known.events, 1) / total)
    there = max(int(np.count_nonzero(known.events)), 1)
    found: dict = {"catalogue_coverage": {}, "known_coverage": {}, "novelty": {}}
    for target, rows in lists.items():
        items = rows[rows >= 0]
        different = np.unique(items)
        found["catalogue_coverage"][target] = len(different) / max(len(known.events), 1)
        found["known_coverage"][target] = int(np.count_nonzero(known.events[different])) / there
        found["novelty"][target] = float(bits[items].mean()) if len(items) else None
    return found


class Figures:
    """The figures of lists for sessions with ground truth. lists: {target: int32 [n, k]}; sessions: int32 [n], ascending."""

    def __init__(self, labels: Labels, sessions: np.ndarray, targets: TargetsConfig, known: Known):
        self._labels, self._sessions, self._targets, self._known = labels, sessions, targets, known
        self._new = ~known.in_history(labels.session, labels.aid)
        self.whole = known.whole(np.unique(labels.session))

    def hits(self, lists: dict[str, np.ndarray]) -> tuple[TargetHits, ...]:
        return self._of(self._places(lists))

    def _places(self, lists: dict[str, np.ndarray]) -> np.ndarray:
        return label_places(self._labels, lists, self._sessions, self._targets)

    def _of(self, places: np.ndarray, keep: np.ndarray | None = None) -> tuple[TargetHits, ...]:
        return hits_of_places(self._labels, places, self._targets, keep)

    def of(self, lists: dict[str, np.ndarray], hand_set: dict[str, np.ndarray]) -> dict:
        """The score with what it is held against (docs/artifacts.md, metrics.json)."""
        targets, places = self._targets, self._places(lists)
        hits, by_recall = self._of(places), self.hits(hand_set)
        new = self._known.whole(np.unique(self._labels.session[self._new]))
        return score(hits, targets, whole=self.whole) | {
            "hand_set_order": score(by_recall, targets, whole=self.whole),
            "gain_over_hand_set_order": paired_interval(hits, by_recall, targets, whole=self.whole),
            "new_to_the_session": score(self._of(places, self._new), targets, whole=new),
            "baselines": {name: self._baseline(other, hits) for name, other in self._others().items()},
            "beside": self._beside(hits),
            "slices": self._slices(places),
        }

    def _others(self) -> dict[str, dict[str, np.ndarray]]:
        k, n = self._targets.k, len(self._sessions)
        popular = self._known.popular[:k]
        rows = {POPULAR: np.broadcast_to(popular, (n, len(popular))), LAST_SEEN: self._known.last_seen(self._sessions, k)}
        return {name: dict.fromkeys(self._targets.names, lists) for name, lists in rows.items()}

    def _baseline(self, lists: dict[str, np.ndarray], hits: Sequence[TargetHits]) -> dict:
        """Its figures, those of answers that are new to the session, and how much better the run is."""
        targets, places = self._targets, self._places(lists)
        own = self._of(places)
        return point_score(own, targets, targets.metric) | {
            "new_to_the_session": point_score(self._of(places, self._new), targets, targets.metric),
            "gain_over_it": paired_interval(hits, own, targets, whole=self.whole),
        }

    def _beside(self, hits: Sequence[TargetHits]) -> dict[str, dict]:
        """{metric@k: {target and "weighted": figure}} of every metric."""
        told = {}
        for metric in METRICS:
            found, name = point_score(hits, self._targets, metric), self._targets.figure(metric)
            told[name] = found[name] | {"weighted": found["weighted"]}
        return told

    def _slices(self, places: np.ndarray) -> dict[str, dict]:
        """{what is told apart: {slice: its figures with the number of answers}}, slices with answers only."""
        length = self._known.lengths(self._labels.session)
        decile = self._known.decile[self._labels.aid]
        answers = {str(d): decile == d for d in range(1, DECILES + 1)} | {NO_EVENT: decile == 0}
        parts = {
            "history_length": {n: (length >= a) & (length <= b if b else True) for n, (a, b) in LENGTHS.items()},
            "answer_popularity": answers,
        }
        return {
            what: {name: self._slice(places, keep) for name, keep in named.items() if keep.any()}
            for what, named in parts.items()
        }

    def _slice(self, places: np.ndarray, keep: np.ndarray) -> dict:
        found = score(self._of(places, keep), self._targets, bootstrap=0)
        return {name: value for name, value in found.items() if name != "interval"}

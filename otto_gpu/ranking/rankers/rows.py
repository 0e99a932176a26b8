"""The rows that rankers are handed: some of their columns, some of their batches, and where a model's columns stand."""

from __future__ import annotations

from weakref import WeakKeyDictionary

import numpy as np

from otto_gpu.device.arrays import arrays_of
from otto_gpu.ranking.rankers import Batches

# the first, small model that says which columns matter. On 100,000 and 370,000 rows of generated logs its 128 columns of 626
# gave the same AUC or a better one in a quarter of the time (more of them: no better)
LOOKED_AT, LOOK_ROUNDS = 20_000, 40  # 10,000 to 75,000 rows and 30 to 100 rounds chose alike: AUC within .001
SHOWN = 50_000  # training rows whose figures are logged every round


def with_columns(batches: Batches, columns: np.ndarray) -> Batches:
    return lambda: ((features[:, columns], *rest) for features, *rest in batches())


def first_rows(batches: Batches) -> Batches:
    """The first SHOWN rows and those that come with them: enough for a curve, while sorting all of them for the AUC of every
    round takes a fifth of the training."""

    def give():
        rows = 0
        for batch in batches():
            yield batch
            rows += len(batch[1])
            if rows >= SHOWN:
                return

    return give


def without_none(rows, categories: list[int]):
    """The rows with nan for no category, which is -1 in those columns: libraries take it for a missing value. A copy, where
    there are such columns."""
    if not categories:
        return rows
    rows = rows.copy()
    some = rows[:, categories]
    rows[:, categories] = arrays_of(rows).where(some < 0, np.float32(np.nan), some)
    return rows


class Places:
    """Where the columns of models stand among others, looked up once: a call for one session is short."""

    def __init__(self):
        self._kept: WeakKeyDictionary = WeakKeyDictionary()  # {model: (names, places)}

    def of(self, model, columns: list[str], names: tuple[str, ...]) -> list[int] | None:
        """The places of the model's columns among the names; None: they are these."""
        kept = self._kept.get(model)
        if kept is None or kept[0] != names:
            place = {name: i for i, name in enumerate(names)}
            places = [place[name] for name in columns]
            kept = self._kept[model] = names, None if places == list(range(len(names))) else places
        return kept[1]

"""RecTools' EASE (Steck 2019)."""

from __future__ import annotations

import numpy as np
import pandas as pd
from rectools import Columns
from rectools.dataset import Dataset
from rectools.models import EASEModel

from benchmarks.peers.split import Split, padded


def fit(split: Split, n: int, regularization: float, most_items: int):
    """(recommend, facts): recommend() -> int32 [1, S, n], items that the session had before included."""
    events = split.of_recent_items(most_items)
    dataset = dataset_of(split, events)
    model = EASEModel(regularization=regularization)
    model.fit(dataset)
    facts = {"items": dataset.item_id_map.size, "of_items": len(np.unique(split.aid))}
    return (lambda: recommended(model, dataset, split, np.unique(split.session[events]), n)), facts


def dataset_of(split: Split, events: np.ndarray) -> Dataset:
    """Some events as RecTools takes them."""
    return Dataset.construct(
        pd.DataFrame(
            {
                Columns.User: split.session[events],
                Columns.Item: split.aid[events],
                Columns.Weight: 1.0,
                Columns.Datetime: pd.to_datetime(split.ts[events], unit="ms"),
            }
        )
    )


def recommended(model, dataset: Dataset, split: Split, known: np.ndarray, n: int) -> np.ndarray:
    """int32 [1, S, n]: a model's lists; sessions that it does not know have none."""
    users = split.sessions[np.isin(split.sessions, known)]
    table = model.recommend(users, dataset, k=n, filter_viewed=False)
    table = table.sort_values([Columns.User, Columns.Rank])
    row = np.searchsorted(split.sessions, table[Columns.User].to_numpy())
    return padded(row, table[Columns.Item].to_numpy(), len(split.sessions), n)[None]

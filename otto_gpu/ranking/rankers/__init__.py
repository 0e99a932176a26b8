"""The kinds of rankers by name, one module each in this folder. Whoever adds one writes its module and a line of RANKERS.

The line says what the configuration has to know without the packages that train: which objectives there are, and which settings
of a group no other kind has.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from otto_gpu.errors import UserError
from otto_gpu.needs import Need
from otto_gpu.schema import did_you_mean

Batches = Callable[[], Iterator[tuple[np.ndarray, ...]]]


@dataclass(frozen=True)
class Kind:
    """title: what people call it; module: in this folder; objectives: {name: whether it compares the rows of a session with
    each other}, the first one is the default; need: the package that trains; own: settings of a group that this kind alone
    has."""

    title: str
    module: str
    objectives: dict[str, bool]
    need: Need
    own: tuple[str, ...] = ()


RANKERS = {
    "xgboost": Kind(
        "XGBoost",
        "xgb",
        {"binary:logistic": False, "rank:pairwise": True, "rank:ndcg": True, "softmax": True},
        Need("the ranker", "xgboost", "cpu"),
        ("depth",),
    ),
    "lightgbm": Kind(
        "LightGBM",
        "lgb",
        {"binary": False, "lambdarank": True, "rank_xendcg": True},
        Need("the ranker lightgbm", "lightgbm", "lightgbm"),
        ("leaves", "leaf_rows"),
    ),
}
OBJECTIVES = {name: by_session for kind in RANKERS.values() for name, by_session in kind.objectives.items()}


class Ranker(Protocol):
    """What a kind's module has. A model is whatever it likes; nobody else looks into one.

    ENDING: of the files that its models are saved in; LOOKED_AT: training rows that choose_columns is given.
    """

    ENDING: str
    LOOKED_AT: int

    def alike(self, group) -> tuple:
        """Groups of one kind that are equal in this are trained on the same prepared rows."""

    def choose_columns(
        self, group, batches: Batches, names: tuple[str, ...], device: str, threads: int, seed: int,
        categorical: frozenset[str] = frozenset(),
    ) -> np.ndarray | None:  # fmt: skip
        """Places of the columns that groups like this one take, int64, ascending: at most group.columns. None: all."""

    def prepare(
        self, group, training: Batches, held_out: Batches, names: tuple[str, ...], threads: int, cache: Path | None = None,
        columns: np.ndarray | None = None, device: str = "cpu", categorical: frozenset[str] = frozenset(),
    ) -> tuple:  # fmt: skip
        """(rows to learn from, held-out rows, some of the first), rounded to the group's bins: a byte a value, made once for
        all groups that are alike.

        training, held_out: functions that give the batches (features float32 [m, n], label float32 [m], session int32 [m]
        and, where rows do not count the same, weight float32 [m]), sessions ascending; rows of a session never span two
        batches. cache: a folder for rows that memory does not hold, empty again at the end; None: memory holds them.
        columns: places of those that are used; None: all. device: cpu or cuda. categorical: the columns whose values are
        names of categories, whole numbers from 0, -1 where there is none.
        """

    def train(self, group, prepared: tuple, device: str, threads: int, seed: int, targets) -> tuple[Any, dict]:
        """(model, log): log has what was reported per round on some training rows and on the held-out ones ({"train":
        {metric: [...]}, "eval": {...}}), best_round, to which the model is cut, and best_score: the group's metric on the
        held-out rows in that round."""

    def save(self, model, path: Path) -> None:
        """Into a file that load reads."""

    def load(self, path: Path, device: str, threads: int):
        """The model. UserError where the file holds none."""

    def predict(self, model, rows, names: tuple[str, ...] | None = None, way: str = "auto") -> np.ndarray:
        """float32 [m], on the host: raw margins, which order like probabilities and lose nothing at their ends. rows: float32
        [m, n], of the host or of the device that the model was loaded for. names: of the columns of the rows, of which a
        model may take some only; None: they are the model's own. way: how what lies on a GPU is scored (ranking.scoring)."""

    def columns_of(self, model) -> list[str]:
        """The names of the columns that the model takes, in its order."""

    def importance(self, model, names: tuple[str, ...]) -> dict[str, float]:
        """Total gain per feature that the model uses, most first."""

    def contributions(self, model, row: np.ndarray, names: tuple[str, ...]) -> np.ndarray:
        """float64 [n + 1]: what each of n columns of one row, float32 [1, n], gives to its margin, and last the bias (Tree
        SHAP, Lundberg et al. 2018); they add up to the margin."""


def load_ranker(name: str) -> Ranker:
    """MissingExtra where the package that it needs is not installed."""
    if name not in RANKERS:
        raise UserError(f"ranking.ranker: unknown ranker {name!r}; {did_you_mean(name, RANKERS)}")
    return import_module(f"{__name__}.{RANKERS[name].module}")

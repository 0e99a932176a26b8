"""The ranker `xgboost`: one model per target and fold, trained from batches, early stopping on the held-out fold's AUC."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from otto_gpu.errors import MissingExtra
from otto_gpu.ranking.settings import Group

try:
    import xgboost
except ImportError as error:
    raise MissingExtra("the ranker", "xgboost", "cpu") from error

Batches = Callable[[], Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]]


class _BatchIter(xgboost.DataIter):
    """Hands (features [m, n], label [m], session [m]) to XGBoost batch by batch."""

    def __init__(self, batches: Batches, names: tuple[str, ...], by_session: bool):
        self._batches, self._names, self._by_session = batches, list(names), by_session
        self._iterator = None
        super().__init__()

    def reset(self) -> None:
        self._iterator = self._batches()

    def next(self, input_data) -> bool:
        batch = next(self._iterator, None)
        if batch is None:
            return False
        features, label, session = batch
        more = {"qid": session} if self._by_session else {}
        input_data(data=features, label=label, feature_names=self._names, **more)
        return True


def train(group: Group, training: Batches, held_out: Batches, names: tuple[str, ...], device: str, threads: int, seed: int):
    """(model, log): log has per round what XGBoost reports ({"train": {...}, "eval": {"auc": [...]}}) and best_round.

    training, held_out: functions that give the batches, sessions ascending; rows of a session never span two batches.
    """
    by_session = group.objective.startswith("rank:")
    data = xgboost.QuantileDMatrix(_BatchIter(training, names, by_session), max_bin=group.bins)
    evaluation = xgboost.QuantileDMatrix(_BatchIter(held_out, names, by_session), max_bin=group.bins, ref=data)
    log: dict = {}
    params = {
        "objective": group.objective,
        "tree_method": "hist",
        "device": device,
        "nthread": threads,
        "max_depth": group.depth,
        "learning_rate": group.learning_rate,
        "colsample_bytree": group.colsample,
        "subsample": group.subsample,
        "min_child_weight": group.min_child_weight,
        "reg_lambda": group.reg_lambda,
        "max_bin": group.bins,
        "seed": seed + group.seed,
        # the last metric of the last set decides about early stopping
        "eval_metric": ["ndcg@20", "auc"] if by_session else ["logloss", "auc"],
        **group.params,
    }
    model = xgboost.train(
        params, data, group.rounds, evals=[(data, "train"), (evaluation, "eval")], evals_result=log, verbose_eval=False,
        early_stopping_rounds=group.early_stopping,
    )  # fmt: skip
    best = model.best_iteration
    log["best_round"] = best
    # what came after the best round is not used: models are cut to it when they are kept
    return model[: best + 1], dict(log)


def load(path: Path, device: str, threads: int):
    model = xgboost.Booster()
    model.load_model(path)
    model.set_param({"device": device, "nthread": threads})
    return model


def predict(model, features: np.ndarray) -> np.ndarray:
    """float32 [m]: raw margins, which order like the probabilities and lose nothing at their ends."""
    return model.inplace_predict(features, predict_type="margin", validate_features=False).astype(np.float32)


def importance(model, names: tuple[str, ...]) -> dict[str, float]:
    """Total gain per feature that the model uses, most first."""
    gains = model.get_score(importance_type="total_gain")
    return dict(sorted(gains.items(), key=lambda item: (-item[1], names.index(item[0]))))

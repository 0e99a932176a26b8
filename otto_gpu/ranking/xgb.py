"""The ranker `xgboost`: one model per target and fold, trained from batches, early stopping on the held-out fold's AUC."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from otto_gpu.arrays import home
from otto_gpu.device import Device
from otto_gpu.errors import MissingExtra
from otto_gpu.ranking.settings import Group

try:
    import xgboost
except ImportError as error:
    raise MissingExtra("the ranker", "xgboost", "cpu") from error

Batches = Callable[[], Iterator[tuple[np.ndarray, ...]]]


class _BatchIter(xgboost.DataIter):
    """Hands (features [m, n], label [m], session [m] and, where rows do not count the same, weight [m]) to XGBoost, which
    finds the bins where the features lie: on a GPU, if the device is one."""

    def __init__(self, batches: Batches, names: tuple[str, ...], by_session: bool, cache: Path | None, device: str):
        self._batches, self._names, self._by_session = batches, list(names), by_session
        self._device = Device(device, "as asked")
        self._iterator, self._queries = None, 0
        super().__init__(cache_prefix=None if cache is None else str(cache))

    def reset(self) -> None:
        self._iterator, self._queries = self._batches(), 0

    def next(self, input_data) -> bool:
        batch = next(self._iterator, None)
        if batch is None:
            return False
        features, label, session, *weight = batch
        more = {"weight": weight[0]} if weight else {}
        if self._by_session:
            # queries are numbered as they come: a session that comes again, with another target's rows, is another query
            begins = np.diff(session, prepend=session[0] - 1) != 0
            more = {"qid": self._queries + np.cumsum(begins)}
            self._queries = more["qid"][-1]
            if weight:  # of a query
                more["weight"] = weight[0][begins]
        input_data(data=self._device.bring(features), label=label, feature_names=self._names, **more)
        return True


def alike(group: Group) -> tuple:
    """Groups of one kind are trained on the same prepared rows."""
    return group.bins, group.by_session


def prepare(
    group: Group, training: Batches, held_out: Batches, names: tuple[str, ...], threads: int, cache: Path | None = None,
    device: str = "cpu",
) -> tuple:  # fmt: skip
    """The rows of both sides, rounded to the group's bins: a byte a value, made once for all groups that are alike.

    training, held_out: functions that give the batches, sessions ascending; rows of a session never span two batches.
    cache: a folder in which XGBoost keeps the rows, to fetch a batch at a time and remove them at the end; None: in memory.
    device: cpu or cuda, that they are prepared for.
    """
    kind = xgboost.QuantileDMatrix if cache is None else xgboost.ExtMemQuantileDMatrix
    sides = ((training, "training"), (held_out, "held_out"))
    data, evaluation = (_BatchIter(batches, names, group.by_session, cache and cache / name, device) for batches, name in sides)
    data = kind(data, max_bin=group.bins, nthread=threads)
    return data, kind(evaluation, max_bin=group.bins, ref=data, nthread=threads)


def train(group: Group, prepared: tuple, device: str, threads: int, seed: int):
    """(model, log): log has per round what XGBoost reports ({"train": {...}, "eval": {"auc": [...]}}), best_round, and
    best_score: group.metric on the held-out fold in that round."""
    data, evaluation = prepared
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
        "eval_metric": ["auc" if group.by_session else "logloss", group.metric],
        **group.params,
    }
    model = xgboost.train(
        params, data, group.rounds, evals=[(data, "train"), (evaluation, "eval")], evals_result=log, verbose_eval=False,
        early_stopping_rounds=group.early_stopping,
    )  # fmt: skip
    best = model.best_iteration
    log["best_round"], log["best_score"] = best, model.best_score
    # what came after the best round is not used: models are cut to it when they are kept
    return model[: best + 1], dict(log)


def load(path: Path, device: str, threads: int):
    model = xgboost.Booster()
    model.load_model(path)
    model.set_param({"device": device, "nthread": threads})
    return model


def predict(model, features) -> np.ndarray:
    """float32 [m], on the host: raw margins, which order like the probabilities and lose nothing at their ends. features:
    float32 [m, n], of the host or of the device that the model was loaded for; scored where they are."""
    margins = model.inplace_predict(features, predict_type="margin", validate_features=False)
    return home(margins).astype(np.float32)


def importance(model, names: tuple[str, ...]) -> dict[str, float]:
    """Total gain per feature that the model uses, most first."""
    gains = model.get_score(importance_type="total_gain")
    return dict(sorted(gains.items(), key=lambda item: (-item[1], names.index(item[0]))))

"""The ranker `xgboost`: trained from batches, stopped early by the held-out fold, on the CPU or a GPU. What its functions are
for, rankers.Ranker says."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from otto_gpu.device import Device
from otto_gpu.device.arrays import on_device, to_host
from otto_gpu.device.boosters import check_device, driver_pool
from otto_gpu.errors import UserError
from otto_gpu.events.settings import TargetsConfig
from otto_gpu.ranking.forest import DEEPEST
from otto_gpu.ranking.rankers import RANKERS, Batches
from otto_gpu.ranking.rankers.listwise import reciprocal_rank, softmax_gradient
from otto_gpu.ranking.rankers.rows import LOOK_ROUNDS, LOOKED_AT, Places, first_rows, with_columns, without_none
from otto_gpu.ranking.scoring import XGBOOST, backend_of, check_there, margins, scoring_backend
from otto_gpu.ranking.settings import Group

try:
    import xgboost
except ImportError as error:
    raise RANKERS["xgboost"].need.missing() from error

__all__ = ["LOOKED_AT"]  # and all that rankers.Ranker tells of

ENDING = "ubj"  # XGBoost's binary JSON
CATEGORY = "c"  # what it calls a column of categories; q: of numbers

SOFTMAX = "softmax"
OTTO = TargetsConfig()

_places = Places()


class _BatchIter(xgboost.DataIter):
    """Hands (features [m, n], label [m], session [m] and, where rows do not count the same, weight [m]) to XGBoost, which
    finds the bins where the features lie: on a GPU, if the device is one."""

    def __init__(
        self, batches: Batches, names: tuple[str, ...], by_session: bool, cache: Path | None, device: str,
        categorical: frozenset[str] = frozenset(),
    ):  # fmt: skip
        self._batches, self._names, self._by_session = batches, list(names), by_session
        self._categories = [i for i, name in enumerate(names) if name in categorical]
        self._types = [CATEGORY if name in categorical else "q" for name in names] if self._categories else None
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
        features = self._device.to_device(without_none(features, self._categories))
        input_data(data=features, label=label, feature_names=self._names, feature_types=self._types, **more)
        return True


def alike(group: Group) -> tuple:
    """Groups of one kind are trained on the same prepared rows."""
    return group.bins, group.by_session, group.columns


def choose_columns(
    group: Group, batches: Batches, names: tuple[str, ...], device: str, threads: int, seed: int,
    categorical: frozenset[str] = frozenset(),
) -> np.ndarray | None:  # fmt: skip
    """Places of the columns that groups like this one take, int64, ascending: at most group.columns, those with the most gain
    in a small model of some of the rows. None: all.

    XGBoost makes the histograms of all columns, whatever share of them a tree may use: fewer columns are less work.
    """
    if group.columns is None or group.columns >= len(names):
        return None
    like = Group(objective="rank:pairwise" if group.by_session else "binary:logistic", bins=group.bins)
    with _refused("ranking.groups"), driver_pool(device):
        rows = _BatchIter(batches, names, group.by_session, None, device, categorical)
        data = xgboost.QuantileDMatrix(rows, max_bin=group.bins, nthread=threads, enable_categorical=bool(categorical))
        gains = importance(xgboost.train(_params(like, device, threads, seed, "auc"), data, LOOK_ROUNDS), names)
    return np.sort([names.index(name) for name in list(gains)[: group.columns]]) if gains else None


def prepare(
    group: Group, training: Batches, held_out: Batches, names: tuple[str, ...], threads: int, cache: Path | None = None,
    columns: np.ndarray | None = None, device: str = "cpu", categorical: frozenset[str] = frozenset(),
) -> tuple:  # fmt: skip
    """As rankers.Ranker says. cache: a folder in which XGBoost keeps the rows, to fetch a batch at a time and remove them at
    the end (for a GPU it keeps them in the host's memory); None: in memory, the device's."""
    kind = xgboost.QuantileDMatrix if cache is None else xgboost.ExtMemQuantileDMatrix
    if columns is not None:
        names = tuple(names[i] for i in columns)
        training, held_out = with_columns(training, columns), with_columns(held_out, columns)
    sides = {"training": training, "held_out": held_out, "shown": first_rows(training)}
    rows = {
        name: _BatchIter(give, names, group.by_session, cache and cache / name, device, categorical)
        for name, give in sides.items()
    }
    more = {"max_bin": group.bins, "nthread": threads, "enable_categorical": bool(categorical)}
    with _refused("ranking.groups"), driver_pool(device):
        data = kind(rows["training"], **more)
        return data, *(kind(rows[name], ref=data, **more) for name in ("held_out", "shown"))


@contextmanager
def _refused(what: str) -> Iterator[None]:
    """XGBoost's errors as the user's: a parameter that it does not take, a model that it cannot read."""
    try:
        yield
    except xgboost.core.XGBoostError as error:
        said = re.sub(r"^\[[\d:]+\] \S+: ", "", str(error).strip().splitlines()[0])
        raise UserError(f"{what}: XGBoost says: {said}") from error


def train(group: Group, prepared: tuple, device: str, threads: int, seed: int, targets: TargetsConfig = OTTO):
    """As rankers.Ranker says. UserError where it should have been on a GPU, and was not."""
    data, evaluation, shown = prepared
    metric, log = group.metric(targets), {}
    own: dict = {"obj": Softmax(data, device)} if group.objective == SOFTMAX else {}
    if metric.startswith("mrr"):  # none of XGBoost's; it comes last, and decides
        own |= {"custom_metric": _mrr(metric, targets.k), "maximize": True}
    with _refused("ranking.groups"), driver_pool(device):
        model = xgboost.train(
            _params(group, device, threads, seed, metric), data, group.rounds, evals=[(shown, "train"), (evaluation, "eval")],
            evals_result=log, verbose_eval=False, early_stopping_rounds=group.early_stopping, **own,
        )  # fmt: skip
    check_device(model, device)
    best = model.best_iteration
    log["best_round"], log["best_score"] = best, model.best_score
    # what came after the best round is not used: models are cut to it when they are kept
    return model[: best + 1], dict(log)


class Softmax:
    """The objective `softmax` for xgboost.train. What the rows' lists are is looked up once."""

    def __init__(self, data: xgboost.DMatrix, device: str):
        self._device = Device(device, "as asked")
        pointer, weight = data.get_uint_info("group_ptr").astype(np.int64), data.get_weight()
        lists = data.get_label(), pointer, weight if len(weight) else None
        self._lists = self._device.to_device(lists)

    def __call__(self, margin: np.ndarray, data: xgboost.DMatrix) -> tuple:
        return softmax_gradient(self._device.to_device(margin), *self._lists)


def _mrr(name: str, k: int):
    """The figure mrr@k for xgboost.train."""

    def figure(margin: np.ndarray, data: xgboost.DMatrix) -> tuple[str, float]:
        pointer, weight = data.get_uint_info("group_ptr").astype(np.int64), data.get_weight()
        return name, reciprocal_rank(margin, data.get_label(), pointer, k, weight if len(weight) else None)

    return figure


def _params(group: Group, device: str, threads: int, seed: int, metric: str) -> dict:
    return {
        # with a gradient of ours the model calls itself one that ranks: its own is not asked
        "objective": "rank:ndcg" if group.objective == SOFTMAX else group.objective,
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
        "eval_metric": ["auc" if group.by_session else "logloss", *([] if metric.startswith("mrr") else [metric])],
        **group.params,
    }


def save(model, path: Path) -> None:
    path.write_bytes(bytes(model.save_raw("ubj")))


def load(path: Path, device: str, threads: int):
    model = xgboost.Booster()
    with _refused(str(path)):
        model.load_model(path)
    model.set_param({"device": device, "nthread": threads})
    return model


def predict(model, rows, names: tuple[str, ...] | None = None, way: str = "auto") -> np.ndarray:
    """As rankers.Ranker says; the rows are scored where they are."""
    columns = None if names is None else _places.of(model, model.feature_names, names)
    categories = _categories(model)
    if categories:
        rows, columns = without_none(rows if columns is None else rows[:, columns], categories), None
    return margins(model, rows, columns, scoring_backend(way, "cuda" if on_device(rows) else "cpu"))


def _categories(model) -> list[int]:
    """The places of the model's columns of categories."""
    return [i for i, kind in enumerate(model.feature_types or ()) if kind == CATEGORY]


def score_margins(model: Path | xgboost.Booster, rows, way: str, device: Device) -> np.ndarray:
    """float32 [m], on the host: what predict says, in the way that is asked for, to compare the three. A model's first call
    makes it ready for that way (a path is loaded every time). rows: float32 [m, n] of the model's columns, brought to the
    device if they are not there; a pipeline's lie as scoring.taken lays them out.

    UserError where that way cannot score this model; MissingExtra where it is not installed.
    """
    check_there(way)
    booster = load(model, device.kind, 0) if isinstance(model, Path) else model
    rows = device.to_device(rows)
    if way == XGBOOST:
        booster.set_param({"device": device.kind})
        return margins(booster, rows, None, way)
    scorer = backend_of(booster, way, device.kind == "cuda", DEEPEST)
    if scorer is None:
        raise UserError(f"scoring by {way}: trees deeper than {DEEPEST}, or no plain ones with numbers")
    return to_host(scorer.margins(rows))


def columns_of(model) -> list[str]:
    return model.feature_names


def contributions(model, row: np.ndarray, names: tuple[str, ...]) -> np.ndarray:
    columns = _places.of(model, model.feature_names, names)
    taken = np.arange(len(names)) if columns is None else np.array(columns)
    types, categories = model.feature_types, _categories(model)
    data = xgboost.DMatrix(
        without_none(row[:, taken], categories), feature_names=model.feature_names, feature_types=types,
        enable_categorical=bool(categories),
    )  # fmt: skip
    out = np.zeros(len(names) + 1)
    out[np.append(taken, len(names))] = model.predict(data, pred_contribs=True)[0]
    return out


def importance(model, names: tuple[str, ...]) -> dict[str, float]:
    gains = model.get_score(importance_type="total_gain")
    return dict(sorted(gains.items(), key=lambda item: (-item[1], names.index(item[0]))))

"""The ranker `xgboost`: one model per target and fold, trained from batches, early stopping on the held-out fold's AUC."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from weakref import WeakKeyDictionary

import numpy as np

from otto_gpu.device import Device
from otto_gpu.device.arrays import on_device, to_host
from otto_gpu.device.boosters import check_device, driver_pool
from otto_gpu.errors import MissingExtra, UserError
from otto_gpu.ranking.forest import DEEPEST
from otto_gpu.ranking.scoring import XGBOOST, backend_of, check_there, margins, scoring_backend
from otto_gpu.ranking.settings import Group

try:
    import xgboost
except ImportError as error:
    raise MissingExtra("the ranker", "xgboost", "cpu") from error

# the first, small model that says which columns matter. On 100,000 and 370,000 rows of generated logs its 128 columns of 626
# gave the same AUC or a better one in a quarter of the time (more of them: no better)
LOOKED_AT, LOOK_ROUNDS = 20_000, 40  # 10,000 to 75,000 rows and 30 to 100 rounds chose alike: AUC within .001
SHOWN = 50_000  # training rows whose figures are logged every round

_places: WeakKeyDictionary[xgboost.Booster, tuple] = WeakKeyDictionary()  # (names, places): a call for one session is short

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
        input_data(data=self._device.to_device(features), label=label, feature_names=self._names, **more)
        return True


def alike(group: Group) -> tuple:
    """Groups of one kind are trained on the same prepared rows."""
    return group.bins, group.by_session, group.columns


def choose_columns(
    group: Group, batches: Batches, names: tuple[str, ...], device: str, threads: int, seed: int
) -> np.ndarray | None:
    """Places of the columns that groups like this one take, int64, ascending: at most group.columns, those with the most gain
    in a small model of some of the rows. None: all.

    XGBoost makes the histograms of all columns, whatever share of them a tree may use: fewer columns are less work.
    """
    if group.columns is None or group.columns >= len(names):
        return None
    like = Group(objective="rank:pairwise" if group.by_session else "binary:logistic", bins=group.bins)
    with _refused("ranking.groups"), driver_pool(device):
        data = xgboost.QuantileDMatrix(
            _BatchIter(batches, names, group.by_session, None, device), max_bin=group.bins, nthread=threads
        )
        gains = importance(xgboost.train(_params(like, device, threads, seed), data, LOOK_ROUNDS), names)
    return np.sort([names.index(name) for name in list(gains)[: group.columns]]) if gains else None


def prepare(
    group: Group, training: Batches, held_out: Batches, names: tuple[str, ...], threads: int, cache: Path | None = None,
    columns: np.ndarray | None = None, device: str = "cpu",
) -> tuple:  # fmt: skip
    """(rows to learn from, held-out rows, some of the first), rounded to the group's bins: a byte a value, made once for all
    groups that are alike.

    training, held_out: functions that give the batches, sessions ascending; rows of a session never span two batches.
    cache: a folder in which XGBoost keeps the rows, to fetch a batch at a time and remove them at the end (for a GPU it keeps
    them in the host's memory); None: in memory, the device's.
    columns: places of those that are used; None: all. device: cpu or cuda, that they are prepared for.
    """
    kind = xgboost.QuantileDMatrix if cache is None else xgboost.ExtMemQuantileDMatrix
    if columns is not None:
        names = tuple(names[i] for i in columns)
        training, held_out = _picked(training, columns), _picked(held_out, columns)
    sides = {"training": training, "held_out": held_out, "shown": _first(training)}
    rows = {name: _BatchIter(give, names, group.by_session, cache and cache / name, device) for name, give in sides.items()}
    with _refused("ranking.groups"), driver_pool(device):
        data = kind(rows["training"], max_bin=group.bins, nthread=threads)
        return data, *(kind(rows[name], max_bin=group.bins, ref=data, nthread=threads) for name in ("held_out", "shown"))


def _picked(batches: Batches, columns: np.ndarray) -> Batches:
    return lambda: ((features[:, columns], *rest) for features, *rest in batches())


def _first(batches: Batches) -> Batches:
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


@contextmanager
def _refused(what: str) -> Iterator[None]:
    """XGBoost's errors as the user's: a parameter that it does not take, a model that it cannot read."""
    try:
        yield
    except xgboost.core.XGBoostError as error:
        said = re.sub(r"^\[[\d:]+\] \S+: ", "", str(error).strip().splitlines()[0])
        raise UserError(f"{what}: XGBoost says: {said}") from error


def train(group: Group, prepared: tuple, device: str, threads: int, seed: int):
    """(model, log): log has per round what XGBoost reports ({"train": {...}, "eval": {"auc": [...]}}), best_round, and
    best_score: group.metric on the held-out fold in that round. UserError where it should have been on a GPU, and was not."""
    data, evaluation, shown = prepared
    log: dict = {}
    with _refused("ranking.groups"), driver_pool(device):
        model = xgboost.train(
            _params(group, device, threads, seed), data, group.rounds, evals=[(shown, "train"), (evaluation, "eval")],
            evals_result=log, verbose_eval=False, early_stopping_rounds=group.early_stopping,
        )  # fmt: skip
    check_device(model, device)
    best = model.best_iteration
    log["best_round"], log["best_score"] = best, model.best_score
    # what came after the best round is not used: models are cut to it when they are kept
    return model[: best + 1], dict(log)


def _params(group: Group, device: str, threads: int, seed: int) -> dict:
    return {
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


def load(path: Path, device: str, threads: int):
    model = xgboost.Booster()
    with _refused(str(path)):
        model.load_model(path)
    model.set_param({"device": device, "nthread": threads})
    return model


def predict(model, rows, names: tuple[str, ...] | None = None, way: str = "auto") -> np.ndarray:
    """float32 [m], on the host: raw margins, which order like the probabilities and lose nothing at their ends. rows: float32
    [m, n], of the host or of the device that the model was loaded for; scored where they are.

    names: of the columns of the rows, of which a model may take some only; None: they are the model's own. way: how what
    lies on a GPU is scored (ranking.scoring).
    """
    columns = None if names is None else _columns(model, names)
    return margins(model, rows, columns, scoring_backend(way, "cuda" if on_device(rows) else "cpu"))


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
    """The names of the columns that the model takes, in its order."""
    return model.feature_names


def _columns(model, names: tuple[str, ...]) -> list[int] | None:
    """The places of the model's columns among the names; None: they are these."""
    kept = _places.get(model)
    if kept is None or kept[0] != names:
        place = {name: i for i, name in enumerate(names)}
        places = [place[name] for name in model.feature_names]
        kept = _places[model] = names, None if places == list(range(len(names))) else places
    return kept[1]


def contributions(model, row: np.ndarray, names: tuple[str, ...]) -> np.ndarray:
    """float64 [n + 1]: what each of n columns of one row, float32 [1, n], gives to its margin, and last the bias (Tree SHAP,
    Lundberg et al. 2018); they add up to the margin."""
    columns = _columns(model, names)
    taken = np.arange(len(names)) if columns is None else np.array(columns)
    data = xgboost.DMatrix(row[:, taken], feature_names=model.feature_names)
    out = np.zeros(len(names) + 1)
    out[np.append(taken, len(names))] = model.predict(data, pred_contribs=True)[0]
    return out


def importance(model, names: tuple[str, ...]) -> dict[str, float]:
    """Total gain per feature that the model uses, most first."""
    gains = model.get_score(importance_type="total_gain")
    return dict(sorted(gains.items(), key=lambda item: (-item[1], names.index(item[0]))))

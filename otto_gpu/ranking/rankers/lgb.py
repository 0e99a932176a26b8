"""The ranker `lightgbm`: trees that grow leaf by leaf. It trains on the CPU from the host's arrays, whatever the device is;
rows on a GPU are scored there by our kernel where it can, else on the host. rankers.Ranker says what its functions are for.

Models are LightGBM's text files, cut to the best round and without its list of parameters, which tells the number of threads:
that decides about nothing (deterministic, force_row_wise). The last line is a checksum: LightGBM passes over it, but ends the
whole process where it reads a model that is damaged.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

import numpy as np

from otto_gpu.device.arrays import on_device, pointers, to_gpu, to_host
from otto_gpu.errors import UserError
from otto_gpu.events.settings import TargetsConfig
from otto_gpu.ranking.forest import DEEPEST, MOST_DEPTH, Forest
from otto_gpu.ranking.rankers import RANKERS, Batches
from otto_gpu.ranking.rankers.listwise import reciprocal_rank
from otto_gpu.ranking.rankers.rows import LOOK_ROUNDS, LOOKED_AT, Places, first_rows, with_columns, without_none
from otto_gpu.ranking.settings import Group
from otto_gpu.schema import did_you_mean

try:
    import lightgbm
except ImportError as error:
    raise RANKERS["lightgbm"].need.missing() from error

__all__ = ["LOOKED_AT"]  # and all that rankers.Ranker tells of

ENDING = "txt"
CHECKSUM = "\nsha256:"
OTTO = TargetsConfig()
READ = 1 << 16  # rows of a file that are read at a time
DIGITS = 9  # of figures: how many threads add one up decides about its last bits, and not about which round is best
CALLED = {"binary_logloss": "logloss"}  # LightGBM's names of figures, as XGBoost has them

_places = Places()


@dataclass(eq=False)
class Model:
    """A booster with its columns' own names, and the threads that it scores with."""

    booster: lightgbm.Booster
    threads: int

    @cached_property
    def columns(self) -> list[str]:
        return [unquote(name) for name in self.booster.feature_name()]

    @cached_property
    def text(self) -> str:
        return _bare(self.booster.model_to_string())

    @cached_property
    def _forests(self) -> dict[bool, Forest | None]:
        return {}

    def forest(self, cuda: bool) -> Forest | None:
        """What scores in the booster's place, made once; None: itself."""
        if cuda not in self._forests:
            forest = Forest.of_lightgbm(self.text, DEEPEST if cuda else MOST_DEPTH)
            self._forests[cuda] = to_gpu(forest) if cuda else forest
        return self._forests[cuda]


def _bare(text: str) -> str:
    """A model's text without its parameters."""
    return re.sub(r"\nparameters:.*?end of parameters\n", "", text, flags=re.DOTALL)


@dataclass
class _Rows:
    """What a Dataset is made of: features in pieces, label, weight per row (or none), rows of each list (or none)."""

    features: list = field(default_factory=list)
    label: list = field(default_factory=list)
    weight: list = field(default_factory=list)
    lists: list = field(default_factory=list)


class _OnDisk(lightgbm.Sequence):
    """float32 rows of a file, a piece at a time."""

    def __init__(self, path: Path, columns: int):
        self._path, self._rows = path, np.memmap(path, np.float32, "r").reshape(-1, columns)
        self.batch_size = READ

    def __getitem__(self, rows):
        return self._rows[rows].astype(np.float64)  # LightGBM takes no other

    def __len__(self) -> int:
        return len(self._rows)


def alike(group: Group) -> tuple:
    # further parameters may be about the rows, such as max_bin_by_feature
    return group.bins, group.by_session, group.columns, json.dumps(group.params, sort_keys=True)


def choose_columns(
    group: Group, batches: Batches, names: tuple[str, ...], device: str, threads: int, seed: int,
    categorical: frozenset[str] = frozenset(),
) -> np.ndarray | None:  # fmt: skip
    """As rankers.Ranker says: those with the most gain in a small model of some of the rows."""
    if group.columns is None or group.columns >= len(names):
        return None
    like = Group(ranker="lightgbm", objective="lambdarank" if group.by_session else "binary", bins=group.bins)
    with _refused("ranking.groups"):
        booster = lightgbm.Booster(_params(like, threads, seed), _dataset(like, batches, names, threads, None, categorical))
        for _ in range(LOOK_ROUNDS):
            if booster.update():
                break
    gains = importance(Model(booster, threads), names)
    return np.sort([names.index(name) for name in list(gains)[: group.columns]]) if gains else None


def prepare(
    group: Group, training: Batches, held_out: Batches, names: tuple[str, ...], threads: int, cache: Path | None = None,
    columns: np.ndarray | None = None, device: str = "cpu", categorical: frozenset[str] = frozenset(),
) -> tuple:  # fmt: skip
    """As rankers.Ranker says. cache: a folder through which the rows go on their way to their bins, which stay in memory."""
    if columns is not None:
        names = tuple(names[i] for i in columns)
        training, held_out = with_columns(training, columns), with_columns(held_out, columns)
    with _refused("ranking.groups"):
        data = _dataset(group, training, names, threads, cache, categorical)
        others = (_dataset(group, give, names, threads, cache, categorical, data) for give in (held_out, first_rows(training)))
        return data, *others


def _dataset(
    group: Group, batches: Batches, names: tuple[str, ...], threads: int, cache: Path | None, categorical: frozenset[str],
    reference: lightgbm.Dataset | None = None,
) -> lightgbm.Dataset:  # fmt: skip
    categories = [i for i, name in enumerate(names) if name in categorical]
    rows, file = _Rows(), None if cache is None else cache / "rows.f32"
    for features, label, session, *weight in batches():
        features = np.ascontiguousarray(without_none(to_host(features), categories), np.float32)
        if file is None:
            rows.features.append(features)
        else:
            with file.open("ab") as kept:
                features.tofile(kept)
        rows.label.append(label)
        rows.weight.extend(weight)
        # a session that comes again, with another target's rows, is another list
        rows.lists.append(np.diff(np.flatnonzero(np.diff(session, prepend=session[0] - 1)), append=len(session)))
    try:
        data = lightgbm.Dataset(
            rows.features if file is None else _OnDisk(file, len(names)), np.concatenate(rows.label), reference,
            np.concatenate(rows.weight) if rows.weight else None,
            np.concatenate(rows.lists) if group.by_session else None,
            feature_name=[quote(name, safe="") for name in names], categorical_feature=categories,
            params=_of_rows(group, threads) | _given(group),
        )  # fmt: skip
        return data.construct()
    finally:
        if file is not None:
            file.unlink(missing_ok=True)


@contextmanager
def _refused(what: str) -> Iterator[None]:
    """LightGBM's errors as the user's: a parameter that it does not take, a model that it cannot read."""
    try:
        yield
    except lightgbm.basic.LightGBMError as error:
        raise UserError(f"{what}: LightGBM says: {str(error).strip().splitlines()[0]}") from error


def _of_rows(group: Group, threads: int) -> dict[str, Any]:
    """The parameters that decide about prepared rows: the same for all groups that share them."""
    return {
        "max_bin": group.bins,
        "data_random_seed": 1,  # of the rows that bins are found on: not the models'
        "feature_pre_filter": False,
        "num_threads": threads,
        "verbosity": -1,
    }


def _params(group: Group, threads: int, seed: int, metric: str = "auc") -> dict[str, Any]:
    figure, _, k = metric.partition("@")
    metrics = {"auc": ["binary_logloss", "auc"], "ndcg": ["ndcg"]}.get(figure, ["None"])
    return {
        **_of_rows(group, threads),
        "objective": group.objective,
        "num_leaves": group.leaves,
        "min_data_in_leaf": group.leaf_rows,
        "learning_rate": group.learning_rate,
        "feature_fraction": group.colsample,
        "bagging_fraction": group.subsample,
        "bagging_freq": 1,
        "min_sum_hessian_in_leaf": group.min_child_weight,
        "lambda_l2": group.reg_lambda,
        "seed": seed + group.seed,
        "metric": metrics,
        "eval_at": [int(k or 1)],
        "deterministic": True,
        "force_row_wise": True,
        **_given(group),
    }


def _given(group: Group) -> dict[str, Any]:
    """The user's further parameters by their first names: LightGBM passes over what it does not know."""
    known = {alias: name for name, aliases in _aliases().items() for alias in (name, *aliases)}
    for name in group.params:
        if name not in known:
            raise UserError(f"ranking.groups: params: LightGBM has no parameter {name!r}; {did_you_mean(name, known)}")
    return {known[name]: value for name, value in group.params.items()}


def _aliases() -> dict[str, list[str]]:
    """{parameter: its other names}, all that LightGBM has."""
    return lightgbm.basic._ConfigAliases._get_all_param_aliases()


def train(group: Group, prepared: tuple, device: str, threads: int, seed: int, targets: TargetsConfig = OTTO):
    data, held_out, shown = prepared
    metric = group.metric(targets)
    log: dict[str, Any] = {"train": {}, "eval": {}}
    best, best_round = -np.inf, 0
    with _refused("ranking.groups"):
        booster = lightgbm.Booster(_params(group, threads, seed, metric), data)
        booster.add_valid(shown, "train").add_valid(held_out, "eval")
        own = _reciprocal_rank(metric, targets.k) if metric.startswith("mrr") else None
        for i in range(group.rounds):
            over = booster.update()  # no tree can be grown any more
            for side, name, value, *_ in booster.eval_valid(own):
                log[side].setdefault(CALLED.get(name, name), []).append(round(float(value), DIGITS))
            if metric not in log["eval"]:
                raise UserError(f"ranking.groups: params: metric and eval_at leave out {metric}, by which the group stops")
            if log["eval"][metric][-1] > best:
                best, best_round = log["eval"][metric][-1], i
            if over or i - best_round >= group.early_stopping:
                break
        # as it is kept: what came after the best round is not used
        text = _bare(booster.model_to_string(num_iteration=best_round + 1))
        log["best_round"], log["best_score"] = best_round, best
        return Model(lightgbm.Booster(model_str=text), threads), log


def _reciprocal_rank(name: str, k: int):
    def figure(margin, data: lightgbm.Dataset):
        pointer, weight = pointers(data.get_group().astype(np.int64)), data.get_weight()
        weight = None if weight is None else weight[pointer[:-1]]
        return name, reciprocal_rank(margin, data.get_label(), pointer, k, weight), True

    return figure


def save(model: Model, path: Path) -> None:
    path.write_text(f"{model.text}{CHECKSUM}{_checksum(model.text)}\n", "utf-8")


def load(path: Path, device: str, threads: int) -> Model:
    text, _, checksum = path.read_bytes().decode("utf-8", "replace").rpartition(CHECKSUM)
    if checksum.strip() != _checksum(text):
        raise UserError(f"{path}: no whole model of LightGBM's: run the pipeline again")
    with _refused(str(path)):
        return Model(lightgbm.Booster(model_str=text), threads)


def _checksum(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def predict(model: Model, rows, names: tuple[str, ...] | None = None, way: str = "auto") -> np.ndarray:
    columns = None if names is None else _places.of(model, model.columns, names)
    forest = model.forest(on_device(rows))
    if forest is not None:
        return to_host(forest.margins(rows, columns))
    rows = rows if columns is None else rows[:, columns]
    return model.booster.predict(to_host(rows), raw_score=True, num_threads=model.threads).astype(np.float32)


def columns_of(model: Model) -> list[str]:
    return model.columns


def importance(model: Model, names: tuple[str, ...]) -> dict[str, float]:
    gains = zip(model.columns, model.booster.feature_importance("gain").tolist(), strict=True)
    return dict(sorted(((n, g) for n, g in gains if g > 0), key=lambda item: (-item[1], names.index(item[0]))))


def contributions(model: Model, row: np.ndarray, names: tuple[str, ...]) -> np.ndarray:
    columns = _places.of(model, model.columns, names)
    taken = np.arange(len(names)) if columns is None else np.array(columns)
    out = np.zeros(len(names) + 1)
    out[np.append(taken, len(names))] = model.booster.predict(row[:, taken], pred_contrib=True, num_threads=1)[0]
    return out

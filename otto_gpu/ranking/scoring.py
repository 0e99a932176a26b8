"""Margins of boosted trees, in one of three ways that agree to the rounding of float32, and the columns that they read.

xgboost: its inplace_predict; nvforest: NVIDIA's library for forests; forest: our own kernels (forest.py). What a way cannot do
XGBoost does: trees that are too deep for the kernels, or of another kind.
"""

from __future__ import annotations

import importlib
from weakref import WeakKeyDictionary

import numpy as np
from numba import njit, prange

from otto_gpu.device.arrays import arrays_of, map_arrays, on_device, to_host
from otto_gpu.device.memory import pool_for_rapids
from otto_gpu.needs import look_for
from otto_gpu.ranking.forest import DEEPEST, MOST_DEPTH, Forest
from otto_gpu.ranking.settings import NVFOREST as LIBRARY

XGBOOST, NVFOREST, FOREST = "xgboost", "nvforest", "forest"
AUTO = {"cpu": FOREST, "cuda": XGBOOST}

_ready: WeakKeyDictionary = WeakKeyDictionary()  # {booster: {kind: what scores in its place, None: itself}}


def scoring_backend(asked: str, device: str) -> str:
    """The way of a device (cpu or cuda). asked: ranking.scoring, which chooses among those of a GPU."""
    way = asked if device == "cuda" and asked != "auto" else AUTO[device]
    check_there(way)
    return way


def check_there(way: str) -> None:
    if way == NVFOREST:
        look_for([LIBRARY])


def margins(booster, rows, columns: list[int] | None, way: str) -> np.ndarray:
    """float32 [m], on the host, of rows float32 [m, n] on the host or a GPU, scored where they lie.

    columns: the places of the booster's columns among the rows', None: these are they.
    """
    cuda = on_device(rows)
    scorer = backend_of(booster, way, cuda, DEEPEST if cuda else MOST_DEPTH)
    if scorer is not None:
        return to_host(scorer.margins(rows, columns))
    rows = rows if columns is None else rows[:, columns]
    found = booster.inplace_predict(rows, predict_type="margin", validate_features=False)
    return to_host(found).astype(np.float32, copy=False)


def backend_of(booster, *kind) -> Forest | NvForest | None:
    """What scores in the booster's place, made once; None: itself. kind: way, whether on a GPU, most depth of a forest."""
    ready = _ready.setdefault(booster, {})
    if kind not in ready:
        ready[kind] = _made(booster, *kind)
    return ready[kind]


def _made(booster, way: str, cuda: bool, most_depth: int) -> Forest | NvForest | None:
    if way == NVFOREST:
        return NvForest(booster, "gpu" if cuda else "cpu")
    forest = Forest.of(booster, most_depth) if way == FOREST else None
    return map_arrays(forest, importlib.import_module("cupy").asarray) if cuda else forest


class NvForest:
    """A booster's trees in nvForest. device: gpu or cpu."""

    def __init__(self, booster, device: str):
        if device == "gpu":
            pool_for_rapids()  # it loads RMM
        import nvforest
        import treelite

        trees = treelite.frontend.from_xgboost(booster)
        trees.get_header_accessor().set_field("postprocessor", "identity")  # margins: probabilities saturate
        forest = nvforest.load_from_treelite_model(trees, device=device)
        # the predict of a classifier gives classes; rankers have no probabilities
        self._predict = getattr(forest, "predict_proba", forest.predict)

    def margins(self, rows, columns: list[int] | None = None):
        """float32 [m], where the rows lie."""
        return self._predict(rows if columns is None else rows[:, columns])[:, 0]


def take_columns(features, columns: np.ndarray, way: str):
    """float32 [m, len(columns)]: the columns of those places, where the features lie; all of them are the features themselves.
    On a GPU our own kernel gets them column by column: threads with neighbouring rows then read what lies side by side."""
    by_column = way == FOREST and on_device(features)
    if np.array_equal(columns, np.arange(features.shape[1])) and not by_column:
        return features
    if on_device(features):
        columns = arrays_of(features).asarray(columns)
        return np.take(features.T, columns, axis=0).T if by_column else np.take(features, columns, axis=1)
    out = np.empty((len(features), len(columns)), np.float32)
    _take(features, columns, out)
    return out


@njit(parallel=True, cache=True)
def _take(features, columns, out):
    for r in prange(len(out)):
        for c in range(len(columns)):
            out[r, c] = features[r, columns[c]]


def take_rows(rows, chosen: np.ndarray):
    """The rows of those places, laid out as they are."""
    chosen = arrays_of(rows).asarray(chosen)
    return np.take(rows, chosen, axis=0) if rows.flags.c_contiguous else np.take(rows.T, chosen, axis=1).T

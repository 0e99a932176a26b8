"""XGBoost trained on both, a check of the machine against a published figure, and a model's margins by every way to score."""

from __future__ import annotations

import json
import time
from functools import cached_property

import numpy as np

from benchmarks.gpu_steps.step import GPU, Bench
from otto_gpu.device.arrays import to_host
from otto_gpu.errors import MissingExtra

COLUMNS = 128
SETTINGS = ((4, 64), (8, 256))  # depth, bins
SCORED = (4, 6)  # depths
XGBOOST, NVFOREST, FOREST = WAYS = ("xgboost", "nvforest", "forest")
CHECKED = 10_000  # rows whose margins are compared
LEVELS = (12, 31, 7, 22, 300, 300)  # of the published data's categories, each level a column; and two columns of numbers
DEEP = 10  # of the published trees, a hundred of them: GBM-perf, 3.6 s on an H100


def training(bench: Bench) -> None:
    for depth, bins in SETTINGS:
        bench.part(f"depth {depth}, {bins} bins", train, bench, depth, bins)


def training_on(bench: Bench) -> None:
    training(bench)
    bench.part("the published shape", published, bench)


def rows(n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """float32 [n, COLUMNS] and labels float32 [n]: a few columns decide, together and with noise."""
    random = np.random.default_rng(seed)
    features = random.random((n, COLUMNS), np.float32)
    score = features[:, 0] * 2 + features[:, 1] * features[:, 2] - features[:, 3] + 0.5 * (features[:, 4] > 0.7)
    return features, (score + random.random(n, np.float32) > 1.6).astype(np.float32)


def train(bench: Bench, depth: int, bins: int) -> dict:
    """Seconds of preparing (once) and of training; the device must be the one that was asked for."""
    xgboost = _xgboost()
    held = bench.sizes.held
    features, labels = rows(bench.sizes.rows + held)
    began = time.perf_counter()
    data = xgboost.QuantileDMatrix(bench.device.to_device(features[held:]), labels[held:], max_bin=bins)
    prepared = time.perf_counter()
    model = xgboost.train(_params(bench, depth, bins), data, bench.sizes.rounds)
    trained = time.perf_counter()
    bench.keep({"auc": _auc(labels[:held], _margins(model, bench.device.to_device(features[:held])))})
    seconds = {"prepare_s": prepared - began, "train_s": trained - prepared}
    return {"ok": _placed(bench, model), "rows": bench.sizes.rows, "rounds": bench.sizes.rounds, **seconds}


def published(bench: Bench) -> dict:
    """Data like GBM-perf's: eight columns, six of them of categories, which stand as a column per level: sparse."""
    import scipy.sparse

    xgboost = _xgboost()
    random, n, width = np.random.default_rng(1), bench.sizes.published, len(LEVELS) + 2
    places, values = np.empty((n, width), np.int32), np.ones((n, width), np.float32)
    for i, levels in enumerate(LEVELS):
        places[:, i] = sum(LEVELS[:i]) + random.integers(0, levels, n, np.int32)
    places[:, -2:], values[:, -2:] = sum(LEVELS) + np.arange(2), random.random((n, 2), np.float32)
    labels = (places[:, 0] / LEVELS[0] + values[:, -1] + random.random(n, np.float32) > 1.7).astype(np.float32)
    table = scipy.sparse.csr_matrix((values.ravel(), places.ravel(), np.arange(n + 1) * width), (n, sum(LEVELS) + 2))
    data = xgboost.DMatrix(table, labels)
    began = time.perf_counter()
    model = xgboost.train(_params(bench, DEEP, 256), data, bench.sizes.rounds)
    seconds = time.perf_counter() - began
    return {"ok": _placed(bench, model), "rows": n, "columns": table.shape[1], "rounds": bench.sizes.rounds, "train_s": seconds}


def compare(ours: dict, theirs: dict) -> dict:
    aucs = float(ours["auc"]), float(theirs["auc"])
    return {"ok": abs(aucs[0] - aucs[1]) <= 0.002, "auc": aucs}


# -------------------------------------------------------------------------------------------------------------- scoring
def scoring(bench: Bench) -> None:
    """Of one model per depth; what XGBoost says on the CPU is what every way must say. nvForest is for the GPU."""
    for depth in SCORED:
        scorer = Scorer(bench, depth)
        for way in WAYS if bench.half == GPU else (XGBOOST, FOREST):
            bench.part(f"depth {depth}, {way}", scorer.score, way)


class Scorer:
    def __init__(self, bench: Bench, depth: int):
        self._bench, self._depth = bench, depth

    @cached_property
    def _model(self):
        xgboost, (features, labels) = _xgboost(), rows(self._bench.sizes.learnt, seed=2)
        data = xgboost.QuantileDMatrix(self._bench.device.to_device(features), labels, max_bin=64)
        return xgboost.train(_params(self._bench, self._depth, 64), data, self._bench.sizes.trees)

    @cached_property
    def _rows(self):
        """On the device."""
        return self._bench.device.to_device(rows(self._bench.sizes.scored, seed=3)[0])

    @cached_property
    def _expected(self) -> np.ndarray:
        on_host = self._model.copy()
        on_host.set_param({"device": "cpu"})
        return on_host.inplace_predict(to_host(self._rows[:CHECKED]), predict_type="margin")

    def score(self, way: str) -> dict:
        from otto_gpu.ranking.rankers.xgb import score_margins
        from otto_gpu.ranking.scoring import take_columns

        # as a pipeline's rows lie for this way
        expected, rows = self._expected, take_columns(self._rows, np.arange(COLUMNS), way)
        timing, margins = self._bench.timed(lambda: score_margins(self._model, rows, way, self._bench.device), 2)
        apart = float(np.abs(margins[:CHECKED] - expected).max())
        sizes = {"rows": len(margins), "trees": self._bench.sizes.trees}
        return {"ok": apart < 1e-4, "apart": apart, **sizes, "rows_per_s": len(margins) / timing["median_s"], **timing}


# ---------------------------------------------------------------------------------------------------------------- tools
def _xgboost():
    try:
        import xgboost
    except ImportError:
        raise MissingExtra("the ranker", "xgboost", "cuda13") from None
    return xgboost


def _params(bench: Bench, depth: int, bins: int) -> dict:
    params = {"objective": "binary:logistic", "tree_method": "hist", "max_depth": depth, "max_bin": bins, "learning_rate": 0.1}
    return params | {"device": bench.device.kind, "seed": 0}


def _placed(bench: Bench, model) -> bool:
    """Whether the model was trained where it was asked for: without a GPU XGBoost takes the CPU, and only warns."""
    return json.loads(model.save_config())["learner"]["generic_param"]["device"].startswith(bench.device.kind)


def _margins(model, features):
    return model.inplace_predict(features, predict_type="margin", validate_features=False)


def _auc(labels: np.ndarray, scores) -> float:
    from otto_gpu.embeddings.pairs import auc

    scores = to_host(scores)
    return auc(scores[labels > 0], scores[labels == 0])

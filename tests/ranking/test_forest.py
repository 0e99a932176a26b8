"""The kernel that scores boosted trees, against XGBoost's own prediction."""

import numpy as np
import pytest
import xgboost

from otto_gpu.ranking.forest import BLOCK, DEEPEST, MOST_DEPTH, Forest, _walk
from otto_gpu.ranking.rankers import xgb


def rows(n: int, columns: int = 7, missing: float = 0.0, seed: int = 0) -> np.ndarray:
    """Few different values, so that many lie exactly on a threshold."""
    random = np.random.default_rng(seed)
    values = random.integers(-3, 9, (n, columns)).astype(np.float32)
    values[random.random(values.shape) < missing] = np.nan
    return values


def booster(features: np.ndarray, rounds: int = 30, **params) -> xgboost.Booster:
    random = np.random.default_rng(1)
    drive = np.nan_to_num(features[:, 0]) - np.nan_to_num(features[:, 3]) * np.nan_to_num(features[:, 1])
    label = (drive + random.normal(0, 4, len(features)) > 4).astype(np.float32)
    data = xgboost.DMatrix(features, label, qid=np.arange(len(features)) // 10)
    params = {"objective": "binary:logistic", "max_depth": 4, "min_child_weight": 0, "nthread": 1} | params
    return xgboost.train(params, data, rounds)


def margins(model: xgboost.Booster, features: np.ndarray) -> np.ndarray:
    return model.inplace_predict(features, predict_type="margin", validate_features=False)


@pytest.mark.parametrize("missing", [0.0, 0.2])
@pytest.mark.parametrize(
    "params",
    [
        {},
        {"max_depth": 1},
        {"max_depth": MOST_DEPTH, "learning_rate": 0.05},
        {"objective": "rank:pairwise"},
        {"objective": "rank:ndcg", "max_depth": MOST_DEPTH},
        {"base_score": 0.9},
        {"num_parallel_tree": 3, "subsample": 0.5},
        {"gamma": 5.0, "max_depth": MOST_DEPTH},  # trees that end early
        {"grow_policy": "lossguide", "max_leaves": 5, "max_depth": MOST_DEPTH},
    ],
    ids=str,
)
def test_the_margins_are_xgboosts(params, missing):
    model = booster(rows(2000, missing=missing), **params)
    forest = Forest.of(model)
    for n in (1, BLOCK - 1, BLOCK, BLOCK + 1, 1000):
        asked = rows(n, missing=missing, seed=n)
        found = forest.margins(asked)
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, margins(model, asked), rtol=1e-5, atol=2e-6)
    assert forest.margins(rows(0)).shape == (0,)
    assert len(np.unique(forest.margins(rows(1000)))) > 2


def test_columns_may_stand_anywhere():
    model, wide = booster(rows(2000)), rows(300, columns=20, seed=5)
    places = [13, 2, 7, 19, 0, 4, 11]
    expected = margins(model, np.ascontiguousarray(wide[:, places]))
    np.testing.assert_allclose(Forest.of(model).margins(wide, places), expected, rtol=1e-5, atol=2e-6)
    np.testing.assert_array_equal(
        Forest.of(model).margins(np.asfortranarray(wide), places), Forest.of(model).margins(wide, places)
    )


@pytest.mark.parametrize(
    "params",
    [{"max_depth": MOST_DEPTH + 3, "gamma": 0, "rounds": 3}, {"booster": "dart"}, {"gamma": 1e9}],
    ids=["too deep", "weighted trees", "only leaves"],
)
def test_what_it_cannot_do_is_left_to_xgboost(params):
    features = rows(4000, columns=9)
    model = booster(features, **params)
    assert Forest.of(model) is None
    np.testing.assert_allclose(xgb.predict(model, features), margins(model, features), rtol=1e-6)


@pytest.mark.parametrize("missing", [0.0, 0.2])
@pytest.mark.parametrize(
    "params",
    [
        {"max_depth": DEEPEST},
        {"max_depth": DEEPEST, "gamma": 3.0, "objective": "rank:pairwise"},
        {"max_depth": MOST_DEPTH + 1, "base_score": 0.9},
    ],
    ids=str,
)
def test_deeper_trees_are_walked_down_row_by_row(params, missing):
    model = booster(rows(4000, missing=missing), **params)
    forest = Forest.of(model, DEEPEST)
    assert Forest.of(model) is None and forest.leaves.shape[1] > 1 << MOST_DEPTH
    places, wide = [13, 2, 7, 19, 0, 4, 11], rows(300, columns=20, missing=missing, seed=5)
    expected = margins(model, np.ascontiguousarray(wide[:, places]))
    for laid in (wide, np.asfortranarray(wide)):
        np.testing.assert_allclose(forest.margins(laid, places), expected, rtol=1e-5, atol=2e-6)
    assert forest.margins(rows(0)).shape == (0,)


@pytest.mark.parametrize("missing", [0.0, 0.2])
@pytest.mark.parametrize(
    "params",
    [{}, {"objective": "lambdarank"}, {"num_leaves": 2}, {"max_depth": MOST_DEPTH, "num_leaves": 60}, {"use_missing": False}],
    ids=str,
)
def test_the_margins_are_lightgbms(params, missing):
    lightgbm = pytest.importorskip("lightgbm", reason="lightgbm is not installed: pip install 'otto_gpu[lightgbm]'")
    features = rows(2000, missing=missing)
    features[:, 2] += 0.37  # thresholds that are no float32
    drive = np.nan_to_num(features[:, 0]) - np.nan_to_num(features[:, 3]) * np.nan_to_num(features[:, 1])
    label = (drive + np.random.default_rng(1).normal(0, 4, len(features)) > 4).astype(np.float32)
    params = {"objective": "binary", "max_depth": 4, "num_leaves": 12, "min_data_in_leaf": 5, "num_threads": 1} | params
    data = lightgbm.Dataset(features, label, group=np.full(200, 10) if params["objective"] == "lambdarank" else None)
    model = lightgbm.train(params | {"verbosity": -1}, data, 20)
    forest = Forest.of_lightgbm(model.model_to_string())
    # also what training never met: missing values, zeros, infinite ones, and thresholds themselves
    asked = np.concatenate([rows(500, missing=0.2, seed=3), features[:200], np.full((1, 7), np.nan), np.zeros((1, 7))])
    asked = np.concatenate([asked, np.full((1, 7), np.inf), np.full((1, 7), -np.inf)]).astype(np.float32)
    edges = np.array(lightgbm_thresholds(model.model_to_string()))
    edges = edges[np.abs(edges) < 1e30]
    for value in (edges, np.nextafter(edges, np.inf), np.nextafter(edges, -np.inf)):
        asked = np.concatenate([asked, np.repeat(value.astype(np.float32)[:, None], 7, axis=1)])
    found = forest.margins(asked)
    assert found.dtype == np.float32 and len(np.unique(found)) > 2
    np.testing.assert_allclose(found, model.predict(asked, raw_score=True, num_threads=1), rtol=1e-5, atol=2e-6)


def lightgbm_thresholds(text: str) -> list[float]:
    return [float(t) for line in text.splitlines() if line.startswith("threshold=") for t in line[10:].split()]


@pytest.mark.parametrize(
    "params", [{"max_depth": MOST_DEPTH + 1, "num_leaves": 50}, {"categorical_feature": [0]}, {"linear_tree": True},
    {"boosting": "rf", "bagging_freq": 1, "bagging_fraction": 0.5}, {"zero_as_missing": True}], ids=str,
)  # fmt: skip
def test_what_it_cannot_do_is_left_to_lightgbm(params):
    lightgbm = pytest.importorskip("lightgbm", reason="lightgbm is not installed: pip install 'otto_gpu[lightgbm]'")
    features = np.abs(rows(2000, columns=3))
    label = np.isin(features[:, 0], [1, 4, 6]) ^ (features[:, 1] > 4)
    params = {"objective": "binary", "max_depth": 3, "min_data_in_leaf": 1, "verbosity": -1, "num_threads": 1} | params
    categories = params.pop("categorical_feature", "auto")
    model = lightgbm.train(params, lightgbm.Dataset(features, label, categorical_feature=categories), 5)
    assert Forest.of_lightgbm(model.model_to_string()) is None


def test_a_row_of_its_own_is_the_same_as_a_block_of_rows():
    forest, asked = Forest.of(booster(rows(2000, missing=0.1))), rows(300, missing=0.1, seed=3)
    out = np.empty(300, np.float32)
    _walk(np.array([0, 300]), out, asked, forest.columns, forest.thresholds, forest.missing, forest.leaves, forest.base)
    np.testing.assert_array_equal(out, forest.margins(asked))

"""Ways to score, against XGBoost's own prediction; which way is taken, and what it reads."""

import importlib.util
import sys

import numpy as np
import pytest

from otto_gpu.device import CPU
from otto_gpu.errors import MissingExtra, UserError
from otto_gpu.ranking import scoring
from otto_gpu.ranking.forest import DEEPEST, Forest
from otto_gpu.ranking.models import Ensemble, Models
from otto_gpu.ranking.rankers import xgb
from otto_gpu.ranking.settings import RankingConfig
from tests.gpus import a_gpu
from tests.ranking.test_forest import booster, margins, rows

WAYS = ["xgboost", "nvforest", "forest"]
SHAPES = [{}, {"max_depth": 8}, {"objective": "rank:pairwise"}, {"objective": "rank:ndcg", "max_depth": 6}, {"base_score": 0.9}]


def needs(way):
    for name in ("nvforest", "treelite"):
        if way == "nvforest" and importlib.util.find_spec(name) is None:
            pytest.skip(f"{name} is not installed")


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("params", SHAPES, ids=str)
def test_all_ways_give_xgboosts_margins(way, params, tmp_path):
    needs(way)
    model, asked = booster(rows(3000, missing=0.1), **params), rows(700, missing=0.1, seed=4)
    expected = margins(model, asked)
    assert len(np.unique(expected)) > 50
    found = xgb.score_margins(model, asked, way, CPU)
    assert found.dtype == np.float32 and isinstance(found, np.ndarray)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)
    model.save_model(tmp_path / "model.ubj")
    np.testing.assert_array_equal(xgb.score_margins(tmp_path / "model.ubj", asked, way, CPU), found)


@pytest.mark.gpu
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("params", SHAPES, ids=str)
def test_all_ways_give_xgboosts_margins_on_a_gpu(way, params):
    needs(way)
    device = a_gpu()
    model, asked = booster(rows(3000, missing=0.1), **params), rows(700, missing=0.1, seed=4)
    expected = margins(model, asked)
    np.testing.assert_allclose(xgb.score_margins(model, asked, way, device), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("params", [{"max_depth": DEEPEST + 2}, {"booster": "dart"}], ids=str)
def test_what_a_way_cannot_do_is_told_where_it_is_compared(params):
    features = rows(9000, columns=9)
    model = booster(features, rounds=3, **params)
    with pytest.raises(UserError, match="scoring by forest: trees deeper than 8"):
        xgb.score_margins(model, features, "forest", CPU)


@pytest.mark.parametrize("asked", ["auto", "xgboost", "nvforest", "forest"])
def test_the_setting_chooses_on_a_gpu_alone(asked, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())
    RankingConfig(scoring=asked)
    assert scoring.scoring_backend(asked, "cpu") == "forest"
    assert scoring.scoring_backend(asked, "cuda") == ("xgboost" if asked == "auto" else asked)


def test_nvforest_is_an_extra(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    for ask in (lambda: scoring.scoring_backend("nvforest", "cuda"), lambda: xgb.score_margins(None, None, "nvforest", CPU)):
        with pytest.raises(MissingExtra, match=r"needs nvforest, which is not installed: pip install 'otto_gpu\[cuda13\]'"):
            ask()
    assert scoring.scoring_backend("nvforest", "cpu") == "forest"


def test_nvforest_is_asked_for_margins(monkeypatch):
    """Of a stand-in that records what it gets: classifiers have predict_proba, rankers predict alone."""
    for name, methods in {"classifier": ("predict", "predict_proba"), "ranker": ("predict",)}.items():
        told, fields = [], {}
        header = type("Header", (), {"set_field": lambda self, key, value: fields.update({key: value})})()
        trees = type("Trees", (), {"get_header_accessor": lambda self: header})()
        calls = {m: lambda self, asked, m=m: told.append(m) or asked[:, :1] * 2 for m in methods}
        forest = type("Forest", (), calls)()
        frontend = type("Frontend", (), {"from_xgboost": staticmethod(lambda model: trees)})
        monkeypatch.setitem(sys.modules, "treelite", type("treelite", (), {"frontend": frontend}))
        load = staticmethod(lambda model, device: told.append((model is trees, device)) or forest)
        monkeypatch.setitem(sys.modules, "nvforest", type("nvforest", (), {"load_from_treelite_model": load}))
        asked = rows(10)
        np.testing.assert_array_equal(scoring.NvForest(name, "gpu").margins(asked, [3, 1]), asked[:, 3] * 2)
        assert fields == {"postprocessor": "identity"} and told == [(True, "gpu"), methods[-1]]


def test_a_model_is_made_ready_once(monkeypatch):
    model, asked = booster(rows(2000)), rows(100)
    expected, made = xgb.predict(model, asked), []
    monkeypatch.setattr(Forest, "of", lambda *given: made.append(given))
    np.testing.assert_array_equal(xgb.predict(model, asked), expected)
    assert not made


class Columns:
    """A ranker whose models are the names of the columns that they take; it adds them up, and records what it was given."""

    def __init__(self):
        self.asked = []

    columns_of = staticmethod(lambda model: list(model))

    def predict(self, model, rows, names, way):
        self.asked.append((rows.shape, names, way))
        return rows[:, [names.index(name) for name in model]].sum(axis=1, dtype=np.float32)


def ensembles():
    names, voice = tuple("abcdef"), "cascade_clicks_score"
    return {
        "clicks": Ensemble(names, (), None, {"g": {0: "b", 1: "db"}, "h": {0: "b"}}),
        "orders": Ensemble((*names, voice), ("clicks",), None, {"g": {0: ("f", voice), 1: "f"}}),
        "carts": Ensemble((*names, "target"), (), 7, {"g": {0: ("b", "target"), 1: ("target",)}}),
    }


def by_hand(x, fold):
    """The scores of one row: a to f are x[0] to x[5]."""
    _, b, _, d, _, f = x
    nan = np.nan
    of_fold = {
        0: ((b, b), (f + b,), (b + 7,)),
        1: ((d + b, nan), (f,), (7,)),
        2: ((nan, nan), (nan,), (nan,)),
        None: ((b + d / 2, b), (f + (b + b + d / 2) / 4,), (b / 2 + 7,)),
    }
    return of_fold[fold]


@pytest.mark.parametrize("way", ["forest", "xgboost"])
def test_rows_hold_the_columns_that_models_take_and_no_others(way):
    ranker, features = Columns(), rows(40, columns=6, seed=2)
    models = Models({"g": ranker, "h": ranker}, ensembles(), way)
    assert models.columns == ("b", "d", "f")
    fold = np.arange(40) % 3
    before = features.copy()
    for given in (fold, None):
        found = models.scores(features, given)
        assert list(found) == ["clicks", "orders", "carts"]
        for r in range(40):
            expected = by_hand(features[r], None if given is None else given[r])
            for scores, wanted in zip(found.values(), expected, strict=True):
                assert scores.dtype == np.float32 and scores.shape == (40, len(wanted))
                np.testing.assert_allclose(scores[r], wanted, rtol=1e-6)
    np.testing.assert_array_equal(features, before)
    assert {(names, asked) for _, names, asked in ranker.asked} == {(("b", "d", "f", "cascade_clicks_score", "target"), way)}
    assert {shape for shape, *_ in ranker.asked} == {(14, 5), (13, 5), (40, 5)}


def test_no_models_no_scores():
    models = Models({}, {}, "forest")
    assert models.scores(rows(3), None) == {} and models.columns == ()


def test_all_columns_are_no_copy():
    features = rows(5)
    assert scoring.take_columns(features, np.arange(7), "forest") is features
    np.testing.assert_array_equal(scoring.take_columns(features, np.array([6, 0, 0]), "forest"), features[:, [6, 0, 0]])
    order = np.arange(7)[::-1]
    np.testing.assert_array_equal(scoring.take_columns(features, order, "forest"), features[:, order])


@pytest.mark.parametrize("order", ["C", "F"])
def test_some_rows_lie_as_all_of_them(order):
    features = np.asarray(rows(9), order=order)
    some = scoring.take_rows(features, np.array([8, 2, 2]))
    np.testing.assert_array_equal(some, features[[8, 2, 2]])
    assert some.flags[f"{order}_CONTIGUOUS"]


def test_the_columns_of_a_model_that_takes_as_many_in_another_order():
    features = rows(2000)
    model = booster(features)
    model.feature_names = list("abcdefg")
    names = tuple("gabcdef")
    turned = np.ascontiguousarray(np.roll(features, 1, axis=1))
    np.testing.assert_array_equal(xgb.predict(model, turned, names), xgb.predict(model, features))

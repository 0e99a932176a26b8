"""LightGBM behind the rankers' interface, on the rows on which XGBoost is tried."""

import json
import sys

import numpy as np
import pytest

from otto_gpu.device import choose_device
from otto_gpu.errors import MissingExtra, UserError
from otto_gpu.events.settings import TargetsConfig
from otto_gpu.ranking.forest import MOST_DEPTH
from otto_gpu.ranking.rankers import load_ranker
from otto_gpu.ranking.settings import Group, RankingConfig
from otto_gpu.ranking.trainer import Trainer
from tests.ranking.rankers.test_xgb import HELD_OUT, NAMES, SESSIONS, auc, batches, rows

lightgbm = pytest.importorskip("lightgbm", reason="lightgbm is not installed: pip install 'otto_gpu[lightgbm]'")
from otto_gpu.ranking.rankers import lgb  # noqa: E402

OBJECTIVES = ["binary", "lambdarank", "rank_xendcg"]
ODD = ('a "b", c: {1}', "ü%", "column_2", "column_3", "column_4", "column_5")  # names that LightGBM would refuse or change


def group(objective="binary", **settings) -> Group:
    small = {"leaves": 8, "rounds": 40, "early_stopping": 5, "min_child_weight": 1e-3, "reg_lambda": 1.0}
    return Group(ranker="lightgbm", objective=objective, **small | settings)


def trained(objective="binary", pieces=1, seed=3, threads=1, names=NAMES, cache=None, targets=None, **settings):
    mine = group(objective, **settings)
    prepared = lgb.prepare(mine, batches(0, HELD_OUT, pieces), batches(HELD_OUT, SESSIONS, pieces), names, threads, cache)
    return lgb.train(mine, prepared, "cpu", threads, seed, targets or TargetsConfig())


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_it_learns_stops_early_and_keeps_the_best_round(objective, tmp_path):
    model, log = trained(objective, names=ODD)
    features, label, session = rows()
    out = session >= HELD_OUT * 7
    score = lgb.predict(model, features)
    assert score.dtype == np.float32 and auc(score[out], label[out]) > 0.8
    metrics = ["logloss", "auc"] if objective == "binary" else ["ndcg@20"]
    assert list(log["train"]) == list(log["eval"]) == metrics
    figures = log["eval"][metrics[-1]]
    assert log["best_score"] == max(figures) and log["best_round"] == figures.index(max(figures))
    assert len(figures) == log["best_round"] + 1 + 5 < 40
    assert model.booster.num_trees() == log["best_round"] + 1
    json.dumps(log)

    lgb.save(model, tmp_path / "model.txt")
    text = (tmp_path / "model.txt").read_text()
    assert text.startswith("tree\n") and "num_threads" not in text
    loaded = lgb.load(tmp_path / "model.txt", "cpu", 1)
    np.testing.assert_array_equal(lgb.predict(loaded, features), score)
    assert lgb.columns_of(loaded) == list(ODD) and loaded.text == model.text
    # the two columns that the label hangs on, wherever they stand
    gains = lgb.importance(loaded, ODD)
    assert set(list(gains)[:2]) == {ODD[0], ODD[3]} and list(gains.values()) == sorted(gains.values(), reverse=True)
    turned, names = np.roll(features, 1, axis=1), (*ODD[-1:], *ODD[:-1])
    np.testing.assert_array_equal(lgb.predict(loaded, turned, names), score)
    for row in (0, 7):
        given = lgb.contributions(loaded, turned[row : row + 1], names)
        assert given.shape == (7,) and given.sum() == pytest.approx(score[row], abs=1e-5)


def test_batches_files_and_threads_change_no_byte_and_the_seed_does(tmp_path):
    whole, log = trained("rank_xendcg")
    for more in ({"pieces": 7}, {"threads": 2}, {"cache": tmp_path, "pieces": 3}):
        other, again = trained("rank_xendcg", **more)
        assert other.text == whole.text and again == log, more
    assert not list(tmp_path.iterdir())
    assert trained("rank_xendcg", seed=4)[0].text != whole.text
    settings = group("rank_xendcg", seed=1)  # a group's seed is added to that of the call
    prepared = lgb.prepare(settings, batches(0, HELD_OUT), batches(HELD_OUT, SESSIONS), NAMES, 1)
    assert lgb.train(settings, prepared, "cpu", 1, 2)[0].text == whole.text


def test_mrr_stops_a_model_where_it_is_the_tasks_metric():
    targets = TargetsConfig(k=5, metric="mrr")
    model, log = trained("lambdarank", targets=targets)
    features, label, session = rows()
    out = session >= HELD_OUT * 7
    score, mine, session = lgb.predict(model, features[out]), label[out], session[out]
    gains = []
    for s in np.unique(session[mine == 1]):
        order = np.argsort(-score[session == s], kind="stable")
        place = 1 + int(np.flatnonzero(mine[session == s][order])[0])
        gains.append(1 / place if place <= 5 else 0)
    assert list(log["eval"]) == ["mrr@5"] and log["best_score"] == pytest.approx(np.mean(gains))


@pytest.mark.parametrize("objective", OBJECTIVES[:2])
def test_the_columns_that_matter_are_chosen(objective):
    mine = group(objective, columns=2)
    columns = lgb.choose_columns(mine, batches(0, SESSIONS), NAMES, "cpu", 1, 42)
    np.testing.assert_array_equal(columns, [0, 3])
    prepared = lgb.prepare(mine, batches(0, HELD_OUT), batches(HELD_OUT, SESSIONS), NAMES, 1, None, columns)
    model, _ = lgb.train(mine, prepared, "cpu", 1, 3)
    assert lgb.columns_of(model) == ["column_0", "column_3"]
    assert lgb.choose_columns(group(objective), batches(0, SESSIONS), NAMES, "cpu", 1, 42) is None


def test_rows_of_several_targets_weigh_as_they_are_told():
    features, label, session = rows()
    heavy = session % 2 == 0

    def scores(give):
        mine = group("lambdarank", rounds=5, subsample=1, colsample=1)
        model, _ = lgb.train(mine, lgb.prepare(mine, give, give, NAMES, 1), "cpu", 1, 0)
        return lgb.predict(model, features)

    def plain():
        yield features, label, session

    def weighted():
        yield features, label, session, np.where(heavy, 2, 1).astype(np.float32)

    def again():  # the same sessions with another target's rows are other lists
        yield features, label, session
        yield features, np.roll(label, 3), session

    def renumbered():
        yield np.tile(features, (2, 1)), np.append(label, np.roll(label, 3)), np.append(session, session + 10_000)

    assert np.abs(scores(weighted) - scores(plain)).max() > 1e-3
    np.testing.assert_array_equal(scores(again), scores(renumbered))


def test_further_parameters_go_through_and_unknown_ones_are_told():
    model, _ = trained(params={"max_leaves": 2})
    assert "num_leaves=3" not in model.text and "num_leaves=2" in model.text
    with pytest.raises(UserError, match=r"LightGBM has no parameter 'max_leafs'; did you mean 'max_leaf'\?"):
        trained(params={"max_leafs": 2})
    with pytest.raises(UserError, match="LightGBM says: "):
        trained(params={"bagging_fraction": -1})
    with pytest.raises(UserError, match="metric and eval_at leave out auc, by which the group stops"):
        trained(params={"metric": "l2"})


def test_a_file_that_holds_no_model_is_told(tmp_path):
    model, _ = trained(rounds=3)
    lgb.save(model, tmp_path / "model.txt")
    whole = (tmp_path / "model.txt").read_bytes()
    assert lightgbm.Booster(model_file=tmp_path / "model.txt").num_trees() == model.booster.num_trees()
    for damaged in (b"", b"tree\n", whole[:300], whole.replace(b"split_feature=0", b"split_feature=9"), whole + b"\xff"):
        (tmp_path / "model.txt").write_bytes(damaged)
        with pytest.raises(UserError, match=r"model\.txt: no whole model of LightGBM's: run the pipeline again"):
            lgb.load(tmp_path / "model.txt", "cpu", 1)


def test_kinds_side_by_side_in_one_trainer(tmp_path):
    """As groups of one configuration; what is there is not trained again."""
    from tests.ranking.test_trainer import NAMES as COLUMNS
    from tests.ranking.test_trainer import Rows

    leaf = {"ranker": "lightgbm", "rounds": 5, "leaves": 4, "min_child_weight": 1e-3}
    config = RankingConfig.model_validate(
        {"folds": 2, "groups": {"x": {"rounds": 5}, "l": leaf, "b": leaf | {"objective": "lambdarank"}}}
    )
    made = []
    for threads in (1, 2):
        place = tmp_path / str(threads)
        mine = Trainer(place, tmp_path / "cache", Rows(), COLUMNS, config, choose_device("cpu"), threads)
        scores = mine.train(mine.groups(None), lambda n: None)
        assert {name: len(of_folds) for name, of_folds in scores.items()} == {"x": 2, "l": 2, "b": 2}
        made.append({str(p.relative_to(place)): p.read_bytes() for p in place.rglob("fold-*")})
    assert made[0] == made[1]
    endings = {name.rsplit(".", 1)[0]: name for name in made[0] if not name.endswith("json")}
    assert endings["x/fold-0"].endswith(".ubj") and endings["l/fold-1"].endswith(".txt") and len(endings) == 6


CATEGORIES = 12


@pytest.mark.parametrize("ranker", ["xgb", "lgb"])
def test_categories_are_taken_as_such_and_scored_right(ranker, tmp_path):
    """The label hangs on which category it is, in no order; -1 is none."""
    from importlib import import_module

    kind = import_module(f"otto_gpu.ranking.rankers.{ranker}")
    random = np.random.default_rng(5)
    features = random.integers(-1, CATEGORIES, (4000, 3)).astype(np.float32)
    features[:, 1] += random.normal(size=4000)
    good = np.isin(features[:, 0], [0, 3, 4, 7, 11])
    label, session = (good ^ (random.random(4000) < 0.1)).astype(np.float32), np.arange(4000, dtype=np.int32) // 10
    own = {"ranker": "lightgbm", "leaves": 2} if ranker == "lgb" else {"depth": 1}
    mine = Group(rounds=8, min_child_weight=1e-3, **own).of_kind("xgboost")
    names = ("code", "number", "other code")

    def give():
        yield features, label, session

    texts = {}
    for categorical in (frozenset(), frozenset({"code", "other code"})):
        prepared = kind.prepare(mine, give, give, names, 1, categorical=categorical)
        model, log = kind.train(mine, prepared, "cpu", 1, 0)
        texts[bool(categorical)] = log["best_score"]
    assert texts[True] > texts[False] + 0.02
    kind.save(model, tmp_path / f"model.{kind.ENDING}")
    loaded = kind.load(tmp_path / f"model.{kind.ENDING}", "cpu", 1)
    asked = np.array([[c, 0.5, 3] for c in [-1, *range(CATEGORIES), CATEGORIES + 5, np.nan]], np.float32)
    score = kind.predict(loaded, asked, names)
    assert score[1 + np.array([0, 3, 4, 7, 11])].min() > score[1 + np.array([1, 2, 5, 6, 8, 9, 10])].max()
    assert score[0] == score[-1]  # none and missing are one
    turned = np.ascontiguousarray(asked[:, ::-1])
    np.testing.assert_array_equal(kind.predict(loaded, turned, names[::-1]), score)
    for row in range(len(asked)):
        told = kind.contributions(loaded, asked[row : row + 1], names)
        assert told.sum() == pytest.approx(score[row], abs=1e-4)


def test_lightgbm_is_an_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "lightgbm", None)
    monkeypatch.delitem(sys.modules, lgb.__name__)
    with pytest.raises(MissingExtra, match=r"needs lightgbm, which is not installed: pip install 'otto_gpu\[lightgbm\]'"):
        load_ranker("lightgbm")


def test_depth_decides_who_scores():
    shallow, _ = trained(leaves=4, rounds=3)
    deep, _ = trained(leaves=60, rounds=3, leaf_rows=1)
    assert shallow.forest(False) is not None and deep.forest(False) is None and MOST_DEPTH < 8
    features = rows()[0]
    for model in (shallow, deep):
        expected = model.booster.predict(features, raw_score=True)
        np.testing.assert_allclose(lgb.predict(model, features), expected, rtol=1e-5, atol=1e-6)

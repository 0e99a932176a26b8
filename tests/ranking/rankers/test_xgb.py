"""The ranker itself, on rows in which the label hangs on two columns."""

from functools import cache

import numpy as np
import pytest
import xgboost

from otto_gpu.events.settings import TargetsConfig
from otto_gpu.ranking.rankers import xgb
from otto_gpu.ranking.settings import Group

OBJECTIVES = ["binary:logistic", "rank:pairwise", "rank:ndcg", "softmax"]
NAMES = tuple(f"column_{i}" for i in range(6))
SESSIONS, HELD_OUT = 150, 100  # sessions, and the first one that is held out


@cache
def rows(values: int = 50):
    """(features float32 [m, 6], label float32 [m], session int32 [m]): few different values, so that bins are exact."""
    rng = np.random.default_rng(1)
    session = np.repeat(np.arange(SESSIONS, dtype=np.int32) * 7, rng.integers(3, 20, SESSIONS))
    features = rng.integers(0, values, (len(session), len(NAMES))).astype(np.float32)
    drive = features[:, 0] / values - features[:, 3] / values + rng.normal(0, 0.4, len(session))
    return features, (drive > 0.5).astype(np.float32), session


def batches(first: int, last: int, pieces: int = 1, seen: list | None = None):
    """A function that gives the rows of the sessions first..last-1 in so many batches."""

    def give():
        features, label, session = rows()
        for part in np.array_split(np.arange(first, last), pieces):
            mask = np.isin(session, part * 7)
            if seen is not None:
                seen.append(session[mask])
            yield features[mask], label[mask], session[mask]

    return give


def trained(objective="binary:logistic", pieces=1, call_seed=3, **settings):
    group = Group(**{"objective": objective, "depth": 3, "rounds": 60, "early_stopping": 5, "min_child_weight": 1} | settings)
    prepared = xgb.prepare(group, batches(0, HELD_OUT, pieces), batches(HELD_OUT, SESSIONS, pieces), NAMES, 1)
    return xgb.train(group, prepared, "cpu", 1, call_seed)


def auc(score, label) -> float:
    above = score[label == 1][:, None] - score[label == 0][None]
    return float(np.mean((above > 0) + 0.5 * (above == 0)))


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_it_learns_and_logs_every_round(objective):
    model, log = trained(objective)
    features, label, session = rows()
    out = session >= HELD_OUT * 7
    score = xgb.predict(model, features[out])
    assert score.dtype == np.float32 and score.shape == (out.sum(),)
    assert auc(score, label[out]) > 0.8
    metrics = ["logloss", "auc"] if objective.startswith("binary") else ["auc", "ndcg@20"]
    assert list(log["train"]) == list(log["eval"]) == metrics
    assert len(log["eval"]["auc"]) == len(log["train"][metrics[0]]) > log["best_round"]
    if objective == "binary:logistic":
        assert log["train"]["logloss"][-1] < log["train"]["logloss"][0]
        assert max(log["eval"]["auc"]) == pytest.approx(auc(score, label[out]), abs=1e-6)


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_it_stops_early_and_keeps_the_best_round(objective):
    model, log = trained(objective, rounds=500, learning_rate=0.5)
    scores = log["eval"]["auc" if objective.startswith("binary") else "ndcg@20"]
    assert log["best_score"] == max(scores)
    assert log["best_round"] == int(np.argmax(scores)) and len(scores) == log["best_round"] + 1 + 5 < 500
    assert model.num_boosted_rounds() == log["best_round"] + 1


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_several_batches_give_the_model_of_one(objective):
    """To the bit here, where every value has a bin of its own; with more values than bins the quantiles of several batches
    are put together from sketches, so that models are alike and not equal."""
    whole, log = trained(objective)
    pieces, log_of_pieces = trained(objective, pieces=7)
    assert log == log_of_pieces
    assert whole.get_dump(with_stats=True) == pieces.get_dump(with_stats=True)


def test_mrr_stops_a_model_where_it_is_the_tasks_metric():
    targets = TargetsConfig(k=5, metric="mrr")
    group = Group(objective="softmax", depth=3, rounds=60, early_stopping=5, min_child_weight=0.1)
    prepared = xgb.prepare(group, batches(0, HELD_OUT), batches(HELD_OUT, SESSIONS), NAMES, 1)
    model, log = xgb.train(group, prepared, "cpu", 1, 3, targets)
    assert list(log["eval"]) == ["auc", "mrr@5"]
    figures = log["eval"]["mrr@5"]
    assert log["best_round"] == int(np.argmax(figures)) and len(figures) == log["best_round"] + 1 + 5
    features, label, session = rows()
    out = session >= HELD_OUT * 7
    score, mine, session = xgb.predict(model, features[out]), label[out], session[out]
    gains = []
    for s in np.unique(session[mine == 1]):
        order = np.argsort(-score[session == s], kind="stable")
        place = 1 + int(np.flatnonzero(mine[session == s][order])[0])
        gains.append(1 / place if place <= 5 else 0)
    assert log["best_score"] == pytest.approx(np.mean(gains), abs=1e-6)  # XGBoost keeps six digits


def test_softmax_lowers_the_cross_entropy_of_lists_round_by_round():
    group = Group(objective="softmax", depth=3, rounds=15, early_stopping=15, min_child_weight=0.1, subsample=1, colsample=1)
    give = batches(0, SESSIONS)
    model, _ = xgb.train(group, xgb.prepare(group, give, give, NAMES, 1), "cpu", 1, 3)
    features, label, session = rows()
    losses = []
    for trees in range(1, model.num_boosted_rounds() + 1):
        margin, loss = xgb.predict(model[:trees], features).astype(float), 0.0
        for s in np.unique(session[label == 1]):
            p = np.exp(margin[session == s]) / np.exp(margin[session == s]).sum()
            loss -= np.log(p[label[session == s] == 1]).mean()
        losses.append(loss)
    assert len(losses) > 3 and losses == sorted(losses, reverse=True)


def test_the_seed_decides_and_nothing_else():
    settings = {"subsample": 0.5, "colsample": 0.5}
    dumps = [trained(call_seed=seed, **settings)[0].get_dump(with_stats=True) for seed in (3, 3, 4)]
    assert dumps[0] == dumps[1] != dumps[2]
    # a group's seed is added to that of the call, so that groups of one objective may differ
    assert trained(call_seed=3, seed=1, **settings)[0].get_dump(with_stats=True) == dumps[2]


def test_every_batch_is_asked_for_and_none_is_changed():
    features, label, session = (a.copy() for a in rows())
    training, held_out = [], []
    group = Group(rounds=3, depth=2)
    xgb.prepare(group, batches(0, 100, 4, training), batches(100, 150, 2, held_out), NAMES, 1)
    assert set(np.concatenate(training)) == set(np.unique(session[session < 700]))
    assert set(np.concatenate(held_out)) == set(np.unique(session[session >= 700]))
    for a, b in zip(rows(), (features, label, session), strict=True):
        np.testing.assert_array_equal(a, b)


def test_further_parameters_go_through():
    stump, _ = trained(params={"max_leaves": 2, "grow_policy": "lossguide"})
    assert all(tree.count("leaf=") <= 2 for tree in stump.get_dump())


PLAIN = {"depth": 3, "rounds": 20, "subsample": 1, "colsample": 1, "min_child_weight": 0}


def scores_after(group, give):
    """Of all rows, after training on what give() gives and stopping on the same."""
    model, _ = xgb.train(group, xgb.prepare(group, give, give, NAMES, 1), "cpu", 1, 0)
    return xgb.predict(model, rows()[0])


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_a_weight_of_two_is_twice_the_rows(objective):
    group = Group(objective=objective, **PLAIN)
    features, label, session = rows()
    heavy = session % 2 == 0

    def weighted():
        yield features, label, session, np.where(heavy, 2, 1).astype(np.float32)

    def doubled():
        yield features, label, session
        yield features[heavy], label[heavy], session[heavy]

    def plain():
        yield features, label, session

    found = scores_after(group, weighted)
    assert np.abs(found - scores_after(group, plain)).max() > 1e-3
    if objective == "binary:logistic":
        np.testing.assert_allclose(found, scores_after(group, doubled), atol=1e-4)


@pytest.mark.parametrize("objective", OBJECTIVES[1:])
def test_a_session_that_comes_again_is_another_query(objective):
    """Rows of several targets, one after the other: as if the sessions had other numbers."""
    group = Group(objective=objective, **PLAIN)
    features, label, session = rows()
    other = np.roll(label, 3)

    def again():
        yield features, label, session
        yield features, other, session

    def renumbered():
        both = np.concatenate([label, other])
        yield np.tile(features, (2, 1)), both, np.concatenate([session, session + 10_000])

    np.testing.assert_array_equal(scores_after(group, again), scores_after(group, renumbered))


def test_importance_names_the_columns_that_matter_most_first():
    model, _ = trained()
    found = xgb.importance(model, NAMES)
    assert set(list(found)[:2]) == {"column_0", "column_3"}
    assert list(found.values()) == sorted(found.values(), reverse=True) and found.keys() <= set(NAMES)


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_saved_and_loaded_it_scores_the_same(objective, tmp_path):
    model, _ = trained(objective)
    path = tmp_path / "model.ubj"
    path.write_bytes(bytes(model.save_raw("ubj")))
    loaded = xgb.load(path, "cpu", 1)
    np.testing.assert_array_equal(xgb.predict(loaded, rows()[0]), xgb.predict(model, rows()[0]))
    assert loaded.feature_names == list(NAMES)


def test_scores_are_margins_in_the_order_of_the_probabilities():
    model, _ = trained()
    features = rows()[0]
    probability = model.predict(xgboost.DMatrix(features, feature_names=list(NAMES)))
    margin = xgb.predict(model, features)
    np.testing.assert_allclose(1 / (1 + np.exp(-margin)), probability, rtol=1e-4)
    assert margin.min() < 0


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_the_columns_that_matter_are_chosen(objective):
    """The label hangs on the columns 0 and 3."""
    group = Group(objective=objective, columns=2, bins=64)
    columns = xgb.choose_columns(group, batches(0, SESSIONS), NAMES, "cpu", 1, 42)
    np.testing.assert_array_equal(columns, [0, 3])
    prepared = xgb.prepare(group, batches(0, HELD_OUT), batches(HELD_OUT, SESSIONS), NAMES, 1, None, columns)
    model, _ = xgb.train(group, prepared, "cpu", 1, 3)
    assert model.feature_names == ["column_0", "column_3"] and set(xgb.importance(model, NAMES)) == {"column_0", "column_3"}
    features, _, _ = rows()
    np.testing.assert_array_equal(xgb.predict(model, features, NAMES), xgb.predict(model, features[:, [0, 3]]))


def test_all_columns_where_none_can_be_left_out():
    for columns in (None, len(NAMES), 1000):
        assert xgb.choose_columns(Group(columns=columns), batches(0, 100), NAMES, "cpu", 1, 42) is None

    def one_label():
        for features, label, session in batches(0, 100)():
            yield features, np.zeros_like(label), session

    assert xgb.choose_columns(Group(columns=2), one_label, NAMES, "cpu", 1, 42) is None

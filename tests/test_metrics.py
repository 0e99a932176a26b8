"""Every metric against its definition and a loop over dictionaries; intervals where the bootstrap has nothing to say."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from otto_gpu.events.labels import Labels
from otto_gpu.events.settings import TargetsConfig
from otto_gpu.metrics import METRICS, TargetHits, find_hits, gains, metric_values, paired_interval, score
from tests.test_evaluate import OTTO, of_counts, random_sessions

ONE = TargetsConfig(types=["click"], weights={"click": 1.0}, next_only=[], k=5, metric="mrr")


def found_of(truth: dict, lists: dict, targets=ONE) -> tuple[TargetHits, ...]:
    """truth: {session: items}; lists: {session: items, best first}; of one target."""
    pairs = np.array([(s, 0, a) for s, items in truth.items() for a in items]).reshape(-1, 3)
    width = max([1, *map(len, lists.values())])
    rows = np.array([[*items, *[-1] * (width - len(items))] for items in lists.values()], np.int32).reshape(-1, width)
    return find_hits(Labels.from_arrays(*pairs.T), {"click": rows}, np.array(list(lists), np.int32), targets)


def value(metric: str, truth: dict, lists: dict, k: int = 5) -> float:
    return float(metric_values(found_of(truth, lists, ONE.model_copy(update={"k": k})), metric)[0])


# ------------------------------------------------------------------------------------------------------ definitions
def test_with_one_answer_recall_is_the_hit_rate():
    """Three users, the answers of the first and the third among their lists."""
    truth, lists = {1: [10], 2: [20], 3: [30]}, {1: [10, 11, 12], 2: [21, 22, 23], 3: [31, 32, 30]}
    for metric in ("recall", "hit_rate", "mean_recall"):
        assert value(metric, truth, lists, 3) == pytest.approx(2 / 3)


def test_mrr_counts_misses_and_users_without_a_list_as_0():
    truth = {1: [7], 2: [7], 3: [7], 4: [7], 5: [7]}
    # the fourth user's hit comes too late, the fifth has no list
    lists = {1: [7, 1], 2: [1, 7], 3: [1, 2, 3, 4, 7], 4: [1, 2, 3, 4, 5, 7]}
    assert value("mrr", truth, lists) == pytest.approx((1 + 1 / 2 + 1 / 5) / 5)
    assert value("mrr", {1: [7, 1]}, {1: [9, 1, 7]}) == pytest.approx(1 / 2)  # the first hit alone


def test_ndcg_of_the_worked_example():
    """Relevances 2, 1, 0, 2 give a DCG of 3.49 and an ideal one of 3.76. A relevance of 2 is here an answer of two sessions."""
    truth, lists = {1: [1, 2, 4], 2: [1, 4]}, {1: [1, 2, 3, 4], 2: [1, 2, 3, 4]}
    per_session, _ = gains(found_of(truth, lists), "ndcg")
    ideal = np.array([1 + 1 / math.log2(3) + 1 / 2, 1 + 1 / math.log2(3)])
    assert ideal.sum() == pytest.approx(3.76, abs=5e-3)
    assert per_session[:, 0] @ ideal == pytest.approx(3.49, abs=5e-3)
    assert per_session[:, 0] @ ideal / ideal.sum() == pytest.approx(0.928, abs=5e-4)
    assert value("ndcg", {1: [5]}, {1: [1, 2, 5]}) == pytest.approx(1 / math.log2(4))
    assert value("ndcg", {1: range(9)}, {1: range(5)}) == pytest.approx(1)  # the best that five places can be


def test_precision_at_every_hit():
    truth, lists = {1: [1, 2, 3]}, {1: [1, 9, 2, 8]}
    assert value("map", truth, lists) == pytest.approx((1 + 2 / 3) / 3)
    assert value("precision", truth, lists) == pytest.approx(2 / 5)


def by_hand(metric: str, truth: dict, lists: dict, k: int) -> float:
    """One target, with sets and lists."""
    gain = ideal = 0.0
    for session, answers in truth.items():
        answers, mine = set(answers), []
        for item in lists.get(session, ())[:k]:
            mine.append(item in answers and item not in lists[session][: len(mine)])
        hits, most = sum(mine), min(len(answers), k)
        places = [i + 1 for i, hit in enumerate(mine) if hit]
        gain += {
            "recall": hits,
            "hit_rate": float(hits > 0),
            "mrr": 1 / places[0] if places else 0.0,
            "ndcg": sum(1 / math.log2(p + 1) for p in places) / sum(1 / math.log2(p + 1) for p in range(1, most + 1)),
            "map": sum((i + 1) / p for i, p in enumerate(places)) / most,
            "precision": hits / k,
            "mean_recall": hits / most,
        }[metric]
        ideal += most if metric == "recall" else 1
    return gain / ideal


items = st.integers(0, 6)
users = st.integers(0, 5)


@settings(deadline=None)
@given(
    st.dictionaries(users, st.sets(items, min_size=1), min_size=1), st.dictionaries(users, st.lists(items, max_size=9)),
    st.integers(1, 8),
)  # fmt: skip
def test_every_metric_is_that_of_a_loop(truth, lists, k):
    found = found_of(truth, lists, ONE.model_copy(update={"k": k}))
    for metric in METRICS:
        assert metric_values(found, metric)[0] == pytest.approx(by_hand(metric, truth, lists, k), abs=1e-12), metric
        gain, ideal = gains(found, metric)
        assert (gain <= ideal + 1e-12).all() and (gain >= 0).all()
    order = np.random.default_rng(k).permutation(len(truth))[: max(len(truth) - 1, 1)]
    some = [found[0].take(order)]
    sessions = sorted(truth)
    kept = {sessions[i]: truth[sessions[i]] for i in order}
    for metric in METRICS:
        assert metric_values(some, metric)[0] == pytest.approx(by_hand(metric, kept, lists, k), abs=1e-12), metric


# -------------------------------------------------------------------------------------------------------- intervals
def test_recall_is_what_it_was_to_the_last_bit():
    """Figures of the version that knew recall alone, on the same sessions."""
    hits, truth = random_sessions(500)
    fewer = hits.copy()
    fewer[::7] = 0
    one, other = of_counts(hits, truth), of_counts(fewer, truth)
    found = score(one, OTTO, 200)
    assert found["recall@20"] == {"clicks": 0.5017667844522968, "carts": 0.4068627450980392, "orders": 0.6721311475409836}
    assert found["weighted"] == 0.5755141904992316 and found["labels"] == {"clicks": 283, "carts": 204, "orders": 61}
    assert found["interval"] == {
        "clicks": [0.4519987778173855, 0.5555757575757576],
        "carts": [0.3415795863800065, 0.4777229085127202],
        "orders": [0.5599344262295083, 0.777878787878788],
        "weighted": [0.5015613120451896, 0.6428442243572517],
    }
    found = paired_interval(one, other, OTTO, 200)
    assert found["difference"]["weighted"] == 0.054279554027484744
    assert found["interval"] == {
        "clicks": [0.03282341978568097, 0.08452747199923089],
        "carts": [0.02671718711035992, 0.10354499579478554],
        "orders": [0.013928571428571387, 0.12281376518218617],
        "weighted": [0.02671959312500235, 0.0980180190415928],
    }


@pytest.mark.parametrize("metric", ["mrr", "ndcg"])
def test_intervals_of_other_metrics_are_those_of_plain_resampling(metric):
    """Of a mean of sessions: the sessions' gains, drawn with replacement."""
    rng = np.random.default_rng(3)
    truth = {s: [1] for s in range(400)}
    lists = {s: rng.permutation(9).tolist() for s in truth}
    worse = {s: mine if s % 5 else mine[::-1] for s, mine in lists.items()}
    targets = ONE.model_copy(update={"metric": metric})
    (gain, _), (less, _) = (gains(found_of(truth, rows), metric) for rows in (lists, worse))
    drawn = rng.integers(0, 400, (4000, 400))
    found = score(found_of(truth, lists), targets, 4000)
    both = paired_interval(found_of(truth, lists), found_of(truth, worse), targets, 4000)
    assert found[f"{metric}@5"]["click"] == pytest.approx(gain.mean()) and found["sessions_of"] == {"click": 400}
    for ends, values in ((found["interval"]["click"], gain), (both["interval"]["click"], gain - less)):
        want = np.percentile(values[drawn, 0].mean(axis=1), [2.5, 97.5])
        assert np.abs(np.array(ends) - want).max() < 0.08 * (want[1] - want[0])


def test_beginnings_of_one_session_are_drawn_together():
    """Ten beginnings of each of 40 sessions, all alike: 40 independent figures, not 400."""
    hit = np.random.default_rng(0).random(40) < 0.5
    truth, lists = {s: [1] for s in range(400)}, {s: [1] if hit[s // 10] else [2] for s in range(400)}
    whole, one = np.arange(400) // 10, found_of({s: [1] for s in range(40)}, {s: [1] if hit[s] else [2] for s in range(40)})
    found, none = found_of(truth, lists), found_of(truth, {0: [2]})
    assert score(found, ONE, whole=whole)["interval"] == score(one, ONE)["interval"]
    apart, together = (score(found, ONE, whole=w)["interval"]["click"] for w in (np.arange(400), whole))
    assert apart == score(found, ONE)["interval"]["click"] and np.diff(together) > 2.5 * np.diff(apart)
    both = paired_interval(found, none, ONE, whole=whole)
    assert both["interval"]["click"] == together and both["difference"]["click"] == hit.mean()
    sure = score(found_of(truth, {s: [1] for s in truth}), ONE, whole=whole)
    assert sure["interval"]["click"] == pytest.approx([40 / (40 + 1.96**2), 1]) and sure["sessions_of"] == {"click": 400}


def test_two_hits_of_two_do_not_make_a_certainty():
    """Where every draw is alike, Wilson's interval for so many sessions, n/(n + 1.96^2) at 100 %, stands."""
    found = score(found_of({1: [1], 2: [2]}, {1: [1], 2: [2]}), ONE)
    assert found["mrr@5"]["click"] == 1 and found["interval"]["click"] == pytest.approx([2 / (2 + 1.96**2), 1])
    assert found["interval"]["weighted"] == pytest.approx(found["interval"]["click"])
    none = score(found_of({s: [1] for s in range(50)}, {0: [2]}), ONE)["interval"]["click"]
    assert none == pytest.approx([0, 1.96**2 / (50 + 1.96**2)])
    half = score(found_of({1: [1]}, {1: [9, 1]}), ONE)["interval"]["click"]  # one session: nearly nothing is known
    assert half[0] < 0.1 and half[1] > 0.9
    perfect, nothing = found_of({1: [1], 2: [2]}, {1: [1], 2: [2]}), found_of({1: [1], 2: [2]}, {1: [3]})
    both = paired_interval(perfect, nothing, ONE)
    assert both["difference"]["click"] == 1 and both["interval"]["click"] == pytest.approx([4 / (2 + 1.96**2) - 1, 1])
    assert paired_interval(perfect, perfect, ONE)["interval"]["click"] == [0, 0]


def test_a_target_that_the_draws_say_nothing_of_widens_the_weighted_interval():
    hits, truth = random_sessions(300)
    truth[:, 2] = np.arange(300) < 2
    sure, unsure = (np.column_stack([hits[:, :2], h * truth[:, 2]]) for h in (np.ones(300, int), np.arange(300) % 2))
    found = score(of_counts(sure, truth), OTTO)
    point, (low, high) = found["weighted"], found["interval"]["weighted"]
    orders = found["interval"]["orders"]
    assert orders == pytest.approx([2 / (2 + 1.96**2), 1]) and low < point - 0.6 * (1 - orders[0]) and high < 1
    mostly = truth * [[1, 0, 1]]
    mostly[1:, 0] = 0  # one click, missed, and two orders: in some draws there are no clicks
    low, high = score(of_counts(mostly * [0, 1, 1], mostly), OTTO)["interval"]["weighted"]
    assert 0 <= low < 6 / 7 < high <= 1
    other = score(of_counts(unsure, truth), OTTO)  # one of two: the draws do tell
    assert other["interval"]["orders"] == [0, 1]

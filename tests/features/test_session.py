"""Families `session` and `recall`, row by row."""

import numpy as np
import pandas as pd

from tests.features import oracle
from tests.features.case import Case, assert_same, case_of
from tests.worlds import World, clicks_world, log_of, synthetic_world, taobao_world


def check(case):
    found = case.made("session")
    assert_same(found, oracle.session_features(case.pairs, case.history, case.items, case.world.known.types))
    return found


def test_a_generated_log():
    assert len(check(case_of(synthetic_world(), 25)).columns) == 20


def test_clicks_only():
    check(case_of(clicks_world(), 10))


def test_a_real_log(real_log):
    check(case_of(taobao_world(real_log("taobao_visits")), 15))


def test_the_longest_and_the_shortest_history():
    """500 events of 30 items, a single event, and other types than OTTO's."""
    random = np.random.default_rng(2)
    items, gaps, kinds = random.integers(0, 30, 500), random.integers(0, 10_000_000, 500), random.integers(0, 4, 500)
    long = list(zip(items.tolist(), (1_659_304_800_025 + np.cumsum(gaps)).tolist(), kinds.tolist(), strict=True))
    log = log_of([long, [(3, 1_661_723_999_984, 2)]], 40, types=("views", "clicks", "carts", "likes"))
    world = World(log, log, None)
    case = Case(world, world.candidates(world.sessions))
    items = oracle.item_weights(case.history, case.item_events, dict.fromkeys(log.types, 1) | {"carts": 6})
    assert_same(case.made("session"), oracle.session_features(case.pairs, case.history, items, log.types))


def test_recall():
    case = case_of(synthetic_world(), 25)
    found = case.made("recall")
    table = case.candidates.to_table().to_pandas().drop(columns=["session", "aid"])
    ranks = table.filter(like="_rank")
    expected = table.astype(float).assign(recall_sources=(ranks >= 0).sum(axis=1))
    assert len(expected.columns) == 9
    pd.testing.assert_frame_equal(found, expected.astype(np.float32))
    assert found["recall_sources"].max() > 1

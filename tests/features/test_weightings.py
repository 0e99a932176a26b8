"""The six weightings from their formulas."""

from math import log

import numpy as np
import pandas as pd
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from otto_gpu.candidates.lookup import Histories
from otto_gpu.candidates.settings import CandidatesConfig
from otto_gpu.features.weightings import WEIGHTINGS, HistoryItems, weigh
from tests.features import oracle
from tests.worlds import log_of, taobao_world

TYPES = ("clicks", "carts", "orders")
DAY = 86_400_000


def weights_of(p, n, t_ms, type_weight, item_events):
    out = np.empty(6)
    weigh(p, n, t_ms, type_weight, item_events, out)
    return dict(zip(WEIGHTINGS, out.tolist(), strict=True))


def test_by_hand():
    w = weights_of(p=0, n=3, t_ms=0, type_weight=6.0, item_events=4)
    assert w["one"] == 1 and w["type"] == 6 and w["last_day"] == 1
    assert w["position"] == pytest.approx(1.0)  # the newest: 2^1 - 1
    assert w["time"] == pytest.approx(1 / log(2))
    assert w["recsys"] == pytest.approx(1 / log(2) / log(2) / log(4) / log(5))
    oldest = weights_of(p=2, n=3, t_ms=DAY + 1, type_weight=1.0, item_events=4)
    assert oldest["position"] == pytest.approx(2**0.1 - 1)
    assert oldest["last_day"] == 0
    assert oldest["time"] == pytest.approx(1 / log(2 + 1440 + 1 / 60_000))
    assert weights_of(1, 3, DAY, 1.0, 4)["last_day"] == 1  # within, to the millisecond
    assert weights_of(0, 1, 0, 1.0, 1)["position"] == 1  # a single event


def check(log, item_events: np.ndarray, sessions=None):
    config = CandidatesConfig()
    histories = Histories.of(log, config)
    sessions = np.arange(log.n_sessions) if sessions is None else sessions
    histories = histories.chunk(sessions)
    type_weight = np.array([config.type_weights.get(t, 1.0) for t in log.types], np.float32)
    items = HistoryItems.of(histories, item_events, type_weight)
    events = oracle.frame_of(log)
    events = events[events["session"].isin(sessions)]
    sums = oracle.item_weights(
        events, dict(enumerate(item_events.tolist())), {t: config.type_weights.get(t, 1.0) for t in log.types}
    )
    by_session = dict(iter(events.groupby("session")))
    for s, session in enumerate(sessions):
        mine = slice(items.pointer[s], items.pointer[s + 1])
        if session not in by_session:
            assert mine.start == mine.stop
            continue
        events = by_session[session].reset_index(drop=True)
        aids = list(dict.fromkeys(events["aid"][::-1]))
        assert items.aid[mine].tolist() == aids  # newest first
        np.testing.assert_allclose(items.weights[mine], sums.loc[session].loc[aids], rtol=1e-5)
        counts = pd.crosstab(events["aid"], events["type"]).reindex(index=aids, columns=log.types, fill_value=0)
        np.testing.assert_array_equal(items.counts[mine], counts)
        last = events.reset_index().groupby("aid").last().loc[aids]
        np.testing.assert_array_equal(items.newest[mine], last["ts"])
        np.testing.assert_array_equal(items.place[mine], len(events) - 1 - last["index"])


event = st.tuples(st.integers(0, 5), st.sampled_from([0, 1, 30_000, DAY // 3, DAY]), st.integers(0, 2))


@settings(max_examples=30)
@given(st.lists(st.lists(event, max_size=10), min_size=1, max_size=4), st.lists(st.integers(0, 50), min_size=6, max_size=6))
@example([[], [(0, 0, 0)], []], [1, 1, 1, 1, 1, 1])
@example([[(0, 0, 0)] * 500], [500, 1, 1, 1, 1, 1])
def test_items_of_histories(sessions, item_events):
    timed = [[(a, sum(e[1] for e in s[: i + 1]), t) for i, (a, _, t) in enumerate(s)] for s in sessions]
    check(log_of(timed, 6), np.array(item_events))


def test_types_without_a_weight_count_as_clicks():
    log = log_of([[(0, 0, 0), (1, 5, 1), (0, 9, 2)]], 2, types=("views", "carts", "likes"))
    check(log, np.array([2, 1]))


def test_a_real_log(real_log):
    world = taobao_world(real_log("taobao_visits"))
    check(world.history, np.bincount(world.known.aid, minlength=world.known.n_items), world.some_sessions(60))

"""Family `popularity` by counting."""

import numba
import numpy as np

from otto_gpu.events.settings import SplitConfig, TargetsConfig
from otto_gpu.events.split import split_log
from otto_gpu.features import popularity
from otto_gpu.features.compute import PeriodState
from otto_gpu.features.popularity import Popularity
from tests.features import oracle
from tests.features.case import Case, assert_same, case_of
from tests.worlds import World, clicks_world, log_of, synthetic_world, taobao_world

HOUR, DAY = 3_600_000, 86_400_000


def check(case):
    found = case.made("popularity")
    types = case.world.known.types
    assert_same(found, oracle.popularity_features(case.pairs, case.known, case.period, case.item_events, types))
    return found


def test_a_generated_log():
    found = check(case_of(synthetic_world(), 5))
    assert len(found.columns) == 2 * 3 * 6 + 3 * 3 + 2 + 3


def test_clicks_only():
    found = check(case_of(clicks_world(), 3))
    assert (found.filter(like="carts") == 0).all(axis=None)


def test_a_real_log(real_log):
    check(case_of(taobao_world(real_log("taobao_visits")), 5))


def test_windows_are_open_at_their_beginning_and_closed_at_their_end():
    """Events at exactly now - window, a millisecond later, now, and after now; items that nobody touched."""
    now = 30 * DAY
    moments = sorted({now - w + d for w in (HOUR, 3 * HOUR, DAY, 7 * DAY) for d in (0, 1)} | {0, now + 1})
    others = [[(i % 4, t, i % 3)] for i, t in enumerate(moments)]
    log = log_of([*others, [(0, now - DAY, 1), (1, now, 0)]], 6)
    mine = log.where(log.session == len(others))
    world = World(log, mine, None)
    sessions = world.sessions
    candidates = world.candidates(sessions)
    found = check(Case(world, candidates))
    assert len(candidates) >= 4 and (found["popularity_quiet_minutes"] == 0).any()


def test_items_of_later_are_not_there_yet():
    """Item 2 comes after the session's last event, item 1 before and after it."""
    now = 30 * DAY
    log = log_of([[(1, now - HOUR, 0), (2, now + 1, 2)], [(1, now + 2, 1), (2, now + 3, 0)], [(0, now - 1, 1), (0, now, 0)]], 3)
    world = World(log, log.where(log.session == 2), None)
    case = Case(world, world.candidates(world.sessions))
    found = check(case).set_index(case.candidates.aid)
    assert found["popularity_age_minutes"].to_dict() == {0: np.float32(1 / 60_000), 1: 60, 2: -1}
    assert found["popularity_quiet_minutes"].to_dict() == {0: 0, 1: 60, 2: -1}
    assert found["popularity_any_1h"].to_dict() == {0: 1, 1: 0, 2: 0}


def test_the_same_bits_for_any_number_of_threads():
    world, type_weight = synthetic_world(), np.array([1, 6, 3], np.float32)
    item_events = np.bincount(world.known.aid, minlength=world.known.n_items)
    before, tables = numba.get_num_threads(), []
    try:
        for threads in (1, min(2, numba.config.NUMBA_NUM_THREADS)):
            numba.set_num_threads(threads)
            tables.append(Popularity.of(world.known, world.history, item_events, type_weight).all)
    finally:
        numba.set_num_threads(before)
    table = np.zeros((world.known.n_items, 3, 6))
    popularity._add_up.py_func(
        world.known.starts, world.known.aid, world.known.ts, world.known.type, item_events, type_weight, 1, table
    )
    np.testing.assert_array_equal(*tables)
    np.testing.assert_allclose(tables[0], table.reshape(len(table), -1), rtol=1e-6)


def test_of_prefixes_nothing_is_counted():
    """With split.cut: every a longer history holds the answer of a shorter one: neither may be popular for it."""
    log = log_of(
        [[(i % 5, h * HOUR, 0), ((i + 1) % 5, h * HOUR + 1, 1), (i % 3, h * HOUR + 2, 0)] for i, h in enumerate(range(40))], 5
    )
    period = split_log(log, SplitConfig(cut="every", by="session", test_fraction=0.3), TargetsConfig())["test"]
    world = World(period.known, period.history, period.labels)
    made = [
        PeriodState.of(period.known, period.history, world.stack, world.config, counted=counted).popularity
        for counted in (period.counted, None)
    ]
    assert not made[0].period.any() and made[1].period.any() and made[0].all.any()
    assert np.array_equal(made[0].all, made[1].all) and len(made[0].times) == len(period.train)

"""The union of the sources, their scores and ranks, and the popular items, against lists and dicts."""

from collections import Counter

import numpy as np
from hypothesis import example, given, settings
from hypothesis import strategies as st

from otto_gpu.candidates.fuse import Candidates, fuse, popular_items, ranks_in_session
from otto_gpu.candidates.lookup import Histories, evaluate_recipes
from otto_gpu.candidates.settings import CandidatesConfig
from tests.candidates.oracle import keys
from tests.worlds import log_of, synthetic_world

TYPES = ("clicks", "carts", "orders")
TYPE_WEIGHT = {"clicks": 1, "carts": 6, "orders": 3}
DAY = 86_400_000
items = st.integers(0, 14)


def expected_rows(events, named, popular, config):
    """[(aid, {source: (score, rank)})] of a session, in order."""
    found = {}
    for rank, aid in enumerate(keys("all", events)[: config.history_limit]):
        n = len(events)
        score = sum(
            (2 ** (0.1 + 0.9 * i / max(n - 1, 1)) - 1) * TYPE_WEIGHT[t] for i, (a, _, t) in enumerate(events) if a == aid
        )
        found[aid] = {"history": (score, rank)}
    for source, pairs in named.items():
        for rank, (aid, score) in enumerate(pairs):
            found.setdefault(aid, {})[source] = (score, rank)
    for aid in popular:
        if len(found) >= config.fill_to:
            break
        found.setdefault(aid, {})
    return list(found.items())


def padded(lists, width):
    aids, scores = np.full((len(lists), width), -1, np.int32), np.zeros((len(lists), width), np.float32)
    for s, pairs in enumerate(lists):
        for i, (aid, score) in enumerate(pairs):
            aids[s, i], scores[s, i] = aid, score
    return aids, scores


def check(candidates: Candidates, sessions, expected, sources):
    assert candidates.sources == ("history", *sources)
    np.testing.assert_array_equal(candidates.sessions, sessions)
    assert (candidates.aid.dtype, candidates.scores.dtype, candidates.ranks.dtype) == (np.int32, np.float32, np.int16)
    for s, rows in enumerate(expected):
        part = slice(candidates.pointer[s], candidates.pointer[s + 1])
        assert candidates.aid[part].tolist() == [aid for aid, _ in rows]
        scores = [[by.get(source, (0, -1))[0] for source in candidates.sources] for _, by in rows]
        ranks = [[by.get(source, (0, -1))[1] for source in candidates.sources] for _, by in rows]
        np.testing.assert_allclose(candidates.scores[part], np.reshape(scores, (-1, len(candidates.sources))), rtol=1e-5)
        np.testing.assert_array_equal(candidates.ranks[part], np.reshape(ranks, (-1, len(candidates.sources))))
    assert candidates.pointer[-1] == len(candidates)


list_of_items = st.lists(items, unique=True, max_size=6)
a_session = st.tuples(st.lists(st.tuples(items, st.integers(0, 2)), min_size=1, max_size=10), list_of_items, list_of_items)


@settings(max_examples=150)
@given(st.lists(a_session, min_size=1, max_size=4), list_of_items, st.integers(0, 5), st.integers(1, 16))
@example([([(a, 0) for a in range(12)], [0, 13], [])], [1, 2, 3, 4], 3, 6)  # a history longer than the limit
@example([([(a, 0) for a in range(12)], [], [])], [0, 1, 2, 3, 4, 5], 0, 3)  # no history at all
@example([([(3, 0)], [], [])], [3, 1, 2], 5, 16)  # too few popular items
def test_union(drawn, popular, history_limit, fill_to):
    config = CandidatesConfig(history_limit=history_limit, fill_to=fill_to)
    log = log_of([[(a, 10 * i, t) for i, (a, t) in enumerate(history)] for history, _, _ in drawn], 15)
    named = {
        source: [[(aid, 5.0 - i) for i, aid in enumerate(one[place])] for one in drawn]
        for source, place in (("x", 1), ("y", 2))
    }
    sessions = np.arange(len(drawn), dtype=np.int32) + 7
    found = fuse(
        sessions, Histories.of(log, config), {s: padded(lists, 6) for s, lists in named.items()},
        np.array(popular, np.int32), config, TYPES,
    )  # fmt: skip
    expected = [
        expected_rows([(a, 0, TYPES[t]) for a, t in history], {k: v[s] for k, v in named.items()}, popular, config)
        for s, (history, _, _) in enumerate(drawn)
    ]
    check(found, sessions, expected, ("x", "y"))


def test_on_a_generated_log():
    world = synthetic_world()
    sessions = world.some_sessions(80)
    mine = world.histories.chunk(sessions)
    lists = evaluate_recipes(mine, world.stack, world.config, TYPES)
    expected = []
    for s, session in enumerate(sessions):
        named = {}
        for source in world.config.outputs:
            aids, scores = lists[source]
            there = aids[s] >= 0
            named[source] = list(zip(aids[s][there].tolist(), scores[s][there].tolist(), strict=True))
        expected.append(expected_rows(world.events(session), named, world.popular.tolist(), world.config))
    candidates = world.candidates(sessions)
    check(candidates, sessions, expected, world.config.outputs)
    assert np.diff(candidates.pointer).min() >= world.config.fill_to


def test_tables_and_rows_keep_everything():
    world = synthetic_world()
    candidates = world.candidates(world.some_sessions(30))
    back = Candidates.from_table(candidates.to_table(), candidates.sources)
    for name in ("sessions", "pointer", "aid", "scores", "ranks"):
        np.testing.assert_array_equal(getattr(back, name), getattr(candidates, name))
        assert getattr(back, name).dtype == getattr(candidates, name).dtype
    part = candidates.rows(3, 9)
    mask = np.isin(candidates.session, candidates.sessions[3:9])
    np.testing.assert_array_equal(part.session, candidates.session[mask])
    np.testing.assert_array_equal(part.aid, candidates.aid[mask])
    np.testing.assert_array_equal(part.ranks, candidates.ranks[mask])
    assert len(candidates.rows(4, 4)) == 0


def test_some_candidates_and_one_more_source():
    world = synthetic_world()
    candidates = world.candidates(world.some_sessions(30))
    mask = np.random.default_rng(2).random(len(candidates)) < 0.3
    mask[candidates.pointer[4] : candidates.pointer[5]] = False  # a session may be left with none
    some = candidates.where(mask)
    np.testing.assert_array_equal(some.session, candidates.session[mask])
    np.testing.assert_array_equal(some.sessions, candidates.sessions)
    for name in ("aid", "scores", "ranks"):
        np.testing.assert_array_equal(getattr(some, name), getattr(candidates, name)[mask])
    scores, ranks = np.arange(len(some), dtype=np.float32), np.arange(len(some), dtype=np.int16)
    more = some.with_source("z", scores, ranks)
    assert more.sources == (*some.sources, "z") and (more.scores.dtype, more.ranks.dtype) == (np.float32, np.int16)
    np.testing.assert_array_equal(more.scores, np.hstack([some.scores, scores[:, None]]))
    np.testing.assert_array_equal(more.ranks, np.hstack([some.ranks, ranks[:, None]]))


@given(st.lists(st.lists(st.integers(0, 3), max_size=8), max_size=5))
def test_places(scores):
    pointer = np.cumsum([0, *map(len, scores)])
    found = ranks_in_session(pointer, np.array([s for mine in scores for s in mine], np.float32))
    expected = []
    for mine in scores:
        order = sorted(range(len(mine)), key=lambda i: -mine[i])
        expected += [order.index(i) for i in range(len(mine))]
    assert found.tolist() == expected


@settings(max_examples=100)
@given(st.lists(st.tuples(items, st.integers(0, 3)), max_size=30), st.sampled_from([0.25, 1, 7]))
def test_popular_items(events, days):
    log = log_of([[(a, i * DAY // 4, t) for i, (a, t) in enumerate(events)]], 15)
    last = (len(events) - 1) * DAY // 4
    recent = Counter(a for i, (a, _) in enumerate(events) if i * DAY // 4 >= last - days * DAY)
    total = Counter(a for a, _ in events)
    assert popular_items(log, days).tolist() == sorted(total, key=lambda a: (-recent[a], -total[a], a))

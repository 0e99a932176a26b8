"""Recipes for all sessions at once against the oracle that goes through them one by one."""

import numba
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from otto_gpu.candidates import lookup
from otto_gpu.candidates.lookup import Histories, evaluate_recipes
from otto_gpu.candidates.recipes import KEYS, Boost, Line, LongHistory, Recipe
from otto_gpu.candidates.settings import CandidatesConfig
from otto_gpu.candidates.trace import trace
from otto_gpu.device.arrays import longest
from otto_gpu.device.hashing import first_slot, table_size
from tests.candidates.oracle import all_lists
from tests.worlds import clicks_world, log_of, stack_of, synthetic_world, taobao_world

TYPES = ("clicks", "carts", "orders")
N_ITEMS = 12
HOUR, DAY = 3_600_000, 86_400_000
MATRICES = ("one", "two", "empty")
BOOSTS = (Boost(matrix="two"), Boost(matrix="one", weight=0.5))


def weight_of(x: int, y: int) -> float:
    """Of every row of the small matrices that keeps y; dyadic, some 0."""
    return (x + 2 * y) % 5 / 4


def check(world_events, histories, stack, config, rows):
    found = evaluate_recipes(histories, stack, config, TYPES)
    for s, events in enumerate(world_events):
        expected = all_lists(events, config, rows, weight_of)
        for name, recipe in config.recipes.items():
            aids, scores = (a[s] for a in found[name])
            assert aids.shape == (recipe.size,) and (aids.dtype, scores.dtype) == (np.int32, np.float32)
            n = len(expected[name])
            where = f"session {s}, recipe {name}"
            assert aids[:n].tolist() == [x for x, _ in expected[name]], where
            np.testing.assert_allclose(scores[:n], [v for _, v in expected[name]], rtol=1e-6, err_msg=where)
            assert (aids[n:] == -1).all() and (scores[n:] == 0).all(), where


# ------------------------------------------------------------------------- random everything
gaps = st.sampled_from([0, 1, 60_000, HOUR // 2, HOUR, DAY // 2, DAY, 3 * DAY])
event = st.tuples(st.integers(0, N_ITEMS - 1), gaps, st.integers(0, 2))
session = st.lists(event, min_size=1, max_size=12)
row = st.lists(st.integers(0, N_ITEMS - 1), unique=True, max_size=5)
matrix = st.dictionaries(st.integers(0, N_ITEMS - 1), row, max_size=N_ITEMS)


@st.composite
def lines(draw, above):
    keys, matrix = draw(st.sampled_from(KEYS)), draw(st.sampled_from([*MATRICES, "one", None]))
    decay = draw(st.none() | st.sampled_from([1.0, 0.9, 0.5]))
    if keys == "top" and not above:
        keys = "running"
    counted = st.integers(1, 15)
    return Line(
        keys=keys,
        recipe=draw(st.sampled_from(above)) if keys == "top" else None,
        matrix=matrix,
        use="rank" if matrix is None else draw(st.sampled_from(["rank", "weight"])),
        boost=None if matrix is None else draw(st.none() | st.sampled_from(BOOSTS)),
        decay=decay,
        depth=draw(st.sampled_from([1, 2, 3, 1000])),
        last=draw(counted if keys in ("top", "running") else st.none() | counted),
        hours=draw(st.none() | st.sampled_from([0.5, 1, 24, 72])),
        weight=draw(st.sampled_from([1.0, 0.5, 0.1, 3.0])),
        fade=draw(st.sampled_from([1.0, 0.25, 0.1, 0.0])) if decay is None else 1,
        step=draw(st.sampled_from([0.0, 0.05, 0.35, 1.0])),
        floor=draw(st.sampled_from([0.0, 0.001, 0.5])),
        per_key=draw(st.booleans()),
        head=draw(st.integers(0, 3)),
        neighbour_step=draw(st.sampled_from([0.0, 0.005, 0.5])),
        neighbour_floor=draw(st.sampled_from([0.0, 0.01, 0.75])),
    )


@st.composite
def recipe(draw, above):
    long = LongHistory(
        items=draw(st.integers(1, 6)),
        oldest=draw(st.sampled_from([0.1, 0.5, 1.0])),
        line_share=draw(st.sampled_from([0, 0.15, 1])),
    )
    return Recipe(
        lines=draw(st.lists(lines(above), min_size=1, max_size=5)),
        size=draw(st.sampled_from([1, 3, 8, 30])),
        history=draw(st.sampled_from(["first", "scored", "left_out"])),
        long_history=draw(st.none() | st.just(long)),
        output=True,
    )


@st.composite
def configs(draw):
    recipes = {}
    for name in ("first", "second", "third"):
        recipes[name] = draw(recipe(list(recipes)))
    return CandidatesConfig(
        recipes=recipes, order={}, bought=draw(st.sampled_from([("carts", "orders"), ("orders",), ()])),
        type_weights=draw(st.sampled_from([{"clicks": 1, "carts": 6, "orders": 3}, {"carts": 0.1}])),
    )  # fmt: skip


def timed(sessions):
    """Gaps to times; the first event lies anywhere in its day."""
    return [[(a, 1_659_304_800_025 + sum(e[1] for e in s[: i + 1]), t) for i, (a, _, t) in enumerate(s)] for s in sessions]


def small(sessions, matrices, config):
    log = log_of(sessions, N_ITEMS)
    weighted = {m: {x: [(y, weight_of(x, y)) for y in ys] for x, ys in rows.items()} for m, rows in matrices.items()}
    stack = stack_of(weighted, N_ITEMS)
    events = [[(a, ts, TYPES[t]) for a, ts, t in s] for s in sessions]
    return events, Histories.of(log, config), stack, config, matrices


# the running list may be longer than the history and every list that is looked up
MANY_RUNNING = CandidatesConfig(
    recipes={"clicks": Recipe(lines=(Line(keys="all", matrix="one"), Line(keys="running", last=9, matrix="two")))}, order={}
)


@settings(max_examples=150)
@given(st.lists(session, min_size=1, max_size=4), matrix, matrix, configs())
@example([[(0, 0, 0)]], {0: [1, 2, 3, 4, 5]}, {x: [(x + j) % N_ITEMS for j in range(3, 8)] for x in range(6)}, MANY_RUNNING)
def test_any_recipe_on_any_history(sessions, one, two, config):
    check(*small(timed(sessions), {"one": one, "two": two, "empty": {}}, config))


ROWS = {"one": {0: [5, 6, 7], 1: [6, 8], 2: [9, 0]}, "two": {6: [10, 11]}, "empty": {}}
EVENTS = [(0, 0, 0), (1, HOUR, 1), (2, 2 * HOUR, 0)]  # (item, ts, type): keys newest first are 2, 1, 0
BY_HAND = [  # lines; what gains how much, in order
    ([{"keys": "all", "matrix": "one", "depth": 1}], {9: 1, 6: 1, 5: 1}),
    ([{"keys": "all", "matrix": "one", "last": 2}], {9: 1, 6: 1, 8: 1}),  # 0 is one of the history
    ([{"keys": "bought", "matrix": "one", "head": 1}], {6: 2, 8: 1}),
    ([{"keys": "all", "matrix": "one", "depth": 1, "fade": 0.25}], {9: 1, 6: 0.75, 5: 0.5}),
    ([{"keys": "all", "matrix": "one", "depth": 1, "weight": 2, "step": 0.5}], {9: 2, 6: 1.5, 5: 1}),
    ([{"keys": "all", "matrix": "one", "depth": 1, "step": 0.5}], {9: 1, 6: 0.5}),  # 5 would gain 0: it is not named
    ([{"keys": "all", "matrix": "one", "depth": 1, "step": 0.5, "floor": 0.125}], {9: 1, 6: 0.5, 5: 0.125}),
    ([{"keys": "all", "matrix": "one", "depth": 1, "hours": 1, "per_key": True}], {9: 0.5, 6: 0.5}),
    ([{"keys": "bought", "matrix": "one", "neighbour_step": 0.75}], {6: 1, 8: 0.25}),
    ([{"keys": "bought", "matrix": "one", "neighbour_step": 1}], {6: 1}),
    ([{"keys": "bought", "matrix": "one", "neighbour_step": 1, "neighbour_floor": 0.5}], {6: 1, 8: 0.5}),
    ([{"keys": "only", "matrix": "one"}], {}),
    ([{"keys": "all", "matrix": "empty"}], {}),
    (
        [{"keys": "bought", "matrix": "one", "head": 1}, {"keys": "running", "last": 1, "matrix": "two"}],
        {6: 2, 8: 1, 10: 1, 11: 1},
    ),
    ([{"keys": "bought", "matrix": "one"}, {"keys": "running", "last": 1, "weight": 4}], {6: 5, 8: 1}),
    ([{"keys": "all", "matrix": "one", "depth": 1, "decay": 0.5}], {9: 1, 6: 0.5, 5: 0.25}),
    ([{"keys": "all", "matrix": "one", "depth": 1, "decay": 0.5, "weight": 2, "step": 0.25}], {9: 2, 6: 0.75}),
    # by weight_of: 9 beside 2 is 0; 6 and 8 beside 1 are .75 and .5; 5, 6 and 7 beside 0 are 0, .5 and 1
    ([{"keys": "all", "matrix": "one", "use": "weight", "decay": 0.5}], {6: 0.5, 8: 0.25, 7: 0.25}),
    ([{"keys": "bought", "matrix": "one", "use": "weight", "head": 1, "neighbour_step": 0.5}], {6: 1.5, 8: 0.25}),
    ([{"keys": "bought", "matrix": "one", "boost": {"matrix": "one"}}], {6: 1.75, 8: 1.5}),
    ([{"keys": "bought", "matrix": "one", "boost": {"matrix": "one", "weight": 2}, "use": "weight"}], {6: 1.875, 8: 1}),
    ([{"keys": "bought", "matrix": "one", "boost": {"matrix": "empty"}}], {6: 1, 8: 1}),
]


@pytest.mark.parametrize(("lines", "expected"), BY_HAND)
def test_by_hand(lines, expected):
    recipe = Recipe(lines=tuple(Line(**line) for line in lines), size=6, history="left_out")
    config = CandidatesConfig(recipes={"it": recipe}, order={})
    _, histories, stack, config, _ = small([EVENTS], ROWS, config)
    aids, scores = evaluate_recipes(histories, stack, config, TYPES)["it"]
    n = len(expected)
    assert aids[0].tolist() == list(expected) + [-1] * (6 - n)
    assert scores[0, :n].tolist() == list(expected.values())
    parts = trace(histories, stack, config, TYPES)["it"]
    assert {item: sum(p.gain for p in parts[item]) for item in expected} == expected


def test_a_long_history_and_deep_recipes():
    """500 events; depths beyond the rows; rows that overlap; more items than the scratch's first guess of one line."""
    random = np.random.default_rng(0)
    n_items = 3000
    events = []
    for n in (n_items, 40, 1):
        aids, kinds = random.integers(0, n, 500).tolist(), random.integers(0, 3, 500).tolist()
        events.append([(a, 1000 * i * i, t) for i, (a, t) in enumerate(zip(aids, kinds, strict=True))])
    events.append([(7, 0, 0)])
    rows = {m: {x: random.choice(n_items, 80, replace=False).tolist() for x in range(0, n_items, 2)} for m in ("one", "two")}
    config = CandidatesConfig(
        recipes={
            "deep": Recipe(lines=(Line(keys="all", matrix="one"), Line(keys="bought", matrix="two", depth=5)), size=1000),
            "hop": Recipe(
                lines=(
                    Line(keys="top", recipe="deep", last=1000, matrix="two", depth=50, head=1),
                    Line(keys="running", last=200, matrix="one", depth=1000, fade=0.1),
                ),
                size=60, history="left_out",
            ),
        },
        order={},
    )  # fmt: skip
    log = log_of(events, n_items)
    stack = stack_of({m: {x: [(y, 1.0) for y in ys] for x, ys in r.items()} for m, r in rows.items()}, n_items)
    named = [[(a, ts, TYPES[t]) for a, ts, t in s] for s in events]
    check(named, Histories.of(log, config), stack, config, rows)


# ------------------------------------------------------------------------- the packaged recipes
def check_world(world, n):
    sessions = world.some_sessions(n)
    events = [world.events(s) for s in sessions]
    check(events, world.histories.chunk(sessions), world.stack, world.config, world.rows_of())


def test_packaged_recipes_on_a_generated_log():
    check_world(synthetic_world(), 250)


def test_packaged_recipes_on_clicks_only():
    world = clicks_world()
    assert not len(world.matrices["buy2buy"])
    check_world(world, 60)


def test_packaged_recipes_on_a_real_log(real_log):
    check_world(taobao_world(real_log("taobao_visits")), 250)


def test_the_same_for_any_chunks_and_threads():
    world = synthetic_world()
    whole = evaluate_recipes(world.histories.chunk(world.sessions), world.stack, world.config, TYPES)
    before = numba.get_num_threads()
    try:
        numba.set_num_threads(1)
        chunks = [world.histories.chunk(c) for c in np.array_split(world.sessions, 7)]
        parts = [evaluate_recipes(c, world.stack, world.config, TYPES) for c in chunks]
    finally:
        numba.set_num_threads(before)
    for name, (aids, scores) in whole.items():
        np.testing.assert_array_equal(aids, np.concatenate([p[name][0] for p in parts]))
        np.testing.assert_array_equal(scores, np.concatenate([p[name][1] for p in parts]))


def test_no_sessions():
    world = synthetic_world()
    found = evaluate_recipes(world.histories.chunk(world.sessions[:0]), world.stack, world.config, TYPES)
    assert {name: aids.shape for name, (aids, _) in found.items()} == {n: (0, r.size) for n, r in world.config.recipes.items()}


# ------------------------------------------------------------------------- the hash table
@settings(max_examples=100)
@given(st.lists(st.integers(0, 2**31 - 1), min_size=1, max_size=40, unique=True), st.booleans())
def test_items_are_found_where_they_were_put(aids, crowded):
    if crowded:  # all search from one slot, so that their runs overlap and wrap around the table's end
        size = table_size(len(aids))
        base = [a for a in range(60_000) if first_slot(a, size - 1) >= size - 2]
        aids = base[: len(aids)]
    items, table = np.empty(len(aids), np.int32), np.full(table_size(len(aids)), -1, np.int32)
    n = 0
    for i, aid in enumerate(aids):
        assert lookup.touch(aid, items, table, len(table) - 1, n) == (i, i + 1)
        n = i + 1
    for i, aid in enumerate(aids):
        assert lookup.touch(aid, items, table, len(table) - 1, n) == (i, n)


@settings(max_examples=40)
@given(st.lists(session, min_size=1, max_size=3), matrix, configs())
def test_the_table_is_left_as_it_was_found(sessions, one, config):
    """Every slot of a worker's table is free again after every session, however the runs overlap."""
    _, histories, stack, config, _ = small(timed(sessions), {"one": one, "two": one, "empty": {}}, config)
    names = list(config.recipes)
    recipe = config.recipes["first"]
    lines = lookup.encode_lines(recipe, stack, names)
    tops = np.full((1, 1, 1), -1, np.int32)
    touched, n_keys = lookup.room(lines, longest(histories.starts), 1, stack.pointer.shape[1] - 1)
    items, sums, keys = np.empty(touched, np.int32), np.empty(touched, np.float32), np.empty(n_keys, np.int32)
    table = np.full(table_size(touched), -1, np.int32)
    aids, scores = np.full((len(histories), recipe.size), -1, np.int32), np.zeros((len(histories), recipe.size), np.float32)
    for s in range(len(histories)):
        lookup.evaluate_session(
            s, histories.starts, histories.aid, histories.ts, histories.type, histories.bits, lines, tops, stack.pointer,
            stack.neighbours, stack.weights, np.ones(3, np.float32), 1, 3, 0.1, 0.15, items, sums, table, keys, aids, scores,
        )  # fmt: skip
        assert (table == -1).all()


def test_of_a_long_history_the_newest_events_are_looked_at():
    log = log_of([[(i % 4, i, i % 3) for i in range(9)], [], [(1, 5, 0)]], N_ITEMS)
    shorter = log_of([[(i % 4, i, i % 3) for i in range(6, 9)], [], [(1, 5, 0)]], N_ITEMS)
    for most, same in ((3, shorter), (9, log), (None, log)):
        made, expected = Histories.of(log, CandidatesConfig(most_events=most)), Histories.of(same, CandidatesConfig())
        for name in ("starts", "aid", "ts", "type", "bits"):
            assert np.array_equal(getattr(made, name), getattr(expected, name))

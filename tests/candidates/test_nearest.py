"""Items near a session, against plain loops over all of them."""

import sys

import numba
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from otto_gpu.candidates import search_backends
from otto_gpu.candidates.lookup import Histories
from otto_gpu.candidates.nearest import Index, Nearest, dot, history_queries, nearest_items, nearest_vectors
from otto_gpu.candidates.settings import CandidatesConfig
from otto_gpu.errors import MissingExtra
from tests.worlds import log_of, synthetic_world

faiss = pytest.importorskip("faiss", reason="faiss is not installed")


def random_vectors(n: int, dim: int, seed: int = 0) -> np.ndarray:
    rows = np.random.default_rng(seed).standard_normal((n, dim))
    return (rows / np.sqrt((rows**2).sum(axis=1, keepdims=True))).astype(np.float32)


def best(query, vectors, size: int, without=()) -> list[tuple[int, float]]:
    """(item, score), best first, ties by the smaller item."""
    if not any(query):
        return []
    scored = [(sum(a * b for a, b in zip(query, row, strict=True)), x) for x, row in enumerate(vectors) if any(row)]
    return [(x, v) for v, x in sorted(scored, key=lambda pair: (-pair[0], pair[1])) if x not in without][:size]


def assert_lists(found, expected, size: int) -> None:
    aids, scores = found
    assert aids.shape == scores.shape == (len(expected), size) and (aids.dtype, scores.dtype) == (np.int32, np.float32)
    for s, items in enumerate(expected):
        n = len(items)
        assert aids[s].tolist() == [x for x, _ in items] + [-1] * (size - n)
        np.testing.assert_allclose(scores[s], [v for _, v in items] + [0] * (size - n), rtol=1e-5, atol=1e-6)


halves = st.lists(st.sampled_from([-0.5, 0.0, 0.5]), min_size=3, max_size=3)


@settings(max_examples=80)
@given(st.lists(halves, min_size=1, max_size=80), st.lists(halves, max_size=5), st.integers(1, 90))
def test_exactly_with_many_ties(vectors, queries, size):
    """Products of halves are exact, so that ties are; among 27 different rows most are tied."""
    queries = np.array(queries, np.float32).reshape(-1, 3)
    found = nearest_vectors(queries, np.array(vectors, np.float32), size)
    assert_lists(found, [best(q, vectors, size) for q in queries.tolist()], size)


def test_the_smallest_of_many_equally_near():
    vectors = np.tile(np.float32([[1, 0]]), (3000, 1))
    vectors[:7] = 0
    for size in (20, 150):
        aids, _ = nearest_vectors(np.float32([[1, 0], [0.5, 0.5]]), vectors, size)
        assert aids.tolist() == [list(range(7, 7 + size))] * 2


def test_near_ties_beyond_what_was_asked_for_at_first():
    """The same entries in other orders: products differ by their rounding alone, and faiss adds up in another order than `dot`,
    which decides."""
    random = np.random.default_rng(0)
    row = random_vectors(1, 24)[0]
    vectors = np.stack([random.permutation(row) for _ in range(2000)])
    query = np.full((1, 24), 24**-0.5, np.float32)
    scores = [float(dot(query[0], v)) for v in vectors]
    expected = sorted(range(2000), key=lambda x: (-scores[x], x))[:20]
    aids, found = nearest_vectors(query, vectors, 20)
    assert aids[0].tolist() == expected and found[0].tolist() == [scores[x] for x in expected]


def test_random_vectors():
    vectors, queries = random_vectors(3000, 24), random_vectors(40, 24, 1)
    vectors[::50] = 0
    queries[3] = 0
    found = nearest_vectors(queries, vectors, 25)
    assert_lists(found, [best(q, vectors.tolist(), 25) for q in queries.tolist()], 25)


def test_the_same_bits_for_any_batch_and_threads():
    index, queries = Index(random_vectors(2000, 32)), random_vectors(90, 32, 1)
    whole = index.nearest(queries, 20)
    before = numba.get_num_threads()
    try:
        numba.set_num_threads(1)
        parts = [index.nearest(q, 20) for q in np.array_split(queries, 13)]
    finally:
        numba.set_num_threads(before)
    for i in range(2):
        np.testing.assert_array_equal(whole[i], np.concatenate([p[i] for p in parts]))


def test_a_graph_finds_nearly_all_and_the_same_every_time():
    vectors, queries = random_vectors(4000, 32), random_vectors(200, 32, 1)
    vectors[:100] = 0
    exact = Index(vectors).nearest(queries, 50)
    graphs = [Index(vectors, exact=False) for _ in range(2)]
    aids, scores = graphs[0].nearest(queries, 50)
    found = sum(len(set(a) & set(b)) for a, b in zip(aids.tolist(), exact[0].tolist(), strict=True))
    assert found / aids.size > 0.9
    assert aids.min() >= 100 and (np.diff(scores) <= 0).all()
    links = [faiss.vector_to_array(graph._way.index.hnsw.neighbors) for graph in graphs]
    np.testing.assert_array_equal(*links)


def test_a_graph_with_fewer_items_than_are_wanted():
    found = Index(np.float32([[0, 0], [0, 1], [1, 0]]), exact=False).nearest(np.float32([[0.6, 0.8], [0, 0]]), 4)
    assert_lists(found, [[(1, 0.8), (2, 0.6)], []], 4)


def test_what_has_no_vector_does_not_count(monkeypatch):
    monkeypatch.setattr(search_backends, "EXACT_ITEMS", 100)
    few = random_vectors(150, 4)
    assert not Index(few).exact
    few[:60] = 0
    assert Index(few).exact and Index(few).told == "90 vectors are searched exactly by faiss"


def test_no_items():
    for vectors in (np.zeros((0, 3), np.float32), np.zeros((4, 3), np.float32)):
        aids, scores = nearest_vectors(np.ones((2, 3), np.float32), vectors, 5)
        assert (aids == -1).all() and (scores == 0).all()


# ------------------------------------------------------------------------- sessions
def queries_by_hand(events: list[list[int]], vectors, last: int) -> list[list[float]]:
    result = []
    for items in events:
        newest = list(dict.fromkeys(reversed(items)))[:last]
        total = [sum(float(vectors[x][d]) / (1 + i) for i, x in enumerate(newest)) for d in range(len(vectors[0]))]
        length = sum(v * v for v in total) ** 0.5
        result.append([v / length if length else 0.0 for v in total])
    return result


EVENTS = [[3], [0], [], [5, 9, 5, 2, 0, 7, 5], list(range(40)), [0, 0]]  # item 0 has no vector


@pytest.fixture(scope="module")
def vectors():
    made = random_vectors(60, 8)
    made[0] = 0
    return made


@pytest.fixture(scope="module")
def histories():
    log = log_of([[(x, i, 0) for i, x in enumerate(items)] for items in EVENTS], 60)
    return Histories.of(log, CandidatesConfig())


@pytest.mark.parametrize("last", [1, 3, 100])
def test_queries_of_histories(histories, vectors, last):
    found = history_queries(histories, vectors, last)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, queries_by_hand(EVENTS, vectors, last), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("size", [1, 12, 59])
def test_sessions_name_what_is_near_and_not_in_their_history(histories, vectors, size):
    config = Nearest(vectors="word2vec", size=size, last=4)
    found = nearest_items(histories, None, vectors, config)
    queries = queries_by_hand(EVENTS, vectors, 4)
    expected = [best(q, vectors.tolist(), size, set(e)) for q, e in zip(queries, EVENTS, strict=True)]
    assert_lists(found, expected, size)
    assert [len(e) > 0 for e in expected] == [True, False, False, True, True, False]


def test_session_vectors_go_before_histories(histories, vectors):
    queries = random_vectors(len(EVENTS), 8, 3)
    queries[4] = 0
    found = nearest_items(histories, queries, vectors, Nearest(vectors="encoder", size=9))
    expected = [best(q, vectors.tolist(), 9, set(e)) for q, e in zip(queries.tolist(), EVENTS, strict=True)]
    assert_lists(found, expected, 9)


def test_the_same_for_any_chunks():
    world = synthetic_world()
    vectors = random_vectors(world.known.n_items, 16)
    index, config = Index(vectors), Nearest(vectors="word2vec", size=30)
    whole = nearest_items(world.histories.chunk(world.sessions), None, vectors, config)
    chunks = [world.histories.chunk(c) for c in np.array_split(world.sessions, 5)]
    parts = [nearest_items(c, None, vectors, config, index) for c in chunks]
    for i in range(2):
        np.testing.assert_array_equal(whole[i], np.concatenate([p[i] for p in parts]))


def test_without_faiss(monkeypatch):
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(MissingExtra, match=r"candidates.nearest.* needs faiss.*otto_gpu\[cpu\]"):
        Index(np.ones((2, 2), np.float32))

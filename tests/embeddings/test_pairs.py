from collections import Counter
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from otto_gpu.embeddings.pairs import Pairs, auc, batch_size, held_out, held_out_auc, shuffled
from otto_gpu.embeddings.settings import Factorization
from otto_gpu.events.log import EventLog
from tests.embeddings.worlds import GROUPS, SIZE, grouped, sessions_of

LOGS = st.lists(st.lists(st.integers(0, 4), max_size=9), max_size=8)


def log_of(sessions: list[list[int]]) -> EventLog:
    rows = [(s, a, i) for s, items in enumerate(sessions) for i, a in enumerate(items)]
    session, aid, ts = np.array(rows, np.int64).reshape(-1, 3).T
    return EventLog.from_arrays(session, aid, ts, np.zeros(len(rows)), n_sessions=len(sessions), n_items=5)


@given(LOGS, st.integers(1, 3), st.integers(0, 4), st.integers(1, 7), st.integers(0, 5))
def test_against_plain_loops(sessions, lo, more, size, seed):
    expected = Counter()
    for items in sessions:
        for i in range(len(items)):
            for n in range(lo, lo + more + 1):
                if i + n < len(items) and items[i] != items[i + n]:
                    expected[items[i], items[i + n]] += 1
    pairs = Pairs(log_of(sessions), (lo, lo + more))
    batches = list(pairs.batches(size, seed))
    assert Counter(p for x, y in batches for p in zip(x.tolist(), y.tolist(), strict=True)) == expected
    assert len(pairs) == expected.total()
    assert all(len(x) == size for x, _ in batches[:-1])
    assert all(0 < len(x) <= size and x.dtype == y.dtype == np.int32 for x, y in batches)


def test_the_seed_decides_about_the_order():
    pairs = Pairs(grouped(), (1, 3))

    def flat(seed):
        return np.concatenate([np.stack(batch) for batch in pairs.batches(100, seed)], axis=1)

    assert np.array_equal(flat(1), flat(1))
    assert not np.array_equal(flat(1), flat(2))


@given(st.integers(0, 3000), st.integers(0, 100), st.integers(1, 500))
def test_shuffled_is_a_permutation(n, seed, size):
    pieces = list(shuffled(n, seed, size))
    assert [len(p) for p in pieces] == [min(size, n - start) for start in range(0, n, size)]
    assert sorted(np.concatenate([np.zeros(0, int), *pieces]).tolist()) == list(range(n))


@pytest.mark.parametrize("n", [5_000, 8_192])
def test_shuffled_leaves_no_trace_of_the_order(n):
    order = np.concatenate(list(shuffled(n, 3, 1000)))
    place = np.arange(n)
    assert abs(np.corrcoef(order, place)[0, 1]) < 0.05
    assert abs(np.corrcoef(order[1:], order[:-1])[0, 1]) < 0.05
    assert not np.array_equal(order, np.concatenate(list(shuffled(n, 4, 1000))))
    # every piece is drawn from everywhere
    counts = np.array([np.bincount(piece * 10 // n, minlength=10) for piece in shuffled(n, 3, 1000)][:5])
    assert counts.min() > 50


def test_small_logs_take_smaller_batches():
    config = Factorization(batch=65_536, min_batches=16)
    assert [batch_size(n, config) for n in (0, 20_000, 160_000, 10**9)] == [1_024, 1_250, 10_000, 65_536]
    assert batch_size(10**9, Factorization(batch=100)) == 100


def test_held_out_sessions_are_whole_and_elsewhere():
    log = grouped(4000)
    seen, aside = held_out(log, 0.1, 5)
    assert len(seen) + len(aside) == len(log)
    there = set(seen.session.tolist()), set(aside.session.tolist())
    assert not there[0] & there[1]
    assert 0.08 < len(there[1]) / 4000 < 0.12
    assert set(held_out(log, 0.1, 5)[1].session.tolist()) == there[1] != set(held_out(log, 0.1, 6)[1].session.tolist())
    assert len(held_out(log, 0.0, 5)[1]) == 0


@given(st.lists(st.integers(0, 5), max_size=12), st.lists(st.integers(0, 5), max_size=12))
def test_auc_against_plain_loops(positive, negative):
    found = auc(np.array(positive, float), np.array(negative, float))
    if not positive or not negative:
        assert found is None
        return
    wins = sum((p > n) + 0.5 * (p == n) for p in positive for n in negative)
    assert found == pytest.approx(wins / len(positive) / len(negative))


def test_auc_of_perfect_and_of_empty_vectors():
    log = grouped()
    perfect = np.zeros((log.n_items, GROUPS), np.float32)
    perfect[np.arange(GROUPS * SIZE), np.arange(GROUPS * SIZE) // SIZE] = 1
    pairs = Pairs(log)
    items = [[a for a, _ in s] for s in sessions_of(log)]
    apart = 1 - 1 / GROUPS  # of the permuted pairs so many lie in different groups; the others are ties
    assert held_out_auc(perfect, pairs, 1) == pytest.approx(apart + (1 - apart) / 2, abs=0.02)
    assert held_out_auc(np.zeros_like(perfect), pairs, 1) == 0.5
    assert held_out_auc(perfect, Pairs(log.where(np.zeros(len(log), bool))), 1) is None
    assert len(pairs) == sum(x != y for s in items for x, y in pairwise(s))

"""Family `embedding` candidate by candidate."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from otto_gpu.features.embedding import WIDTH, session_embeddings
from tests.features import oracle
from tests.features.case import Case, assert_same, case_of
from tests.worlds import World, log_of, synthetic_world, taobao_world


def check(case) -> pd.DataFrame:
    found = case.made("embedding")
    expected = oracle.embedding_features(case.pairs, case.history, case.items, case.period_state.vectors)
    assert len(expected.columns) == 5 * 30
    assert_same(found, expected, atol=2e-6)
    return found


def test_a_generated_log():
    found = check(case_of(synthetic_world(), 12))
    assert (found.nunique() > 1).all()


def test_a_real_log(real_log):
    check(case_of(taobao_world(real_log("taobao_visits")), 10))


def test_long_and_short_histories():
    """500 events of 90 items over months, a single event."""
    random = np.random.default_rng(2)
    aids, ts = random.integers(0, 90, 500), 1_659_304_800_025 + np.cumsum(random.integers(0, 40_000_000, 500))
    long = list(zip(aids.tolist(), ts.tolist(), random.integers(0, 3, 500).tolist(), strict=True))
    log = log_of([long, [(3, 1_661_723_999_984, 2)], long[-7:]], 100)
    world = World(log, log, None)
    check(Case(world, world.candidates(world.sessions)))


def test_only_the_vectors_that_are_there_in_their_order():
    case = case_of(synthetic_world(), 12)
    every = case.made("embedding")
    two = {name: case.period_state.vectors[name] for name in ("seq2seq", "word2vec")}
    some = Case(case.world, case.candidates)
    some.__dict__["period_state"] = replace(case.period_state, vectors=two)
    found = some.made("embedding")
    assert (
        len(found.columns) == 60 and found.columns[0].startswith("embed_seq2seq") and found.columns[30].startswith("embed_word")
    )
    pd.testing.assert_frame_equal(found, every[list(found)])


def test_by_hand():
    """Two items, 0 now and 1 an hour ago; exactly half is close, an item without a vector is far from all."""
    vectors = np.float32([[1, 0], [0.5, 3**0.5 / 2], [0, 0], [0, 1]])
    weights = np.zeros((2, 6), np.float32)
    weights[:, 0], weights[:, 2] = 1, (6, 3)
    out = np.zeros((3, WIDTH), np.float32)
    session_embeddings(
        0, 0, 3, np.int32([1, 2, 3]), np.array([0, 2]), np.int32([0, 1]), weights, np.array([7_200_000, 3_600_000]),
        np.array([7_200_000]), vectors, np.empty(2, np.float32), out,
    )  # fmt: skip
    one, none, other = ({"one": row[:3], "type": row[6:9], "last": row[18:23], "close": row[23:]} for row in out)
    ramp = 1 - np.log(61) / np.log(10_081)
    assert one["one"] == pytest.approx([0.75, 1.5, 1.0]) and one["type"] == pytest.approx([3, 6, 3])
    assert one["last"] == pytest.approx([0.5, 1, -1, -1, -1])
    assert one["close"] == pytest.approx([1, 0.75, 2, 0.5, ramp, 0.5, 6])
    assert none["one"].tolist() == [0, 0, 0] and none["last"].tolist() == [0, 0, -1, -1, -1]
    assert none["close"].tolist() == [0] * 7
    cosine = 3**0.5 / 2
    above = 2 * cosine - 1
    assert other["close"] == pytest.approx([cosine, cosine, 1, above / 2, above * ramp, cosine, 3])

"""Family `similarity` candidate by candidate."""

import numpy as np
import pandas as pd
import pytest

from otto_gpu.features.similarity import session_similarities
from tests.features import oracle
from tests.features.case import assert_same, case_of
from tests.worlds import synthetic_world


def test_a_generated_log():
    case = case_of(synthetic_world(), 12)
    found = case.made("similarity")
    assert_same(found, oracle.similarity_features(case.pairs, case.history, case.period_state.vectors), atol=2e-6)
    assert len(found.columns) == 5 * 6 and (found.nunique() > 1).all()


def test_beside_the_family_embedding_nothing_is_said_twice():
    case = case_of(synthetic_world(), 12)
    both, alone = case.made("embedding", "similarity"), case.made("similarity")
    mine = [name for name in both if name.startswith("similarity")]
    assert {name.split("_", 2)[2] for name in mine if "word2vec" in name} == {"last_3_mean", "last_3_max", "min"}
    pd.testing.assert_frame_equal(both[mine], alone[mine])
    for other, name in (("last_0", "last"), ("one_mean", "mean"), ("one_max", "max")):
        # an item that stands n times in the history weighs n there
        same = both[f"embed_seq2seq_{other}"] == alone[f"similarity_seq2seq_{name}"]
        assert same.mean() > 0.3 and (name != "last" or same.all())


def test_by_hand():
    vectors, out = np.float32([[1, 0], [0.5, -0.5], [0, 0], [0, 1]]), np.zeros((2, 6), np.float32)
    items, rows = np.int32([0, 1, 2, 3]), np.array([0, 4])
    session_similarities(0, 0, 2, np.int32([0, 3]), rows, items, vectors, out)
    # cosines, newest first: 1, .5, 0, 0 and 0, -.5, 0, 1
    assert out[0].tolist() == pytest.approx([1, 0.5, 1, 0.375, 1, 0])
    assert out[1].tolist() == pytest.approx([0, -0.5 / 3, 0, 0.125, 1, -0.5])

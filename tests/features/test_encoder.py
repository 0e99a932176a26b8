"""Family `encoder` candidate by candidate."""

from dataclasses import replace

import numpy as np
import pytest

from otto_gpu.features.encoder import Encoder
from tests.features import oracle
from tests.features.case import Case, assert_same, case_of
from tests.worlds import synthetic_world


def check(case, queries):
    found = case.made("encoder")
    assert_same(found, oracle.encoder_features(case.pairs, queries, case.period_state.encoder.items), atol=1e-6)
    return found


def test_a_generated_log():
    case = case_of(synthetic_world(), 25)
    queries = dict(zip(case.world.sessions.tolist(), case.period_state.encoder.queries, strict=True))
    found = check(case, queries)
    best = found["encoder_score_gap"].groupby(case.candidates.session).max()
    assert (best == 0).all() and (found["encoder_score_gap"] < 0).any()
    ranks = case.made("encoder", "rank")["encoder_score_rank"]
    assert (ranks[found["encoder_score_gap"] == 0] == 1).all() and (ranks[found["encoder_score_gap"] < 0] > 1).all()


def test_sessions_without_a_vector():
    """Some were not there when the vectors were made; some have a row of zeros."""
    case = case_of(synthetic_world(), 25)
    before = case.period_state.encoder
    sessions = case.world.sessions
    there = sessions[::2]
    queries = before.queries[::2].copy()
    queries[::3] = 0
    some = Case(case.world, case.candidates)
    encoder = Encoder.of(queries, before.items, there, case.world.history.n_sessions)
    some.__dict__["period_state"] = replace(case.period_state, encoder=encoder)
    found = check(some, dict(zip(there.tolist(), queries, strict=True)))
    without = ~np.isin(case.candidates.session, there[queries.any(axis=1)])
    assert without.any() and (found[without] == 0).all(axis=None) and (found[~without] != 0).any(axis=None)


def test_queries_of_other_sessions():
    with pytest.raises(ValueError, match="3 queries for 2 sessions"):
        Encoder.of(np.zeros((3, 2), np.float32), np.zeros((9, 2), np.float32), np.int32([0, 4]), 5)

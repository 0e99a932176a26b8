"""Family `matrix` against a merge of candidates, items of the history and rows of the matrices."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from otto_gpu.device.hashing import first_slot
from otto_gpu.features.matrix import rule_interactions, session_interactions, session_table, table_places
from tests.features import oracle
from tests.features.case import assert_same, case_of
from tests.worlds import clicks_world, stack_of, synthetic_world, taobao_world


def check(case):
    found = case.made("matrix")
    expected = oracle.matrix_features(case.pairs, case.items, case.world.matrices)
    assert len(expected.columns) == 20 * 6 * 3
    assert_same(found, expected)
    return found


def test_a_generated_log():
    found = check(case_of(synthetic_world(), 12))
    assert (found.nunique() > 1).all()


def test_clicks_only_has_empty_matrices():
    found = check(case_of(clicks_world(), 8))
    assert (found.filter(like="buy2buy") == 0).all(axis=None) and (found.filter(like="time_decay") > 0).any(axis=None)


def test_a_real_log(real_log):
    check(case_of(taobao_world(real_log("taobao_visits")), 12))


def test_only_some_rules_in_another_order():
    case = case_of(synthetic_world(), 12)
    every = case.made("matrix")
    maker = case.maker(families=("matrix",), rules=("near_2", "time_decay"))
    some = pd.DataFrame(maker.make(case.candidates), columns=maker.catalogue.names)
    assert len(some.columns) == 36 and some.columns[0].startswith("matrix_near_2")
    pd.testing.assert_frame_equal(some, every[list(some)])


items = st.integers(0, 7)
rows = st.dictionaries(items, st.lists(st.tuples(items, st.sampled_from([0.5, 1, 2])), max_size=6))


TIMES = (1, 0.5, 0.25, 2, 4, 8)  # the weightings' weights of a history's item, as multiples of the first


@settings(max_examples=80)
@given(
    rows, st.lists(st.integers(0, 7), unique=True, max_size=8), st.dictionaries(st.integers(0, 7), st.sampled_from([0.5, 2]))
)
def test_one_session_and_its_table(matrix, candidates, history):
    """Dyadic weights: exact. Neighbours may stand among the candidates or not; on the CPU and as CUDA does it."""
    matrix = {x: list({y: (y, w) for y, w in row}.values()) for x, row in matrix.items()}
    stack = stack_of({"m": matrix}, 8)
    out, also = np.full((len(candidates), 3 * len(TIMES)), np.nan, np.float32), np.zeros((len(candidates), 18), np.float32)
    rows, aids = np.array([0, len(candidates)]), np.array(candidates, np.int32)
    slots = table_places(rows)
    table = np.full(slots[-1], -1, np.int32)
    session_table(0, rows, aids, slots, table)
    args = (
        rows, aids, np.array([0, len(history)]), np.array(list(history), np.int32),
        np.outer(list(history.values()), TIMES).astype(np.float32), np.array([0]), stack.pointer, stack.neighbours,
        stack.weights, slots, table,
    )  # fmt: skip
    session_interactions(0, *args, np.full((len(candidates), 2 * len(TIMES)), np.nan, np.float32), out)
    rule_interactions(0, 0, *args, 0, 0, also)
    np.testing.assert_array_equal(out, also)
    for r, y in enumerate(candidates):
        for i, times in enumerate(TIMES):
            values = [dict(matrix.get(x, [])).get(y, 0) * w * times for x, w in history.items()]
            expected = (sum(values) / max(len(values), 1), sum(values), max(values, default=0))
            assert out[r, 3 * i : 3 * i + 3].tolist() == pytest.approx(expected, rel=1e-6)


@settings(max_examples=60)
@given(st.lists(st.lists(st.integers(0, 2**31 - 1), unique=True, max_size=70), max_size=5))
def test_every_session_has_a_table_of_its_own(sessions):
    """A power of two, half of it free; every candidate is found from its first slot on before a free one."""
    rows = np.concatenate([[0], np.cumsum([len(s) for s in sessions])]).astype(np.int64)
    candidates = np.array([aid for mine in sessions for aid in mine], np.int32)
    slots = table_places(rows)
    tables = np.full(slots[-1], -1, np.int32)
    for s in range(len(sessions)):
        session_table(s, rows, candidates, slots, tables)
    for mine, first, last in zip(sessions, slots[:-1], slots[1:], strict=True):
        table = tables[first:last]
        assert len(table) >= max(2 * len(mine), 16) and len(table).bit_count() == 1
        for place, aid in enumerate(mine):
            slot = first_slot(aid, len(table) - 1)
            while table[slot] != place:
                assert table[slot] >= 0
                slot = (slot + 1) % len(table)

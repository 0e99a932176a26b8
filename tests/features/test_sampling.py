"""Which rows rankers are trained on."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from otto_gpu.features.sampling import drawn_sessions, negative_share, sampled_rows


def rows(sessions: int, seed=0):
    random = np.random.default_rng(seed)
    sizes = random.integers(0, 60, sessions)
    pointer = np.concatenate([[0], np.cumsum(sizes)])
    session = np.repeat(np.arange(sessions) * 3, sizes)
    label = random.random(len(session)) < 0.02
    return pointer, session, label


def test_positives_and_negatives_of_their_sessions_only():
    pointer, session, label = rows(300)
    positive_sessions = set(session[label].tolist())
    kept = sampled_rows(pointer, session, label, 1.0, 42, 0)
    assert kept.tolist() == [s in positive_sessions for s in session.tolist()]
    assert sampled_rows(pointer, session, label, 0.0, 42, 0).tolist() == label.tolist()
    assert 0 < len(positive_sessions) < 300


def test_the_share_that_was_asked_for():
    pointer, session, label = rows(3000)
    useful = np.isin(session, session[label])
    share = negative_share(int(label.sum()), int((useful & ~label).sum()), 5)
    kept = sampled_rows(pointer, session, label, share, 42, 1)
    assert kept[label].all() and not kept[~useful].any()
    assert (kept & ~label).sum() / label.sum() == pytest.approx(5, rel=0.05)


@given(st.lists(st.integers(0, 100), max_size=4).map(sorted), st.integers(0, 2))
def test_the_same_for_any_chunks(bounds, code):
    pointer, session, label = rows(100, seed=code)
    whole = sampled_rows(pointer, session, label, 0.3, 7, code)
    parts = []
    for first, last in zip([0, *bounds], [*bounds, 100], strict=True):
        part = slice(pointer[first], pointer[last])
        mine = pointer[first : last + 1] - pointer[first]
        parts.append(sampled_rows(mine, session[part], label[part], 0.3, 7, code))
    np.testing.assert_array_equal(whole, np.concatenate(parts))


def test_targets_and_seeds_draw_on_their_own():
    pointer, session, label = rows(500)
    draws = [sampled_rows(pointer, session, label, 0.5, *key) for key in ((1, 0), (1, 1), (2, 0))]
    negatives = np.isin(session, session[label]) & ~label
    for a, b in ((0, 1), (0, 2), (1, 2)):
        both = (draws[a] & draws[b])[negatives].mean()
        assert both == pytest.approx(0.25, abs=0.03)


def test_share():
    assert negative_share(10, 1000, 20) == 0.2
    assert negative_share(10, 100, 20) == 1.0
    assert negative_share(0, 100, 20) == 0.0
    assert negative_share(10, 0, 20) == 0.0


def test_drawn_sessions_are_a_share_and_nested():
    sessions = np.arange(0, 20_000, 2, dtype=np.int32)
    few, many = (drawn_sessions(sessions, share, 7) for share in (0.1, 0.4))
    assert few.mean() == pytest.approx(0.1, abs=0.01) and many.mean() == pytest.approx(0.4, abs=0.02)
    assert not (few & ~many).any()
    assert drawn_sessions(sessions, 1.0, 7).all() and not drawn_sessions(sessions, 0.0, 7).any()
    np.testing.assert_array_equal(drawn_sessions(sessions[500:], 0.4, 7), many[500:])  # whatever the chunk
    assert (drawn_sessions(sessions, 0.4, 8) != many).any()

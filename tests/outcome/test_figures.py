"""What is known of a period, and the figures of lists that no label plays a part in, by hand."""

import numpy as np
import pytest

from otto_gpu.events.log import EventLog
from otto_gpu.outcome.figures import DAY, Known, of_lists

# session 0 saw 5, 6, 5; session 2 saw 7; before them came 6 x 3 long ago and 8 x 2 lately; nobody knows 9
TRAIN = [(3, 6, 0), (3, 6, 1), (4, 6, 2), (4, 8, 9 * DAY), (5, 8, 9 * DAY + 1)]
HISTORY = [(0, 5, 10 * DAY), (0, 6, 10 * DAY + 1), (0, 5, 10 * DAY + 2), (2, 7, 10 * DAY + 3)]


@pytest.fixture
def known(tmp_path) -> Known:
    place = tmp_path / "events/test"
    place.mkdir(parents=True)
    for name, rows in (("train", TRAIN), ("history", HISTORY)):
        session, aid, ts = np.array(rows).T
        EventLog.from_arrays(session, aid, ts, np.zeros(len(rows)), n_sessions=6, n_items=10).save(place / f"{name}.parquet")
    return Known.load(tmp_path, "test", 10, days=7)


def test_what_is_popular_and_how_much(known):
    assert known.events.tolist() == [0, 0, 0, 0, 0, 2, 4, 1, 2, 0] and known.recent.tolist() == [0, 0, 0, 0, 0, 2, 1, 1, 2, 0]
    assert known.popular.tolist() == [5, 8, 6, 7]  # by recent events; the one that has more in all, then the smaller one
    # in the order 6, 5, 8, 7 their first events are the 0th, 4th, 6th and 8th of 9
    assert known.decile.tolist() == [0, 0, 0, 0, 0, 5, 1, 9, 7, 0]


def test_what_a_session_has_seen(known):
    sessions = np.array([0, 1, 2])
    assert known.last_seen(sessions, 3).tolist() == [[5, 6, -1], [-1, -1, -1], [7, -1, -1]]
    assert known.last_seen(sessions, 1).tolist() == [[5], [-1], [7]] and known.last_seen(sessions[:0], 2).shape == (0, 2)
    assert known.lengths(np.array([0, 1, 2])).tolist() == [3, 0, 1]
    assert known.in_history(np.array([0, 0, 2, 2]), np.array([6, 7, 7, 5])).tolist() == [True, False, True, False]


def test_prefixes_are_no_knowledge(known, tmp_path):
    """They hold each other's answers: only what came before the period makes an item popular."""
    found = Known.load(tmp_path, "test", 10, days=20, prefixes=True)
    assert found.events.tolist() == [0, 0, 0, 0, 0, 0, 3, 0, 2, 0] and found.popular.tolist() == [6, 8]
    assert found.last_seen(np.array([0]), 2).tolist() == [[5, 6]]
    found = Known(np.repeat([4, 5, 6, 8, 9, 10], [1, 2, 3, 1, 1, 2]), *[np.zeros(10, int)] * 3, prefixes=True)
    assert found.whole(np.array([4, 6, 8, 9, 10])).tolist() == [1, 1, 2, 3, 3]  # 1, 2 and 3 events; 1; 1 and 2
    assert known.whole(np.array([0, 2])).tolist() == [0, 2]


def test_coverage_and_novelty(known):
    found = of_lists({"clicks": np.array([[6, 7], [6, 9]]), "carts": np.full((1, 2), -1)}, known)
    assert found["catalogue_coverage"] == {"clicks": 3 / 10, "carts": 0} and found["known_coverage"]["clicks"] == 2 / 4
    bits = [np.log2(9 / 4), np.log2(9), np.log2(9 / 4), np.log2(9)]  # an item without an event as if it had one
    assert found["novelty"] == {"clicks": pytest.approx(np.mean(bits)), "carts": None}

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from otto_gpu.embeddings.pairs import Pairs, held_out, held_out_auc
from otto_gpu.embeddings.settings import Word2Vec
from otto_gpu.embeddings.vectors import normalised
from otto_gpu.events.log import EventLog
from tests.embeddings.worlds import ITEMS, LONELY, grouped, sessions_of

pytest.importorskip("gensim", reason="gensim is not installed: pip install 'otto_gpu[embeddings]'")

from otto_gpu.embeddings import word2vec
from otto_gpu.embeddings.word2vec import Sessions, train_word2vec

SMALL = Word2Vec(dim=8, epochs=8, sample=0)


@pytest.mark.parametrize(("structured", "low", "high"), [(True, 0.8, 1.0), (False, 0.44, 0.56)])
def test_learns_what_is_there_and_nothing_else(structured, low, high):
    seen, aside = held_out(grouped(1500, structured), 0.3, 3)
    vectors, losses = train_word2vec(seen, SMALL, 1)
    assert vectors.dtype == np.float32 and vectors.shape == (ITEMS, 8)
    assert len(losses) == 8
    assert low < held_out_auc(normalised(vectors), Pairs(aside), 1) < high
    assert not structured or losses[-1] < 0.9 * losses[0]


def test_repeats_itself():
    log = grouped()
    told = []
    vectors, losses = train_word2vec(log, SMALL, 1, lambda *args: told.append(args))
    assert told == list(enumerate(losses, 1))
    again, same = train_word2vec(log, SMALL, 1)
    assert np.array_equal(vectors, again) and same == losses
    assert not np.array_equal(vectors, train_word2vec(log, SMALL, 2)[0])


def test_items_without_neighbours_have_no_vector():
    log = grouped()
    assert (log.aid == LONELY).any()
    assert np.flatnonzero(~train_word2vec(log, SMALL, 1)[0].any(axis=1)).tolist() == list(range(LONELY, ITEMS))


def test_a_log_without_neighbours():
    log = grouped()
    first = log.where(log.starts[log.session] == np.arange(len(log)))
    for empty in (first, log.where(np.zeros(len(log), bool))):
        vectors, losses = train_word2vec(empty, SMALL, 1)
        assert losses == [] and vectors.shape == (log.n_items, 8) and not vectors.any()


def test_the_loss_is_added_up_batch_by_batch(monkeypatch):
    """gensim's own sum is a float32: with smaller batches the mean per event has to stay what it is."""
    log = grouped(3000)
    still = SMALL.model_copy(update={"lr": 1e-8, "epochs": 1})  # nothing learnt: every event costs the same
    _, [loss] = train_word2vec(log, still, 1)
    monkeypatch.setattr(word2vec, "LONGEST", 50)
    _, [in_batches] = train_word2vec(log, still, 1)
    assert in_batches == pytest.approx(loss, rel=0.05)
    # of a window of at most 3 items to each side, shrunk at random, with 5 negatives: log(2) for each
    assert 3 < loss < 6 * 6 * np.log(2)


@given(st.lists(st.integers(0, 9), max_size=12), st.integers(1, 6), st.integers(1, 9))
def test_sessions_against_plain_loops(lengths, longest, chunk):
    random = np.random.default_rng(1)
    session = np.repeat(np.arange(len(lengths)), lengths)
    aid = random.integers(0, 5, len(session))
    log = EventLog.from_arrays(session, aid, np.arange(len(aid)), np.zeros(len(aid)), n_sessions=len(lengths), n_items=5)
    items = np.array([3, 1, 0, 2, 4])
    place = {int(item): rank for rank, item in enumerate(items)}
    expected = []
    for events in sessions_of(log):
        ranks = [place[a] for a, _ in events]
        expected += [ranks[i : i + longest] for i in range(0, len(ranks), longest)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(word2vec, "LONGEST", longest)
        patch.setattr(word2vec, "CHUNK", chunk)
        sessions = Sessions.of(log, items)
        assert list(sessions) == expected == list(sessions)
        assert len(sessions) == len(expected)

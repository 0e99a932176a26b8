"""The session encoder: what it learns, and what its vectors may depend on."""

import numpy as np
import pytest

from otto_gpu.device import Device
from otto_gpu.events.log import EventLog

torch = pytest.importorskip("torch", reason="PyTorch is not installed: pip install 'otto_gpu[embeddings]'")

from otto_gpu.embeddings.encoder import Batch, train_encoder  # noqa: E402
from otto_gpu.embeddings.settings import Encoder  # noqa: E402

CPU = Device("cpu", "test")
SMALL = Encoder(dim=16, epochs=6, batch=16, length=8, dropout=0.1, events=100_000)
ITEMS = 24


def chains(sessions=300, shuffled=False, seed=3) -> EventLog:
    """Every session walks up from a random item, one item at a time; or jumps about."""
    random = np.random.default_rng(seed)
    lengths = random.integers(2, 9, sessions)
    session = np.repeat(np.arange(sessions), lengths)
    step = np.arange(len(session)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    aid = (np.repeat(random.integers(0, ITEMS, sessions), lengths) + step) % ITEMS
    if shuffled:
        aid = random.integers(0, ITEMS, len(aid))
    ts = 1_600_000_000_000 + session * 60_000 + step * 1000
    return EventLog.from_arrays(session, aid, ts, np.zeros(len(aid)), n_sessions=sessions, n_items=ITEMS + 3)


def test_learns_what_follows():
    log = chains()
    model, figures = train_encoder(log, SMALL, 0.1, 1, CPU, 1)
    assert figures["auc"] > 0.9
    assert len(figures["loss"]) == 6 and figures["loss"][-1] < figures["loss"][0]
    query = EventLog.from_arrays([0, 0, 0], [4, 5, 6], [0, 1000, 2000], [0, 0, 0], n_sessions=1, n_items=ITEMS + 3)
    scores = model.reader().sessions(query, np.array([0])) @ model.items().T
    assert scores[0].argmax() == 7


def test_learns_nothing_from_noise():
    _, figures = train_encoder(chains(shuffled=True), SMALL, 0.5, 1, CPU, 1)
    assert abs(figures["auc"] - 0.5) < 0.12


def test_a_large_catalogue_meets_a_sample():
    _, figures = train_encoder(chains(), SMALL.model_copy(update={"negatives": 8}), 0.1, 1, CPU, 1)
    assert figures["auc"] > 0.85


def test_repeats_itself():
    log = chains()
    one, two = (train_encoder(log, SMALL, 0.1, 1, CPU, 1)[0] for _ in range(2))
    other, _ = train_encoder(log, SMALL, 0.1, 2, CPU, 1)
    sessions = np.arange(20)
    assert np.array_equal(one.items(), two.items())
    assert np.array_equal(one.reader().sessions(log, sessions), two.reader().sessions(log, sessions))
    assert not np.array_equal(one.items(), other.items())


def test_items_of_no_session_have_no_vector():
    model, _ = train_encoder(chains(), SMALL, 0.1, 1, CPU, 1)
    assert not model.items()[ITEMS:].any()
    assert model.items()[:ITEMS].any(axis=1).all()


def test_a_session_vector_depends_on_its_own_history_alone():
    log = chains()
    model, _ = train_encoder(log, SMALL, 0.1, 1, CPU, 1)
    together = model.reader().sessions(log, np.arange(40))
    for s in (0, 7, 39):
        np.testing.assert_allclose(model.reader().sessions(log, np.array([s]))[0], together[s], atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(together, axis=1), 1, atol=1e-5)


def test_sessions_without_events_have_no_vector():
    log = chains()
    model, _ = train_encoder(log, SMALL, 0.1, 1, CPU, 1)
    empty = log.where(log.session != 5)
    vectors = model.reader().sessions(empty, np.array([4, 5]))
    assert vectors[0].any() and not vectors[1].any()


def test_only_the_last_days():
    log = chains()
    late = log.ts > log.ts.max() - 3_600_000
    model, figures = train_encoder(log, SMALL.model_copy(update={"days": 1 / 24}), 0.0, 1, CPU, 1)
    again, _ = train_encoder(log.where(late), SMALL, 0.0, 1, CPU, 1)
    assert figures["auc"] is None
    assert np.array_equal(model.items(), again.items())


def test_batch_against_plain_loops():
    log = chains(30)
    batch = Batch.of(log, np.array([3, 9, 20]), 4)
    for row, s in enumerate((3, 9, 20)):
        events = [(int(a), int(t)) for a, t in zip(log.aid[log.session == s], log.ts[log.session == s], strict=True)][-4:]
        assert batch.n[row] == len(events)
        assert batch.aid[row].tolist() == [a for a, _ in events] + [-1] * (batch.aid.shape[1] - len(events))
        for i in range(1, len(events)):
            seconds = (events[i][1] - events[i - 1][1]) / 1000
            assert batch.pause[row, i] == min(int(np.log2(1 + seconds)), 19)


def test_a_log_without_sequences():
    log = EventLog.from_arrays([0, 1], [0, 1], [5, 6], [0, 0], n_sessions=2, n_items=2)
    model, figures = train_encoder(log, SMALL, 0.1, 1, CPU, 1)
    assert figures["auc"] is None and not model.items().any()
    assert np.isfinite(model.reader().sessions(log, np.array([0, 1]))).all()

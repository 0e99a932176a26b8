import numpy as np
import pytest

from otto_gpu.device import Device
from otto_gpu.embeddings.pairs import Pairs, held_out, held_out_auc
from otto_gpu.embeddings.settings import Factorization
from otto_gpu.embeddings.vectors import normalised
from tests.embeddings.worlds import ITEMS, LONELY, grouped

pytest.importorskip("torch", reason="PyTorch is not installed: pip install 'otto_gpu[embeddings]'")

from otto_gpu.embeddings import factorization
from otto_gpu.embeddings.factorization import train_factorization

CPU = Device("cpu", "test")
SMALL = Factorization(dim=8, epochs=10)


def train(log, config=SMALL, seed=1, threads=1):
    return train_factorization(Pairs(log, config.steps), config, seed, CPU, threads)


@pytest.mark.parametrize(("structured", "low", "high"), [(True, 0.8, 1.0), (False, 0.44, 0.56)])
def test_learns_what_is_there_and_nothing_else(structured, low, high):
    seen, aside = held_out(grouped(1500, structured), 0.3, 3)
    vectors, losses = train(seen)
    assert vectors.dtype == np.float32 and vectors.shape == (ITEMS, 8)
    assert len(losses) == 10
    assert low < held_out_auc(normalised(vectors), Pairs(aside), 1) < high
    assert not structured or losses[-1] < 0.8 * losses[0]


def test_repeats_itself():
    log = grouped(200)
    told = []
    vectors, losses = train_factorization(Pairs(log), SMALL, 1, CPU, 1, lambda *args: told.append(args))
    assert told == list(enumerate(losses, 1))
    again, _ = train(log)
    assert np.array_equal(vectors, again)
    assert np.array_equal(vectors, train(log, threads=2)[0])
    assert not np.array_equal(vectors, train(log, seed=2)[0])


def test_items_without_pairs_have_no_vector():
    log = grouped()
    assert (log.aid == LONELY).any()
    assert np.flatnonzero(~train(log)[0].any(axis=1)).tolist() == list(range(LONELY, ITEMS))


def test_a_log_without_pairs():
    log = grouped()
    first = log.where(log.starts[log.session] == np.arange(len(log)))
    for empty in (first, log.where(np.zeros(len(log), bool))):
        vectors, losses = train(empty)
        assert losses == [] and vectors.shape == (log.n_items, 8) and not vectors.any()


def test_gradients_of_pieces_are_those_of_the_batch(monkeypatch):
    """Pieces permute their own later items: with negatives left out of the comparison the loss is the same to rounding."""
    log, config = grouped(400), SMALL.model_copy(update={"epochs": 3})
    whole, losses = train(log, config)
    monkeypatch.setattr(factorization, "CACHED", 100)
    pieces, in_pieces = train(log, config)
    np.testing.assert_allclose(in_pieces, losses, rtol=0.02)
    assert np.einsum("ij,ij->i", normalised(whole), normalised(pieces))[:LONELY].mean() > 0.95

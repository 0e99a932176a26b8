"""What holds for every model that learns vectors of items batch by batch."""

import numpy as np
import pytest

from otto_gpu.device import Device
from otto_gpu.embeddings.pairs import Pairs, held_out, held_out_auc
from otto_gpu.embeddings.settings import Factorization, Seq2Seq
from otto_gpu.embeddings.vectors import normalised
from tests.embeddings.worlds import ITEMS, LONELY, grouped

pytest.importorskip("torch", reason="PyTorch is not installed: pip install 'otto_gpu[embeddings]'")

from otto_gpu.embeddings.factorization import train_factorization
from otto_gpu.embeddings.seq2seq import train_seq2seq

CPU = Device("cpu", "test")


def factorization(log, seed=1, threads=1, told=lambda epoch, loss: None):
    return train_factorization(Pairs(log), Factorization(dim=8, epochs=10), seed, CPU, threads, told)


def seq2seq(log, seed=1, threads=1, told=lambda epoch, loss: None):
    return train_seq2seq(log, Seq2Seq(dim=8, epochs=10, length=4), seed, CPU, threads, told)


@pytest.fixture(params=[factorization, seq2seq], ids=lambda f: f.__name__)
def train(request):
    return request.param


@pytest.mark.parametrize(("structured", "low", "high"), [(True, 0.8, 1.0), (False, 0.44, 0.56)])
def test_learns_what_is_there_and_nothing_else(train, structured, low, high):
    seen, aside = held_out(grouped(1500, structured), 0.3, 3)
    vectors, losses = train(seen)
    assert vectors.dtype == np.float32 and vectors.shape == (ITEMS, 8)
    assert len(losses) == 10
    assert low < held_out_auc(normalised(vectors), Pairs(aside), 1) < high
    assert not structured or losses[-1] < 0.8 * losses[0]


def test_repeats_itself(train):
    log = grouped(200)
    told = []
    vectors, losses = train(log, told=lambda *args: told.append(args))
    assert told == list(enumerate(losses, 1))
    again, same = train(log, threads=2)
    assert np.array_equal(vectors, again) and losses == same
    assert np.array_equal(vectors, train(log)[0])
    assert not np.array_equal(vectors, train(log, seed=2)[0])


def test_items_of_no_example_have_no_vector(train):
    log = grouped()
    assert (log.aid == LONELY).any()
    assert np.flatnonzero(~train(log)[0].any(axis=1)).tolist() == list(range(LONELY, ITEMS))


def test_a_log_without_examples(train):
    log = grouped()
    first = log.where(log.starts[log.session] == np.arange(len(log)))
    for empty in (first, log.where(np.zeros(len(log), bool))):
        vectors, losses = train(empty)
        assert losses == [] and vectors.shape == (log.n_items, 8) and not vectors.any()

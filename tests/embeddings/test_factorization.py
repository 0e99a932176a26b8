import numpy as np
import pytest

from otto_gpu.device import Device
from otto_gpu.embeddings.pairs import Pairs
from otto_gpu.embeddings.settings import Factorization
from otto_gpu.embeddings.vectors import normalised
from tests.embeddings.worlds import LONELY, grouped

pytest.importorskip("torch", reason="PyTorch is not installed: pip install 'otto_gpu[embeddings]'")

from otto_gpu.embeddings import factorization
from otto_gpu.embeddings.factorization import train_factorization

CPU = Device("cpu", "test")
SMALL = Factorization(dim=8, epochs=10)


def train(log, config=SMALL, seed=1, threads=1):
    return train_factorization(Pairs(log, config.steps), config, seed, CPU, threads)


def test_gradients_of_pieces_are_those_of_the_batch(monkeypatch):
    """Pieces permute their own later items: with negatives left out of the comparison the loss is the same to rounding."""
    log, config = grouped(400), SMALL.model_copy(update={"epochs": 3})
    whole, losses = train(log, config)
    monkeypatch.setattr(factorization, "CACHED", 100)
    pieces, in_pieces = train(log, config)
    np.testing.assert_allclose(in_pieces, losses, rtol=0.02)
    assert np.einsum("ij,ij->i", normalised(whole), normalised(pieces))[:LONELY].mean() > 0.95

import pytest

from otto_gpu.config import load_config
from otto_gpu.embeddings.settings import EmbeddingsConfig
from otto_gpu.errors import UserError

THREE = ["factorization_1", "factorization_1_5", "factorization_bought_1_9"]


def made(**settings) -> EmbeddingsConfig:
    return load_config({"embeddings": settings}).embeddings


def test_defaults():
    config = EmbeddingsConfig()
    assert config.names == ["word2vec", *THREE, "seq2seq"]
    steps = {name: (f.steps, f.types) for name, f in config.factorization.items()}
    assert steps == dict(zip(THREE, [((1, 1), None), ((1, 5), None), ((1, 9), ["carts", "orders"])], strict=True))
    assert EmbeddingsConfig.model_validate(config.model_dump(mode="json")) == config


def test_parts_are_switched_off():
    assert made(word2vec=None, seq2seq=None).names == THREE
    assert made(factorization=None).names == ["word2vec", "seq2seq"]
    assert made(factorization={}).names == EmbeddingsConfig().names
    assert made(factorization={"factorization_1_5": None}).names == ["word2vec", THREE[0], THREE[2], "seq2seq"]


def test_changes_keep_the_rest():
    config = made(factorization={"factorization_1_5": {"dim": 8}, "far": {"steps": [3, 7]}})
    assert config.factorization["factorization_1_5"].steps == (1, 5)
    assert config.factorization["factorization_1_5"].dim == 8
    assert config.factorization["far"].steps == (3, 7)
    assert config.names == ["word2vec", *THREE, "far", "seq2seq"]


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"factorization": {"far": {"steps": [3, 2]}}}, "lo <= hi"),
        ({"factorization": {"far": {"steps": [0, 2]}}}, "lo <= hi"),
        ({"factorization": {"../far": {}}}, "a name is"),
        ({"factorization": {"word2vec": {}}}, "the name of another model"),
        ({"factorization": {"encoder.sessions": {}}}, "the name of another model"),
        ({"word2vec": {"windo": 2}}, "did you mean 'window'"),
        ({"held_out": 1.0}, "held_out"),
    ],
)
def test_mistakes(settings, said):
    with pytest.raises(UserError, match=said):
        made(**settings)

"""Vectors of texts against a dense TF-IDF and SVD that are written down here."""

import re

import numpy as np
import pyarrow as pa
import pytest

pytest.importorskip("sklearn", reason="scikit-learn is not installed: pip install 'otto_gpu[text]'")

from otto_gpu.config import load_config
from otto_gpu.embeddings.settings import Text
from otto_gpu.embeddings.text import joined, text_vectors
from otto_gpu.errors import UserError
from otto_gpu.events.items import Items

CONFIG = Text(columns=["title"], dim=8, iterations=20)
WORDS = [f"{a}{b}" for a in ("sea", "sun", "ice", "oak") for b in ("land", "side", "view", "wood")]


def texts(n: int, seed: int = 0) -> list[str]:
    rng = np.random.default_rng(seed)
    topic = rng.integers(0, 4, n)
    return [" ".join(rng.choice(WORDS[4 * t : 4 * t + 4], 5)) + " " + " ".join(rng.choice(WORDS, 2)) for t in topic]


def dense(texts: list[str], dim: int) -> np.ndarray:
    """TF-IDF by its formula, with a dictionary instead of a hash, and NumPy's whole SVD."""
    words = sorted({w for text in texts for w in re.findall(r"\w\w+", text.lower())})
    counts = np.array([[re.findall(r"\w\w+", text.lower()).count(w) for w in words] for text in texts], float)
    rows = counts.any(axis=1)
    n, with_term = rows.sum(), (counts > 0).sum(axis=0)
    weight = np.where(counts > 0, 1 + np.log(np.maximum(counts, 1)), 0) * (np.log((1 + n) / (1 + with_term)) + 1)
    weight[rows] /= np.linalg.norm(weight[rows], axis=1, keepdims=True)
    left, values, _ = np.linalg.svd(weight, full_matrices=False)
    made = left[:, :dim] * values[:dim]
    made[rows] /= np.linalg.norm(made[rows], axis=1, keepdims=True)
    return made


def test_cosines_are_those_of_the_dense_formula():
    given = [*texts(60), "", "!", "SEALAND, sealand; seaside"]
    made = text_vectors(pa.array(given), CONFIG, 1)
    wanted = dense(given, 8)
    assert made.dtype == np.float32 and made.shape == (63, 8)
    assert np.allclose(made @ made.T, wanted @ wanted.T, atol=2e-3)
    assert not made[60:62].any() and np.allclose(np.linalg.norm(made, axis=1)[[0, 62]], 1, atol=1e-6)


def test_the_same_texts_give_the_same_bytes_and_few_of_them_fewer_directions():
    given = pa.array(texts(200))
    assert text_vectors(given, CONFIG, 1).tobytes() == text_vectors(given, CONFIG, 1).tobytes()
    few = text_vectors(pa.array(["red shoe", None, "red", "red shoe"]).fill_null(""), CONFIG, 1)
    assert not few[1].any() and not few[:, 2:].any() and np.allclose(few[0], few[3]) and few[0] @ few[2] < 1
    assert not text_vectors(pa.array(["", "?"]), CONFIG, 1).any()
    letters = Text(columns=["title"], dim=4, tokens="characters", ngrams=(2, 3))
    one, other, far = text_vectors(pa.array(["dampfschiff", "dampfschiffe", "zug"]), letters, 1)
    assert one @ other > 0.8 > one @ far


def test_terms_of_many_texts_are_left_out():
    plain = texts(300)
    given = [f"the {text}" for text in plain]
    config = Text(columns=["title"], dim=8, iterations=20, common=0.9)
    without = text_vectors(pa.array(plain), config, 1)
    assert np.array_equal(text_vectors(pa.array(given), config, 1), without)
    every = text_vectors(pa.array(given), config.model_copy(update={"common": 1.0}), 1)
    assert (every @ every.T).mean() > (without @ without.T).mean()
    assert not text_vectors(pa.array(["the"] * 101), CONFIG, 1).any()


def test_columns_are_read_as_one_text():
    items = Items(3, texts={"title": pa.array(["a", None, "c"]), "body": pa.array(["x", "y", None])})
    assert joined("t", Text(columns=["title", "body"]), items).to_pylist() == ["a x", " y", "c "]
    with pytest.raises(UserError, match="no column 'name' of kind text; there are: title, body"):
        joined("t", Text(columns=["name"]), items)


def test_settings():
    items = {"file": "items.csv", "columns": {"title": "text", "size": "number"}}
    given = {"items": items, "embeddings": {"text": {"words": {"columns": ["title"]}}}}
    config = load_config(given)
    assert config.vectors == set() and config.embeddings.known[-1] == "words"
    for text, told in (
        ({"words": {"columns": ["titel"]}}, "no 'titel' of kind text; did you mean 'title'"),
        ({"words": {"columns": ["size"]}}, "no 'size' of kind text"),
        ({"words": {"columns": ["title"], "ngrams": [2, 1]}}, "ngrams must be"),
        ({"words": {"columns": ["title"], "buckets": 16}}, "buckets must be above dim"),
        ({"seq2seq": {"columns": ["title"]}}, "'seq2seq' is the name of another model"),
    ):
        with pytest.raises(UserError, match=told):
            load_config(given | {"embeddings": {"text": text}})
    with pytest.raises(UserError, match="there are none: name the items' file"):
        load_config({"embeddings": {"text": {"words": {"columns": ["title"]}}}})

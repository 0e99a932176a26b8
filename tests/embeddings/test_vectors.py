import numpy as np
import pytest

from otto_gpu.embeddings.vectors import (
    load_queries,
    load_vectors,
    normalised,
    queries_path,
    save_vectors,
    vectors_path,
)
from otto_gpu.errors import UserError


def test_rows_have_length_one_or_zero():
    rows = np.array([[3, 4], [0, 0], [1e-30, 0], [1e30, 1e30], [-2, 0]])
    made = normalised(rows)
    assert made.dtype == np.float32
    np.testing.assert_allclose(made, [[0.6, 0.8], [0, 0], [1, 0], [0.5**0.5, 0.5**0.5], [-1, 0]], rtol=1e-6)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_what_is_not_finite_is_refused(bad):
    with pytest.raises(ValueError, match="finite"):
        normalised(np.array([[1.0, bad]]))


def test_store(tmp_path):
    rows = np.random.default_rng(1).normal(size=(5, 3))
    rows[2] = 0
    save_vectors(vectors_path(tmp_path, "test", "mine"), rows)
    assert [p.name for p in (tmp_path / "embeddings/test").iterdir()] == ["mine.npy"]
    read = load_vectors(tmp_path, "test", "mine")
    assert read.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(read, axis=1), [1, 1, 0, 1, 1], rtol=1e-6)
    assert load_queries(tmp_path, "test", "mine") is None
    save_vectors(queries_path(tmp_path, "test", "mine"), rows[:2])
    assert np.array_equal(load_queries(tmp_path, "test", "mine"), read[:2])


def test_vectors_that_are_not_there(tmp_path):
    with pytest.raises(UserError, match=r"validation/word2vec.npy: no vectors 'word2vec' in this run"):
        load_vectors(tmp_path, "validation", "word2vec")


def test_nothing_is_unpickled(tmp_path):
    path = vectors_path(tmp_path, "test", "evil")
    path.parent.mkdir(parents=True)
    np.save(path, np.array([{"a": 1}], object), allow_pickle=True)
    with pytest.raises(UserError, match="allow_pickle"):
        load_vectors(tmp_path, "test", "evil")

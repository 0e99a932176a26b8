"""The map of the items: near on it is who is near in the vectors' space, and the same every time."""

import sys
from importlib.machinery import ModuleSpec
from types import ModuleType

import numpy as np
import pytest

from otto_gpu.device import Device
from otto_gpu.embeddings.map import FEWEST, NEAR, kept, places
from otto_gpu.errors import MissingExtra

CUDA = Device("cuda", "for the test")
GROUPS = 4


def in_groups(n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """(float32 [n, 16] in GROUPS directions, of any length; int [n], the group of each)."""
    random = np.random.default_rng(seed)
    group = random.integers(0, GROUPS, n)
    made = random.normal(size=(GROUPS, 16))[group] + 0.2 * random.normal(size=(n, 16))
    return (made * random.uniform(0.1, 10, (n, 1))).astype(np.float32), group


@pytest.mark.parametrize("n", [FEWEST, 200])
def test_who_is_near_stays_near(n):
    pytest.importorskip("sklearn", reason="scikit-learn is not installed: pip install 'otto_gpu[map]'")
    vectors, group = in_groups(n)
    where, method = places(vectors)
    assert method == "t-SNE" and where.shape == (n, 2) and where.dtype == np.float32 and np.isfinite(where).all()
    squares = ((where[:, None] - where[None]) ** 2).sum(axis=2)
    np.fill_diagonal(squares, np.inf)
    assert (group[squares.argmin(axis=1)] == group).mean() > 0.95
    np.testing.assert_array_equal(places(vectors)[0], where)


def near(scores) -> list[set[int]]:
    """By plain sorting: of every row the NEAR highest of the others."""
    return [
        set(sorted((j for j in range(len(scores)) if j != i), key=lambda j: -row[j])[:NEAR]) for i, row in enumerate(scores)
    ]


def test_what_a_map_keeps():
    vectors, _ = in_groups(60, 1)
    where = np.random.default_rng(2).normal(5, 3, size=(60, 2)).astype(np.float32)
    lengths = np.linalg.norm(vectors, axis=1)
    cosines = [
        [float(a @ b) / (x * y) for b, y in zip(vectors, lengths, strict=True)] for a, x in zip(vectors, lengths, strict=True)
    ]
    closeness = [[-float(((a - b) ** 2).sum()) for b in where] for a in where]
    expected = np.mean([len(a & b) / NEAR for a, b in zip(near(cosines), near(closeness), strict=True)])
    assert kept(vectors, where) == pytest.approx(expected)
    angle = np.linspace(0, 1, 60)
    circle = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    assert kept(3 * circle, circle + 100) == 1


def test_by_cuml_on_a_gpu(monkeypatch):
    class UMAP:
        def __init__(self, *, metric, random_state, output_type):
            assert (metric, random_state, output_type) == ("cosine", 0, "numpy")

        def fit_transform(self, vectors):
            return vectors[:, :2] + 1

    cuml, manifold = ModuleType("cuml"), ModuleType("cuml.manifold")
    cuml.__spec__, manifold.UMAP = ModuleSpec("cuml", None), UMAP
    monkeypatch.setitem(sys.modules, "cuml", cuml)
    monkeypatch.setitem(sys.modules, "cuml.manifold", manifold)
    vectors, _ = in_groups(FEWEST)
    where, method = places(vectors, CUDA)
    assert method == "UMAP"
    np.testing.assert_array_equal(where, vectors[:, :2] + 1)


def test_on_a_gpu_without_cuml(monkeypatch):
    pytest.importorskip("sklearn", reason="scikit-learn is not installed: pip install 'otto_gpu[map]'")
    monkeypatch.setitem(sys.modules, "cuml", None)
    assert places(in_groups(FEWEST)[0], CUDA)[1] == "t-SNE"


def test_without_scikit_learn(monkeypatch):
    for name in ("sklearn", "sklearn.manifold"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(MissingExtra, match=r"map of the items needs scikit-learn.*otto_gpu\[map\]"):
        places(in_groups(FEWEST)[0])

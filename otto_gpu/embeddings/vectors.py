"""One store for all vectors: embeddings/{split}/{name}.npy, and {name}.sessions.npy where a model has session vectors; such
a model's weights, with which it reads further sessions, are in {name}.weights.npz.

Rows are float32 of length 1; a row of zeros stands for an item (or a session) of which nothing is known.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from zipfile import BadZipFile

import numpy as np

from otto_gpu.errors import UserError
from otto_gpu.run.directory import write_atomically


def normalised(array: np.ndarray) -> np.ndarray:
    """float32 [n, dim]: every row divided by its length; rows of zeros stay zero. ValueError for NaN or infinite values."""
    array = np.ascontiguousarray(array, np.float32)
    # in float64: a sum of squares overflows or vanishes in float32 long before the row does
    length = np.sqrt(np.einsum("ij,ij->i", array, array, dtype=np.float64))[:, None]
    if not np.isfinite(length).all():
        raise ValueError("vectors must be finite")
    return np.divide(array, length, out=np.zeros_like(array), where=length > 0)


def vectors_path(folder: Path, split: str, name: str) -> Path:
    return folder / "embeddings" / split / f"{name}.npy"


def queries_path(folder: Path, split: str, name: str) -> Path:
    return folder / "embeddings" / split / f"{name}.sessions.npy"


def weights_path(folder: Path, split: str, name: str) -> Path:
    return folder / "embeddings" / split / f"{name}.weights.npz"


def save_weights(path: Path, arrays: dict[str, np.ndarray]) -> None:
    """Whole or not at all; folders above it are made."""
    path.parent.mkdir(parents=True, exist_ok=True)

    def write(temporary: Path) -> None:
        with temporary.open("wb") as file:
            np.savez(file, **arrays)

    write_atomically(path, write)


def load_weights(run_dir: Path, split: str, name: str) -> dict[str, np.ndarray]:
    """UserError where the run has none."""
    path = weights_path(run_dir, split, name)
    if not path.is_file():
        raise UserError(f"{path}: the model's weights are missing; run its stage again: --from {name} --to {name}")
    with _readable(path):
        arrays = np.load(path, allow_pickle=False)
        if not isinstance(arrays, np.lib.npyio.NpzFile):
            raise ValueError("one array, not several")
        with arrays:
            return dict(arrays)


def save_vectors(path: Path, array: np.ndarray) -> None:
    """array [n, dim] normalised, whole or not at all; folders above it are made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    array = normalised(array)

    def write(temporary: Path) -> None:
        with temporary.open("wb") as file:  # np.save would put .npy behind a bare name
            np.save(file, array, allow_pickle=False)

    write_atomically(path, write)


def load_vectors(run_dir: Path, split: str, name: str) -> np.ndarray:
    """float32 [n_items, dim], by dense item id. UserError where the run has no such vectors."""
    path = vectors_path(run_dir, split, name)
    if not path.is_file():
        raise UserError(f"{path}: no vectors {name!r} in this run; switch them on in the section embeddings")
    return _load(path)


def load_queries(run_dir: Path, split: str, name: str) -> np.ndarray | None:
    """float32 [S, dim], aligned with Period.sessions: vectors to search items with; None where the model makes none."""
    path = queries_path(run_dir, split, name)
    return _load(path) if path.is_file() else None


def _load(path: Path) -> np.ndarray:
    with _readable(path):
        array = np.load(path, allow_pickle=False)
        if not isinstance(array, np.ndarray) or array.ndim != 2 or array.dtype != np.float32:
            raise ValueError("not the vectors that a run writes, float32 [n, dim]")
        return array


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    """UserError where the file is none that a run writes: cut short, or full of objects, which are never unpickled."""
    try:
        yield
    except (ValueError, EOFError, BadZipFile, OSError) as error:
        raise UserError(f"{path}: cannot be read: {str(error).splitlines()[0]}") from error

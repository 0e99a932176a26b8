"""A map of items: places on a plane, such that items whose vectors point the same way lie near each other.

On a GPU UMAP (McInnes et al. 2018) by cuML where it is installed, else t-SNE (van der Maaten and Hinton 2008) by scikit-learn.
Both keep who is near whom; axes, directions and the distances between groups mean nothing.
"""

from __future__ import annotations

import numpy as np

from otto_gpu.device import CPU, Device
from otto_gpu.device.memory import rapids
from otto_gpu.errors import MissingExtra
from otto_gpu.needs import installed

FEWEST = 50  # items: each has to have some more than the neighbours that the methods look at
MOST = 2_000  # items that t-SNE places in some seconds, and that a picture has room for
NEAR = 10  # neighbours by which a map is judged
SEED = 0


def places(vectors: np.ndarray, device: Device = CPU) -> tuple[np.ndarray, str]:
    """(float32 [n, 2], the name of the method); the same vectors give the same places.

    vectors: float32 [n, dim], FEWEST rows or more, none of zeros. MissingExtra where no method is installed.
    """
    if device.kind == "cuda" and installed("cuml"):
        rapids("cuml", "a map of the items")
        from cuml.manifold import UMAP

        return UMAP(metric="cosine", random_state=SEED, output_type="numpy").fit_transform(vectors), "UMAP"
    try:
        from sklearn.manifold import TSNE
        from threadpoolctl import threadpool_limits
    except ImportError:
        raise MissingExtra("a map of the items", "scikit-learn", "map") from None
    with threadpool_limits(1):  # several threads add up in another order every time
        # half of the usual steps: the later ones move little
        made = TSNE(metric="cosine", init="pca", max_iter=500, random_state=SEED).fit_transform(vectors)
    return made, "t-SNE"


def kept(vectors: np.ndarray, where: np.ndarray) -> float:
    """The share of the NEAR nearest items, by the vectors' cosine, that are among the NEAR nearest on the map."""
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    flat = where - where.mean(axis=0)
    squares = (flat**2).sum(axis=1)
    alike = [unit @ unit.T, 2 * flat @ flat.T - squares[None] - squares[:, None]]
    for scores in alike:
        np.fill_diagonal(scores, -np.inf)
    nearest = [np.argpartition(-scores, NEAR, axis=1)[:, :NEAR] for scores in alike]
    return float((nearest[0][:, :, None] == nearest[1][:, None, :]).any(axis=2).mean())

"""Backends that compare queries with many vectors: a small class each, and which of them is taken where.

On a CPU a flat index of faiss compares a query with every vector; in large catalogues an HNSW graph (Malkov and Yashunin
2016) finds nearly all of the nearest, and faster. On a GPU the first of ON_GPU that is there compares with every vector: faiss,
where it is built for GPUs, cuVS, or PyTorch, which is there where vectors are learnt. What is not there is not imported. Scores
are inner products: cosines, where rows have length 1.
"""

from __future__ import annotations

import importlib
from typing import Protocol

import numpy as np

from otto_gpu.candidates.settings import FAISS
from otto_gpu.device import Device, in_a_line

EXACT_ITEMS = 200_000  # from here on a CPU compares a query with fewer vectors through a graph than one by one, and faster
EXACT_BY_TORCH = 300_000  # from here on PyTorch, which writes and reads every product several times, is not asked
LINKS, WIDTH_BUILT, WIDTH = 16, 40, 256  # of the graph: links of an item, items kept in sight while building and searching
GPU_SHARE = 0.25  # of the GPU's free memory, that the products of some queries with all items may take


class Backend(Protocol):
    """name, exact: for people, and whether the nearest are surely found. Made of vectors float32 [n, dim], n > 0."""

    name: str
    exact: bool

    def search(self, queries: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
        """(products float32 [q, size], rows int64 [q, size], -1 where a graph finds fewer), in any order of a query's own.
        queries: float32 [q, dim]; size: at most n."""
        ...


class FaissExact:
    name, exact = "faiss", True

    def __init__(self, vectors: np.ndarray):
        self._index = _faiss().IndexFlatIP(vectors.shape[1])
        self._index.add(vectors)

    def search(self, queries: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
        return self._index.search(queries, size)


class FaissHnsw:
    name, exact = "faiss, through a graph", False

    def __init__(self, vectors: np.ndarray):
        self._faiss = faiss = _faiss()
        self.index = faiss.IndexHNSWFlat(vectors.shape[1], LINKS, faiss.METRIC_INNER_PRODUCT)
        self.index.hnsw.efConstruction = WIDTH_BUILT
        threads = faiss.omp_get_max_threads()
        faiss.omp_set_num_threads(1)  # several threads link the items in another order every time
        try:
            self.index.add(vectors)
        finally:
            faiss.omp_set_num_threads(threads)

    def search(self, queries: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
        return self.index.search(queries, size, params=self._faiss.SearchParametersHNSW(efSearch=max(WIDTH, 2 * size)))


class FaissGpu:
    name, exact = "faiss on the GPU", True
    most = 2048  # neighbours of a query, that its kernels can keep

    def __init__(self, vectors: np.ndarray):
        faiss = _faiss()
        self._vectors, self._resources = vectors, faiss.StandardGpuResources()
        self._index = faiss.GpuIndexFlatIP(self._resources, vectors.shape[1])
        self._index.add(vectors)

    def search(self, queries: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
        if size > self.most:  # many ties, or a very long history: seldom, and of few queries
            return FaissExact(self._vectors).search(queries, size)
        return self._index.search(queries, size)

    @staticmethod
    def hindrance(n: int) -> str:
        """What stands against this backend for n vectors, or ''."""
        if missing := _missing("faiss", "faiss"):
            return missing
        faiss = _faiss()
        if not hasattr(faiss, "StandardGpuResources"):
            return "this faiss is built without GPUs"
        return "" if faiss.get_num_gpus() else "faiss sees no GPU"


class CuvsBruteForce:
    """Its brute force multiplies tile by tile, so that products never take more memory than there is."""

    name, exact = "cuVS on the GPU", True

    def __init__(self, vectors: np.ndarray):
        import cupy
        from cuvs.neighbors import brute_force

        self._cupy, self._cuvs = cupy, brute_force
        self._vectors = cupy.asarray(vectors)  # the index refers to them
        self._index = brute_force.build(self._vectors, metric="inner_product")

    def search(self, queries: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
        to_device = self._cupy.asarray
        products, rows = self._cuvs.search(self._index, to_device(queries), size)
        return to_device(products).get(), to_device(rows).get()

    @staticmethod
    def hindrance(n: int) -> str:
        return _missing("cuvs.neighbors.brute_force", "cuVS")


class TorchExact:
    """device: a torch.device; the GPU, if none is named."""

    name, exact = "PyTorch on the GPU", True

    def __init__(self, vectors: np.ndarray, device=None):
        import torch

        self._device = torch.device("cuda") if device is None else device
        self._vectors = torch.from_numpy(vectors).to(self._device)

    def search(self, queries: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
        import torch

        scores, rows = np.empty((len(queries), size), np.float32), np.empty((len(queries), size), np.int64)
        piece = max(self._free() // (4 * len(self._vectors)), 1)
        for first in range(0, len(queries), piece):
            part = slice(first, first + piece)
            best = torch.topk(torch.from_numpy(queries[part]).to(self._device) @ self._vectors.T, size, dim=1)
            scores[part], rows[part] = best.values.cpu().numpy(), best.indices.cpu().numpy()
        return scores, rows

    def _free(self) -> int:
        """Bytes for the products."""
        if self._device.type == "cpu":
            return 1 << 28
        import torch

        return int(GPU_SHARE * torch.cuda.mem_get_info(self._device)[0])

    @staticmethod
    def hindrance(n: int) -> str:
        if n > EXACT_BY_TORCH:
            return f"PyTorch is slow for more than {EXACT_BY_TORCH:,} vectors"
        if missing := _missing("torch", "PyTorch"):
            return missing
        from otto_gpu.embeddings.table import torch_device

        return "" if torch_device(Device("cuda", "")).type == "cuda" else "this PyTorch sees no GPU"


ON_GPU = (FaissGpu, CuvsBruteForce, TorchExact)


def choose_backend(n: int, device: Device | None, exact: bool | None = None) -> tuple[type[Backend], str]:
    """(the backend that searches n vectors, for people: what and why). exact: None leaves it to the number of vectors."""
    against = []
    if n and device is not None and device.kind == "cuda" and exact is not False:
        for backend in ON_GPU:
            hindrance = backend.hindrance(n)
            if not hindrance:
                return backend, _told(n, backend, against)
            against.append(hindrance)
    exact = n <= EXACT_ITEMS if exact is None else exact
    backend = FaissExact if exact else FaissHnsw
    return backend, _told(n, backend, against)


def _told(n: int, backend: type[Backend], against: list[str]) -> str:
    why = f" ({'; '.join(against)})" if against else ""
    return f"{n:,} vectors are searched {'exactly' if backend.exact else 'nearly exactly'} by {backend.name}{why}"


def _missing(module: str, called: str) -> str:
    """Why a package cannot be used, or ''."""
    try:
        importlib.import_module(module)
    except ImportError:
        return f"{called} is not installed"
    except Exception as error:  # a package that does not fit the driver shows it in many ways
        return f"{called} cannot be loaded ({in_a_line(error)})"
    return ""


def _faiss():
    try:
        import faiss
    except ImportError:
        raise FAISS.missing() from None
    return faiss

"""Which backend searches where, and that exact ones give the lists of the CPU: with stand-ins for what only a GPU can run."""

import sys
from types import ModuleType

import numpy as np
import pytest

from otto_gpu.candidates import search_backends
from otto_gpu.candidates.nearest import Index
from otto_gpu.candidates.search_backends import CuvsBruteForce, FaissExact, FaissGpu, FaissHnsw, TorchExact, choose_backend
from otto_gpu.device import Device
from tests.candidates.test_nearest import random_vectors
from tests.device import cupy_on_numpy

faiss = pytest.importorskip("faiss", reason="faiss is not installed")

CUDA, CPU = Device("cuda", "for the test"), Device("cpu", "for the test")


class FaissOnGpu(ModuleType):
    """This faiss, as if it were built for GPUs and saw some."""

    def __init__(self, gpus: int = 1):
        super().__init__("faiss")
        self._gpus = gpus

    class StandardGpuResources:
        pass

    class GpuIndexFlatIP:
        def __init__(self, resources, dim):
            assert isinstance(resources, FaissOnGpu.StandardGpuResources)
            self._index = faiss.IndexFlatIP(dim)

        def add(self, vectors):
            self._index.add(vectors)

        def search(self, queries, size):
            if size > 2048:
                raise RuntimeError("GPU index only supports min/max-K selection up to 2048")
            return self._index.search(queries, size)

    def get_num_gpus(self):
        return self._gpus

    def __getattr__(self, name):
        return getattr(faiss, name)


def on_device(array) -> None:
    """cuVS takes C-ordered float32 arrays of the device, and nothing else."""
    assert isinstance(array, cupy_on_numpy.Array) and array.dtype == np.float32 and array.flags.c_contiguous


class BruteForce(ModuleType):
    def build(self, dataset, metric="sqeuclidean", metric_arg=2.0, resources=None):
        on_device(dataset)
        assert metric == "inner_product"
        return dataset

    def search(self, index, queries, k, neighbors=None, distances=None, resources=None, prefilter=None):
        on_device(queries)
        products = queries.view(np.ndarray) @ index.view(np.ndarray).T
        rows = np.argsort(-products, axis=1)[:, :k]
        found = np.take_along_axis(products, rows, axis=1), rows.astype(np.int64)
        return tuple(array.view(cupy_on_numpy.Array) for array in found)


@pytest.fixture
def there(monkeypatch):
    """there(faiss=, cuvs=, torch=): what this machine is to have; the rest it has not."""

    def have(faiss=None, cuvs=False, torch=False):
        modules = {"faiss": faiss, "cupy": None, "cuvs": None, "cuvs.neighbors": None, "cuvs.neighbors.brute_force": None}
        if cuvs:
            neighbors = ModuleType("cuvs.neighbors")
            neighbors.brute_force = BruteForce("cuvs.neighbors.brute_force")
            modules |= {"cupy": cupy_on_numpy.Module("cupy"), "cuvs": ModuleType("cuvs"), "cuvs.neighbors": neighbors}
            modules["cuvs.neighbors.brute_force"] = neighbors.brute_force
        if not torch:
            modules["torch"] = None
        for name, module in modules.items():
            monkeypatch.setitem(sys.modules, name, module)
        if torch:
            monkeypatch.setattr(pytest.importorskip("torch").cuda, "is_available", lambda: True)

    return have


def test_on_the_cpu_few_are_compared_and_many_go_through_a_graph():
    for device in (None, CPU):
        assert choose_backend(200_000, device) == (FaissExact, "200,000 vectors are searched exactly by faiss")
        assert choose_backend(200_001, device) == (
            FaissHnsw,
            "200,001 vectors are searched nearly exactly by faiss, through a graph",
        )
        assert (
            choose_backend(5, device, exact=False)[0] is FaissHnsw
            and choose_backend(10**7, device, exact=True)[0] is FaissExact
        )


def test_on_a_gpu_the_first_that_is_there(there):
    pytest.importorskip("torch", reason="torch is not installed: pip install 'otto_gpu[embeddings]'")
    there(FaissOnGpu(), cuvs=True, torch=True)
    for n in (10, 2_000_000):
        assert choose_backend(n, CUDA)[0] is FaissGpu
    assert choose_backend(10, CUDA, exact=False)[0] is FaissHnsw and choose_backend(0, CUDA)[0] is FaissExact
    there(faiss, cuvs=True, torch=True)
    assert choose_backend(2_000_000, CUDA) == (
        CuvsBruteForce,
        "2,000,000 vectors are searched exactly by cuVS on the GPU (this faiss is built without GPUs)",
    )
    there(FaissOnGpu(gpus=0), torch=True)
    assert choose_backend(300_000, CUDA) == (
        TorchExact,
        "300,000 vectors are searched exactly by PyTorch on the GPU (faiss sees no GPU; cuVS is not installed)",
    )


def test_very_many_are_not_multiplied_by_pytorch(there):
    there(faiss, torch=True)
    way, told = choose_backend(300_001, CUDA)
    assert way is FaissHnsw
    assert told == (
        "300,001 vectors are searched nearly exactly by faiss, through a graph (this faiss is built without GPUs; cuVS is not "
        "installed; PyTorch is slow for more than 300,000 vectors)"
    )


def test_a_gpu_that_nothing_knows_to_use(there):
    there(faiss)
    assert choose_backend(10, CUDA)[0] is FaissExact and choose_backend(10, CUDA)[1].endswith("; PyTorch is not installed)")


def test_what_cannot_be_loaded_is_told_and_passed_over(there, monkeypatch, tmp_path):
    there(faiss)
    for name in ("cuvs", "cuvs.neighbors", "cuvs.neighbors.brute_force"):
        monkeypatch.delitem(sys.modules, name)
    (tmp_path / "cuvs.py").write_text("raise OSError('libcuda.so.1: cannot open shared object file')")
    monkeypatch.syspath_prepend(tmp_path)
    assert "cuVS cannot be loaded (OSError: libcuda.so.1: cannot open" in choose_backend(10, CUDA)[1]


# ----------------------------------------------------------------------------------------------- the same lists
def tied(n: int, dim: int, seed: int) -> np.ndarray:
    """Vectors many of which are the same, or nearly so, and some zero."""
    made = random_vectors(n, dim, seed)
    made[n // 2 :] = made[: n - n // 2]
    made[n // 3 : n // 2] = np.roll(made[n // 3], 1)
    made[::9] = 0
    return made


def assert_as_on_the_cpu(way, size: int = 25) -> None:
    vectors, queries = tied(3000, 24, 0), random_vectors(40, 24, 1)
    queries[3], queries[4] = 0, vectors[1001]
    index = Index(vectors, CUDA)
    assert type(index._way) is way and index.exact
    for found, expected in zip(index.nearest(queries, size), Index(vectors, CPU).nearest(queries, size), strict=True):
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("size", [25, 2100])
def test_by_faiss_on_the_gpu(there, size):
    """More than its kernels can keep are found all the same."""
    there(FaissOnGpu())
    assert_as_on_the_cpu(FaissGpu, size)


def test_by_cuvs(there):
    there(faiss, cuvs=True)
    assert_as_on_the_cpu(CuvsBruteForce)


@pytest.mark.parametrize("free", [1, 1 << 28])
def test_by_torch(monkeypatch, free):
    """On the CPU, in pieces of one query and in one."""
    torch = pytest.importorskip("torch", reason="torch is not installed: pip install 'otto_gpu[embeddings]'")

    class OnTheCpu(TorchExact):
        def __init__(self, vectors):
            super().__init__(vectors, torch.device("cpu"))

        def _free(self):
            return free

        @staticmethod
        def hindrance(n):
            return ""

    monkeypatch.setattr(search_backends, "ON_GPU", (OnTheCpu,))
    assert_as_on_the_cpu(OnTheCpu)


def test_a_gpu_that_pytorch_does_not_see(there, monkeypatch):
    torch = pytest.importorskip("torch", reason="torch is not installed: pip install 'otto_gpu[embeddings]'")
    there(faiss, torch=True)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert "this PyTorch sees no GPU" in choose_backend(30, CUDA)[1]
    assert_as_on_the_cpu(FaissExact)

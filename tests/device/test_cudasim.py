"""Kernels, and the chains of them to matrices and from recipes to features, run as CUDA: in numba's simulator, in a process
of its own, with the CPU's results.

The simulator runs the kernels in plain Python: it shows the division of work, the scratch rows, the arithmetic and which
arrays lie where. That the bodies compile is tests/device/test_cuda_compile.py's; that they run needs a GPU.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from numba import cuda

from otto_gpu.candidates import lookup
from otto_gpu.device import CPU, kernel
from otto_gpu.device.cuda_kernels import cuda_jit, cuda_kernel
from otto_gpu.device.kernel import Kernel
from tests.device import cuda_bodies
from tests.gpus import a_gpu

ROOT = Path(__file__).parents[2]
# off before numba is loaded: njit functions stay plain Python, which is what the simulator can call
SIMULATOR = os.environ | {"NUMBA_ENABLE_CUDASIM": "1", "NUMBA_DISABLE_JIT": "1"}


def run(*command: str) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, *command], cwd=ROOT, env=SIMULATOR, capture_output=True, text=True, timeout=300)


@pytest.fixture(scope="module")
def simulated(tmp_path_factory):
    probe = run("-c", "from numba import cuda; cuda.jit(lambda a: None)[1, 1](0)")
    if probe.returncode:
        pytest.skip(f"numba's CUDA simulator is not there: {probe.stderr.strip().splitlines()[-1]}")
    path = tmp_path_factory.mktemp("simulated") / "results.npz"
    done = run("-m", "tests.device.cuda_bodies", "cuda", str(path))
    assert done.returncode == 0, done.stderr
    return dict(np.load(path))


@pytest.fixture(scope="module")
def on_the_cpu():
    return cuda_bodies.results(cuda_bodies.on_the_cpu) | cuda_bodies.chain(CPU)


def test_every_kernel_is_there(on_the_cpu):
    """A new kernel belongs into tests/device/cuda_bodies.py."""
    launched = (ROOT / "tests/device/cuda_bodies.py").read_text()
    kernels = [k for p in (ROOT / "otto_gpu").rglob("*.py") for k in re.findall(r"^(\w+) = Kernel\(", p.read_text(), re.M)]
    assert len(kernels) == 22 and [k for k in kernels if f".{k}," not in launched] == []
    for name, values in on_the_cpu.items():
        assert len(np.unique(values)) > 1, f"{name} says nothing"


def assert_same(simulated, on_the_cpu):
    assert simulated.keys() == on_the_cpu.keys()
    for name, expected in on_the_cpu.items():
        assert simulated[name].dtype == expected.dtype, name
        if expected.dtype.kind == "f":
            np.testing.assert_allclose(simulated[name], expected, rtol=1e-5, err_msg=name)
        else:
            np.testing.assert_array_equal(simulated[name], expected, err_msg=name)


def test_as_cuda_they_do_the_same(simulated, on_the_cpu):
    """The kernels one by one; and from recipes to features, with arrays that are not mixed with the host's."""
    assert_same(simulated, on_the_cpu)


def test_a_kernel_that_divides_its_work_itself(simulated):
    """cuda_jit: a block an entry, its threads add up in shared memory, whose size the closure has."""
    assert run("-m", "tests.device.test_cudasim").stdout.split() == ["28", "92", "156"]


def sums_of_blocks(threads: int):
    def body(values, sums):
        shared = cuda.shared.array(threads, "int64")
        lane = cuda.threadIdx.x
        shared[lane] = values[cuda.blockIdx.x * threads + lane]
        cuda.syncthreads()
        if lane == 0:
            for i in range(threads):
                sums[cuda.blockIdx.x] += shared[i]

    return cuda_jit(body)


@pytest.mark.gpu
def test_on_a_gpu_they_do_the_same(on_the_cpu):
    device = a_gpu()
    assert_same(cuda_bodies.results(cuda_bodies.as_cuda) | cuda_bodies.chain(device), on_the_cpu)


def test_records_are_aligned_as_cuda_wants_them():
    assert lookup.LINE.isalignedstruct


def test_a_scratch_name_that_the_body_does_not_know():
    with pytest.raises(ValueError, match=r"no parameter 'rooms'; it has n, out"):
        cuda_kernel(lambda s, n, out: None, scratch=("rooms",))


def test_a_body_of_parts_that_nobody_names():
    with pytest.raises(ValueError, match="needs `parts`"):
        Kernel(print, lambda s, part, rows, out: None)


def test_large_arrays_of_the_host_are_not_carried_along():
    with pytest.raises(ValueError, match=r"an array int64 \(10000,\) of the host's"):
        kernel._sent(np.zeros(10_000, np.int64))
    assert kernel._sent(3) == 3


if __name__ == "__main__":
    found = np.zeros(3, np.int64)
    sums_of_blocks(8)[3, 8](np.arange(24), found)
    print(*found)

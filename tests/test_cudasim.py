"""The per-session bodies run as CUDA kernels: in numba's simulator, in a process of its own, with the CPU's results.

The simulator runs the kernels in plain Python: it shows the division of work, the scratch rows and the arithmetic, not
that the bodies compile; that needs a GPU.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from otto_gpu.candidates import lookup
from otto_gpu.device import cuda_kernel
from tests import cuda_bodies

ROOT = Path(__file__).parents[1]
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
    done = run("-m", "tests.cuda_bodies", "cuda", str(path))
    assert done.returncode == 0, done.stderr
    return dict(np.load(path))


@pytest.fixture(scope="module")
def on_the_cpu():
    return cuda_bodies.results(cuda_bodies.on_the_cpu)


def test_every_body_is_there(on_the_cpu):
    """A new body says of itself that it is one: then it belongs into tests/cuda_bodies.py."""
    sources = "\n".join(p.read_text() for p in (ROOT / "otto_gpu").rglob("*.py"))
    bodies = re.findall(r"def (\w+)\([^)]*\):(?:  # fmt: skip)?\n    \"\"\"The body for one session \(CPU and CUDA\)", sources)
    launched = (ROOT / "tests/cuda_bodies.py").read_text()
    assert len(bodies) == 10 and all(f".{name}" in launched for name in bodies)
    for name, values in on_the_cpu.items():
        assert len(np.unique(values)) > 1 or name.endswith("table"), f"{name} says nothing"


def assert_same(simulated, on_the_cpu):
    assert simulated.keys() == on_the_cpu.keys()
    for name, expected in on_the_cpu.items():
        assert simulated[name].dtype == expected.dtype, name
        if expected.dtype.kind == "f":
            np.testing.assert_allclose(simulated[name], expected, rtol=1e-5, err_msg=name)
        else:
            np.testing.assert_array_equal(simulated[name], expected, err_msg=name)
        if name.endswith("table"):
            assert (expected == -1).all()


def test_as_kernels_they_do_the_same(simulated, on_the_cpu):
    assert_same(simulated, on_the_cpu)


@pytest.mark.gpu
def test_on_a_gpu_they_do_the_same(on_the_cpu):
    cuda = pytest.importorskip("numba.cuda")
    if not cuda.is_available():
        pytest.skip("no GPU is visible")
    assert_same(cuda_bodies.results(cuda_kernel), on_the_cpu)


def test_records_are_aligned_as_cuda_wants_them():
    assert lookup.LINE.isalignedstruct


def test_a_scratch_name_that_the_body_does_not_know():
    with pytest.raises(ValueError, match=r"no parameter 'rooms'; it has n, out"):
        cuda_kernel(lambda s, n, out: None, scratch=("rooms",))

"""Every kernel compiles to PTX for an H100. That needs numba-cuda and NVVM (numba-cuda[cu13]), but neither driver nor GPU."""

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from tests import cuda_bodies

ROOT = Path(__file__).parents[1]
CAPABILITY = (9, 0)


def compile_every_kernel() -> dict[str, int]:
    """{kernel: length of its PTX}, with features as an array of their own and as columns of a wider one."""
    import numba
    from numba import cuda, types
    from numba.cuda import dispatcher

    # device functions are compiled for the current device, of which there is none
    dispatcher.get_current_device = lambda: SimpleNamespace(compute_capability=CAPABILITY)
    found = {}

    def compiled(kernel, *arguments):
        kernel(*arguments)  # the next one goes on from here
        given = [numba.typeof(a) for a in kernel.with_scratch(np, 1, arguments)]
        columns = [a.copy(layout="A") if getattr(a, "ndim", 0) == 2 and a.dtype == types.float32 else a for a in given]
        for kind in (given, columns):
            signature = types.void(types.int64, types.int64, *kind)
            ptx, _ = cuda.compile_ptx(kernel.launch.kernel.py_func, signature, cc=CAPABILITY)
            found[f"{kernel.body.__name__} {len(found)}"] = len(ptx)

    cuda_bodies.results(compiled)
    return found


def test_every_kernel_compiles():
    try:
        probe = subprocess.run(
            [sys.executable, "-c", "from numba.cuda.cudadrv.nvvm import NVVM; import numba_cuda; NVVM()"],
            capture_output=True, text=True, timeout=120,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        pytest.fail("looking for NVVM takes longer than two minutes")
    if probe.returncode:
        pytest.skip(f"numba-cuda with NVVM is not there: {probe.stderr.strip().splitlines()[-1]}")
    done = subprocess.run(
        [sys.executable, "-m", "tests.test_cuda_compile"], cwd=ROOT, capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stderr[-4000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert len(found) == 2 * 16 and min(found.values()) > 1000  # the recipes' kernel is called twice


if __name__ == "__main__":
    print(json.dumps(compile_every_kernel()))

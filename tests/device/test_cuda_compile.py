"""Every kernel compiles to PTX for an H100. That needs numba-cuda and NVVM (numba-cuda[cu13]), but neither driver nor GPU."""

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from tests.device import cuda_bodies

ROOT = Path(__file__).parents[2]
CAPABILITY = (9, 0)


def compile_every_kernel() -> dict[str, int]:
    """{kernel: length of its PTX}, with features as an array of their own and as columns of a wider one."""
    import numba
    from numba import cuda, types
    from numba.cuda import dispatcher

    from otto_gpu.cooccurrence.row_kernel import block_rows

    # device functions are compiled for the current device, of which there is none
    dispatcher.get_current_device = lambda: SimpleNamespace(compute_capability=CAPABILITY)
    found = {}

    def compiled(kernel, *arguments):
        kernel(*arguments)  # the next one goes on from here
        given = [numba.typeof(a) for a in kernel.with_scratch(np, 2, arguments, True)]
        columns = [a.copy(layout="A") if getattr(a, "ndim", 0) == 2 and a.dtype == types.float32 else a for a in given]
        for kind in (given, columns):
            signature = types.void(types.int64, types.int64, *kind)
            ptx, _ = cuda.compile_ptx(kernel.launch.kernel.py_func, signature, cc=CAPABILITY)
            found[f"{kernel.body.__name__} {len(found)}"] = len(ptx)

    cuda_bodies.results(compiled)
    for slots, room in ((512, 32), (2048, 128), (0, 128), (0, 1024)):
        for time in (types.uint32, types.int64):
            ptx, _ = cuda.compile_ptx(block_rows(slots, room), of_rows(time), cc=CAPABILITY)
            found[f"rows {slots} {room} {time}"] = len(ptx)
    return found


def of_rows(time):
    """The signature of the kernel of the engine `rows`."""
    from numba import boolean, float32, float64, int8, int32, int64, void

    events = time[::1], int32[::1], int32[:, ::1], int32[::1], time[::1], int8[::1], int32[::1], int32[::1]
    weight = boolean, boolean, float32, float64[::1], boolean, float32[::1]
    tables = int32[:, ::1], int32[:, ::1], float32[:, ::1]
    made = int32[::1], int32[::1], float32[::1], int32[::1]
    return void(int32[::1], int32[::1], int64[::1], int64[::1], *events, *weight, int64, int64[::1], *tables, *made)


def without_a_gpu() -> None:
    """Lets numba compile to machine code for an H100 and keep it, all but the loading into a GPU."""
    from numba.cuda import codegen, dispatcher

    dispatcher.get_current_device = lambda: SimpleNamespace(compute_capability=CAPABILITY)
    dispatcher.launchconfig = SimpleNamespace(current_launch_config=lambda: None)
    dispatcher._Kernel.bind = lambda self: self._codelibrary.get_cubin()
    codegen.CUDACodeLibrary._ensure_cc = lambda self, cc: cc or CAPABILITY
    codegen.JITCUDACodegen.magic_tuple = lambda self: ("a runtime", CAPABILITY)


def times(factor: int):
    def body(s, out):
        out[s] = s * factor

    return body


def compile_twice() -> dict[str, list[int]]:
    """{kernel: [found on disk, compiled]}, and whether two kernels whose closures differ share a file."""
    from numba import int64

    from otto_gpu.device.cuda_kernels import cuda_jit, cuda_kernel
    from tests.device.test_cudasim import sums_of_blocks

    without_a_gpu()
    found, files = {}, set()
    kernels = {
        "three": (cuda_kernel(times(3)).kernel, (int64, int64, int64[::1])),
        "four": (cuda_kernel(times(4)).kernel, (int64, int64, int64[::1])),
        "blocks": (sums_of_blocks(64), (int64[::1], int64[::1])),
        "lines": (cuda_jit(times(3), lineinfo=True), (int64, int64[::1])),
    }
    for name, (kernel, signature) in kernels.items():
        kernel.compile(signature)
        found[name] = [sum(kernel.stats.cache_hits.values()), sum(kernel.stats.cache_misses.values())]
        files.add(kernel.py_func.__code__.co_filename)
    from numba.cuda import dispatcher

    return found | {"files": len(files), "warnings": dispatcher.config.CUDA_LOW_OCCUPANCY_WARNINGS}


def in_a_process(what: str, **environment: str):
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", "tests.device.test_cuda_compile", what],
        cwd=ROOT, env=os.environ | environment, capture_output=True, text=True, timeout=600,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-4000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def nvvm():
    try:
        probe = subprocess.run(
            [sys.executable, "-c", "from numba.cuda.cudadrv.nvvm import NVVM; import numba_cuda; NVVM()"],
            capture_output=True, text=True, timeout=120,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        pytest.fail("looking for NVVM takes longer than two minutes")
    if probe.returncode:
        pytest.skip(f"numba-cuda with NVVM is not there: {probe.stderr.strip().splitlines()[-1]}")


def test_every_kernel_compiles(nvvm):
    found = in_a_process("every")
    assert len(found) == 2 * 23 + 8 and min(found.values()) > 1000  # the recipes' kernel is called twice


def test_what_one_process_compiled_the_next_one_finds(nvvm, tmp_path):
    names = ("three", "four", "blocks", "lines")
    for hits, misses in ((0, 1), (1, 0)):
        found = in_a_process("twice", NUMBA_CACHE_DIR=str(tmp_path))
        assert found == {name: [hits, misses] for name in names} | {"files": len(names), "warnings": 0}


def test_the_report_tries_a_kernel(nvvm):
    from otto_gpu.device.report import found_nvvm, kernel

    assert "libnvvm" in found_nvvm()
    assert kernel(gpu=False) == "compiles for sm_90; nothing here to run it"


if __name__ == "__main__":
    print(json.dumps(compile_every_kernel() if sys.argv[1] == "every" else compile_twice()))

"""The GPU's memory, which several libraries keep pools of: what is free in them, giving it back, and one pool for RAPIDS."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from types import ModuleType

from otto_gpu.needs import Need, installed, look_for

ALL_OF_IT = 2**64 - 1
keepers: list[Callable[[], None]] = []  # let go of the GPU's memory that they keep between calls


def free_bytes() -> int:
    """The GPU's memory that new arrays can have: what the driver has, and what CuPy and, with RAPIDS, the driver's pool keep
    for the next ones."""
    import cupy

    free = cupy.cuda.runtime.memGetInfo()[0] + cupy.get_default_memory_pool().free_bytes()
    if "rmm" in sys.modules:  # then CuPy's arrays come from the driver's pool, and its own one empties
        runtime = cupy.cuda.runtime
        pool = runtime.deviceGetDefaultMemPool(runtime.getDevice())
        reserved, used = runtime.cudaMemPoolAttrReservedMemCurrent, runtime.cudaMemPoolAttrUsedMemCurrent
        free += runtime.memPoolGetAttribute(pool, reserved) - runtime.memPoolGetAttribute(pool, used)
    return free


def give_back() -> None:
    """What kernels, libraries and the driver's pool keep of the GPU's memory for their next arrays, for all to have again."""
    for let_go in keepers:
        let_go()
    cupy, torch = sys.modules.get("cupy"), sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        torch.cuda.empty_cache()
    if cupy is not None:
        cupy.get_default_memory_pool().free_all_blocks()
        cupy.get_default_pinned_memory_pool().free_all_blocks()
        runtime = cupy.cuda.runtime
        runtime.deviceSynchronize()  # what is freed before that may still be in use
        runtime.memPoolTrimTo(runtime.deviceGetDefaultMemPool(runtime.getDevice()), 0)


def rapids(name: str, what: str) -> ModuleType:
    """A library of RAPIDS (cudf, cuml, nvforest, cuvs), for `what`; MissingExtra where it is not installed.

    cuDF gives CuPy and numba RMM's allocator, behind which there is a plain cudaMalloc, which waits for the GPU at every
    array. So RMM takes the driver's pool (cudaMallocAsync) first, the one that XGBoost can be told to take, too.
    """
    look_for([Need(what, name, "cuda13")])
    pool_for_rapids()
    return importlib.import_module(name)


def pool_for_rapids() -> None:
    """RMM's allocations from the driver's pool of this GPU, where RMM is installed and nobody chose otherwise."""
    if not installed("rmm"):
        return
    import cupy
    import rmm
    from cuda.bindings import runtime

    if rmm.mr.get_current_device_resource_type() is not rmm.mr.CudaMemoryResource:
        return
    give_back()  # what CuPy's own pool keeps is of no use any more
    device = cupy.cuda.runtime.getDevice()
    _, pool = runtime.cudaDeviceGetDefaultMemPool(device)
    cupy.cuda.runtime.memPoolSetAttribute(int(pool), cupy.cuda.runtime.cudaMemPoolAttrReleaseThreshold, ALL_OF_IT)
    rmm.mr.set_current_device_resource(rmm.mr.CudaAsyncViewMemoryResource(pool))

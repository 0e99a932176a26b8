"""XGBoost on a GPU: that it trained there, and memory which is quick to get."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager

from otto_gpu.errors import UserError


def check_device(model, device: str) -> None:
    """UserError where a model that should be trained on a GPU was not: XGBoost only warns, and goes on with the CPU."""
    if device != "cuda":
        return
    found = json.loads(model.save_config())["learner"]["generic_param"]["device"]
    if not found.startswith("cuda"):
        raise UserError(
            f"XGBoost sees no GPU and trained on {found}, not on cuda: python -m otto_gpu.device says what there is"
        )


@contextmanager
def driver_pool(device: str) -> Iterator[None]:
    """Meanwhile, on CUDA, XGBoost's memory comes from the driver's pool (XGBoost >= 3.2), which keeps what is freed until the
    end, for the next fold or round; then all that is free goes back, for CuPy and PyTorch."""
    import xgboost

    there = "use_cuda_async_pool" in xgboost.get_config() and xgboost.build_info().get("USE_CUDA")
    if device != "cuda" or not there:
        yield
        return
    from cupy.cuda import runtime

    pool, threshold = runtime.deviceGetDefaultMemPool(runtime.getDevice()), runtime.cudaMemPoolAttrReleaseThreshold
    before = runtime.memPoolGetAttribute(pool, threshold)
    runtime.memPoolSetAttribute(pool, threshold, 2**64 - 1)  # of free bytes that a synchronisation leaves in the pool
    try:
        with xgboost.config_context(use_cuda_async_pool=True):
            yield
    finally:
        runtime.memPoolSetAttribute(pool, threshold, before)
        runtime.memPoolTrimTo(pool, before)

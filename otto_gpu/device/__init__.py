"""cuda or cpu, chosen once; everything that differs between the two hangs on the Device.

`python -m otto_gpu.device` says what there is for CUDA, what is missing and how to install it.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from otto_gpu.arrays import moved
from otto_gpu.errors import UserError

INSTALL = "pip install 'otto_gpu[cuda13]' (or [cuda12], as the driver's CUDA version), or the environment.yml of the project"

THREADS = 128  # of a block
WARP = 32  # of a block where there are few threads in all: then every multiprocessor of a GPU gets some
FEW = 1 << 15


@dataclass(frozen=True)
class Device:
    """kind: 'cpu' or 'cuda'; reason: why it was chosen, for people."""

    kind: Literal["cpu", "cuda"]
    reason: str

    def frames(self, spill: bool = False):
        """The data frame module: pandas or cudf. spill: cuDF may move buffers to the host's memory; for all that follows."""
        if self.kind == "cpu":
            return importlib.import_module("pandas")
        cudf = importlib.import_module("cudf")
        if spill:
            cudf.set_option("spill", True)
        return cudf

    def arrays(self):
        """The array module: numpy or cupy."""
        return importlib.import_module("cupy" if self.kind == "cuda" else "numpy")

    def bring(self, thing):
        """The thing (an array, or a dataclass, dict or tuple of them) with its arrays where this device computes; home() is
        the way back. On the CPU it is the same object."""
        return moved(thing, self.arrays().asarray) if self.kind == "cuda" else thing

    def free_memory(self) -> int | None:
        """Bytes of GPU memory that new arrays can have; None on the CPU, where chunks have fixed sizes."""
        return free_bytes() if self.kind == "cuda" else None

    def __str__(self) -> str:
        return f"{self.kind} ({self.reason})"


CPU = Device("cpu", "the default")


def choose_device(wanted: Literal["auto", "cpu", "cuda"] = "auto") -> Device:
    """auto takes CUDA if cudf, cupy and a visible GPU are all there. UserError if `cuda` is asked for and cannot be had."""
    if wanted == "cpu":
        return Device("cpu", "as asked")
    if wanted not in ("auto", "cuda"):
        raise UserError(f"unknown device {wanted!r}; known: auto, cpu, cuda")
    missing = _missing_for_cuda()
    if wanted == "cuda" or not missing:
        missing = "; ".join(filter(None, (missing, _xgboost_without_cuda())))
    if not missing:
        return Device("cuda", _gpu_name())
    if wanted == "cuda":
        raise UserError(f"device 'cuda': {missing}; {INSTALL}")
    return Device("cpu", missing)


@lru_cache(1)
def _missing_for_cuda() -> str:
    """What stands in the way of CUDA, or ''. Nothing is imported that is not there."""
    packages = [name for name in ("cudf", "cupy") if importlib.util.find_spec(name) is None]
    if packages:
        return f"{' and '.join(packages)} not installed"
    try:
        import cupy

        return "" if cupy.cuda.runtime.getDeviceCount() else "no GPU is visible"
    except Exception as error:  # a broken driver shows itself in many ways; all mean the same here
        return f"no usable GPU ({in_a_line(error)})"


@lru_cache(1)
def _xgboost_without_cuda() -> str:
    """'' if XGBoost can train on a GPU, or is not there: the rankers say so themselves."""
    if importlib.util.find_spec("xgboost") is None:
        return ""
    try:
        import xgboost

        return "" if xgboost.build_info().get("USE_CUDA") else "XGBoost is built without CUDA (pip uninstall xgboost-cpu first)"
    except Exception as error:
        return f"XGBoost cannot be loaded ({in_a_line(error)})"


def in_a_line(error: Exception) -> str:
    return ": ".join([type(error).__name__, *str(error).splitlines()[:1]])


def _gpu_name() -> str:
    import cupy

    return cupy.cuda.runtime.getDeviceProperties(0)["name"].decode()


def free_bytes() -> int:
    """The GPU's memory that nobody uses: the driver's, and what CuPy keeps for its next arrays."""
    import cupy

    return cupy.cuda.runtime.memGetInfo()[0] + cupy.get_default_memory_pool().free_bytes()


def cuda_kernel(body: Callable, scratch: tuple[str, ...] = (), names: list[str] | None = None) -> Callable:
    """A CUDA kernel out of a body that does one session, `body(s, *arguments)`, in plain Python or @njit.

    Returns launch(sessions, workers, *arguments): `workers` threads share the sessions 0..sessions-1. Arguments are
    arrays (on the device, or on the host, then copied there and back) and numbers, in the body's order. Of those named in
    `scratch` every thread gets a row of its own: they are arrays [workers, ...]. The body must not allocate. names: what the
    arguments are called, where the body takes them as *arguments.
    """
    from numba import cuda

    body = getattr(body, "py_func", body)
    names = list(inspect.signature(body).parameters)[1:] if names is None else names
    unknown = set(scratch) - set(names)
    if unknown:
        raise ValueError(f"{body.__name__} has no parameter {sorted(unknown)[0]!r}; it has {', '.join(names)}")
    given = ", ".join(f"{name}[worker]" if name in scratch else name for name in names)
    # numba's kernels take no *arguments: one of the body's own parameters is written for every body
    source = f"""
def kernel(sessions, workers, {", ".join(names)}):
    worker = cuda.grid(1)
    if worker < workers:
        for s in range(worker, sessions, workers):
            body(s, {given})
"""
    space = {"cuda": cuda, "body": cuda.jit(device=True)(body)}
    exec(source, space)
    kernel = cuda.jit(space["kernel"])

    def launch(sessions: int, workers: int, *arguments) -> None:
        if sessions:
            block = min(workers, WARP if workers < FEW else THREADS)
            kernel[-(-workers // block), block](sessions, workers, *arguments)

    launch.kernel = kernel
    return launch

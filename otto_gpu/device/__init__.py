"""cuda or cpu, chosen once; everything that differs between the two hangs on the Device.

`python -m otto_gpu.device` says what there is for CUDA, what is missing and how to install it.
"""

from __future__ import annotations

import importlib
import sys
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from otto_gpu.device.memory import free_bytes, give_back, pool_for_rapids, rapids
from otto_gpu.errors import UserError
from otto_gpu.needs import installed

NEEDED = {"cupy": "cupy", "numba-cuda": "numba_cuda"}  # packages, and the modules that show them
INSTALL = "pip install 'otto_gpu[cuda13]' (or [cuda12], as the driver's CUDA version), or the environment.yml of the project"


@dataclass(frozen=True)
class Device:
    """kind: 'cpu' or 'cuda'; reason: why it was chosen, for people."""

    kind: Literal["cpu", "cuda"]
    reason: str

    def frames(self, spill: bool = False):
        """The data frame module: pandas or cudf. spill: cuDF may move buffers to the host's memory; for all that follows.

        With cuDF all new arrays come from the driver's pool (memory.rapids). MissingExtra where it is not installed.
        """
        if self.kind == "cpu":
            return importlib.import_module("pandas")
        cudf = rapids("cudf", "engine 'selfmerge' on cuda")
        if spill:
            cudf.set_option("spill", True)
        return cudf

    def arrays(self):
        """The array module: numpy or cupy."""
        return importlib.import_module("cupy" if self.kind == "cuda" else "numpy")

    def to_device(self, thing):
        """The thing (an array, or a dataclass, dict or tuple of them) with its arrays where this device computes; to_host() is
        the way back. On the CPU it is the same object."""
        if self.kind == "cpu":
            return thing
        from otto_gpu.device.arrays import to_gpu  # NumPy comes with it: the package's own import stays light

        return to_gpu(thing)

    def free_memory(self) -> int | None:
        """Bytes of GPU memory that new arrays can have; None on the CPU, where chunks have fixed sizes."""
        return free_bytes() if self.kind == "cuda" else None

    def give_back(self) -> None:
        """At the end of a stage: what libraries keep of the GPU's memory, for the libraries of the next one."""
        if self.kind == "cuda":
            give_back()

    def __str__(self) -> str:
        return f"{self.kind} ({self.reason})"


CPU = Device("cpu", "the default")


def choose_device(wanted: Literal["auto", "cpu", "cuda"] = "auto") -> Device:
    """auto takes CUDA if cupy, numba-cuda with NVVM and a visible GPU are all there. UserError if `cuda` is asked for and
    cannot be had."""
    if wanted == "cpu":
        return Device("cpu", "as asked")
    if wanted not in ("auto", "cuda"):
        raise UserError(f"unknown device {wanted!r}; known: auto, cpu, cuda")
    missing = missing_for_cuda()
    if wanted == "cuda" or not missing:
        missing = "; ".join(filter(None, (missing, _xgboost_without_cuda())))
    if not missing:
        if "cudf" in sys.modules:  # the caller's: its frames came first
            pool_for_rapids()
        return Device("cuda", _gpu_name())
    if wanted == "cuda":
        raise UserError(f"device 'cuda': {missing}; {INSTALL}")
    return Device("cpu", missing)


@lru_cache(1)
def missing_for_cuda() -> str:
    """What stands in the way of CUDA, or ''. Nothing is imported that is not there."""
    packages = [name for name, module in NEEDED.items() if not installed(module)]
    if packages:
        return f"{' and '.join(packages)} not installed"
    try:
        import cupy

        if not cupy.cuda.runtime.getDeviceCount():
            return "no GPU is visible"
    except Exception as error:  # a broken driver shows itself in many ways; all mean the same here
        return f"no usable GPU ({in_a_line(error)})"
    try:
        nvvm()
    except Exception as error:
        return f"numba-cuda finds no NVVM ({in_a_line(error)})"
    return ""


def nvvm() -> str:
    """The file of NVVM, with which numba-cuda compiles. Whatever cuda-pathfinder raises where it finds none."""
    from cuda.pathfinder import load_nvidia_dynamic_lib

    return str(load_nvidia_dynamic_lib("nvvm").abs_path)


@lru_cache(1)
def _xgboost_without_cuda() -> str:
    """'' if XGBoost can train on a GPU, or is not there: the rankers say so themselves."""
    if not installed("xgboost"):
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

"""cuda or cpu, chosen once; everything that differs between the two hangs on the Device."""

from __future__ import annotations

import importlib
import importlib.util
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from otto_gpu.errors import UserError

INSTALL = "pip install 'otto_gpu[cuda13]' (or [cuda12], as the driver's CUDA version), or the environment.yml of the project"


@dataclass(frozen=True)
class Device:
    """kind: 'cpu' or 'cuda'; reason: why it was chosen, for people."""

    kind: Literal["cpu", "cuda"]
    reason: str

    def frames(self):
        """The data frame module: pandas or cudf."""
        return importlib.import_module("cudf" if self.kind == "cuda" else "pandas")

    def __str__(self) -> str:
        return f"{self.kind} ({self.reason})"


def choose_device(wanted: Literal["auto", "cpu", "cuda"] = "auto") -> Device:
    """auto takes CUDA if cudf, cupy and a visible GPU are all there. UserError if `cuda` is asked for and cannot be had."""
    if wanted == "cpu":
        return Device("cpu", "as asked")
    if wanted not in ("auto", "cuda"):
        raise UserError(f"unknown device {wanted!r}; known: auto, cpu, cuda")
    missing = _missing_for_cuda()
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
        return f"no usable GPU ({type(error).__name__}: {str(error).splitlines()[0]})"


def _gpu_name() -> str:
    import cupy

    return cupy.cuda.runtime.getDeviceProperties(0)["name"].decode()

"""What this machine has for `--device cuda`, and what it lacks: `python -m otto_gpu.device`."""

from __future__ import annotations

import ctypes
import importlib
import importlib.util
import subprocess
import warnings
from collections.abc import Callable
from types import ModuleType

from otto_gpu.device import INSTALL, NEEDED, choose_device, in_a_line, missing_for_cuda, nvvm

# name: (module, what its build can do)
OPTIONAL: dict[str, tuple[str, Callable[[ModuleType], str]]] = {
    "xgboost": ("xgboost", lambda m: "with CUDA" if m.build_info().get("USE_CUDA") else "without CUDA"),
    "lightgbm": ("lightgbm", lambda m: "trains on the CPU"),
    "torch": ("torch", lambda m: _torch(m)),
    "faiss": ("faiss", lambda m: "with GPU" if hasattr(m, "StandardGpuResources") else "CPU only"),
    "cuvs": ("cuvs", lambda m: ""),
    "nvforest": ("nvforest", lambda m: ""),
    "rmm": ("rmm", lambda m: ""),
    "cudf": ("cudf", lambda m: ""),
    "dask-cuda": ("dask_cuda", lambda m: ""),
    "cuml": ("cuml", lambda m: ""),
}
MISSING = "not installed"
CAPABILITY = (9, 0)  # what a kernel is compiled for where there is no GPU: an H100


def package(module: str, ability: Callable[[ModuleType], str]) -> str:
    """Version and ability of an installed package, or what is wrong with it. What is absent is not imported."""
    try:
        if importlib.util.find_spec(module) is None:
            return MISSING
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = importlib.import_module(module)
            return " ".join(filter(None, (str(getattr(found, "__version__", "unknown version")), ability(found))))
    except Exception as error:  # a package that does not fit the driver shows it in many ways
        return f"broken: {in_a_line(error)}"


def _torch(torch: ModuleType) -> str:
    if not torch.version.cuda:
        return "without CUDA"
    return f"with CUDA {torch.version.cuda}" + ("" if torch.cuda.is_available() else ", sees no GPU")


def found_nvvm() -> str:
    """Where NVVM lies, or why not."""
    try:
        return nvvm()
    except Exception as error:
        return f"broken: {in_a_line(error)}"


def kernel(gpu: bool) -> str:
    """Whether a kernel of one line compiles, and runs where there is a GPU: that the packages fit each other and the driver."""
    try:
        from numba import cuda, int64, void

        def three(out):
            out[0] = 3

        if not gpu:
            cuda.compile_ptx(three, void(int64[:]), cc=CAPABILITY)
            return f"compiles for sm_{CAPABILITY[0]}{CAPABILITY[1]}; nothing here to run it"
        import cupy

        out = cupy.zeros(1, "int64")
        with warnings.catch_warnings():  # of a grid so small
            warnings.simplefilter("ignore")
            cuda.jit(three)[1, 1](out)  # not one that lies on the disk
        return "compiles and runs" if int(out[0]) == 3 else "broken: it runs, and writes nothing"
    except Exception as error:
        return f"broken: {in_a_line(error)}"


def gpus() -> list[str]:
    """One line per GPU: name, memory in all and free, driver."""
    query = ["nvidia-smi", "--query-gpu=name,memory.total,memory.free,driver_version", "--format=csv,noheader,nounits"]
    try:
        shown = subprocess.run(query, capture_output=True, text=True, timeout=30, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return []
    rows = [[part.strip() for part in line.split(",")] for line in shown.splitlines()]
    return [f"{r[0]}, {r[1]} MiB, {r[2]} MiB free, driver {r[3]}" for r in rows if len(r) == 4]


def driver_cuda() -> tuple[int, int] | None:
    """The newest CUDA that the driver runs, as (major, minor); None without a driver."""
    version = ctypes.c_int()
    try:
        failed = ctypes.CDLL("libcuda.so.1").cuDriverGetVersion(ctypes.byref(version))
    except (OSError, AttributeError):
        return None
    return None if failed or not version.value else (version.value // 1000, version.value % 1000 // 10)


def install_line(cuda: tuple[int, int] | None, xgboost: str) -> str:
    """What brings the missing packages. Two builds of XGBoost would share one folder: the wrong one goes first."""
    if cuda is None:
        return f"NVIDIA's driver for CUDA 12 or 13 first, then {INSTALL}"
    if cuda[0] < 12:
        return f"a newer driver first, for CUDA 12 or 13, then {INSTALL}"
    first = "pip uninstall -y xgboost xgboost-cpu && " if xgboost.endswith("without CUDA") else ""
    return f"{first}pip install 'otto_gpu[cuda{min(cuda[0], 13)}]'"


def report() -> str:
    """Some lines for people."""
    found, cuda = gpus(), driver_cuda()
    needed = {name: package(module, lambda m: "") for name, module in NEEDED.items()}
    if not any(map(_bad, needed.values())):
        needed["NVVM"] = found_nvvm()
        needed["kernel"] = kernel(
            gpu=not missing_for_cuda()
        )  # before the others, some of which change numba's and CuPy's memory
    optional = {name: package(*how) for name, how in OPTIONAL.items()}
    lacking = [name for name, text in needed.items() if _bad(text)]
    lacking += [name for name in ("xgboost",) if optional[name].endswith("without CUDA")]
    lacking = [*([] if found else ["a GPU that nvidia-smi shows"]), *lacking]
    version = ".".join(map(str, cuda)) if cuda else "no driver"
    rows = [("device", f"auto takes {choose_device('auto')}"), *(("GPU", line) for line in found or ["none found"])]
    rows += [("CUDA", f"{version}{' (the newest that the driver runs)' if cuda else ''}"), *needed.items()]
    rows += [(name, f"{text} (optional)") for name, text in optional.items()]
    rows += [("missing", ", ".join(lacking) or "nothing")]
    if lacking:
        rows += [("install", install_line(cuda, optional["xgboost"]))]
    return "\n".join(f"{name:<11} {text}" for name, text in rows)


def _bad(text: str) -> bool:
    return text == MISSING or text.startswith("broken")

"""What the machine is: the GPU, versions, and how fast bytes are copied."""

from __future__ import annotations

import subprocess
import sys

import numpy as np

from benchmarks.gpu_steps.step import Bench
from otto_gpu.device.kernel import Kernel
from otto_gpu.device.report import driver_cuda, gpus

PROPERTIES = (
    "name", "major", "minor", "multiProcessorCount", "totalGlobalMem", "l2CacheSize", "sharedMemPerBlock",
    "sharedMemPerBlockOptin", "sharedMemPerMultiprocessor", "regsPerMultiprocessor", "pciBusID",
)  # fmt: skip


def on(bench: Bench) -> None:
    bench.part("device", device, bench)
    bench.part("first kernel", first_kernel, bench)
    bench.part("copies", copies, bench)


def beside(bench: Bench) -> None:
    bench.part("report", report)


def report() -> dict:
    """Of a process of its own: it loads every package, and some change what others do."""
    done = subprocess.run([sys.executable, "-m", "otto_gpu.device"], capture_output=True, text=True, timeout=90, check=False)
    return {"ok": done.returncode == 0, "lines": (done.stdout + done.stderr).splitlines()[-40:]}


def device(bench: Bench) -> dict:
    """nvidia-smi's lines, the newest CUDA of the driver and the runtime's properties."""
    found = {"nvidia_smi": gpus(), "driver_cuda": driver_cuda()}
    if bench.device.kind == "cuda":
        runtime = bench.device.arrays().cuda.runtime
        of = runtime.getDeviceProperties(0)
        shown = {name: of[name] for name in PROPERTIES if name in of}
        found["properties"] = {n: v.decode() if isinstance(v, bytes) else v for n, v in shown.items()}
        found["runtime"], found["free_bytes"] = runtime.runtimeGetVersion(), runtime.memGetInfo()[0]
    return found


def first_kernel(bench: Bench) -> dict:
    """Seconds to find the compiler, compile and run."""
    xp = bench.device.arrays()
    out = xp.zeros(64, np.int64)
    timing, _ = bench.timed(lambda: Kernel(_count, _own_number)(xp.arange(65), out), 1)
    return {"ok": bool((out == xp.arange(64)).all()), **timing}


def _own_number(s, rows, out):
    out[s] = rows[s]


def _count(rows, out):
    for s in range(len(out)):
        _own_number(s, rows, out)


def copies(bench: Bench) -> dict:
    """GB/s: into the device's memory and back, of pageable and of pinned memory of the host, and within the device."""
    xp, n = bench.device.arrays(), bench.sizes.copied
    there, other = xp.zeros(n, np.uint8), xp.zeros(n, np.uint8)
    found = {}
    for name, host in {"pageable": np.ones(n, np.uint8), "pinned": _pinned(bench, n)}.items():
        found[f"{name}_in"] = _rate(bench, n, lambda host=host: _send(host, there))
        found[f"{name}_back"] = _rate(bench, n, lambda host=host: _back(there, host))
    found["within"] = _rate(bench, 2 * n, lambda: other.__setitem__(slice(None), there))  # read and written
    return {"gb_per_s": found, "ok": bool((other == 1).all())}


def _rate(bench: Bench, n: int, copy) -> float:
    timing, _ = bench.timed(copy, 3)
    return round(n / timing["min_s"] / 1e9, 2)


def _pinned(bench: Bench, n: int) -> np.ndarray:
    if bench.device.kind == "cpu":
        return np.ones(n, np.uint8)
    import cupyx

    host = cupyx.empty_pinned(n, np.uint8)
    host.fill(1)
    return host


def _send(host: np.ndarray, there) -> None:
    there.set(host) if hasattr(there, "set") else np.copyto(there, host)


def _back(there, host: np.ndarray) -> None:
    there.get(out=host) if hasattr(there, "get") else np.copyto(host, there)

"""The device's half of the steps in numba's simulator, on what the other half left in a folder:
`python -m tests.benchmarks.simulated_steps FOLDER` prints {step: {part: record}} as its last line."""

import json
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np

from benchmarks.gpu_steps import STEPS
from benchmarks.gpu_steps.step import GPU, Bench
from otto_gpu.device import Device, arrays, kernel
from tests.benchmarks.test_gpu import TINY
from tests.device import cupy_on_numpy

SIMULATED = ("machine", "kernels", "rules", "sessions")


def stand_in() -> None:
    """What steps ask of CuPy besides arrays."""
    cupy_on_numpy.install()
    runtime = sys.modules["cupy"].cuda.runtime
    runtime.deviceSynchronize = lambda: None
    runtime.getDeviceProperties = lambda number: {"name": b"simulated", "multiProcessorCount": 1}
    runtime.runtimeGetVersion = lambda: 13000
    sys.modules["cupyx"] = SimpleNamespace(empty_pinned=np.empty)
    Device.give_back = lambda self: None
    arrays.PIECE, kernel.MOST_WORKERS = 1 << 12, 8  # threads take the simulator long


def main() -> None:
    stand_in()
    found: dict[str, dict] = {}
    for name in SIMULATED:
        parts = found[name] = {}
        bench = Bench(Device("cuda", "numba's simulator"), GPU, TINY, Path(sys.argv[1]), parts.__setitem__, name)
        STEPS[name].on(bench)
    print(json.dumps(found))


if __name__ == "__main__":
    main()

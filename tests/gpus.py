"""What tests marked `gpu` need."""

import pytest

from otto_gpu.device import Device, missing_for_cuda
from otto_gpu.device.report import MISSING, OPTIONAL, package


def a_gpu(*needs: str) -> Device:
    """The GPU, or a skip with the reason. needs: what the test takes beside, by the names of `python -m otto_gpu.device`."""
    if missing := missing_for_cuda():
        pytest.skip(missing)
    for name in needs:
        found = package(*OPTIONAL[name])
        if found == MISSING or found.startswith("broken") or found.endswith(("without CUDA", "sees no GPU", "CPU only")):
            pytest.skip(f"{name}: {found}")
    return Device("cuda", "for a test")

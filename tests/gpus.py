"""What tests marked `gpu` need."""

import pytest

from otto_gpu.device import Device, choose_device
from otto_gpu.errors import UserError


def a_gpu() -> Device:
    """The GPU, or a skip with the reason."""
    try:
        return choose_device("cuda")
    except UserError as error:
        pytest.skip(str(error))

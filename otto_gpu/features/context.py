"""Family `context`: what the log says of the session's last event besides its item, time and type."""

from __future__ import annotations

import numpy as np

from otto_gpu.device.arrays import spread
from otto_gpu.features.families import Column, Spec

NAME = "context"


def columns(spec: Spec) -> list[Column]:
    codes = {
        name: Column(f"context_{name}", NAME, "int32", f"{name} of the session's last event, -1: unknown", categorical=True)
        for name in spec.context_codes
    }
    numbers = {
        name: Column(f"context_{name}", NAME, "float32", f"{name} of the session's last event, nan: unknown")
        for name in spec.context_numbers
    }
    return list((codes | numbers).values())


def compute(chunk, out: np.ndarray) -> None:
    """A new session may come without the columns of the run's log: unknown."""
    there, pointer = chunk.histories.context, chunk.candidates.pointer
    missing = dict.fromkeys(chunk.spec.context_codes, -1) | dict.fromkeys(chunk.spec.context_numbers, np.nan)
    for i, (name, unknown) in enumerate(missing.items()):
        out[:, i] = spread(there[name], pointer) if name in there else unknown

"""The one place that chooses the engine of a matrix."""

from __future__ import annotations

from typing import Literal

from otto_gpu.cooccurrence.matrix import Matrix
from otto_gpu.cooccurrence.rule import MatrixRule
from otto_gpu.device import Device, choose_device
from otto_gpu.errors import UserError
from otto_gpu.events.log import EventLog

ENGINES = ("auto", "rowwise", "pairs", "selfmerge")


def build_matrix(
    log: EventLog,
    rule: MatrixRule,
    engine: Literal["auto", "rowwise", "pairs", "selfmerge"] = "auto",
    device: Device | Literal["auto", "cpu", "cuda"] = "auto",
    spill: bool = False,
) -> Matrix:
    """The top-k neighbours of every item of the log under one rule.

    auto: `rowwise` (numba, no pair table) on the CPU, `pairs` (CuPy and kernels) on CUDA. `pairs` runs on NumPy and numba
    on the CPU, `selfmerge` on cuDF or pandas; spill: cuDF may move what does not fit into GPU memory to the host's.
    """
    device = choose_device(device) if isinstance(device, str) else device
    if engine == "auto":
        engine = "pairs" if device.kind == "cuda" else "rowwise"
    if engine == "rowwise":
        if device.kind == "cuda":
            raise UserError("engine 'rowwise' runs on the CPU only; on CUDA use engine 'pairs' (or device 'cpu')")
        from otto_gpu.cooccurrence import rowwise

        return rowwise.build(log, rule)
    if engine == "pairs":
        from otto_gpu.cooccurrence import pairs

        return pairs.build(log, rule, device)
    if engine == "selfmerge":
        from otto_gpu.cooccurrence import selfmerge

        return selfmerge.build(log, rule, device, spill=spill)
    raise UserError(f"unknown engine {engine!r}; known: {', '.join(ENGINES)}")

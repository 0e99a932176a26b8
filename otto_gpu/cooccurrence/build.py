"""The one place that chooses the engine of a matrix."""

from __future__ import annotations

from typing import Literal

from otto_gpu.cooccurrence.matrix import Matrix
from otto_gpu.cooccurrence.rule import MatrixRule
from otto_gpu.device import Device, choose_device
from otto_gpu.errors import UserError
from otto_gpu.events.log import EventLog

ENGINES = ("auto", "rowwise", "selfmerge")


def build_matrix(
    log: EventLog,
    rule: MatrixRule,
    engine: Literal["auto", "rowwise", "selfmerge"] = "auto",
    device: Device | Literal["auto", "cpu", "cuda"] = "auto",
) -> Matrix:
    """The top-k neighbours of every item of the log under one rule.

    auto: `rowwise` (numba, no pair table) on the CPU, `selfmerge` (cuDF) on CUDA. `selfmerge` on the CPU runs on pandas.
    """
    device = choose_device(device) if isinstance(device, str) else device
    if engine == "auto":
        engine = "selfmerge" if device.kind == "cuda" else "rowwise"
    if engine == "rowwise":
        if device.kind == "cuda":
            raise UserError("engine 'rowwise' runs on the CPU only; on CUDA use engine 'selfmerge' (or device 'cpu')")
        from otto_gpu.cooccurrence import rowwise

        return rowwise.build(log, rule)
    if engine == "selfmerge":
        from otto_gpu.cooccurrence import selfmerge

        return selfmerge.build(log, rule, device.frames())
    raise UserError(f"unknown engine {engine!r}; known: {', '.join(ENGINES)}")

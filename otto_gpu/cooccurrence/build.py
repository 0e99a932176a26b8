"""The one place that chooses the engine of a matrix."""

from __future__ import annotations

from typing import Literal, get_args

from otto_gpu.cooccurrence.matrix import Matrix
from otto_gpu.cooccurrence.rule import MatrixRule
from otto_gpu.cooccurrence.settings import Engine
from otto_gpu.device import Device, choose_device
from otto_gpu.errors import UserError
from otto_gpu.events.log import EventLog
from otto_gpu.events.settings import MOST_EVENTS


def build_matrix(
    log: EventLog, rule: MatrixRule, engine: Engine = "auto", device: Device | Literal["auto", "cpu", "cuda"] = "auto",
    spill: bool = False, on_host: bool = True, most_events: int | None = MOST_EVENTS,
) -> Matrix:  # fmt: skip
    """The top-k neighbours of every item of the log under one rule.

    auto: `rowwise` (numba, no pair table) on the CPU; on CUDA `rows` (a block of threads an item, no pair either) where it does
    the rule and the GPU's memory holds the log, else `pairs` (every pair is written, sorted and added up), which also runs on
    NumPy and numba. `selfmerge` runs on cuDF or pandas; spill: cuDF may move what does not fit into GPU memory to the host's.
    on_host: False: the matrix may still lie on the device. most_events: of longer sessions only their newest events count,
    whatever the engine; None: all.
    """
    log = log.newest(most_events)
    device = choose_device(device) if isinstance(device, str) else device
    if engine == "auto":
        engine = _chosen(log, rule, device)
    if engine == "rowwise":
        if device.kind == "cuda":
            raise UserError("engine 'rowwise' runs on the CPU only; on CUDA use engine 'rows' (or device 'cpu')")
        from otto_gpu.cooccurrence import rowwise

        return rowwise.build(log, rule)
    if engine == "rows":
        if device.kind == "cpu":
            raise UserError("engine 'rows' runs on CUDA only; on the CPU use engine 'rowwise'")
        from otto_gpu.cooccurrence import rows

        if not rows.able(rule):
            raise UserError("engine 'rows' does no rule with which: closest or once_per: pair_and_type; use engine 'auto'")
        return rows.build(log, rule, device, on_host=on_host)
    if engine == "pairs":
        from otto_gpu.cooccurrence import pairs

        return pairs.build(log, rule, device)
    if engine == "selfmerge":
        from otto_gpu.cooccurrence import selfmerge

        return selfmerge.build(log, rule, device, spill=spill)
    raise UserError(f"unknown engine {engine!r}; known: {', '.join(get_args(Engine))}")


def _chosen(log: EventLog, rule: MatrixRule, device: Device) -> str:
    if device.kind == "cpu":
        return "rowwise"
    from otto_gpu.cooccurrence import rows

    return "rows" if rows.able(rule) and rows.fits(log, device) else "pairs"

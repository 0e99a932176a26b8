"""The process that does one half of the steps after the other; what it prints goes into a log of its own."""

from __future__ import annotations

import faulthandler
import multiprocessing
import os
import signal
import threading
import traceback
from pathlib import Path

import numpy as np

from benchmarks.gpu_steps.step import CPU, GPU, SAME, Bench, Sizes, Step, kept
from otto_gpu.device import Device, in_a_line


def work(connection, device: Device, sizes: Sizes, folder: Path, log: Path) -> None:
    """Does (step's name, half, parts that are done) as they come, and sends (part, record) and, at the end of each, None and
    what went wrong outside of its parts, or None."""
    os.setsid()  # with what it starts it is ended as one
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for stream in (1, 2):
        os.dup2(file, stream)
    faulthandler.enable()
    faulthandler.register(signal.SIGUSR1, all_threads=True)  # where it hangs
    threading.Thread(target=_end_with_the_parent, daemon=True).start()
    from benchmarks.gpu_steps import STEPS

    while True:
        try:
            name, half, done = connection.recv()
        except EOFError:
            return
        print(f"== {name}, {half}", flush=True)
        bench = Bench(device, half, sizes, folder, lambda *told: connection.send(told), name, frozenset(done))
        try:
            {GPU: STEPS[name].on, CPU: STEPS[name].beside, SAME: lambda bench: _compare(bench, STEPS[name])}[half](bench)
            wrong = None
        except Exception as error:
            traceback.print_exc()
            wrong = in_a_line(error)
        bench.release()
        connection.send((None, wrong))


def _compare(bench: Bench, step: Step) -> None:
    ours, theirs = (kept(bench.folder, step.name, half) for half in (GPU, CPU))
    for path in sorted(ours.glob("*.npz")):
        other = theirs / f"{step.against(path.stem)}.npz"
        if other.exists():
            bench.part(path.stem, _compared, step, path, other)


def _compared(step: Step, ours: Path, theirs: Path) -> dict:
    with np.load(ours) as one, np.load(theirs) as other:
        return step.compare(dict(one), dict(other))


def _end_with_the_parent() -> None:
    multiprocessing.parent_process().join()
    os.killpg(0, signal.SIGKILL)

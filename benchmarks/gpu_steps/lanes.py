"""Two long-lived processes, one for the device and one for the CPU, do the halves of the steps side by side.

A process that passes a limit, or dies, is ended with what it started, and a fresh one goes on: with the next part of the step
or, where the step's own time is over, with the next step. The half that is over last compares.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from multiprocessing.connection import wait
from pathlib import Path

from benchmarks.gpu_steps.step import CPU, GPU, LOST, SAME, Sizes, Step
from benchmarks.gpu_steps.worker import work
from otto_gpu.device import Device

COMPARING, BESIDE = 20, 60  # seconds at most, of a comparison and of a half on the CPU, which may have kernels to compile
TAIL = 3000  # characters of a log that are kept where something broke
CONTEXT = multiprocessing.get_context("spawn")


@dataclass
class Task:
    """One half of a step. record: {"parts": {name: record}, "seconds", and "error" or "skipped"}."""

    step: Step
    half: str
    record: dict
    began: float = 0.0
    ends: float = 0.0
    part: str | None = None
    part_began: float = 0.0
    patience: float = 1.0  # times all limits

    @property
    def limit(self) -> float:
        return self.patience * {GPU: self.step.limit, CPU: BESIDE, SAME: COMPARING}[self.half]

    @property
    def each(self) -> float:
        return self.patience * self.step.each if self.half == GPU else self.limit


class Lane:
    """half: GPU or CPU; what it has to do is `queue`, of which it takes the first that may begin."""

    def __init__(self, half: str, device: Device, queue: list[Task], sizes: Sizes, folder: Path):
        self.half, self.queue, self.task = half, queue, None
        self.log = folder / f"{half}.log"
        self._start = (device, sizes, folder, self.log)
        self._shared = device.kind == "cuda"  # what changes a GPU's allocator changes it for all
        self.process = self.connection = None

    def begin(self, task: Task, left: float) -> None:
        """left: seconds that remain of everything. A task may take its limit, and what those before it did not need."""
        if self.process is not None and (not self.process.is_alive() or (task.step.alone and self._shared)):
            self.end()
        if self.process is None:
            self.connection, theirs = CONTEXT.Pipe()
            self.process = CONTEXT.Process(target=work, args=(theirs, *self._start))
            self.process.start()
            theirs.close()
        now, spare = time.monotonic(), left - sum(later.limit for later in self.queue)
        task.began = task.began or now
        task.ends = task.ends or now + min(max(task.limit, spare), left)
        self.task, task.part = task, None
        self.connection.send((task.step.name, task.half, list(task.record["parts"])))

    def hear(self) -> Task | None:
        """Takes down what the process says; the task, if it is over."""
        task = self.task
        try:
            while task and self.connection.poll():
                part, told = self.connection.recv()
                if part is None:
                    return self._over(told)
                task.part, task.part_began = (part, time.monotonic()) if told is None else (None, 0.0)
                if told is not None:
                    task.record["parts"][part] = told
        except (EOFError, OSError):
            self.process.join(5)
            code = self.process.exitcode
            if code == LOST and task.part is None and task.record["parts"]:  # the part itself said what went wrong
                return self._broken("the GPU answered no more", again=True)
            return self._broken(f"its process ended with {code}")
        now = time.monotonic()
        if task and (now > task.ends or (task.part and now > task.part_began + task.each)):
            return self._broken(f"ended after {now - (task.part_began or task.began):.0f} s")
        return None

    def _broken(self, why: str, again: bool = False) -> Task | None:
        """The process is no more; the task goes on with its next part, if it was in one and has time left."""
        task, now = self.task, time.monotonic()
        self.end()
        if task.part:
            told = {"error": why, "seconds": round(now - task.part_began, 3), "log": tail(self.log)}
            task.record["parts"][task.part] = {"ok": False, **told}
        if (task.part or again) and now + 1 < task.ends:
            self.begin(task, task.ends - now)
            return None
        return self._over(why)

    def _over(self, wrong: str | None) -> Task:
        task, self.task = self.task, None
        task.record["seconds"] = round(time.monotonic() - task.began, 1)
        task.record |= {"error": wrong, "log": tail(self.log)} if wrong else {}
        if task.step.alone and self._shared:
            self.end()
        return task

    def end(self) -> None:
        """Ends the process and what it started."""
        if self.process is None:
            return
        if self.process.is_alive() and self.task:
            with suppress(ProcessLookupError):
                os.kill(self.process.pid, signal.SIGUSR1)  # the log says where it was
            time.sleep(0.2)
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.kill()
        self.process.join()
        self.connection.close()
        self.process = self.connection = None


def tail(log: Path) -> list[str]:
    """A log's last lines."""
    return log.read_text(errors="replace")[-TAIL:].splitlines() if log.exists() else []


def run(
    steps: list[Step], device: Device, sizes: Sizes, folder: Path, budget: float, told: Callable[[dict, str, str], None],
    patience: float = 1.0,
) -> dict[str, dict]:  # fmt: skip
    """{step: {half: record, "date": UTC}}. folder: for what the halves hand to each other, and their logs. budget: seconds.
    told(what is there so far, step, half) after each half. patience: times the steps' limits."""
    found: dict[str, dict] = {}
    began = time.monotonic()

    def tasks(half: str, has: Callable[[Step], object]) -> list[Task]:
        return [Task(step, half, {"parts": {}}, patience=patience) for step in steps if has(step)]

    lanes = [
        Lane(GPU, device, tasks(GPU, lambda step: step.on), sizes, folder),
        Lane(CPU, Device("cpu", "beside"), tasks(CPU, lambda step: step.beside), sizes, folder),
    ]
    open_ = {(task.step.name, task.half) for lane in lanes for task in lane.queue}

    def over(task: Task, lane: Lane) -> None:
        name = task.step.name
        found.setdefault(name, {"date": datetime.now(UTC).isoformat(timespec="seconds")})[task.half] = task.record
        open_.discard((name, task.half))
        both = task.half != SAME and not {(name, GPU), (name, CPU)} & open_
        if both and task.step.compare and "skipped" not in task.record:
            lane.queue.insert(0, Task(task.step, SAME, {"parts": {}}, patience=patience))
        told(found, name, task.half)

    def next_of(lane: Lane) -> Task | None:
        for task in list(lane.queue):
            left = began + budget - time.monotonic()
            if task.half == GPU and any((name, CPU) in open_ for name in task.step.after):
                continue
            lane.queue.remove(task)
            if left < min(task.limit, budget) / 2:
                task.record |= {"skipped": f"{max(left, 0):.0f} s are left, it may take {task.limit:.0f}"}
                over(task, lane)
                continue
            return task
        return None

    try:
        while any(lane.task or lane.queue for lane in lanes):
            for lane in lanes:
                if lane.task is None and (task := next_of(lane)):
                    lane.begin(task, began + budget - time.monotonic())
            wait([lane.connection for lane in lanes if lane.task], 0.2)
            for lane in lanes:
                if lane.task and (task := lane.hear()):
                    over(task, lane)
    finally:
        for lane in lanes:
            lane.end()
    return found

"""The stage `matrices`: every rule for every period."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from otto_gpu.cooccurrence.build import build_matrix
from otto_gpu.cooccurrence.matrix import Matrix
from otto_gpu.cooccurrence.settings import MatricesConfig
from otto_gpu.device import Device
from otto_gpu.events import long_sessions
from otto_gpu.events.log import EventLog
from otto_gpu.events.stage import SPLITS, load_period
from otto_gpu.run.directory import write_atomically
from otto_gpu.run.progress import Reporter
from otto_gpu.run.workers import IN_PROCESS, BackgroundCalls, Shared, Workers

WRITERS = 4  # where a GPU makes matrices faster than one thread writes them


@dataclass(frozen=True)
class _Logs(Shared):
    folder: Path
    run_dir: Path
    config: MatricesConfig
    device: Device
    writers: int  # threads that write one matrix while the GPU makes the next

    @cached_property
    def beside(self) -> BackgroundCalls:
        return BackgroundCalls(self.writers)

    @cached_property
    def _one(self) -> dict[str, EventLog]:
        return {}

    def known(self, split: str) -> EventLog:
        """What is known in a period: the events before it and its histories, of each session the newest ones. One log at a time
        is in memory."""
        if split not in self._one:
            self._one.clear()
            self._one[split] = load_period(self.run_dir, split).known.newest(self.config.most_events)
        return self._one[split]


def run(
    folder: Path, run_dir: Path, config: MatricesConfig, device: Device, reporter: Reporter, workers: Workers = IN_PROCESS
) -> dict:
    """matrices/{split}/{rule}.parquet"""
    rows = 0
    tasks = [(split, name) for split in SPLITS for name in config.rules]
    for split in SPLITS:
        (folder / "matrices" / split).mkdir(parents=True, exist_ok=True)
    found = {s: _long_sessions(run_dir, s, config.most_events, reporter) for s in SPLITS}
    logs = _Logs(folder, run_dir, config, device, WRITERS if device.kind == "cuda" and workers is IN_PROCESS else 0)
    with reporter.work("matrices", "rules", len(tasks)) as work, logs.beside:
        for (split, name), made in workers.map(_build, logs, tasks):
            if made is not None:
                reporter.note(f"  matrices/{split}/{name}: {made:,} rows")
                rows += made
            work.advance()
    return {"rows": rows} | long_sessions.facts(found)


def _long_sessions(run_dir: Path, split: str, most: int | None, reporter: Reporter) -> dict:
    return long_sessions.tell(long_sessions.known_lengths(run_dir, split), most, run_dir, "matrices", split, reporter)


def _build(logs: _Logs, task: tuple[str, str]) -> int | None:
    """The rows of a matrix; None for one that is there."""
    split, name = task
    path = logs.folder / "matrices" / split / f"{name}.parquet"
    if path.exists():
        return None
    config = logs.config
    matrix = build_matrix(
        logs.known(split), config.rules[name], config.engine, logs.device, config.spill, on_host=False, most_events=None
    )
    logs.beside(_write, path, matrix)
    return len(matrix)


def _write(path: Path, matrix: Matrix) -> None:
    write_atomically(path, matrix.to_host().save)

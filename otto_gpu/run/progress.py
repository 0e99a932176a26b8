"""What a run tells while it works: bars in a terminal, plain lines elsewhere, everything in run.log."""

from __future__ import annotations

import io
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeRemainingColumn

PLAIN_EVERY = 10.0  # seconds between the lines of a long piece of work where there is no terminal


class Work:
    """One piece of work of known or unknown size: `advance` it as items get done."""

    def __init__(self, reporter: Reporter, name: str, unit: str, total: int | None, bar: Progress | None, task=None):
        self._reporter, self._name, self._unit, self._total = reporter, name, unit, total
        self._bar, self._task = bar, task
        self._began = self._spoke = time.monotonic()
        self.done = 0

    def advance(self, n: int = 1) -> None:
        self.done += n
        now = time.monotonic()
        rate = self.done / max(now - self._began, 1e-9)
        if self._bar is not None:
            self._bar.update(self._task, completed=self.done, rate=f"{rate:,.0f} {self._unit}/s")
        elif now - self._spoke >= PLAIN_EVERY:
            self._spoke = now
            left = f", {(self._total - self.done) / rate:,.0f} s left" if self._total and rate else ""
            of = f"/{self._total:,}" if self._total else ""
            self._reporter.say(f"  {self._name}: {self.done:,}{of} {self._unit}, {rate:,.0f}/s{left}")


class Reporter:
    """Speaks to the console and to the run's log file. quiet: to the log file only."""

    def __init__(self, log: Path | None = None, quiet: bool = False, console: Console | None = None):
        # where no terminal says how wide it is, a table may be as wide as it needs
        width = None if sys.stdout.isatty() else 200
        self.console = console or Console(file=sys.stdout, highlight=False, soft_wrap=True, width=width)
        self._log, self._quiet = log, quiet

    def log_to(self, path: Path) -> None:
        self._log = path

    def say(self, line: str, style: str | None = None) -> None:
        if not self._quiet:
            self.console.print(line, style=style, markup=False)
        self.note(line)

    def note(self, line: str) -> None:
        if self._log is not None:
            with self._log.open("a", encoding="utf-8") as file:
                file.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {line}\n")

    @contextmanager
    def work(self, name: str, unit: str, total: int | None = None) -> Iterator[Work]:
        if self._quiet or not self.console.is_terminal:
            yield Work(self, name, unit, total, None)
            return
        columns = (
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"),
            TimeRemainingColumn(),
        )
        with Progress(*columns, console=self.console, transient=True) as bar:
            yield Work(self, name, unit, total, bar, bar.add_task(f"  {name}", total=total, rate=""))

    def show(self, table) -> None:
        """A rich table, on the console and in the log."""
        if not self._quiet:
            self.console.print(table)
        # in a notebook Rich would show it there instead
        plain = Console(width=200, color_system=None, file=io.StringIO(), force_jupyter=False)
        plain.print(table)
        self.note("\n" + plain.file.getvalue().rstrip())

"""Who does the parts of a stage: this process, or the workers of a cluster (distributed.py).

A stage says what all its parts share and what is done with one of them; whoever does it, writes the part under its final name
in the stage's folder. So a part is the same bytes wherever it was made, and what is there is not made again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, as_completed, wait
from dataclasses import fields
from typing import Any, Protocol


class Shared:
    """Base of a dataclass: what the parts of a stage share.

    Its fields travel to the workers, so they are small: settings and folders. What it loads or makes of them (as a
    cached_property) does not: every process does so itself, once, where it first needs it.
    """

    def __getstate__(self) -> dict[str, Any]:
        return {f.name: getattr(self, f.name) for f in fields(self)}


class Workers(Protocol):
    def map(self, do: Callable, shared: Any, tasks: Iterable, at_once: int = 1) -> Iterator[tuple[Any, Any]]:
        """(task, do(shared, task)) as they get done, in any order; the first error ends it.

        do: a function of a module, that makes a part which is not there yet and returns little. at_once: how many of them a
        process that stands alone does side by side, in threads.
        """
        ...


class InProcess:
    """This process."""

    def map(self, do: Callable, shared: Any, tasks: Iterable, at_once: int = 1) -> Iterator[tuple[Any, Any]]:
        if at_once == 1:
            for task in tasks:
                yield task, do(shared, task)
            return
        with ThreadPoolExecutor(at_once) as pool:
            jobs = {pool.submit(do, shared, task): task for task in tasks}
            try:
                for job in as_completed(jobs):
                    yield jobs[job], job.result()
            finally:
                pool.shutdown(cancel_futures=True)


IN_PROCESS = InProcess()


class BackgroundCalls:
    """Calls that are done in threads of their own while whoever makes them goes on: results that a device has made are written
    while it makes the next. threads: so many calls are open at most, then one waits for one of them; 0: each is done at once.
    Their errors are raised by a later call, or at the end of the block."""

    def __init__(self, threads: int):
        self._threads, self._open = threads, set[Future]()
        self._pool = ThreadPoolExecutor(threads) if threads else None

    def __call__(self, do: Callable, *arguments) -> None:
        if self._pool is None:
            do(*arguments)
            return
        if len(self._open) == self._threads:
            self._settle(wait(self._open, return_when=FIRST_COMPLETED).done)
        self._open.add(self._pool.submit(do, *arguments))

    def _settle(self, done: set[Future]) -> None:
        self._open -= done
        for call in done:
            call.result()

    def __enter__(self) -> BackgroundCalls:
        return self

    def __exit__(self, error: type | None, *_) -> None:
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=error is not None)
            if error is None:
                self._settle(set(self._open))

"""Who does the parts of a stage: this process, or the workers of a cluster (distributed.py).

A stage says what all its parts share and what is done with one of them; whoever does it, writes the part under its final name
in the stage's folder. So a part is the same bytes wherever it was made, and what is there is not made again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
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


class Here:
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


HERE = Here()

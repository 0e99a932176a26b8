"""Every number of the configuration at the ends of what it may be: a run ends well, or in one line."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from pathlib import Path

from otto_gpu.config import load_config
from otto_gpu.errors import UserError
from tests.runs import small, write_config
from tests.trust.machine import Done, run

LARGE, SMALL = (2**53, 1e300), (0, 1, 5e-324)
MEMORY = 12 << 30  # bytes of addresses
RULE = {
    "keep": 5,
    "tail": 9,
    "since_days": 5.0,
    "gap_seconds": {"lo": 1.0, "hi": 9.0},
    "gap_positions": {"lo": 1, "hi": 9},
    "weight": {"half_life_hours": 1.0},
}
SETTINGS = small(60, matrices={"rules": {"mine": RULE}})


def numbers(values, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The paths of all numbers."""
    if isinstance(values, dict):
        for name, value in values.items():
            if path == () and name == "embeddings":  # nobody uses them here, so nothing of them runs
                continue
            if path not in (("matrices", "rules"), ("candidates", "recipes")) or name in ("mine", "clicks"):
                yield from numbers(value, (*path, str(name)))
    elif isinstance(values, (int, float)) and not isinstance(values, bool):
        yield path


def extremes() -> Iterator[str]:
    """`key=value` of everything that the schema lets through."""
    for path in numbers(load_config(SETTINGS).model_dump(mode="json")):
        for value in (*LARGE, *SMALL):
            change = f"{'.'.join(path)}={value}"
            try:
                load_config(SETTINGS, [change])
            except UserError:
                continue
            yield change


def tried(change: str, folder: Path) -> Done:
    """A run with one change, with an end to its memory."""
    limit = lambda: resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))  # noqa: E731
    config = write_config(folder / "c.yaml", SETTINGS)
    return run("pipeline", "--config", config, "--run-dir", folder / "run", "--set", change, before=limit)

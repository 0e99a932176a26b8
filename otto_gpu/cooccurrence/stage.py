"""The stage `matrices`: every rule for every period."""

from __future__ import annotations

from pathlib import Path

from otto_gpu.cooccurrence.build import build_matrix
from otto_gpu.cooccurrence.settings import MatricesConfig
from otto_gpu.device import Device
from otto_gpu.events.stage import SPLITS, load_period
from otto_gpu.progress import Reporter
from otto_gpu.run import write_atomically


def run(folder: Path, run_dir: Path, config: MatricesConfig, device: Device, reporter: Reporter) -> dict:
    """Each period's matrices see what is known in it: the events before it and its histories."""
    rows = 0
    with reporter.work("matrices", "rules", len(SPLITS) * len(config.rules)) as work:
        for split in SPLITS:
            place = folder / "matrices" / split
            place.mkdir(parents=True, exist_ok=True)
            todo = {n: r for n, r in config.rules.items() if not (place / f"{n}.parquet").exists()}
            known = load_period(run_dir, split).known if todo else None
            work.advance(len(config.rules) - len(todo))
            for name, rule in todo.items():
                matrix = build_matrix(known, rule, config.engine, device)
                write_atomically(place / f"{name}.parquet", matrix.save)
                reporter.note(f"  matrices/{split}/{name}: {len(matrix):,} rows")
                rows += len(matrix)
                work.advance()
    return {"rows": rows}

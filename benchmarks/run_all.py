"""Every benchmark, one after the other, into benchmarks/results: `python -m benchmarks.run_all [--quick] [--out FOLDER]`"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

COUNTING = "rowwise,implicit,sparse_dot_topn,polars,duckdb"
# {name of the file: (benchmark, options)}
FULL = {
    "matrices": ("matrices", ["--events", "5e6", "--repeats", "3"]),
    "matrices-count": (
        "matrices",
        ["--events", "1e6", "--rules", "count", "--engines", COUNTING, "--repeats", "3"],
    ),
    "crawlers": ("crawlers", []),
    "reading": ("reading", ["--events", "4000000"]),
    "throughput": ("throughput", ["--events", "1e6"]),
    "end_to_end": ("end_to_end", ["--events", "1e6"]),
    "recommend": ("recommend", []),
}
QUICK = {
    "matrices": ("matrices", ["--events", "2e4", "--rules", "time_decay,count", "--repeats", "1", "--no-memory"]),
    "crawlers": ("crawlers", ["--events", "5e3", "--repeats", "1"]),
    "reading": ("reading", ["--events", "20000", "--repeats", "1"]),
    "throughput": ("throughput", ["--events", "2e4", "--repeats", "1"]),
    "end_to_end": ("end_to_end", ["--events", "5e3", "--set", "ranking.folds=2", "--set", "features.families=[recall]"]),
    "recommend": ("recommend", ["--sessions", "800", "--batch", "50", "--single", "5", "--repeats", "1"]),
}


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.run_all", description=__doc__.split(":")[0])
    parser.add_argument("--quick", action="store_true", help="tiny sizes, to see that everything runs; the times mean nothing")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results", help="folder of the JSON files")
    args = parser.parse_args(argv)
    failed = []
    for name, (benchmark, options) in (QUICK if args.quick else FULL).items():
        print(f"== {name}", flush=True)
        command = [sys.executable, "-m", f"benchmarks.{benchmark}", *options, "--out", str(args.out / f"{name}.json")]
        if subprocess.run(command, check=False).returncode:
            failed.append(name)
    print(f"failed: {', '.join(failed)}" if failed else "all benchmarks ran")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())

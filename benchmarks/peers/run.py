"""One peer in a process of its own: `python -m benchmarks.peers.run --peer vsknn --split FOLDER --out FILE`

Reads FOLDER/train.parquet and FOLDER/history.parquet. Writes FILE.npy (int32 [lists, sessions, n], best first, -1 where
there is nothing; the sessions of the histories, ascending) and FILE.json: which list is whose (of_type: per type code), seconds
to fit and to predict, peak memory in MB, settings and what followed from them.
"""

from __future__ import annotations

import argparse
import importlib
import json
import time
from pathlib import Path

import numpy as np

from benchmarks.peers.settings import LISTED, PEERS
from benchmarks.peers.split import Split


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.peers.run", description=__doc__.split(":")[0])
    parser.add_argument("--peer", choices=PEERS, required=True)
    parser.add_argument("--split", type=Path, required=True, help="folder with train.parquet and history.parquet")
    parser.add_argument("--out", type=Path, required=True, help="the files' path without ending")
    args = parser.parse_args(argv)
    _, module, settings, _ = PEERS[args.peer]
    fit = importlib.import_module(f"benchmarks.peers.{module}").fit
    split = Split.load(args.split)
    began = time.perf_counter()
    recommend, facts = fit(split, LISTED, **settings)
    fitted = time.perf_counter()
    lists = recommend()
    done = time.perf_counter()
    np.save(args.out.with_name(args.out.name + ".npy"), lists.astype(np.int32), allow_pickle=False)
    told = {
        "of_type": facts.pop("of_type", [0] * split.n_types),
        "fit_s": round(fitted - began, 2),
        "predict_s": round(done - fitted, 2),
        "peak_memory_mb": peak_memory_mb(),
        "settings": settings,
        "facts": facts,
    }
    args.out.with_name(args.out.name + ".json").write_text(json.dumps(told))


def peak_memory_mb() -> int:
    """The process's own high-water mark; on Linux not ru_maxrss, which a process inherits from the one that started it."""
    status = Path("/proc/self/status")
    for line in status.read_text().splitlines() if status.exists() else ():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) // 1024
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


if __name__ == "__main__":
    main()

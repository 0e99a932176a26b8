"""What every benchmark shares: the machine's facts, alternating timings, peak memory, a JSON file and a plot."""

from __future__ import annotations

import gc
import importlib.metadata
import json
import multiprocessing
import os
import platform
import resource
import statistics
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from otto_gpu.run.directory import reset_peak_memory, versions

PEERS = ("polars", "duckdb", "implicit", "sparse_dot_topn")
EVENTS_PER_SESSION = 16.8  # of the generated logs


def environment() -> dict:
    """Versions, processor, cores (those that this process may use), memory in GB and the date (UTC)."""
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "cpu": _cpu_model(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1),
        "packages": versions() | {name: version for name in PEERS if (version := _version(name))},
    }


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _cpu_model() -> str:
    info = Path("/proc/cpuinfo")
    names = (
        [line.partition(":")[2] for line in info.read_text().splitlines() if line.startswith("model name")]
        if info.exists()
        else []
    )
    return names[0].strip() if names else platform.processor() or platform.machine()


def alternate(
    contestants: dict[str, Callable[[], object]], repeats: int, clock: Callable[[], float] = time.perf_counter
) -> dict[str, dict]:
    """Seconds of every contestant by the clock, run in turn (A B A B ...), so that a slow minute of the machine hits all alike.

    They must have run once before: what is timed is warm. Returns {name: {median_s, min_s, max_s, all_s, process_peak_gb}},
    the last what this process held at most meanwhile, its inputs among it.
    """
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    peaks = dict.fromkeys(contestants, 0.0)
    for _ in range(repeats):
        for name, call in contestants.items():
            gc.collect()
            reset_peak_memory()
            began = clock()
            call()
            seconds[name].append(clock() - began)
            peaks[name] = max(peaks[name], _peak_gb())
    return {name: timing(all_s) | {"process_peak_gb": peaks[name]} for name, all_s in seconds.items()}


def timing(seconds: list[float]) -> dict:
    return {"median_s": statistics.median(seconds), "min_s": min(seconds), "max_s": max(seconds), "all_s": seconds}


def peak_memory(prepare: Callable[..., Callable[[], object]], *args) -> dict[str, float]:
    """Peak resident GB of a fresh process before and after the call that prepare(*args) returns: {before_gb, peak_gb}.

    prepare makes the input and warms up on something small; it is a function of a module, and what it does counts for
    `before_gb`. Between the two lies what the call itself needs at most.
    """
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    child = context.Process(target=_measure_child, args=(sender, prepare, args))
    child.start()
    sender.close()
    try:
        before, peak = receiver.recv()
    except EOFError:
        child.join()
        raise RuntimeError(f"the process that measures memory ended with exit code {child.exitcode}") from None
    child.join()
    return {"before_gb": before, "peak_gb": peak}


def _measure_child(sender, prepare, args) -> None:
    call = prepare(*args)
    gc.collect()
    before = _peak_gb()
    call()
    sender.send((before, _peak_gb()))


def _peak_gb() -> float:
    """The process's own high-water mark. Not ru_maxrss on Linux: a spawned process inherits its parent's there."""
    status = Path("/proc/self/status")
    if status.exists():
        for line in status.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024 / 1e9
    unit = 1 if sys.platform == "darwin" else 1024  # bytes there, KiB elsewhere
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e9


def write_json(path: Path, result: dict, quiet: bool = False) -> None:
    """Written whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(path.name + ".part")
    temporary.write_text(json.dumps(result, indent=2, default=str) + "\n")
    temporary.replace(path)
    if not quiet:
        print(f"written: {path}")


def plot_bars(path: Path, title: str, groups: dict[str, dict[str, dict]]) -> None:
    """Median seconds as bars with minimum and maximum, one group per question; groups: {question: {contestant: timing}}."""
    try:
        import matplotlib
    except ImportError:
        print("no plot: it needs matplotlib, which is not installed: pip install 'otto_gpu[bench]'")
        return
    matplotlib.use("Agg")
    from matplotlib import pyplot

    contestants = list(dict.fromkeys(name for timings in groups.values() for name in timings))
    figure, axes = pyplot.subplots(figsize=(max(6, 1.1 * len(groups) * len(contestants)), 4), layout="constrained")
    width = 0.8 / len(contestants)
    for i, name in enumerate(contestants):
        places = [g + (i - (len(contestants) - 1) / 2) * width for g, timings in enumerate(groups.values()) if name in timings]
        timings = [timings[name] for timings in groups.values() if name in timings]
        medians = [t["median_s"] for t in timings]
        below = [t["median_s"] - t["min_s"] for t in timings]
        above = [t["max_s"] - t["median_s"] for t in timings]
        axes.bar(places, medians, width, yerr=(below, above), capsize=2, label=name)
    axes.set(title=title, ylabel="seconds (median, min–max)", yscale="log")
    axes.set_xticks(range(len(groups)), groups, rotation=30 if len(groups) > 4 else 0)
    axes.legend()
    figure.savefig(path, dpi=120)
    pyplot.close(figure)
    print(f"written: {path}")

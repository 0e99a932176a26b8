"""All that a GPU has to prove, in one go: `python -m benchmarks.gpu` (or benchmarks/on_gpu.sh)

Two processes work side by side, one on the GPU and one on the CPU of the same machine, whose results and seconds the GPU's are
compared with. Every part of a step has a try of its own and a limit; the JSON is written after every step. What lacks a package
says so and is left out. Exit code 1 if anything failed. `--device cpu` is the dry run: the same steps, small, on the CPU alone.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path

from benchmarks.gpu_steps import STEPS, lanes
from benchmarks.gpu_steps.step import CPU, GPU, SAME, Sizes, Step
from benchmarks.measure import environment, write_json
from otto_gpu.device import Device
from otto_gpu.device.report import driver_cuda, gpus
from otto_gpu.errors import UserError

RESULTS = Path(__file__).resolve().parent / "results"
BUDGET = 320.0
DRY, PATIENCE = "dry run", 10  # kernels may have to be compiled, on a small machine
SHARED, NEEDED = Path("/dev/shm"), 20 << 30  # where the halves hand things to each other, if it has so many bytes free
LONG = ("ok", "seconds", "output", "lines")  # what a line has no room for
LOGGED = 1 << 20  # characters of a log, at most


def chosen(names: list[str]) -> list[Step]:
    """The steps named, and those whose results they need, in their order."""
    needed = set(names) | {before for name in names for before in STEPS[name].after}
    return [step for name, step in STEPS.items() if name in needed]


def failures(steps: dict[str, dict]) -> list[str]:
    """A line for everything that went wrong."""
    lines = []
    for name, halves in steps.items():
        for half in (GPU, CPU, SAME):
            record = halves.get(half, {})
            lines += [f"{name}, {half}: {record['error']}"] if "error" in record else []
            for part, told in record.get("parts", {}).items():
                if not told.get("ok", True):
                    lines.append(f"{name}, {half}, {part}: {told.get('error') or {k: told[k] for k in told if k not in LONG}}")
    return lines


def table(steps: dict[str, dict]) -> list[str]:
    """A line a step: seconds of both halves, how many parts went well, failed or were left out, and how many agree."""
    lines = [f"{'step':12} {'gpu s':>7} {'cpu s':>7} {'done':>6} {'failed':>7} {'left out':>9} {'agree':>9}"]
    for name, halves in steps.items():
        parts = [told for half in (GPU, CPU) for told in halves.get(half, {}).get("parts", {}).values()]
        same = [told.get("ok", False) for told in halves.get(SAME, {}).get("parts", {}).values()]
        seconds = [f"{halves[half]['seconds']:.1f}" if "seconds" in halves.get(half, {}) else "" for half in (GPU, CPU)]
        counts = [sum(told.get("ok") is verdict for told in parts) for verdict in (True, False)]
        left_out = sum("skipped" in told for told in (*parts, *halves.values()) if isinstance(told, dict))
        agree = f"{sum(same)} of {len(same)}" if same else ""
        lines.append(f"{name:12} {seconds[0]:>7} {seconds[1]:>7} {counts[0]:>6} {counts[1]:>7} {left_out:>9} {agree:>9}")
    return lines


def reasons(steps: dict[str, dict]) -> dict[str, int]:
    """{why something was left out: how often}"""
    found: dict[str, int] = {}
    for halves in steps.values():
        for record in halves.values():
            for told in (record, *record.get("parts", {}).values()) if isinstance(record, dict) else ():
                if "skipped" in told:
                    found[told["skipped"]] = found.get(told["skipped"], 0) + 1
    return found


def _device(kind: str) -> Device:
    """Asks the driver alone: of what else may be missing, the steps tell."""
    if kind == "cpu":
        return Device("cpu", DRY)
    there = gpus()
    if not there and driver_cuda() is None:
        raise UserError("no GPU: neither nvidia-smi nor a driver; --device cpu is the dry run")
    return Device("cuda", there[0].split(",")[0] if there else "GPU")


def _folder() -> str | None:
    """In memory, if there is room; None: where temporary files are."""
    return str(SHARED) if SHARED.is_dir() and shutil.disk_usage(SHARED).free >= NEEDED else None


def _earlier(name: str, out: Path) -> dict:
    """The steps of an earlier run on such a GPU."""
    for path in (out / name, RESULTS / name):
        if path.is_file():
            return json.loads(path.read_text())["steps"]
    return {}


def run(args: argparse.Namespace, device: Device) -> int:
    began = time.monotonic()
    steps, sizes = chosen(args.steps), Sizes() if device.kind == "cuda" else Sizes.dry()
    name = f"gpu-{device.reason.replace(' ', '-')}.json"
    earlier = _earlier(name, args.out) if len(steps) < len(STEPS) else {}
    result = {
        "gpu": device.reason, "environment": environment(), "sizes": asdict(sizes), "budget_s": args.budget, "seconds": 0.0,
        "steps": earlier,
    }  # fmt: skip

    def told(found: dict, step: str, half: str) -> None:
        result["steps"] = {n: (earlier | found)[n] for n in STEPS if n in earlier | found}
        result["seconds"] = round(time.monotonic() - began, 1)
        record = found[step][half]
        wrong = failures({step: {half: record}})
        how = f"skipped: {record['skipped']}" if "skipped" in record else f"{len(wrong)} FAILED" if wrong else "done"
        print(f"[{result['seconds']:5.1f} s] {step}, {half}: {how}", *wrong[:5], sep="\n    ", flush=True)
        write_json(args.out / name, result, quiet=True)

    with tempfile.TemporaryDirectory(dir=_folder(), prefix="otto_gpu-") as folder:
        found = lanes.run(steps, device, sizes, Path(folder), args.budget, told, PATIENCE if device.kind == "cpu" else 1)
        wrong = failures(found)
        for log in Path(folder).glob("*.log") if wrong else ():
            (args.out / f"{Path(name).stem}-{log.name}").write_text(log.read_text(errors="replace")[-LOGGED:])
    print("", *table(found), "", *(f"left out: {why} ({n})" for why, n in reasons(found).items()), sep="\n")
    print(*(f"FAILED: {line[:300]}" for line in wrong), f"written: {args.out / name}", sep="\n")
    return 1 if wrong else 0


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=__doc__.split(":")[0])
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda", help="cpu: a dry run (default: %(default)s)")
    parser.add_argument("--steps", nargs="+", choices=STEPS, default=list(STEPS), metavar="STEP", help=f"of {', '.join(STEPS)}")
    parser.add_argument(
        "--budget", type=float, default=BUDGET, metavar="S", help="seconds for all of it (default: %(default)g)"
    )
    out = Path(os.environ.get("OUT") or RESULTS)
    parser.add_argument("--out", type=Path, default=out, metavar="DIR", help="of the JSON ($OUT, or benchmarks/results)")
    args = parser.parse_args(argv)
    try:
        return run(args, _device(args.device))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())

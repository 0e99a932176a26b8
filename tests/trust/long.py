"""The long form of what tests/trust tries, and the page of its figures: `python -m tests.trust.long`, or `make trust`."""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ElementTree
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

from tests.runs import ROOT, write_config
from tests.trust import service
from tests.trust.extremes import extremes
from tests.trust.kills import PLAIN, WITH_VECTORS, Survived, survive
from tests.trust.machine import run
from tests.trust.spoilt import COUNTED, MENDED, MISTAKES

PAGE = ROOT / "docs/trust.md"
FUZZED = {"test_any_document_is_a_configuration_or_refused": 3, "test_any_bytes_are_a_configuration_or_refused": 2,
          "test_any_events_are_read_or_refused": 3, "test_mutated_jsonl": 1, "test_mutated_csv": 1,
          "test_parquet_of_any_kind": 1, "test_mutated_official_files": 1}  # fmt: skip


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.trust.long", description=__doc__)
    parser.add_argument("--kills", type=int, default=100, help="in all, half of them in runs with vectors and fusion")
    parser.add_argument("--examples", type=int, default=1000, help="of each fuzzing test")
    parser.add_argument("--requests", type=int, default=10_000, help="random ones to the service")
    parser.add_argument("--seconds", type=float, default=60, help="of twice the load that the service bears")
    given = parser.parse_args(arguments)
    began = time.monotonic()
    passed, failed, skipped = _tests(given.examples)
    kills = {"plain": _kills(PLAIN, given.kills // 2, 1), "vectors": _kills(WITH_VECTORS, given.kills - given.kills // 2, 2)}
    served = service.tried(given.requests, given.seconds)
    figures = {
        "date": datetime.now(UTC).date().isoformat(), "commit": _commit(), "python": platform.python_version(),
        "cores": len(os.sched_getaffinity(0)), "minutes": round((time.monotonic() - began) / 60, 1),
        "tests": {"passed": passed, "failed": failed, "skipped": skipped},
        "bad_input": {"mistakes": len(MISTAKES), "counted": len(COUNTED), "mended": len(MENDED)},
        "configuration_ends": len(list(extremes())), "examples": given.examples * sum(FUZZED.values()),
        "kills": {name: asdict(survived) for name, survived in kills.items()},
        "service": asdict(served),
    }  # fmt: skip
    print(json.dumps(figures, indent=1))
    if failed:
        print(f"{failed} tests failed: {PAGE.relative_to(ROOT)} stays as it is", file=sys.stderr)
        return 1
    head, mark, _ = PAGE.read_text().partition("<!-- figures -->\n")
    PAGE.write_text(head + mark + page(figures))
    return 0


def _tests(examples: int) -> tuple[int, int, int]:
    """(passed, failed, skipped) of tests/trust, the long ones too, and of those of resuming, leaks, clusters and engines."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        tests = ["tests/trust", "tests/test_resume.py", "tests/test_leaks.py", "tests/run/test_distributed.py"]
        tests += ["tests/cooccurrence/test_engines.py", "tests/cooccurrence/test_rows.py"]
        line = [sys.executable, "-m", "pytest", *tests, "-n", "2", "-m", "long or not long", f"--junitxml={report}"]
        subprocess.run(line, cwd=ROOT, env=os.environ | {"OTTO_FUZZ": str(examples)}, check=False)
        suite = ElementTree.parse(report).getroot().find("testsuite")
    n, bad, skipped = (int(suite.get(key)) for key in ("tests", "failures", "skipped"))
    bad += int(suite.get("errors"))
    return n - bad - skipped, bad, skipped


def _kills(settings: dict, kills: int, seed: int) -> Survived:
    with tempfile.TemporaryDirectory() as folder:
        config, straight = write_config(Path(folder) / "c.yaml", settings), Path(folder) / "straight"
        done = run("pipeline", "--config", config, "--run-dir", straight)
        assert done.code == 0, done.err
        return survive(config, straight, Path(folder), kills, seed)


def _commit() -> str:
    shown = subprocess.run(["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True, text=True, check=False)
    return shown.stdout.strip() or "unknown"


def page(figures: dict) -> str:
    bad, kills, tests = figures["bad_input"], figures["kills"], figures["tests"]
    hit = {stage: 0 for survived in kills.values() for stage in survived["stages"]}
    for survived in kills.values():
        for stage, n in survived["stages"].items():
            hit[stage] += n
    rows = [
        ("kinds of bad input that end in one line and exit code 2", bad["mistakes"]),
        ("kinds of bad rows and odd files that are read or counted", bad["counted"]),
        ("kinds of damage to a run that the next call puts right", bad["mended"]),
        ("numbers of the configuration at the ends of what they may be, each in a run", figures["configuration_ends"]),
        ("random inputs at most: bytes of logs, columns, configurations, events, official files", f"{figures['examples']:,}"),
        ("SIGKILLs survived", sum(survived["kills"] for survived in kills.values())),
        ("runs that came through them, with the bytes of undisturbed ones", sum(s["runs"] for s in kills.values())),
        ("kills by stage", ", ".join(f"{stage} {n}" for stage, n in sorted(hit.items(), key=lambda item: -item[1]))),
        *service.rows(figures["service"]),
        ("tests passed; failed; skipped", f"{tests['passed']}; {tests['failed']}; {tests['skipped']}"),
    ]
    lines = [f"{figures['date']}, commit {figures['commit']}, Python {figures['python']}, {figures['cores']} cores, "
             f"{figures['minutes']} minutes.", "", "| what | figure |", "|---|---|"]  # fmt: skip
    return "\n".join([*lines, *(f"| {what} | {figure} |" for what, figure in rows)]) + "\n"


if __name__ == "__main__":
    sys.exit(main())

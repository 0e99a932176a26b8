"""How much does the service bear, and how long does an answer take? `python -m benchmarks.serve_load --help`

A generated log is run (or --run names a finished run) and served by a process of its own on the loopback address; this process
is the clients: so many connections, each of which asks for a history of the test period, waits for the answer and asks on. The
lists must be those of Recommender before anything is timed.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from benchmarks.measure import EVENTS_PER_SESSION, environment, write_json
from benchmarks.recommend import SERVED
from otto_gpu.config import load_config
from otto_gpu.errors import UserError
from otto_gpu.pipeline import run_pipeline
from otto_gpu.recommend import Recommender
from otto_gpu.run.directory import Run
from otto_gpu.run.progress import Reporter
from otto_gpu.serve.examples import load_histories

MOST_EVENTS = 100  # of a history that is asked for
PATH = "/recommend"


@dataclass(frozen=True)
class Load:
    """connections: how many clients ask at once; sessions: of a request, None: one session in the short form."""

    connections: int
    sessions: int | None = None

    @property
    def name(self) -> str:
        return (
            f"{self.connections} clients, {'one session' if self.sessions is None else f'{self.sessions} sessions'} a request"
        )


LOADS = (*(Load(n) for n in (1, 4, 16, 64)), Load(1, 100), Load(4, 100), Load(1, 1000))


@contextmanager
def served(run_dir: Path, threads: int | None) -> Iterator[tuple[subprocess.Popen, str, int]]:
    """(process, host, port) of a service, until the end of the block."""
    line = [sys.executable, "-m", "otto_gpu.serve", str(run_dir), "--port", "0", "--device", "cpu"]
    line += [] if threads is None else ["--threads", str(threads)]
    with subprocess.Popen(line, stdout=subprocess.PIPE, text=True) as process:
        try:
            for told in process.stdout:
                found = re.search(r"serving http://(\S+):(\d+)", told)
                if found:
                    yield process, found[1], int(found[2])
                    break
            else:
                raise UserError("the service did not start")
        finally:
            process.terminate()
            if process.wait(60):
                raise UserError(f"the service ended with exit code {process.returncode}")


def histories(run_dir: Path, n: int) -> list[dict]:
    """[{"session", "events"}], spread over the test period."""
    sessions = load_histories(run_dir, load_config(run_dir / "config.yaml").events, n)
    return [{"session": s["session"], "events": s["events"][-MOST_EVENTS:]} for s in sessions]


def requests(sessions: list[dict], load: Load, host: str) -> list[bytes]:
    """Whole HTTP requests, one history or so many sessions each, starting over where the sessions end."""
    if load.sessions is None:
        bodies = [{"events": session["events"]} for session in sessions]
    else:
        n = load.sessions
        around = sessions * (n // len(sessions) + 2)
        bodies = [{"sessions": around[i : i + n]} for i in range(0, len(sessions), n)]
    return [_request(json.dumps(body).encode(), host) for body in bodies]


def _request(body: bytes, host: str) -> bytes:
    headers = f"POST {PATH} HTTP/1.1\r\nhost: {host}\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    return headers.encode() + body


async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: bytes) -> bytes:
    """The body of the answer. UserError for any status but 200."""
    writer.write(request)
    headers = (await reader.readuntil(b"\r\n\r\n")).lower()
    length = int(headers.partition(b"content-length: ")[2].partition(b"\r\n")[0])
    body = await reader.readexactly(length)
    if not headers.startswith(b"http/1.1 200"):
        raise UserError(f"the service answered {headers.splitlines()[0].decode()}: {body[:200].decode()}")
    return body


async def ask_all(host: str, port: int, made: list[bytes], connections: int, seconds: float) -> tuple[list[float], float]:
    """(seconds of every answer, seconds of all): every client asks on until the time is over."""
    taken: list[float] = []
    began = time.perf_counter()
    last = began + seconds

    async def client(first: int) -> None:
        reader, writer = await asyncio.open_connection(host, port)
        place = first
        while (sent := time.perf_counter()) < last:
            await answer(reader, writer, made[place % len(made)])
            taken.append(time.perf_counter() - sent)
            place += connections
        writer.close()
        await writer.wait_closed()

    await asyncio.gather(*(client(i) for i in range(connections)))
    return taken, time.perf_counter() - began


def agrees(host: str, port: int, run_dir: Path, sessions: list[dict]) -> None:
    """UserError where the service's lists are not Recommender's."""

    async def ask() -> list[dict]:
        reader, writer = await asyncio.open_connection(host, port)
        found = [json.loads(await answer(reader, writer, r))["lists"] for r in requests(sessions, Load(1), host)]
        writer.close()
        return found

    recommender = Recommender.load(run_dir, device="cpu")
    for session, lists in zip(sessions, asyncio.run(ask()), strict=True):
        expected = recommender.recommend(session["events"]).to_dicts()[0]
        if any(expected[target] != lists[target] for target in recommender.targets):
            raise UserError(f"the service and Recommender answer differently for session {session['session']}")


def memory_gb(process: subprocess.Popen) -> dict[str, float] | None:
    """Resident memory of the service, now and at most; None where the system does not tell."""
    try:
        told = dict(line.split(":") for line in Path(f"/proc/{process.pid}/status").read_text().splitlines() if ":" in line)
        return {name: int(told[key].split()[0]) * 1024 / 1e9 for name, key in (("now_gb", "VmRSS"), ("peak_gb", "VmHWM"))}
    except (OSError, KeyError, ValueError):
        return None


def measured(run_dir: Path, seconds: float, repeats: int, threads: int | None, most: int) -> dict:
    Run(run_dir, Reporter(quiet=True)).finished("submission")
    sessions = histories(run_dir, most)
    with served(run_dir, threads) as (process, host, port):
        agrees(host, port, run_dir, sessions[:50])
        before = memory_gb(process)
        found: dict[str, dict] = {load.name: {"all": [], "seconds": 0.0, "rounds": []} for load in LOADS}
        for _ in range(repeats):  # in turn, so that a slow minute of the machine hits all alike
            for load in LOADS:
                made = requests(sessions, load, host)
                asyncio.run(ask_all(host, port, made, load.connections, min(seconds / 5, 1)))  # warm
                taken, spent = asyncio.run(ask_all(host, port, made, load.connections, seconds))
                kept = found[load.name]
                kept["all"] += taken
                kept["seconds"] += spent
                kept["rounds"].append(len(taken) / spent)
        after = memory_gb(process)
    events = np.array([len(session["events"]) for session in sessions])
    return {
        "asked": {"sessions": len(sessions), "events": float(events.mean()), "most_events": int(events.max())},
        "memory": {"before": before, "after": after},
        "loads": {load.name: figures(load, found[load.name]) for load in LOADS},
    }


def figures(load: Load, found: dict) -> dict:
    milliseconds = np.array(found["all"]) * 1000
    rate = len(milliseconds) / found["seconds"]
    return {
        "connections": load.connections, "sessions": load.sessions or 1, "requests": len(milliseconds),
        "requests_per_s": rate, "sessions_per_s": rate * (load.sessions or 1), "rounds_per_s": found["rounds"],
        **{f"p{q}_ms": float(np.percentile(milliseconds, q)) for q in (50, 95, 99)}, "max_ms": float(milliseconds.max()),
    }  # fmt: skip


def show(result: dict) -> None:
    print("{sessions:,} histories of {events:.1f} events, at most {most_events}".format(**result["asked"]))
    print(f"{'load':44}{'requests/s':>11}{'sessions/s':>11}{'p50 ms':>9}{'p95':>9}{'p99':>9}")
    for name, r in result["loads"].items():
        print(
            f"{name:44}{r['requests_per_s']:11,.0f}{r['sessions_per_s']:11,.0f}"
            + "".join(f"{r[f'p{q}_ms']:9.1f}" for q in (50, 95, 99))
        )
    memory = result["memory"]
    if memory["before"] and memory["after"]:
        print(f"memory of the service: {memory['before']['now_gb']:.2f} GB before, {memory['after']['now_gb']:.2f} after")


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.serve_load", description=__doc__.split("\n")[0])
    parser.add_argument("--run", type=Path, metavar="RUN", help="a finished run (default: one of a generated log)")
    parser.add_argument("--events", type=float, default=1e6, help="of the generated log, about (default: 1e6)")
    parser.add_argument("--sessions", type=int, default=2000, help="histories that are asked for (default: 2000)")
    parser.add_argument("--seconds", type=float, default=10, help="of every load and turn (default: 10)")
    parser.add_argument("--repeats", type=int, default=3, help="turns (default: 3)")
    parser.add_argument("--threads", type=int, help="of the service's kernels (default: all cores)")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="of the generated log's run")
    parser.add_argument("--out", type=Path, help="write the figures to this JSON file")
    args = parser.parse_args(argv)
    with TemporaryDirectory() as folder:
        try:
            run_dir = args.run
            if run_dir is None:
                run_dir = Path(folder) / "run"
                sessions = f"events.synthetic_sessions={max(round(args.events / EVENTS_PER_SESSION), 100)}"
                run_pipeline(
                    load_config(None, [sessions, *SERVED, *args.set]), run_dir=run_dir, device="cpu", reporter=Reporter()
                )
            result = measured(run_dir, args.seconds, args.repeats, args.threads, args.sessions)
        except UserError as error:
            print(f"error: {error}", file=sys.stderr)
            return 2
    show(result)
    if args.out is not None:
        write_json(args.out, {"benchmark": "serve_load", "environment": environment(), "threads": args.threads, **result})
    return 0


if __name__ == "__main__":
    sys.exit(main())

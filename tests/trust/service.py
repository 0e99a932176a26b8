"""What the service is put through: random requests, twice its capacity, its end under load, odd bytes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from functools import cache
from itertools import islice
from pathlib import Path

from otto_gpu import Recommender, run_pipeline
from tests.runs import ROOT, artifacts, small
from tests.serve.service import Service, serving
from tests.trust.clients import NUISANCES
from tests.trust.wire import SHAPES, answers, is_safe

SESSIONS = 20  # of a request under load
MEMORY = 256 << 20  # bytes that the service may hold more after the load than before; waiting bodies may have 64 MiB of it
SHARES = {"/recommend": 0.5, "/reasons": 0.2, "/explain": 0.2, "/examples": 0.1, "/health": 0.0}  # of random requests
LATE = 3.0  # seconds beyond --stop-seconds within which the process has ended


@dataclass
class Tried:
    """shapes: of HTTP that is odd or broken; requests, statuses: random ones, and their answers; load: of overload(); stops:
    how many, the slowest in seconds, and how the requests ended."""

    shapes: int = 0
    requests: int = 0
    statuses: dict[str, int] = field(default_factory=dict)
    load: dict = field(default_factory=dict)
    stops: dict = field(default_factory=dict)
    kills: int = 0


def tried(requests: int, seconds: float, stops: int = 5, kills: int = 5) -> Tried:
    """All of it, on a run of its own."""
    with tempfile.TemporaryDirectory() as folder:
        run_dir = run_pipeline(small(400), run_dir=Path(folder) / "run").run_dir
        with serving(run_dir) as service:
            odd(service)
            statuses = at_random(service, requests)
            load = overload(service, run_dir, seconds)
            assert service.stop()[0] == 0
        ended = [stop_under_load(run_dir, seed) for seed in range(stops)]
        killed(run_dir, kills)
    found = sum((Counter(end["outcomes"]) for end in ended), Counter())
    slowest = max(end["seconds"] for end in ended)
    return Tried(
        len(SHAPES), sum(statuses.values()), dict(statuses), load, {"stops": stops, "seconds": slowest, **found}, kills
    )


def rows(told: dict) -> list[tuple[str, str | int]]:
    """For the page of figures, of asdict(Tried)."""
    load, stops = told["load"], dict(told["stops"])
    n, slowest = stops.pop("stops"), stops.pop("seconds")
    return [
        ("service: random requests from its own description; by status", _by(told["requests"], told["statuses"])),
        ("service: shapes of odd or broken HTTP", told["shapes"]),
        (
            f"service, {load['seconds']:g} s of twice its capacity: requests a second it bears; offered",
            f"{load['capacity']:.0f}; {load['offered']:.0f}, and {load['annoying']:.0f} slow, half-open or wrong ones",
        ),
        ("answered, all right; refused (503)", f"{load['accepted']:,}; {load['refused']:,}"),
        ("seconds of an answer: half, 99 %, the slowest", "; ".join(f"{s:.2f}" for s in load["taken"])),
        ("memory before, after, at most, MB", "; ".join(f"{m:.0f}" for m in load["memory"])),
        (f"service: {n} SIGTERMs under load, {slowest:.1f} s at most; requests by end", _by(sum(stops.values()), stops)),
        ("service: SIGKILLs under load, after which the run was as before", told["kills"]),
    ]


def _by(n: int, parts: dict[str, int]) -> str:
    return f"{n:,}; " + ", ".join(f"{name} {k:,}" for name, k in sorted(parts.items()))


# ---------------------------------------------------------------------------------------------------- odd bytes
def odd(service: Service) -> None:
    for shape in SHAPES:
        found = answers(service.place, shape.sent)
        assert tuple(answer.status for answer in found) == shape.statuses, (shape.name, found)
        for answer in found:
            is_safe(answer)


# --------------------------------------------------------------------------------------------- random requests
def at_random(service: Service, requests: int, seed: int = 1) -> Counter:
    """{status: answers}. At least so many requests made from the service's own description by schemathesis, one half of them
    valid and the other not; AssertionError where an answer is not as described."""
    import requests as http
    import schemathesis
    from hypothesis import HealthCheck, given, settings
    from hypothesis import seed as seeded
    from schemathesis import GenerationMode
    from schemathesis.core.failures import FailureGroup

    statuses: Counter = Counter()
    schema = schemathesis.openapi.from_url(f"{service.address}/openapi.json")

    def ask(operation, mode: GenerationMode, n: int, seed: int) -> None:
        @seeded(seed)
        @settings(max_examples=n, deadline=None, database=None, suppress_health_check=list(HealthCheck))
        @given(case=operation.as_strategy(generation_mode=mode))
        def one(case):
            answer = case.call(session=session)
            statuses[str(answer.status_code)] += 1
            assert answer.status_code != 500 and "Traceback" not in answer.text
            try:
                case.validate_response(answer)
            except FailureGroup:
                if answer.status_code != 413:  # of 1001 sessions: too large, which is told before what is in it
                    raise

        one()

    with http.Session() as session:
        while (left := requests - statuses.total()) > 0:  # what may be asked of some paths is soon exhausted: once more, then
            for operation in (result.ok() for result in schema.get_all_operations()):
                n = max(int(left * SHARES[operation.path] / 2), 1)
                ask(operation, GenerationMode.POSITIVE, n, seed)
                if operation.path != "/health":  # it asks for nothing that could be wrong
                    ask(operation, GenerationMode.NEGATIVE, n, seed)
            seed += 1
    return statuses


# ----------------------------------------------------------------------------------------------------- overload
def overload(service: Service, run_dir: Path, seconds: float, times: float = 2, late: float = 5) -> dict:
    """Answers to so many times what the service bears, which is found out first, and to nuisances beside it. late: seconds that
    an answer may take beyond those of a full queue."""
    asked = histories(run_dir, 40)
    pairs = [[body, json.dumps(expected)] for body, expected in asked]
    plan = {"place": service.place, "asked": pairs}
    waiting = service.get("/health").json["limits"]["waiting"]
    warm = _clients(plan | {"seconds": max(seconds / 6, 1.5), "clients": 16})
    assert warm["statuses"].keys() == {"200"} and warm["wrong"] == 0, warm["statuses"]
    capacity = warm["statuses"]["200"] / max(seconds / 6, 1.5)
    annoying = min(max(capacity / 10, 1), 5)
    before = _memory(service)
    found = _clients(plan | {"seconds": seconds, "rate": times * capacity, "nuisances": annoying})
    after = _memory(service)
    statuses, taken = found["statuses"], found["taken"]
    assert statuses.keys() <= {"200", "503"} and statuses["200"] > 0, statuses
    assert found["wrong"] == 0 and found["leaks"] == 0
    for name, came in found["nuisances"].items():
        assert came.keys() <= {*map(str, NUISANCES[name][2]), "503"}, (name, came)
    assert after[0] - before[0] < MEMORY / 1e6, (before, after)
    assert taken[-1] < 5 * waiting / capacity + late, (taken[-1], waiting, capacity)
    again = _clients(plan | {"seconds": 1, "clients": 4})
    assert again["statuses"].keys() == {"200"} and again["wrong"] == 0
    assert service.get("/health").json["waiting"] == 0
    return {
        "seconds": seconds, "capacity": capacity, "offered": times * capacity, "annoying": annoying * len(NUISANCES),
        "accepted": statuses["200"], "refused": statuses.get("503", 0), "memory": [before[0], after[0], after[1]],
        "taken": [taken[len(taken) // 2], taken[len(taken) * 99 // 100], taken[-1]],
    }  # fmt: skip


@cache
def histories(run_dir: Path, n: int) -> list[tuple[str, dict]]:
    """[(body, the answer as Recommender gives it)]"""
    with (run_dir / "official/test_sessions.jsonl").open() as lines:
        sessions = [json.loads(line) for line in islice(lines, n)]
    recommender = Recommender.load(run_dir, device="cpu")
    made = []
    for first in range(0, n, SESSIONS // 4):
        part = [sessions[(first + i) % len(sessions)] for i in range(SESSIONS)]
        told = []
        for session in part:
            (row,) = recommender.recommend(session["events"]).to_dicts()
            lists = {target: row[target] for target in recommender.targets}
            told.append({"session": session["session"], "lists": lists, "cold": False, "unknown_items": 0})
        made.append((json.dumps({"sessions": part}), {"sessions": told}))
    return made


def _clients(plan: dict) -> dict:
    line = [sys.executable, "-m", "tests.trust.clients"]
    done = subprocess.run(line, cwd=ROOT, input=json.dumps(plan), capture_output=True, text=True, env=os.environ, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout)


def _memory(service: Service) -> tuple[float, float]:
    """MB, now and at most."""
    lines = Path(f"/proc/{service.process.pid}/status").read_text().splitlines()
    told = dict(line.split(":") for line in lines if line.startswith("Vm"))
    now, most = (int(told[name].split()[0]) * 1024 / 1e6 for name in ("VmRSS", "VmHWM"))
    return now, most


# ----------------------------------------------------------------------------------------------------- the end
class Load:
    """Threads that ask on, a new connection for every request; outcomes: how each request ended."""

    def __init__(self, service: Service, asked: list[tuple[str, dict]], threads: int = 12):
        self.service, self.asked = service, asked
        self.outcomes: Counter = Counter()
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._ask, args=(i,)) for i in range(threads)]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join(120)

    def _ask(self, i: int) -> None:
        while not self._over.is_set():
            body, expected = self.asked[i % len(self.asked)]
            i += 1
            try:
                found = self.service.post("/recommend", body.encode())
            except ConnectionRefusedError:
                return
            except OSError:  # http.client.RemoteDisconnected is one
                self.outcomes["cut off"] += 1
                continue
            right = found.status == 503 or (found.status == 200 and found.json == expected)
            self.outcomes[str(found.status) if right else "wrong"] += 1


def stop_under_load(run_dir: Path, seed: int, stop_seconds: float = 5) -> dict:
    """{"outcomes", "seconds" until it ended}"""
    with serving(run_dir, "--stop-seconds", stop_seconds) as service, Load(service, histories(run_dir, 20)) as load:
        time.sleep(1 + 0.037 * seed)
        began = time.monotonic()
        code, said = service.stop()
        seconds = time.monotonic() - began
    assert code == 0 and said == "", (code, said[-2000:])
    assert seconds < stop_seconds + LATE, seconds
    assert load.outcomes.keys() <= {"200", "503"} and load.outcomes["200"] > 0, load.outcomes
    return {"outcomes": dict(load.outcomes), "seconds": seconds}


def killed(run_dir: Path, times: int) -> None:
    """SIGKILL under load leaves the run as it was, and the service starts again."""
    before, asked = artifacts(run_dir), histories(run_dir, 20)
    for i in range(times):
        with serving(run_dir) as service, Load(service, asked, 4) as load:
            time.sleep(0.3 + 0.1 * i)
            service.process.kill()
            service.process.wait(20)
        assert "wrong" not in load.outcomes
        assert artifacts(run_dir) == before
    with serving(run_dir) as service:
        body, expected = asked[0]
        assert service.post("/recommend", body.encode()).json == expected

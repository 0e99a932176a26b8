"""Clients in a process of their own: `python -m tests.trust.clients`, which reads a plan and writes what came back, both JSON.

A plan: {"place": [host, port], "seconds": ..., "asked": [[body, expected answer], ...]} and either "clients" (a closed loop:
each asks when it was answered) or "rate" (an open one: so many requests a second, whatever comes back), with a "nuisances" a
second of every kind besides.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections import Counter
from contextlib import suppress
from itertools import count

HEAD = (
    "POST /recommend HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n"
    "content-type: {kind}\r\ncontent-length: {length}\r\n\r\n"
)
PATIENCE = 60  # seconds


def request(body: bytes, kind: str = "application/json", length: int | None = None) -> bytes:
    return HEAD.format(kind=kind, length=len(body) if length is None else length).encode() + body


NUISANCES = {  # what is sent at once, what each second after it, and the status that may come of it; 0: closed without a word
    "slow": (request(b"{", length=1000), b" ", (408,)),
    "half-open": (b"POST /recom", b"", (0,)),
    "silent": (b"", b"", (0,)),
    "oversized": (request(b" " * (1 << 16), length=100 << 20), b"", (413,)),
    "malformed": (request(b'{"events": ['), b"", (400,)),
    "of another kind": (request(b"{}", "text/plain"), b"", (415,)),
    "no HTTP": (b"\x16\x03\x01\r\n\r\n", b"", (400,)),
}


async def exchanged(place: list, sent: bytes, more: bytes = b"") -> bytes:
    """All that comes back until the end."""
    reader, writer = await asyncio.open_connection(*place)

    async def drip():
        while more:
            await asyncio.sleep(1)
            writer.write(more)

    dripping = asyncio.create_task(drip())
    back = b""
    try:
        writer.write(sent)
        while part := await asyncio.wait_for(reader.read(1 << 20), PATIENCE):
            back += part
    except ConnectionResetError:  # after an answer: it did not wait for the rest of the request
        if not back:
            raise
    finally:
        dripping.cancel()
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()
    return back


def status(back: bytes) -> int:
    return int(back.split(b" ", 2)[1]) if back else 0


class Clients:
    def __init__(self, plan: dict):
        self.place, self.seconds = plan["place"], plan["seconds"]
        self.asked = [(request(body.encode()), json.loads(expected)) for body, expected in plan["asked"]]
        self.statuses: Counter = Counter()
        self.nuisances: dict[str, Counter] = {name: Counter() for name in NUISANCES}
        self.wrong, self.taken, self.leaks = 0, [], 0

    async def ask(self, i: int) -> None:
        sent, expected = self.asked[i % len(self.asked)]
        began = time.perf_counter()
        try:
            back = await exchanged(self.place, sent)
        except (OSError, TimeoutError) as error:
            self.statuses[type(error).__name__] += 1
            return
        found = status(back)
        self.statuses[str(found)] += 1
        self.leaks += b"Traceback" in back
        if found == 200:
            self.taken.append(time.perf_counter() - began)
            self.wrong += json.loads(back.partition(b"\r\n\r\n")[2]) != expected

    async def annoy(self, name: str) -> None:
        sent, more, _ = NUISANCES[name]
        try:
            back = await exchanged(self.place, sent, more)
            self.nuisances[name][str(status(back))] += 1
            self.leaks += b"Traceback" in back
        except (OSError, TimeoutError) as error:
            self.nuisances[name][type(error).__name__] += 1

    async def closed(self, clients: int) -> None:
        numbers, until = count(), time.perf_counter() + self.seconds

        async def client() -> None:
            while time.perf_counter() < until:
                await self.ask(next(numbers))

        await asyncio.gather(*(client() for _ in range(clients)))

    async def open(self, rate: float, nuisances: float) -> None:
        under_way, began = [], time.perf_counter()

        async def offer(a_second: float, what) -> None:
            for i in range(int(a_second * self.seconds)):
                await asyncio.sleep(max(began + i / a_second - time.perf_counter(), 0))
                under_way.append(asyncio.create_task(what(i)))

        annoying = (offer(nuisances, lambda _, name=name: self.annoy(name)) for name in NUISANCES)
        await asyncio.gather(offer(rate, self.ask), *annoying)
        await asyncio.gather(*under_way)

    def figures(self) -> dict:
        return {"statuses": self.statuses, "nuisances": self.nuisances, "wrong": self.wrong, "taken": sorted(self.taken),
                "leaks": self.leaks}  # fmt: skip


def main() -> int:
    plan = json.load(sys.stdin)
    clients = Clients(plan)
    asyncio.run(clients.closed(plan["clients"]) if "clients" in plan else clients.open(plan["rate"], plan["nuisances"]))
    json.dump(clients.figures(), sys.stdout)
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""One thread that does the work. Requests that wait while it is busy are answered by its next call together.

A Recommender does one call at a time, and a call for a hundred sessions takes far less than a hundred calls; so nothing is
gathered by waiting for it: a request that finds the thread idle is answered at once.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from otto_gpu.columns import AID, SESSION, TS, TYPE
from otto_gpu.errors import UserError
from otto_gpu.events.incoming import NewSessions
from otto_gpu.events.readers.text import json_column
from otto_gpu.recommend import Recommender
from otto_gpu.serve.limits import Limits

log = logging.getLogger("otto_gpu.serve")


class Busy(Exception):
    """Too much waits already, or has waited for too long."""


@dataclass
class Events:
    """Events of some sessions as columns, in the user's own ids. session: the place of the event's session, from 0; sessions:
    how many there are, with events or without; context: further columns by name, None where missing."""

    sessions: int
    session: list[int] = field(default_factory=list)
    aid: list[int | str] = field(default_factory=list)
    ts: list[int | float | str] = field(default_factory=list)
    type: list[str] = field(default_factory=list)
    context: dict[str, list] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.session)

    def table(self) -> pa.Table:
        """As Recommender takes them; where there are no events, without sessions that they would be of."""
        columns = {SESSION: pa.array(self.session, pa.int64()), AID: self.items(), TS: self.ts, TYPE: self.type}
        if not self.session:
            columns.pop(SESSION)
        return pa.table(columns | {name: json_column(values) for name, values in self.context.items()})

    def items(self) -> pa.Array:
        """The events' items. 7 and '7' are one item: where both kinds occur, all are text."""
        return pa.array(self.aid if all(type(a) is int for a in self.aid) else list(map(str, self.aid)))

    @classmethod
    def joined(cls, parts: list[Events]) -> Events:
        """One after the other, the sessions numbered on."""
        if len(parts) == 1:
            return parts[0]
        all_of = cls(0)
        for part in parts:
            all_of.session += [all_of.sessions + s for s in part.session]
            all_of.sessions += part.sessions
            all_of.aid += part.aid
            all_of.ts += part.ts
            all_of.type += part.type
            for name, values in part.context.items():
                all_of.context.setdefault(name, []).extend(values)
        return all_of


@dataclass(frozen=True)
class Answer:
    """For one session. lists: {target: own ids, best first}; unknown_items: events of items that the run does not know."""

    lists: dict[str, list]
    cold: bool
    unknown_items: int


@dataclass
class Job:
    """A request that waits: for lists (events, k), or for anything else (call), which is done by itself."""

    future: asyncio.Future
    size: int  # events
    events: Events | None = None
    k: int = 0
    call: Callable[[], Any] | None = None
    since: float = field(default_factory=time.monotonic)


class Worker:
    def __init__(self, recommender: Recommender, limits: Limits):
        self.recommender, self._limits = recommender, limits
        self._jobs: deque[Job] = deque()
        self._waiting_events = 0
        self._changed = threading.Condition()
        self._stopped = False
        self._thread = threading.Thread(target=self._run, name="worker", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self, seconds: float) -> None:
        """What waits is still done, as far as there is time."""
        with self._changed:
            self._stopped = True
            self._changed.notify()
        self._thread.join(seconds)

    @property
    def alive(self) -> bool:
        return self._thread.is_alive() and not self._stopped

    @property
    def waiting(self) -> int:
        return len(self._jobs)

    async def recommend(self, events: Events, k: int) -> list[Answer]:
        """One for each session. UserError for what is no event, Busy where too much waits."""
        return await self._ask(Job(asyncio.get_running_loop().create_future(), len(events), events, k))

    async def call(self, call: Callable[[], Any], size: int) -> Any:
        """What the call returns or raises; Busy where too much waits. size: events."""
        return await self._ask(Job(asyncio.get_running_loop().create_future(), size, call=call))

    async def _ask(self, job: Job) -> Any:
        limits = self._limits
        with self._changed:
            full = len(self._jobs) >= limits.waiting
            full = full or (self._jobs and self._waiting_events + job.size > limits.waiting_events)
            if full or self._stopped:
                raise Busy
            self._jobs.append(job)
            self._waiting_events += job.size
            self._changed.notify()
        return await job.future

    # ------------------------------------------------------------------------------------------- in the thread
    def _run(self) -> None:
        while batch := self._next():
            answers = self._answers(batch)
            with suppress(RuntimeError):  # the loop is closed: nobody waits any more
                batch[0].future.get_loop().call_soon_threadsafe(_hand_out, answers)

    def _next(self) -> list[Job]:
        """The oldest job and, if it asks for lists, those after it that do so too; nothing when it is time to stop."""
        with self._changed:
            self._changed.wait_for(lambda: self._jobs or self._stopped)
            batch: list[Job] = []
            sessions = 0
            while self._jobs:
                job = self._jobs[0]
                sessions += job.events.sessions if job.events is not None else 0
                if batch and (job.events is None or batch[0].events is None or sessions > self._limits.batch_sessions):
                    break
                batch.append(self._jobs.popleft())
                self._waiting_events -= job.size
        return batch

    def _answers(self, batch: list[Job]) -> list[tuple[Job, Any]]:
        """Each job with its answer, or with the exception that it ends in."""
        late = time.monotonic() - self._limits.wait_seconds
        answers: list[tuple[Job, Any]] = [(job, Busy()) for job in batch if job.since < late]
        batch = [job for job in batch if job.since >= late and not job.future.cancelled()]
        try:
            if batch and batch[0].call is not None:
                return [*answers, (batch[0], batch[0].call())]
            return answers + list(zip(batch, self._lists(batch), strict=True)) if batch else answers
        except Exception as error:
            if len(batch) == 1:
                if not isinstance(error, UserError):
                    log.exception("a request failed")
                return [*answers, (batch[0], error)]
        # one of them spoils it: each by itself
        return answers + [pair for job in batch for pair in self._answers([job])]

    def _lists(self, batch: list[Job]) -> list[list[Answer]]:
        events = Events.joined([job.events for job in batch])
        incoming = self._read(events)
        with self.recommender.exclusive():
            made = self.recommender.lists(incoming, max(job.k for job in batch))
        answers: list[Answer | None] = [None] * events.sessions
        rows = zip(made.sessions.to_pylist(), made.to_dicts(), made.cold.tolist(), made.unknown.tolist(), strict=True)
        for session, lists, cold, unknown in rows:
            answers[session] = Answer({t: lists[t] for t in made.lists}, cold, unknown)
        cut, first = [], 0
        for job in batch:
            mine = answers[first : first + job.events.sessions]
            cut.append([Answer({t: aids[: job.k] for t, aids in a.lists.items()}, a.cold, a.unknown_items) for a in mine])
            first += job.events.sessions
        return cut

    def _read(self, events: Events) -> NewSessions:
        return self.recommender.reader.read(events.table(), list(range(events.sessions)))


def _hand_out(answers: list[tuple[Job, Any]]) -> None:
    """In the loop that the jobs came from."""
    for job, answer in answers:
        if job.future.done():
            continue
        if isinstance(answer, Exception):
            job.future.set_exception(answer)
        else:
            job.future.set_result(answer)

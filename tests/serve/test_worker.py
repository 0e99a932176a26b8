"""One thread does the work: what waits together is answered together, and nobody spoils it for others."""

import asyncio
import logging

import pytest

from otto_gpu.errors import UserError
from otto_gpu.serve.limits import Limits
from otto_gpu.serve.worker import Busy, Events, Worker
from tests.serve.test_app import TS, lists, of_test_period


def events_of(*sessions: list[dict]) -> Events:
    made = Events(len(sessions))
    for place, events in enumerate(sessions):
        for event in events:
            made.session.append(place)
            made.aid.append(event["aid"])
            made.ts.append(event["ts"])
            made.type.append(event["type"])
    return made


@pytest.fixture
def worker_of(recommender):
    """worker_of(**limits): started, and stopped after the test."""
    made = []

    def start(**limits) -> Worker:
        made.append(Worker(recommender, Limits(**limits)))
        made[-1].start()
        return made[-1]

    yield start
    for worker in made:
        worker.stop(10)
        assert not worker.alive


async def with_the_worker(worker) -> asyncio.Future:
    """A request that the worker has taken up, and cannot answer while the recommender is held."""
    first = asyncio.ensure_future(worker.recommend(events_of([]), 1))
    await asyncio.sleep(0)
    while worker.waiting:
        await asyncio.sleep(0.01)
    return first


def together(recommender, worker, *asked):
    """What comes of requests that all wait while the recommender is busy with something else."""

    async def ask():
        with recommender.exclusive():
            first = await with_the_worker(worker)
            tasks = [asyncio.ensure_future(one) for one in asked]
            while sum(task.done() for task in tasks) + worker.waiting < len(tasks):
                await asyncio.sleep(0.01)
        await first
        return await asyncio.gather(*tasks, return_exceptions=True)

    return asyncio.run(ask())


def test_requests_that_wait_together_get_their_own_lists(run_dir, recommender, worker_of):
    worker = worker_of()
    sessions = [s["events"] for s in of_test_period(run_dir, 12)]
    parts = [sessions[:1], sessions[1:4], [[]], sessions[4:5], [*sessions[5:], []]]
    lengths = [3, 20, 5, 100, 1]
    found = together(recommender, worker, *(worker.recommend(events_of(*p), k) for p, k in zip(parts, lengths, strict=True)))
    for answers, part, k in zip(found, parts, lengths, strict=True):
        assert [answer.lists for answer in answers] == [lists(recommender, events, k) for events in part]
        assert [answer.cold for answer in answers] == [not events for events in part]


def test_a_bad_request_spoils_no_other_one(run_dir, recommender, worker_of):
    worker = worker_of()
    good = of_test_period(run_dir, 3)[2]["events"]
    bad = [{"aid": 1, "ts": TS, "type": "no such type"}]
    found = together(recommender, worker, *(worker.recommend(events_of(e), 20) for e in (good, good, bad, good, bad)))
    assert [isinstance(f, UserError) for f in found] == [False, False, True, False, True]
    assert all("unknown type" in str(f) for f in (found[2], found[4]))
    assert all(f[0].lists == lists(recommender, good) for f in (found[0], found[1], found[3]))


def test_integers_and_words_may_wait_together(run_dir, recommender, worker_of):
    worker = worker_of()
    session = of_test_period(run_dir, 1)[0]["events"]
    words = [e | {"aid": str(e["aid"])} for e in session]
    found = together(recommender, worker, *(worker.recommend(events_of(e), 20) for e in (session, words, session)))
    assert all(f[0].lists == lists(recommender, session) for f in found)


def test_a_call_that_fails_is_logged_and_the_next_one_is_done(recommender, worker_of, caplog):
    worker = worker_of()
    calls = [worker.call(lambda n=n: 1 // n, 1) for n in (1, 0, 1)]
    with caplog.at_level(logging.ERROR):
        found = together(recommender, worker, worker.recommend(events_of([]), 1), *calls)
    assert found[1] == found[3] == 1 and isinstance(found[2], ZeroDivisionError)
    assert [record.exc_info[0] for record in caplog.records] == [ZeroDivisionError]


def test_no_more_may_wait_than_the_limits_say(run_dir, recommender, worker_of):
    event = [{"aid": 1, "ts": TS, "type": "clicks"}]
    for limits in ({"waiting": 3}, {"waiting_events": 3}):
        worker = worker_of(**limits)
        found = together(recommender, worker, *(worker.recommend(events_of(event), 1) for _ in range(8)))
        assert [isinstance(f, Busy) for f in found] == [False] * 3 + [True] * 5, limits
    worker = worker_of(waiting_events=3)  # one that is larger than that alone finds its place where nothing waits
    assert len(asyncio.run(worker.recommend(events_of(event, event, event, event), 1))) == 4


def test_what_has_waited_for_too_long_is_not_done(recommender, worker_of):
    worker = worker_of(wait_seconds=0.2)

    async def ask():
        with recommender.exclusive():
            first = await with_the_worker(worker)
            second = asyncio.ensure_future(worker.recommend(events_of([]), 1))
            await asyncio.sleep(0.4)
        return await asyncio.gather(first, second, return_exceptions=True)

    first, second = asyncio.run(ask())
    assert first[0].cold and isinstance(second, Busy)


def test_batches_are_bounded(run_dir, recommender, worker_of):
    worker = worker_of(batch_sessions=4)
    sessions = [s["events"] for s in of_test_period(run_dir, 10)]
    found = together(recommender, worker, *(worker.recommend(events_of(e, e), 5) for e in sessions))
    assert [f[0].lists for f in found] == [f[1].lists for f in found] == [lists(recommender, e, 5) for e in sessions]


def test_what_waits_is_done_before_it_stops(recommender, worker_of):
    worker = worker_of()

    async def ask():
        with recommender.exclusive():
            waiting = [await with_the_worker(worker)]
            waiting += [asyncio.ensure_future(worker.recommend(events_of([]), 1)) for _ in range(4)]
            await asyncio.sleep(0.05)
            worker.stop(0)
            assert not worker.alive
            with pytest.raises(Busy):
                await worker.recommend(events_of([]), 1)
        return await asyncio.gather(*waiting)

    assert len(asyncio.run(ask())) == 5

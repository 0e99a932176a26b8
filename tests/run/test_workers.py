import threading

import pytest

from otto_gpu.run.workers import BackgroundCalls


@pytest.mark.parametrize("threads", [0, 1, 3])
def test_every_call_is_done_when_the_block_ends(threads):
    done = []
    with BackgroundCalls(threads) as beside:
        for i in range(20):
            beside(done.append, i)
    assert sorted(done) == list(range(20))


def test_calls_are_done_beside_and_at_most_so_many_at_once():
    gate, begun = threading.Event(), threading.Semaphore(0)

    def call():
        begun.release()
        assert gate.wait(30)

    with BackgroundCalls(2) as beside:
        beside(call)
        beside(call)
        assert begun.acquire(timeout=30) and begun.acquire(timeout=30)  # both are at it while this goes on
        threading.Timer(0.1, gate.set).start()
        beside(call)  # waits for one of them
        assert gate.is_set()


@pytest.mark.parametrize("threads", [0, 2])
def test_an_error_is_raised(threads):
    def fail():
        raise ValueError("a full disk")

    with pytest.raises(ValueError, match="a full disk"), BackgroundCalls(threads) as beside:
        beside(fail)


def test_the_errors_of_the_block_come_first():
    with pytest.raises(KeyError), BackgroundCalls(1) as beside:
        beside(lambda: 1 / 0)
        raise KeyError

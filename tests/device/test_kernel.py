"""The scratch of kernels: how much of it, how it lies, and what of it stays on the device."""

import numpy as np
import pytest

from otto_gpu.device import kernel
from otto_gpu.device.kernel import Kernel


def body(s, starts, table, sums, out):
    """Only its names matter."""


SCRATCH = {"table": (np.int32, -1), "sums": (np.float32, None)}
GIVEN = (np.array([0, 3, 4]), 8, (3, 2), np.zeros(2))


@pytest.fixture(autouse=True)
def forgotten():
    yield
    kernel.forget_scratch()


def test_what_is_filled_stays_as_long_as_it_is_enough():
    one = Kernel(print, body, SCRATCH)
    first, again, fewer = (one.with_scratch(np, n, GIVEN, True) for n in (4, 4, 2))
    assert first[1].shape == (4, 8) and (first[1] == -1).all() and first[2].shape == (4, 3, 2)
    assert np.shares_memory(first[1], again[1]) and np.shares_memory(first[1], fewer[1])
    assert not np.shares_memory(first[2], again[2])
    more = one.with_scratch(np, 5, GIVEN, True)
    assert more[1].shape == (5, 8) and (more[1] == -1).all() and not np.shares_memory(first[1], more[1])
    other = Kernel(print, body, SCRATCH | {"table": (np.int32, 7)}).with_scratch(np, 4, GIVEN, True)
    assert (other[1] == 7).all() and (more[1] == -1).all()
    kernel.forget_scratch()
    assert not np.shares_memory(more[1], one.with_scratch(np, 5, GIVEN, True)[1])


def test_on_the_cpu_every_call_has_its_own():
    one = Kernel(print, body, SCRATCH)
    assert not np.shares_memory(one.with_scratch(np, 4, GIVEN)[1], one.with_scratch(np, 4, GIVEN)[1])


def test_side_by_side_on_the_device():
    """The next worker's lies four bytes on; on the CPU a worker's is in one piece."""
    one = Kernel(print, body, {"sums": (np.float32, None)}, side_by_side=True)
    for on_cuda, strides in ((True, (4, 24)), (False, (20, 4))):
        sums = one.with_scratch(np, 6, (GIVEN[0], GIVEN[1], 5, GIVEN[3]), on_cuda)[2]
        assert sums.shape == (6, 5) and sums.strides == strides


def test_as_many_workers_as_memory_has_scratch_for(monkeypatch):
    """8 slots and 6 sums take 56 bytes; of the free memory a quarter is taken, and what is kept counts as free."""
    monkeypatch.setattr(kernel, "free_bytes", lambda: 4 * 56 * 10)
    one = Kernel(print, body, SCRATCH)
    assert one.most_workers(table=8, sums=(3, 2)) == 10
    assert one.most_workers(table=8000, sums=6) == 1
    assert one.most_workers(table=0, sums=0) == Kernel(print, body).most_workers() == kernel.MOST_WORKERS
    one.with_scratch(np, 70, GIVEN, True)
    assert one.most_workers(table=8, sums=(3, 2)) == 20


def test_settings_are_brought_to_the_device_once(monkeypatch):
    from numba import cuda

    brought = []
    monkeypatch.setattr(cuda, "to_device", lambda array: brought.append(array) or array)
    kernel.forget_scratch()
    settings = np.array([(1, 2.5)], np.dtype([("depth", np.int32), ("weight", np.float32)], align=True))
    for array in (settings, np.arange(3), np.arange(3, dtype=np.int32), np.zeros((0, 2))):
        sent = [kernel._sent(array), kernel._sent(array.copy())]
        assert sent[0] is sent[1] and sent[0].dtype == array.dtype and np.array_equal(sent[0], array)
        assert not np.shares_memory(sent[0], array)
    assert len(brought) == 4
    kernel.forget_scratch()
    kernel._sent(settings)
    assert len(brought) == 5

"""XGBoost on a GPU: what is said where there is none, and where its memory comes from."""

import sys
from contextlib import contextmanager
from types import SimpleNamespace

import numpy as np
import pytest
import xgboost

from otto_gpu.candidates import fusion
from otto_gpu.candidates.settings import Fusion
from otto_gpu.device import Device
from otto_gpu.device.boosters import check_device, driver_pool
from otto_gpu.errors import UserError
from otto_gpu.ranking.rankers import xgb
from otto_gpu.ranking.settings import Group
from tests.gpus import a_gpu
from tests.ranking.rankers.test_xgb import HELD_OUT, NAMES, SESSIONS, batches

GROUP = Group(rounds=3, depth=2)


def prepared(device="cpu"):
    return xgb.prepare(GROUP, batches(0, HELD_OUT), batches(HELD_OUT, SESSIONS), NAMES, 1, device=device)


class Anywhere(Device):
    """A device cuda without a GPU: arrays stay where they are."""

    def to_device(self, thing):
        return thing


@pytest.mark.filterwarnings("ignore:.*(No visible GPU|Device is changed)")
def test_a_model_that_was_not_trained_on_the_gpu_is_refused(monkeypatch):
    """XGBoost itself: without a GPU it warns, and trains on the CPU."""
    if _visible():
        pytest.skip("there is a GPU")
    monkeypatch.setattr(xgb, "driver_pool", lambda device: driver_pool("cpu"))
    with pytest.raises(UserError, match=r"XGBoost sees no GPU and trained on cpu, not on cuda: python -m otto_gpu\.device"):
        xgb.train(GROUP, prepared(), "cuda", 1, 0)
    rows = np.random.default_rng(0).random((60, 3), np.float32)
    table = rows, np.round(rows[:, 0]).astype(np.float64), np.arange(60) % 2
    with pytest.raises(UserError, match="not on cuda"):
        fusion._train_fold(xgboost, 0, *table, list("abc"), Fusion(), Anywhere("cuda", "a test"))
    model, _ = xgb.train(GROUP, prepared(), "cpu", 1, 0)
    check_device(model, "cpu")


def _visible() -> bool:
    try:
        a_gpu()
    except pytest.skip.Exception:
        return False
    return True


@pytest.mark.gpu
def test_on_a_gpu_it_is_trained_there():
    a_gpu()
    model, log = xgb.train(GROUP, prepared("cuda"), "cuda", 1, 0)
    assert model.num_boosted_rounds() == log["best_round"] + 1


@pytest.fixture
def told(monkeypatch):
    """What CuPy and XGBoost are told: stand-ins of the names that are used."""
    calls = []
    runtime = SimpleNamespace(
        cudaMemPoolAttrReleaseThreshold=4,
        getDevice=lambda: 1,
        deviceGetDefaultMemPool=lambda device: f"pool of {device}",
        memPoolGetAttribute=lambda pool, attribute: 7,
        memPoolSetAttribute=lambda *given: calls.append(given),
        memPoolTrimTo=lambda *given: calls.append(("trim", *given)),
    )
    monkeypatch.setitem(sys.modules, "cupy", SimpleNamespace())
    monkeypatch.setitem(sys.modules, "cupy.cuda", SimpleNamespace(runtime=runtime))

    @contextmanager
    def context(**options):
        calls.append(options)
        yield
        calls.append("left")

    monkeypatch.setattr(xgboost, "config_context", context)
    return calls


def test_on_cuda_memory_comes_from_the_drivers_pool_which_is_left_as_it_was(told, monkeypatch):
    monkeypatch.setattr(xgboost, "build_info", lambda: {"USE_CUDA": True})
    with pytest.raises(ZeroDivisionError), driver_pool("cuda"):
        assert told == [("pool of 1", 4, 2**64 - 1), {"use_cuda_async_pool": True}]
        raise ZeroDivisionError
    assert told[2:] == [("pool of 1", 4, 7), ("trim", "pool of 1", 7)]


@pytest.mark.parametrize(
    "device, built, config",
    [("cpu", True, {"use_cuda_async_pool": False}), ("cuda", False, {"use_cuda_async_pool": False}), ("cuda", True, {})],
    ids=["on the CPU", "XGBoost without CUDA", "an older XGBoost"],
)
def test_elsewhere_nothing_is_changed(told, monkeypatch, device, built, config):
    monkeypatch.setattr(xgboost, "build_info", lambda: {"USE_CUDA": built})
    monkeypatch.setattr(xgboost, "get_config", lambda: config)
    with driver_pool(device):
        assert told == []
    assert told == []


def test_the_installed_xgboost_knows_the_pool():
    version = tuple(int(part) for part in xgboost.__version__.split(".")[:2])
    assert ("use_cuda_async_pool" in xgboost.get_config()) == (version >= (3, 2))

"""The GPU's memory: stand-ins for the libraries that keep it, with the names and arguments of theirs."""

import sys
from importlib.machinery import ModuleSpec
from types import ModuleType, SimpleNamespace

import pytest

from otto_gpu.device import CPU, Device, memory
from otto_gpu.device.memory import free_bytes, rapids
from otto_gpu.errors import MissingExtra
from otto_gpu.pipeline import _alone

CUDA = Device("cuda", "a stand-in")
POOL = 77


class Pool:
    """CuPy's, with blocks that nobody uses."""

    def __init__(self, free: int):
        self.free = free

    def free_bytes(self):
        return self.free

    def free_all_blocks(self):
        self.free = 0


@pytest.fixture
def there(monkeypatch):
    """put(name, module) makes it the one that is imported; CuPy is there, on a GPU with 1000 bytes that nobody has."""

    def put(name: str, module):
        module.__spec__ = ModuleSpec(name, None)
        monkeypatch.setitem(sys.modules, name, module)
        return module

    for name in ("cupy", "torch", "rmm", "cudf"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    held = {"reserved": 500, "used": 300, "threshold": 0}
    attributes = {4: "threshold", 5: "reserved", 7: "used"}
    runtime = SimpleNamespace(
        getDevice=lambda: 2,
        memGetInfo=lambda: (1000, 9000),
        deviceSynchronize=lambda: None,
        deviceGetDefaultMemPool=lambda device: POOL if device == 2 else None,
        memPoolGetAttribute=lambda pool, what: held[attributes[what]] if pool == POOL else None,
        memPoolSetAttribute=lambda pool, what, value: held.update({attributes[what]: value}) if pool == POOL else None,
        memPoolTrimTo=lambda pool, size: held.update(reserved=max(held["used"], size)) if pool == POOL else None,
        cudaMemPoolAttrReleaseThreshold=4,
        cudaMemPoolAttrReservedMemCurrent=5,
        cudaMemPoolAttrUsedMemCurrent=7,
    )
    cupy = put("cupy", ModuleType("cupy"))
    cupy.cuda = SimpleNamespace(runtime=runtime)
    own, pinned = Pool(40), Pool(6)
    cupy.get_default_memory_pool, cupy.get_default_pinned_memory_pool = (lambda: own), (lambda: pinned)
    return SimpleNamespace(put=put, held=held, own=own, pinned=pinned)


@pytest.fixture
def with_rapids(there):
    """RMM and cuDF as they are when nobody has chosen anything: arrays straight from the driver."""
    plain, view = type("CudaMemoryResource", (), {}), type("CudaAsyncViewMemoryResource", (), {"__init__": keep})
    resource = [plain()]
    there.put("rmm", ModuleType("rmm")).mr = SimpleNamespace(
        CudaMemoryResource=plain,
        CudaAsyncViewMemoryResource=view,
        get_current_device_resource_type=lambda: type(resource[0]),
        set_current_device_resource=lambda new: resource.__setitem__(0, new),
    )
    runtime = SimpleNamespace(cudaDeviceGetDefaultMemPool=lambda device: (0, POOL) if device == 2 else None)
    there.put("cuda", ModuleType("cuda")).bindings = there.put("cuda.bindings", ModuleType("cuda.bindings"))
    sys.modules["cuda.bindings"].runtime = runtime
    there.put("cudf", ModuleType("cudf")).set_option = lambda name, value: there.held.update({name: value})
    there.resource = resource
    return there


def keep(self, pool):
    self.pool = pool


def test_free_is_what_the_driver_and_cupy_have(there):
    assert free_bytes() == CUDA.free_memory() == 1000 + 40
    assert CPU.free_memory() is None


def test_with_rapids_the_drivers_pool_is_counted_once(with_rapids):
    with_rapids.own.free = 0
    assert free_bytes() == 1000 + 500 - 300


def test_before_cudf_rmm_takes_the_drivers_pool(with_rapids):
    assert CUDA.frames() is sys.modules["cudf"]
    assert type(with_rapids.resource[0]).__name__ == "CudaAsyncViewMemoryResource" and with_rapids.resource[0].pool == POOL
    assert with_rapids.held["threshold"] == 2**64 - 1  # it keeps what it has
    assert with_rapids.own.free == 0, "what CuPy kept is lost to RMM"
    assert "spill" not in with_rapids.held
    CUDA.frames(spill=True)
    assert with_rapids.held["spill"] is True


def test_a_resource_that_somebody_chose_stays(with_rapids):
    theirs = SimpleNamespace()
    with_rapids.resource[0] = theirs
    CUDA.frames()
    assert with_rapids.resource[0] is theirs and with_rapids.held["threshold"] == 0


def test_without_cudf_its_engine_says_so(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingExtra, match=r"engine 'selfmerge' on cuda needs cudf, .*pip install 'otto_gpu\[cuda13\]'"):
        CUDA.frames()
    with pytest.raises(MissingExtra, match=r"the map needs cuml"):
        rapids("cuml", "the map")
    assert CPU.frames().__name__ == "pandas"


@pytest.mark.parametrize("begun", [True, False])
def test_what_libraries_keep_is_given_back(there, monkeypatch, begun):
    emptied = []
    torch = there.put("torch", ModuleType("torch"))
    torch.cuda = SimpleNamespace(is_initialized=lambda: begun, empty_cache=lambda: emptied.append(True))
    forgotten = []
    monkeypatch.setattr(memory, "keepers", [*memory.keepers, lambda: forgotten.append(there.own.free)])
    CPU.give_back()
    assert (there.own.free, emptied, forgotten) == (40, [], [])
    CUDA.give_back()
    assert forgotten == [40], "what kernels keep goes to CuPy's pool first"
    assert (there.own.free, there.pinned.free, there.held["reserved"]) == (0, 0, 300)
    assert emptied == [True] * begun, "a PyTorch that has not begun with the GPU must not begin for this"


def test_the_pipeline_gives_it_back_after_every_stage(there, tmp_path):
    stage = _alone(1, CUDA, lambda folder: {"free": there.own.free})
    assert stage(tmp_path) == {"free": 40} and there.own.free == 0

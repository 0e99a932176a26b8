"""A stand-in for CuPy in numba's simulator, where "device memory" is NumPy's: install() makes it the module `cupy`.

It computes nothing of its own. What it adds is CuPy's refusal: an array of the host's beside one of the device's is a
TypeError, so that code which forgets to bring its arrays is found out without a GPU.
"""

import sys
from threading import Lock
from types import ModuleType, SimpleNamespace

import numpy as np
from numba.np.numpy_support import as_dtype


def _checked(thing):
    """Plain NumPy for the computing, if nothing in it is the host's."""
    if isinstance(thing, list | tuple):
        return type(thing)(_checked(t) for t in thing)
    if isinstance(thing, dict):
        return {name: _checked(value) for name, value in thing.items()}
    if isinstance(thing, Array):
        return thing.view(np.ndarray)
    if isinstance(thing, np.ndarray) and thing.ndim:
        raise TypeError(f"an array {thing.dtype} {thing.shape} of the host's among those of the device")
    return thing


def _here(result):
    return result.view(Array) if isinstance(result, np.ndarray) else result


class Array(np.ndarray):
    @property
    def __cuda_array_interface__(self):
        return self.__array_interface__

    def get(self, stream=None, out=None, blocking=True) -> np.ndarray:
        if out is None:
            return np.array(self.view(np.ndarray))
        out[:] = self.view(np.ndarray)
        return out

    def set(self, array, stream=None) -> None:
        self.view(np.ndarray)[:] = array

    def __array_ufunc__(self, ufunc, method, *inputs, **options):
        return _here(getattr(ufunc, method)(*_checked(inputs), **_checked(options)))

    def __array_function__(self, function, types, arguments, options):
        if function is np.repeat and np.ndim(arguments[1]):
            raise TypeError("CuPy repeats by one number only")
        if function is np.lexsort:
            raise TypeError("CuPy's lexsort takes one array, not several")
        return _here(function(*_checked(arguments), **_checked(options)))

    def __getitem__(self, key):
        return _here(self.view(np.ndarray)[_checked(key)])

    def __setitem__(self, key, value):
        self.view(np.ndarray)[_checked(key)] = _checked(value)


class Stream:
    def __init__(self, non_blocking=False):
        pass

    def record(self):
        return SimpleNamespace(synchronize=lambda: None)

    def wait_event(self, event):
        pass


class Module(ModuleType):
    uint8, ndarray = np.uint8, Array
    cuda = SimpleNamespace(
        runtime=SimpleNamespace(memGetInfo=lambda: (1 << 20, 1 << 20)), Stream=Stream, get_current_stream=Stream,
        alloc_pinned_memory=bytearray,
    )  # fmt: skip

    @staticmethod
    def asarray(array):
        return np.array(array).view(Array) if not isinstance(array, Array) else array

    @staticmethod
    def get_default_memory_pool():
        return SimpleNamespace(free_bytes=lambda: 0)

    def __getattr__(self, name):
        if name.startswith("_"):
            raise AttributeError(name)
        function = getattr(np, name)
        return lambda *arguments, **options: _here(function(*_checked(arguments), **_checked(options)))


_LOCK = Lock()


def _shared(self, shape, dtype) -> np.ndarray:
    """A block's shared array, by the line that asks for it, as the simulator's own; but that gives two threads which ask at the
    same moment an array each."""
    caller = sys._getframe(1)
    place = caller.f_code.co_filename, caller.f_lineno
    with _LOCK:
        if place not in self._allocations:
            self._allocations[place] = np.empty(shape, as_dtype(dtype))
        return self._allocations[place]


def install() -> None:
    """For kernels too: the simulator copies what it is given there and back, which device memory is not."""
    from numba.cuda.simulator.cudadrv import devicearray
    from numba.cuda.simulator.kernelapi import FakeCUDAShared

    def auto_device(array, *more, copy=devicearray.auto_device, **options):
        if isinstance(array, Array):
            return devicearray.FakeCUDAArray(array.view(np.ndarray)), False
        return copy(array, *more, **options)

    devicearray.auto_device = auto_device
    FakeCUDAShared.array = _shared
    sys.setswitchinterval(1e-6)  # the simulator asks its threads in turn, in a loop, whether they wait for each other
    sys.modules["cupy"] = Module("cupy")

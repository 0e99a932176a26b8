"""CUDA kernels out of Python functions, compiled once for all processes: numba keeps their machine code on disk.

It does so for code that lies in a file, and takes it for the same as long as that file is; what a kernel calls, it does not
look at. So a kernel is generated source whose file is named after all that decides about it.
"""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable
from functools import lru_cache
from hashlib import sha256
from importlib import metadata
from pathlib import Path
from types import FunctionType

from otto_gpu.device.compiled import cached_source

THREADS = 128  # of a block
WARP = 32  # of a block where there are few threads in all: then every multiprocessor of a GPU gets some
FEW = 1 << 15


def cuda_kernel(body: Callable, scratch: tuple[str, ...] = (), names: list[str] | None = None) -> Callable:
    """A CUDA kernel out of a body that does one session, `body(s, *arguments)`, in plain Python or @njit.

    Returns launch(sessions, workers, *arguments): `workers` threads share the sessions 0..sessions-1. Arguments are
    arrays (on the device, or on the host, then copied there and back) and numbers, in the body's order. Of those named in
    `scratch` every thread gets a row of its own: they are arrays [workers, ...]. The body must not allocate. names: what the
    arguments are called, where the body takes them as *arguments.
    """
    body = getattr(body, "py_func", body)
    names = list(inspect.signature(body).parameters)[1:] if names is None else names
    unknown = set(scratch) - set(names)
    if unknown:
        raise ValueError(f"{body.__name__} has no parameter {sorted(unknown)[0]!r}; it has {', '.join(names)}")
    given = ", ".join(f"{name}[worker]" if name in scratch else name for name in names)
    # numba's kernels take no *arguments: one of the body's own parameters is written for every body
    source = f"""
def kernel(sessions, workers, {", ".join(names)}):
    worker = cuda.grid(1)
    if worker < workers:
        for s in range(worker, sessions, workers):
            body(s, {given})
"""
    from numba import cuda

    space = {"__name__": __name__, "cuda": cuda, "body": cuda.jit(device=True)(body)}
    exec(compile(source, _file(source, body, {}), "exec"), space)
    kernel = _jit(space["kernel"], {})

    def launch(sessions: int, workers: int, *arguments) -> None:
        if sessions:
            block = min(workers, WARP if workers < FEW else THREADS)
            kernel[-(-workers // block), block](sessions, workers, *arguments)

    launch.kernel = kernel
    return launch


def cuda_jit(body: Callable, **options) -> Callable:
    """As numba.cuda.jit(body, **options): a kernel, to be launched as kernel[blocks, threads](*arguments).

    The body divides the work itself; it may use shared memory, and call what is of this package. What a kernel is made for
    (sizes of arrays in shared memory, device functions) the body may have in its closure.
    """
    body = getattr(body, "py_func", body)
    code = body.__code__
    path = _file("\n" * (code.co_firstlineno - 1) + inspect.getsource(body), body, options)
    code = code.replace(co_filename=path)  # the same function, of another file
    return _jit(FunctionType(code, body.__globals__, body.__name__, body.__defaults__, body.__closure__), options)


def _file(source: str, body: Callable, options: dict) -> str:
    """The path of a file with the source of a kernel, below a line about all that decides about it."""
    decides = "\n".join((_package(), _told(body), repr(sorted(options.items()))))
    return str(cached_source(f"# {body.__module__}.{body.__qualname__} {sha256(decides.encode()).hexdigest()}{source}"))


def _jit(kernel: Callable, options: dict):
    from numba import cuda

    if "NUMBA_CUDA_LOW_OCCUPANCY_WARNINGS" not in os.environ:
        _config().CUDA_LOW_OCCUPANCY_WARNINGS = 0  # a small run has a small grid
    return cuda.jit(cache=True, **options)(kernel)


def _config():
    try:
        from numba.cuda.core import config  # numba-cuda has one of its own
    except ImportError:
        from numba.core import config
    return config


def _told(thing) -> str:
    """A function as its source and what its closure holds; anything else as it prints."""
    function = getattr(thing, "py_func", getattr(thing, "fn", thing))
    if not inspect.isfunction(function):
        return repr(thing)
    held = [_told(cell.cell_contents) for cell in function.__closure__ or ()]
    return "\n".join((function.__module__, function.__qualname__, inspect.getsource(function), *held))


@lru_cache(1)
def _package() -> str:
    """What a body may call: the package's sources, and numba's versions."""
    root = Path(__file__).parents[1]
    found = sha256()
    for path in sorted(path for path in root.rglob("*.py") if "__pycache__" not in path.parts):
        found.update(f"{path.relative_to(root)}\n".encode() + path.read_bytes())
    return "\n".join((found.hexdigest(), *map(_version, ("numba", "numba-cuda"))))


def _version(name: str) -> str:
    try:
        return f"{name} {metadata.version(name)}"
    except metadata.PackageNotFoundError:
        return f"no {name}"

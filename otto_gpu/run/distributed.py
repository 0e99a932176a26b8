"""The parts of the stages on the workers of a Dask cluster: worker processes here, one per GPU, or those of a scheduler that
somebody else runs.

Workers read and write the run directory, which all of them see under the same path; through Dask go only the settings of a
stage, the names of its parts and a few figures. A worker keeps what it loaded for a stage until the stage's parts are done.
Everything ends in the same bytes as in one process. That is why rankers are trained one model per task and not with
xgboost.dask, which adds up the histograms of its workers in another order than one process does.
"""

from __future__ import annotations

import hashlib
import logging
import os
import pickle
import socket
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import CancelledError
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

from otto_gpu.device import Device
from otto_gpu.device.memory import give_back, pool_for_rapids
from otto_gpu.errors import UserError
from otto_gpu.needs import Need, look_for
from otto_gpu.run.directory import versions
from otto_gpu.run.progress import Reporter

CONNECT = "10 s"  # how long a scheduler, and its first worker, are waited for
POOLS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")  # threads of the libraries beside numba and XGBoost


class Cluster:
    """Workers (workers.py) of a Dask client. threads: {host: threads for the kernels of each of its workers}."""

    def __init__(self, client, threads: dict[str, int]):
        self._client, self._threads = client, threads
        self._run = uuid4().hex  # nothing that a worker keeps is taken for that of another run

    def map(self, do: Callable, shared: Any, tasks: Iterable, at_once: int = 1) -> Iterator[tuple[Any, Any]]:
        """As Workers.map. What a worker that died had begun is done again by another."""
        from distributed import KilledWorker, as_completed

        payload = pickle.dumps((do, shared))
        key = f"{self._run}-{hashlib.sha256(payload).hexdigest()}"
        jobs = [(self._client.submit(_work, key, payload, self._threads, task, pure=False), task) for task in tasks]
        task_of = {future.key: task for future, task in jobs}
        try:
            for future in as_completed([future for future, _ in jobs]):
                yield task_of[future.key], future.result()
        except KilledWorker as error:
            raise UserError(f"--cluster: a part ended every worker that tried it; out of memory? ({_line(error)})") from None
        except CancelledError as error:
            raise UserError(f"--cluster: the scheduler is gone; the same command goes on from here ({_line(error)})") from None
        finally:
            self._client.cancel([future for future, _ in jobs if not future.done()])


_kept: tuple = ("", None)  # of a worker process: the key of the last stage's (do, shared), and themselves


def _work(key: str, payload: bytes, threads: dict[str, int], task: Any) -> Any:
    """One part, in a worker process."""
    global _kept
    import numba

    numba.set_num_threads(min(threads.get(socket.gethostname(), 1), numba.config.NUMBA_NUM_THREADS))
    if _kept[0] != key:
        _forget()  # first, so that there is never more than one in memory
        if "cudf" in sys.modules:  # dask-cuda brings it into every worker
            pool_for_rapids()
        _kept = key, pickle.loads(payload)
    do, shared = _kept[1]
    try:
        return do(shared, task)
    except UserError as error:
        raise UserError(str(error)) from None  # its words travel; a subclass may not know how


def _forget() -> None:
    global _kept
    _kept = ("", None)
    give_back()


def check_cluster(wanted: str, device: Device) -> None:
    """UserError where it cannot be: before anything is begun."""
    kind = _parse(wanted)[0]
    look_for([Need("--cluster", "distributed", "cluster")])
    if kind == "cuda":
        look_for([Need("--cluster cuda", "dask_cuda", "cuda13")])
        if device.kind != "cuda":
            raise UserError(f"--cluster cuda: the device is {device}; on the CPU take --cluster local")
    if kind == "local" and device.kind == "cuda":
        raise UserError("--cluster local shares out the cores of the CPU; on GPUs take --cluster cuda, or --device cpu")


def _parse(wanted: str) -> tuple[str, int | None]:
    """('local', workers), ('cuda', None) or ('address', None)."""
    kind, _, number = wanted.partition(":")
    if wanted.startswith(("tcp://", "tls://")) and len(wanted) > len("tcp://"):
        return "address", None
    if wanted in ("local", "cuda"):
        return wanted, None
    if kind == "local" and number.isdecimal() and int(number):
        return "local", int(number)
    raise UserError(
        f"--cluster {wanted}: expected local, local:4 (so many workers), cuda, or a scheduler's address such as tcp://host:8786"
    )


@contextmanager
def cluster_of(wanted: str, run_dir: Path, threads: int | None, reporter: Reporter) -> Iterator[Cluster]:
    """The workers, as long as it lasts. wanted: as check_cluster let it pass; run_dir: absolute; threads: the most that the
    workers of a host take together (None: its cores)."""
    from distributed import Client

    logging.getLogger("distributed.client").setLevel(logging.CRITICAL)  # what goes wrong is told by errors
    with ExitStack() as opened:
        address = wanted if _parse(wanted)[0] == "address" else opened.enter_context(_started(wanted, threads))
        try:
            client = opened.enter_context(Client(address, timeout=CONNECT))
            client.wait_for_workers(1, timeout=CONNECT)
        except (OSError, TimeoutError, ValueError) as error:
            raise UserError(f"--cluster {wanted}: no scheduler with workers answers there ({_line(error)})") from None
        told = _checked(client, run_dir)
        each = _threads(told, threads)
        reporter.say(
            f"cluster {wanted}: {len(told)} workers; " + ", ".join(f"{n} threads each on {h}" for h, n in each.items())
        )
        yield Cluster(client, each)
        client.run(_forget, on_error="ignore")


def _started(wanted: str, threads: int | None):
    """A cluster of worker processes on this machine."""
    from dask import config

    kind, workers = _parse(wanted)
    # the dashboard takes a free port; a worker takes the memory that its part needs, without Dask ending it for that; and a
    # kernel may keep it from saying that it lives for longer than Dask would wait
    common = {"dashboard_address": ":0", "memory_limit": 0, "silence_logs": logging.CRITICAL}
    with config.set({"distributed.scheduler.worker-ttl": None}):
        if kind == "cuda":
            from dask_cuda import LocalCUDACluster

            # cuDF spills where the matrices' `spill` asks for it: Device.frames
            return LocalCUDACluster(threads_per_worker=1, **common)
        from distributed import LocalCluster

        cores = threads or _cores()
        each = str(max(cores // (workers or cores), 1))
        with config.set({f"distributed.nanny.pre-spawn-environ.{name}": each for name in POOLS}):
            return LocalCluster(n_workers=workers or cores, threads_per_worker=1, processes=True, **common)


def _checked(client, run_dir: Path) -> dict[str, dict]:
    """{worker: what it told}, after a look at what all of them must have: this run directory, these packages, one thread."""
    probe, token = run_dir / ".cluster", uuid4().hex
    probe.write_text(token)
    try:
        told = client.run(_look, str(probe), on_error="return")
    finally:
        probe.unlink()
    try:
        client.run_on_scheduler(_cores)  # it reads the names of what the workers do
    except Exception as error:
        raise UserError(f"the scheduler: otto_gpu does not run there ({_line(error)})") from None
    for address, threads in client.nthreads().items():
        if threads != 1:
            raise UserError(f"worker {address} does {threads} tasks at once: start it with --nthreads 1; its kernels take more")
    mine = versions()
    for address, found in told.items():
        if isinstance(found, BaseException):
            raise UserError(f"worker {address}: otto_gpu does not run there ({_line(found)})")
        if found["seen"] != token:
            raise UserError(f"worker {address} ({found['host']}) does not see the run directory under the same path: {run_dir}")
        other = [n for n in {**mine, **found["versions"]} if mine.get(n) != found["versions"].get(n)]
        if other:
            there, here = found["versions"].get(other[0], "none"), mine.get(other[0], "none")
            raise UserError(f"worker {address} ({found['host']}) has {other[0]} {there}, here it is {here}: install the same")
    return told


def _look(probe: str) -> dict:
    """What a worker sees and has."""
    try:
        seen = Path(probe).read_text()
    except OSError:
        seen = None
    return {"seen": seen, "host": socket.gethostname(), "cores": _cores(), "versions": versions()}


def _threads(told: dict[str, dict], most: int | None) -> dict[str, int]:
    """{host: threads of each of its workers}"""
    workers = Counter(found["host"] for found in told.values())
    cores = {found["host"]: min(found["cores"], most or found["cores"]) for found in told.values()}
    return {host: max(cores[host] // n, 1) for host, n in workers.items()}


def _cores() -> int:
    return len(os.sched_getaffinity(0))


def _line(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}".splitlines()[0]

"""Runs on the worker processes of a cluster: the same bytes, also when a worker is killed."""

import json
import os
import pickle
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from threading import Event, Thread
from types import ModuleType

import numba
import pytest

from otto_gpu.device import Device
from otto_gpu.errors import MissingExtra, UserError
from otto_gpu.pipeline import STAGES, run_pipeline
from otto_gpu.run import distributed
from otto_gpu.run.distributed import check_cluster, cluster_of
from otto_gpu.run.progress import Reporter
from otto_gpu.run.workers import IN_PROCESS, Shared
from tests.runs import EMBEDDED, GROUP, ROOT, artifacts, metrics, pipeline, said, small, write_config

LocalCluster = pytest.importorskip(
    "distributed", reason="distributed is not installed: pip install 'otto_gpu[cluster]'"
).LocalCluster
CPU = Device("cpu", "as asked")
GROUPS = {"binary": GROUP, "pairwise": GROUP | {"objective": "rank:pairwise"}}
SETTINGS = small(
    400,
    threads=2,
    candidates={"chunk_sessions": 10, "fusion": EMBEDDED["candidates"]["fusion"]},
    features={"families": ["session", "recall", "rank"], "chunk_rows": 300},
    ranking={"folds": 3, "groups": GROUPS, "cascade": {"orders": ["clicks"]}},
)
ATTEMPTS = 5


@pytest.fixture(scope="module")
def cluster():
    """A scheduler and two worker processes, that the runs find by its address."""
    from dask import config

    with (
        config.set({"distributed.scheduler.allowed-failures": 1}),
        LocalCluster(n_workers=2, threads_per_worker=1, processes=True, dashboard_address=":0", memory_limit=0) as cluster,
    ):
        yield cluster


@pytest.fixture
def both(cluster):
    """both() waits until both workers are there, however many were killed."""
    from distributed import Client

    def wait():
        with Client(cluster) as client:
            client.wait_for_workers(2, timeout=60)

    wait()
    return wait


@pytest.fixture
def run_of(cluster, both, tmp_path):
    """run_of() opens the workers as a run does, each time as another run."""
    return lambda: cluster_of(cluster.scheduler_address, tmp_path, 2, Reporter(quiet=True))


@pytest.fixture(scope="module")
def straight(tmp_path_factory):
    """A run in one process."""
    run_dir = tmp_path_factory.mktemp("straight") / "run"
    run_pipeline(SETTINGS, run_dir=run_dir)
    return run_dir


def same(run_dir: Path, expected: Path, stages=tuple(STAGES)) -> None:
    assert artifacts(run_dir, stages).keys() == artifacts(expected, stages).keys()
    mine = artifacts(run_dir, stages)
    assert [name for name, content in artifacts(expected, stages).items() if mine[name] != content] == []
    for stage in stages:
        mine, other = (json.loads((d / f"manifests/{stage}.json").read_text()) for d in (run_dir, expected))
        assert mine["fingerprint"] == other["fingerprint"]
    assert list((run_dir / ".partial").iterdir()) == []
    assert list(run_dir.rglob(".*.writing")) == [] and not (run_dir / ".cluster").exists()


# --------------------------------------------------------------------------------------------------------------- runs
def test_a_run_on_workers_gives_the_bytes_of_one_process(cluster, straight, tmp_path):
    run_pipeline(SETTINGS, run_dir=tmp_path / "run", cluster=cluster.scheduler_address)
    same(tmp_path / "run", straight)
    assert metrics(tmp_path / "run") | {"stages": None} == metrics(straight) | {"stages": None}
    # and one process goes on where a cluster was: there is nothing to do
    assert run_pipeline(SETTINGS, run_dir=tmp_path / "run").ran == []


def test_the_command_line_starts_workers(straight, tmp_path):
    config, run_dir = write_config(tmp_path / "small.yaml", SETTINGS), tmp_path / "run"
    shutil.copytree(straight, run_dir)
    arguments = ("--config", config, "--run-dir", run_dir, "--from", "matrices", "--to", "matrices", "--cluster", "local:2")
    shown = pipeline(*arguments)
    assert shown.returncode == 0 and not shown.stderr
    assert "cluster local:2: 2 workers; 1 threads each on " in shown.stdout and "matrices: started" in shown.stdout
    same(run_dir, straight)


def test_a_search_on_workers_finds_the_same(cluster, straight, tmp_path):
    pytest.importorskip("optuna", reason="optuna is not installed: pip install 'otto_gpu[search]'")
    search = {"trials": 2, "startup": 1, "parameters": ["depth"]}
    settings = SETTINGS | {"ranking": SETTINGS["ranking"] | {"groups": {"binary": GROUP}, "search": search}}
    for name, address in (("one", None), ("many", cluster.scheduler_address)):
        shutil.copytree(straight, tmp_path / name)
        run_pipeline(settings, run_dir=tmp_path / name, to_stage="rankers", cluster=address)
    models = artifacts(tmp_path / "one", ("rankers",))
    assert len(models) > 10
    for name, content in artifacts(tmp_path / "many", ("rankers",)).items():
        if name.endswith("search.json"):  # tells seconds
            trials = [[t["folds"] for t in json.loads(text)["trials"]] for text in (content, models[name])]
            assert trials[0] == trials[1]
        else:
            assert content == models[name]


def kill_in(cluster, run_dir: Path, stage: str, over: Event, killed: list[int]) -> None:
    """Kills a worker that is at a part, as soon as another part of the stage is there."""
    while not over.wait(0.0005):
        made = [p for p in (run_dir / ".partial").glob(f"{stage}-*/**/*.*") if p.is_file() and not p.name.startswith(".")]
        for nanny in list(cluster.workers.values()) if made else []:
            state = cluster.scheduler.workers.get(nanny.worker_address)
            if state is not None and state.processing:
                os.kill(nanny.process.pid, signal.SIGKILL)
                killed.append(nanny.process.pid)
                return


@pytest.mark.parametrize("stage", ["matrices", "candidates", "rankers", "predictions"])
def test_a_worker_that_is_killed_in_a_stage_changes_nothing(cluster, both, straight, tmp_path, stage):
    for attempt in range(ATTEMPTS):
        run_dir = tmp_path / str(attempt)
        shutil.copytree(straight, run_dir)
        both()
        over, killed = Event(), []
        killer = Thread(target=kill_in, args=(cluster, run_dir, stage, over, killed), daemon=True)
        killer.start()
        try:
            result = run_pipeline(
                SETTINGS, run_dir=run_dir, from_stage=stage, to_stage=stage, cluster=cluster.scheduler_address
            )
        finally:
            over.set()
            killer.join()
        assert result.ran == [stage]
        same(run_dir, straight)
        if killed:
            return
    pytest.skip(f"no kill hit {stage} in {ATTEMPTS} attempts: done before it arrived")


# ------------------------------------------------------------------------------------------------------------ the parts
@dataclass(frozen=True)
class Told(Shared):
    """Notes in the file whoever loads it."""

    file: Path

    @cached_property
    def number(self) -> int:
        with self.file.open("a") as file:
            file.write(f"{os.getpid()}\n")
        return 40


def add(shared: Told, task: int) -> int:
    return shared.number + task


def die_once(shared: Told, task: int) -> int:
    """The worker of task 3 dies at it, once."""
    mark = shared.file.with_name("died")
    if task == 3 and not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(0.05)
    return add(shared, task)


def always_die(shared, task: int) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def fail(error: Exception, task: int) -> None:
    if task == 2:
        raise error


def threads_of(shared, task: int) -> tuple[int, str]:
    return numba.get_num_threads(), os.environ["OMP_NUM_THREADS"]


def test_what_is_shared_is_loaded_once_by_a_process_and_anew_by_another_run(run_of, tmp_path):
    shared, expected = Told(tmp_path / "told"), {task: 40 + task for task in range(12)}
    assert dict(IN_PROCESS.map(add, shared, range(12))) == expected
    assert shared.file.read_text().split() == [str(os.getpid())]
    shared.file.unlink()
    with run_of() as workers:
        assert dict(workers.map(add, shared, range(12))) == expected
        loaded = shared.file.read_text().split()
        assert 1 <= len(loaded) == len(set(loaded)) <= 2 and str(os.getpid()) not in loaded
        assert dict(workers.map(add, Told(shared.file), range(12))) == expected
        again = shared.file.read_text().split()
        assert len(again) == len(set(again)) <= 2
    with run_of() as workers:
        assert dict(workers.map(add, shared, range(12))) == expected
    assert len(shared.file.read_text().split()) > len(again)


def test_what_a_dead_worker_had_begun_is_done_by_another(run_of, tmp_path):
    with run_of() as workers:
        assert dict(workers.map(die_once, Told(tmp_path / "told"), range(8))) == {task: 40 + task for task in range(8)}
    assert (tmp_path / "died").exists()


def test_a_part_that_ends_every_worker_is_one_line(run_of):
    with run_of() as workers, pytest.raises(UserError, match="a part ended every worker that tried it; out of memory"):
        list(workers.map(always_die, None, [0]))


@pytest.mark.parametrize("at_once", [1, 2])
def test_the_first_error_ends_the_work(at_once):
    with pytest.raises(ZeroDivisionError):
        list(IN_PROCESS.map(fail, ZeroDivisionError(), range(8), at_once))


def test_an_error_of_a_worker_is_that_of_the_run(run_of):
    with run_of() as workers:
        with pytest.raises(ZeroDivisionError):
            list(workers.map(fail, ZeroDivisionError(), range(8)))
        with pytest.raises(UserError, match="this file is missing"):
            list(workers.map(fail, UserError("this file is missing"), range(8)))


def test_workers_of_our_own_say_nothing_themselves(tmp_path, capfd):
    with cluster_of("local:1", tmp_path, 2, Reporter(quiet=True)) as workers:
        pools = os.environ.get("OMP_NUM_THREADS", "2")  # what the environment says goes first
        assert dict(workers.map(threads_of, None, [0])) == {0: (min(2, numba.config.NUMBA_NUM_THREADS), pools)}
        with pytest.raises(UserError):
            list(workers.map(fail, UserError("this file is missing"), range(8)))
    shown = capfd.readouterr()
    assert shown.out + shown.err == ""


# ------------------------------------------------------------------------------------------------------------- mistakes
@pytest.mark.parametrize("wanted", ["lokal", "local:", "local:0", "local:two", "cuda:2", "tcp://", "http://host:8786", ""])
def test_what_is_no_cluster(wanted):
    with pytest.raises(UserError, match=rf"^--cluster {wanted}: expected local, local:4 .*cuda, .*tcp://host:8786$"):
        check_cluster(wanted, CPU)


def test_it_is_said_before_anything_is_begun(tmp_path):
    for more in ((), ("--dry-run",)):
        line = said(pipeline("--cluster", "local:0", "--run-dir", tmp_path / "run", *more))
        assert line.startswith("error: --cluster local:0: expected local")
    assert not (tmp_path / "run").exists()


def test_gpus_and_cores_are_told_apart():
    with pytest.raises(UserError, match=r"on GPUs take --cluster cuda, or --device cpu"):
        check_cluster("local", Device("cuda", "a card"))
    with pytest.raises(UserError, match=r"the device is cpu|dask_cuda"):
        check_cluster("cuda", CPU)


def test_a_package_that_is_missing():
    if find_spec("dask_cuda") is None:
        with pytest.raises(MissingExtra, match=r"--cluster cuda needs dask_cuda, .*pip install 'otto_gpu\[cuda13\]'"):
            check_cluster("cuda", CPU)
    code = "import sys; sys.modules['distributed'] = None; from otto_gpu.pipeline import main; sys.exit(main(sys.argv[1:]))"
    line = [sys.executable, "-c", code, "--cluster", "local", "--dry-run"]
    shown = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert said(shown) == "error: --cluster needs distributed, which is not installed: pip install 'otto_gpu[cluster]'"


def test_workers_with_gpus_share_the_drivers_pool(monkeypatch):
    """dask-cuda imports cuDF in every worker; and what the stage before left goes before the next one begins."""
    told = []
    monkeypatch.setattr(distributed, "give_back", lambda: told.append("back"))
    monkeypatch.setattr(distributed, "pool_for_rapids", lambda: told.append("pool"))
    monkeypatch.setattr(distributed, "_kept", ("", None))
    stages = [pickle.dumps((int.__add__, shared)) for shared in (10, 20)]
    for loaded, expected in ((False, ["back"]), (True, ["back", "pool"])):
        if loaded:
            monkeypatch.setitem(sys.modules, "cudf", ModuleType("cudf"))
        done = [distributed._work(f"{loaded}", stages[loaded], {}, task) for task in (1, 2)]
        assert done == ([21, 22] if loaded else [11, 12])
        assert told == expected
        told.clear()


def test_a_cluster_of_gpus_leaves_memory_to_its_workers(monkeypatch):
    dask_cuda, given = ModuleType("dask_cuda"), {}
    dask_cuda.LocalCUDACluster = lambda **options: given.update(options)
    monkeypatch.setitem(sys.modules, "dask_cuda", dask_cuda)
    distributed._started("cuda", None)
    assert given["threads_per_worker"] == 1
    assert not {name for name in given if name.startswith(("rmm", "enable_cudf"))}, "pools of its own, unseen by free_bytes"


def test_dask_is_not_loaded_without_a_cluster(straight):
    code = "import sys; from otto_gpu.pipeline import main; main(sys.argv[1:]); sys.exit('distributed' in sys.modules)"
    line = [sys.executable, "-c", code, "--config", straight / "config.yaml", "--run-dir", straight]
    assert subprocess.run(line, cwd=ROOT, capture_output=True, timeout=60).returncode == 0


def test_a_scheduler_that_does_not_answer(tmp_path, monkeypatch):
    monkeypatch.setattr(distributed, "CONNECT", "1 s")
    with pytest.raises(UserError, match=r"--cluster tcp://127.0.0.1:1: no scheduler with workers answers there"):
        run_pipeline(SETTINGS, run_dir=tmp_path / "run", cluster="tcp://127.0.0.1:1")
    assert not (tmp_path / "run/manifests").exists()


def test_workers_that_do_not_see_the_run_directory(cluster, both, tmp_path):
    here = os.open(tmp_path, os.O_RDONLY)
    try:
        hidden = Path(f"/proc/self/fd/{here}/run")  # every process has files of its own behind such a path
        with pytest.raises(UserError, match=rf"worker tcp://.* does not see the run directory under the same path: {hidden}$"):
            run_pipeline(SETTINGS, run_dir=hidden, cluster=cluster.scheduler_address)
    finally:
        os.close(here)
    assert not (tmp_path / "run/manifests").exists()


def test_workers_with_several_threads_are_refused(tmp_path):
    with LocalCluster(n_workers=1, threads_per_worker=2, processes=False, protocol="tcp://", dashboard_address=":0") as cluster:
        address = cluster.scheduler_address
        refused = pytest.raises(UserError, match="2 tasks at once: start it with --nthreads 1")
        with refused, cluster_of(address, tmp_path, None, Reporter(quiet=True)):
            pass

"""What the machine refuses: room on the disk, permission, memory, a run directory that another process works in."""

import ctypes
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from tests.runs import ROOT, artifacts, frame, of_file, small, write_config, write_parquet
from tests.trust.machine import call, half_written, mistake, run, start
from tests.trust.spoilt import SETTINGS, csv

long = pytest.mark.long


def files_up_to(size: int):
    """For a process to come: no file grows larger, as on a disk that is full."""

    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))

    return limit


@pytest.fixture
def arguments(tmp_path):
    data = write_parquet(tmp_path / "log.parquet", frame(250))
    return ["--config", write_config(tmp_path / "c.yaml", SETTINGS), "--data", data, "--run-dir", tmp_path / "run"]


@pytest.mark.parametrize("size", [0, pytest.param(100, marks=long), pytest.param(2_000, marks=long), 30_000])
def test_a_full_disk_is_told_and_the_run_goes_on_when_there_is_room(tmp_path, arguments, size):
    line = mistake(run("pipeline", *arguments, before=files_up_to(size)))
    assert "too large" in line or "--run-dir" in line, line
    assert half_written(tmp_path) == [] or all(".writing" in name for name in half_written(tmp_path))
    if size == 30_000:
        assert call("pipeline", *arguments).code == 0 and half_written(tmp_path) == []
        assert call("pipeline", *arguments[:-1], tmp_path / "straight").code == 0
        assert artifacts(tmp_path / "run") == artifacts(tmp_path / "straight")


def test_a_full_disk_leaves_no_half_of_a_list(tmp_path, arguments):
    assert call("pipeline", *arguments).code == 0
    (tmp_path / "new.csv").write_bytes(csv(frame(250)))
    made = ["--sessions", tmp_path / "new.csv", "--out", tmp_path / "lists.csv"]
    line = mistake(run("recommend", tmp_path / "run", *made, before=files_up_to(10_000)))
    assert "too large" in line
    line = mistake(run("events.synthetic", "--sessions", 2000, "--out", tmp_path / "s.csv", before=files_up_to(10_000)))
    assert "too large" in line
    assert half_written(tmp_path) == [] and not (tmp_path / "lists.csv").exists() and not (tmp_path / "s.csv").exists()


def without_privilege():
    """For a process to come: also root is kept out by the rights of files (CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH)."""
    libc = ctypes.CDLL(None)
    for capability in (1, 2):
        libc.prctl(24, capability, 0, 0, 0)  # PR_CAPBSET_DROP; who is not root has none to drop


@pytest.mark.parametrize(
    "forbidden", ["log.parquet", "run", "run/manifests", *(pytest.param(n, marks=long) for n in ("c.yaml", "run/events", "."))]
)
def test_what_may_not_be_read_or_written_is_told(tmp_path, arguments, forbidden):
    assert call("pipeline", *arguments, "--to", "events").code == 0
    place = tmp_path / forbidden
    place.chmod(0)
    try:
        line = mistake(run("pipeline", *arguments, "--from", "events", "--to", "events", before=without_privilege))
        assert "denied" in line.lower(), line
    finally:
        place.chmod(0o755)


def test_a_machine_that_speaks_ascii_changes_nothing(tmp_path):
    """A configuration is UTF-8, and so is what is written, whatever locale and terminal are."""
    ascii_only = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONIOENCODING": "ascii:strict"}
    config = tmp_path / "c.yaml"
    config.write_text(yaml.safe_dump(small(100) | {"name": "größer"}, allow_unicode=True), encoding="utf-8")
    for name, environment in (("utf-8", {}), ("ascii", ascii_only)):
        done = run("pipeline", "--config", config, "--run-dir", tmp_path / name, env=environment)
        assert done.code == 0, done.err
        assert "config größer" in (tmp_path / name / "run.log").read_text("utf-8")
    assert "config gr\\xf6\\xdfer" in done.out
    assert artifacts(tmp_path / "utf-8") == artifacts(tmp_path / "ascii")


def test_where_neither_the_package_nor_the_home_may_be_written_kernels_are_compiled_for_the_process(tmp_path):
    """As in a container: the program is somebody else's, and there is no home."""
    package, temporary = tmp_path / "site", tmp_path / "tmp"
    shutil.copytree(ROOT / "otto_gpu", package / "otto_gpu", ignore=shutil.ignore_patterns("__pycache__"))
    temporary.mkdir()
    for place in (package, *package.rglob("*")):
        place.chmod(0o555 if place.is_dir() else 0o444)
    told = (
        "import os, otto_gpu.device.hashing, otto_gpu.device.compiled; print(otto_gpu.__file__, os.environ['NUMBA_CACHE_DIR'])"
    )
    environment = {**os.environ, "PYTHONPATH": str(package), "HOME": "/proc/none", "TMPDIR": str(temporary)}
    for name in ("NUMBA_CACHE_DIR", "XDG_CACHE_HOME"):
        environment.pop(name, None)
    line = [sys.executable, "-P", "-c", told]
    done = subprocess.run(line, env=environment, preexec_fn=without_privilege, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    file, cache = done.stdout.split()
    assert Path(file).is_relative_to(package) and Path(cache).parent == temporary
    assert not list(temporary.iterdir())  # it went with the process


def begun(arguments, path: Path) -> subprocess.Popen:
    """The pipeline, from the moment on at which it has made the path."""
    process = start("pipeline", *arguments)
    until = time.monotonic() + 60
    while not path.exists():
        assert time.monotonic() < until and process.poll() is None
        time.sleep(0.005)
    return process


def test_a_second_process_in_a_run_directory_says_so_and_leaves(tmp_path, arguments):
    began = begun(arguments, tmp_path / "run/.partial")
    began.send_signal(signal.SIGSTOP)
    try:
        before = {p: p.stat().st_mtime_ns for p in (tmp_path / "run").rglob("*") if p.name != ".lock"}
        line = mistake(call("pipeline", *arguments, "--from", "events"))
        assert "another process works in it" in line
        assert {p: p.stat().st_mtime_ns for p in (tmp_path / "run").rglob("*") if p.name != ".lock"} == before
    finally:
        began.send_signal(signal.SIGCONT)
    began.communicate(timeout=120)
    assert began.returncode == 0 and half_written(tmp_path) == []


def test_a_reader_that_leaves_is_no_error_of_ours(tmp_path, arguments):
    process = start("pipeline", "--list-stages")
    process.stdout.close()
    assert process.wait(60) in (0, 2) and process.stderr.read() == ""


def test_an_interrupt_is_told_in_one_line_and_the_run_goes_on(tmp_path, arguments):
    began = begun(arguments, tmp_path / "run/manifests/events.json")
    began.send_signal(signal.SIGINT)
    _, err = began.communicate(timeout=60)
    # Python ends itself by the signal, which shells count as 130 too, where an exec() was under way, handled or not
    assert began.returncode in (130, -signal.SIGINT), err
    assert err.strip() == "stopped; the same command goes on from here"
    assert call("pipeline", *arguments).code == 0 and half_written(tmp_path) == []


def odd(name: str) -> pd.DataFrame:
    """Logs of odd shapes."""
    log = frame(250)[["session", "aid", "ts", "type"]]
    rng = np.random.default_rng(3)
    if name == "a session of 100,000 events":
        n = 100_000
        start = int(log["ts"].min())
        items = rng.choice(log["aid"].unique(), n)
        more = pd.DataFrame({"session": 1, "aid": items, "ts": start + np.sort(rng.integers(0, 10**9, n)), "type": "clicks"})
        return pd.concat([log, more], ignore_index=True)
    if name == "one item":
        return log.assign(aid=7)
    if name == "one time":
        return log.assign(ts=int(log["ts"].min()))
    if name == "times from 0":
        return log.assign(ts=log["ts"] - log["ts"].min())
    if name == "the last times that are taken":
        return log.assign(ts=log["ts"] - log["ts"].max() + 7_258_118_399_999)
    if name == "ids at the ends of int64":
        return log.assign(aid=log["aid"].map(lambda a: 2**63 - 1 - a if a % 20 else a - 2**63), session=-log["session"] * 10**9)
    if name == "six sessions":
        return log[log["session"].isin(log["session"].unique()[:6])]
    raise KeyError(name)


@pytest.mark.parametrize(
    "shape",
    [
        "one item", "times from 0", "the last times that are taken", "ids at the ends of int64",
        *(pytest.param(name, marks=long) for name in ("a session of 100,000 events", "one time", "six sessions")),
    ],
)  # fmt: skip
def test_odd_shapes_go_the_whole_way(tmp_path, shape):
    by = {"by": "session", "test_fraction": 0.3, "validation_fraction": 0.3}
    settings = of_file(split=by, features={"families": ["matrix", "popularity", "session", "recall", "rank"]})
    data = write_parquet(tmp_path / "log.parquet", odd(shape))
    done = call(
        "pipeline", "--config", write_config(tmp_path / "c.yaml", settings), "--data", data, "--run-dir", tmp_path / "run"
    )
    assert done.code == 0 and not done.err, done.err
    assert half_written(tmp_path) == []
    known = set(odd(shape)["aid"].astype(str))
    lines = (tmp_path / "run/submission.csv").read_text().splitlines()[1:]
    assert lines and all(set(line.split(",")[1].split()) <= known for line in lines)
    done = call("recommend", tmp_path / "run", "--sessions", data, "--out", tmp_path / "lists.csv")
    assert done.code == 0, done.err

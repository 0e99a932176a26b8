"""The script as a dry run: the CPU in the GPU's place, on tiny logs; what it measures is not asserted."""

import json
import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks import gpu
from benchmarks.gpu_steps import STEPS, demo, kernels, lanes, logs, matrices
from benchmarks.gpu_steps.step import CPU, GPU, SAME, Absent, Bench, Sizes, Step
from otto_gpu.cooccurrence.matrix import Matrix
from otto_gpu.device import CPU as IN_PROCESS
from otto_gpu.device import Device
from otto_gpu.errors import MissingExtra
from otto_gpu.events.synthetic import synthetic_log

ROOT = Path(gpu.__file__).parents[1]
TINY = replace(Sizes.dry(), log=6, few=20, rules=("time_decay", "buy2buy"), copied=1 << 10)


def one_core() -> None:
    """Two processes beside other tests: threads that wait for each other would take the time."""
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})


def test_a_dry_run_does_every_step(tmp_path):
    """As a user starts it."""
    done = subprocess.run(
        ["bash", "benchmarks/on_gpu.sh", "--device", "cpu", "--budget", "600"], cwd=ROOT, capture_output=True, text=True,
        env=os.environ | {"PYTHON": sys.executable, "OUT": str(tmp_path), "NUMBA_CACHE_DIR": compiled()},
        timeout=660, preexec_fn=one_core if hasattr(os, "sched_setaffinity") else None,
    )  # fmt: skip
    result = json.loads((tmp_path / "gpu-dry-run.json").read_text())
    assert done.returncode == 0, done.stdout + done.stderr
    assert result["gpu"] == "dry run" and result["environment"]["packages"]["otto_gpu"]
    assert list(result["steps"]) == list(STEPS) and os.listdir(tmp_path) == ["gpu-dry-run.json"]
    for name, step in STEPS.items():
        halves = {GPU: step.on, CPU: step.beside, SAME: step.compare}
        for half in (half for half, wanted in halves.items() if wanted):
            record = result["steps"][name][half]
            assert record["parts"] and "error" not in record and "skipped" not in record, (name, half, record)
            assert any(part.get("ok") for part in record["parts"].values()), (name, half, record)
    assert gpu.failures(result["steps"]) == []
    assert set(gpu.reasons(result["steps"])) <= {"rows: on CUDA only"} | {
        str(MissingExtra("scoring by nvforest (ranking.scoring)", "nvforest", "cuda13"))
    }
    assert result["steps"]["demo"][SAME]["parts"]["pipeline"]["same_entries"] == 1
    assert "selfmerge" in done.stdout and "FAILED" not in done.stdout


def compiled() -> str:
    """Where this process's numba keeps its kernels, empty: in the package itself. Nothing is compiled twice."""
    from numba.core import config

    return config.CACHE_DIR


def test_the_devices_half_in_the_simulator(tmp_path):
    bench = Bench(IN_PROCESS, CPU, TINY, tmp_path)
    kernels.beside(bench)
    bench.put(kernels.CALLS, bench.get(kernels.CALLS)[:2])  # the others are tests/device/test_cudasim.py's
    bench.put(logs.LOG, synthetic_log(TINY.log))
    bench.put(logs.FEW, logs.World.of(synthetic_log(TINY.few)))
    done = subprocess.run(
        [sys.executable, "-m", "tests.benchmarks.simulated_steps", str(tmp_path)], cwd=ROOT, capture_output=True, text=True,
        env=os.environ | {"NUMBA_ENABLE_CUDASIM": "1", "NUMBA_DISABLE_JIT": "1"}, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert gpu.failures({name: {GPU: {"parts": parts}} for name, parts in found.items()}) == []
    parts = {f"{step}, {part}": record for step, parts in found.items() for part, record in parts.items()}
    assert {name for name, record in parts.items() if not record.get("ok")} == {
        f"sessions, {logs.MANY}, {what}" for what in ("candidates", "features", "kernels")
    }  # which has not been made
    rows = found["rules"]["rows time_decay"]
    assert set(rows["parts_s"]) == {"sent", "prepared", "computed", "brought"} and rows["pairs_kept"] > 0
    assert found["machine"]["device"]["properties"]["name"] == "simulated"
    assert "evaluate_session" in found["sessions"]["few sessions, kernels"]["kernels"]


# ------------------------------------------------------------------------------------------------- limits and failures
def steps_for_tests() -> dict[str, Step]:
    """Of a process of its own, which finds them here."""

    def unlike(bench: Bench) -> None:
        bench.part("number", lambda: bench.keep({"number": np.array(1 if bench.half == GPU else 2)}))

    def troubled(bench: Bench) -> None:
        bench.part("before", dict)
        bench.part("wrong", lambda: 1 / 0)
        bench.part("missing", lambda: _raise(Absent("no such thing")))
        bench.part("hangs", time.sleep, 60)
        bench.part("dies", os._exit, 3)
        bench.part("after", dict)

    def compare(ours: dict, theirs: dict) -> dict:
        return {"ok": bool(ours["number"] == theirs["number"])}

    return {
        "slow": Step("slow", lambda bench: bench.part("one", time.sleep, 60), None, 1, 60),
        "troubled": Step("troubled", troubled, None, 60, 1),
        "unlike": Step("unlike", unlike, unlike, 60, 60, ("unlike",), compare),
    }


def _raise(error: Exception):
    raise error


def working(connection, *arguments) -> None:
    import benchmarks.gpu_steps
    from benchmarks.gpu_steps.worker import work

    benchmarks.gpu_steps.STEPS = steps_for_tests()
    work(connection, *arguments)


def test_what_goes_wrong_is_told_and_stops_nothing_else(tmp_path, monkeypatch):
    monkeypatch.setattr(lanes, "work", working)
    told = []
    steps = list(steps_for_tests().values())
    found = lanes.run(
        steps, Device("cpu", "a test"), Sizes.dry(), tmp_path, 60, lambda found, step, half: told.append((step, half))
    )
    assert sorted(told) == [("slow", GPU), ("troubled", GPU), ("unlike", CPU), ("unlike", GPU), ("unlike", SAME)]
    parts = found["troubled"][GPU]["parts"]
    assert (
        list(parts) == ["before", "wrong", "missing", "hangs", "dies", "after"]
        and parts["before"]["ok"]
        and parts["after"]["ok"]
    )
    assert "ZeroDivisionError" in parts["wrong"]["error"] and parts["missing"]["skipped"] == "no such thing"
    assert "ended after" in parts["hangs"]["error"] and any("in part" in line for line in parts["hangs"]["log"])
    assert parts["dies"]["error"] == "its process ended with 3"
    assert "ended after" in found["slow"][GPU]["error"] and found["slow"][GPU]["seconds"] < 30
    assert not found["unlike"][SAME]["parts"]["number"]["ok"]
    lines = [line for line in gpu.failures(found) if not line.startswith("slow, gpu, one")]  # if it came to that
    assert {line.split(":")[0] for line in lines} == {
        "slow, gpu", "troubled, gpu, wrong", "troubled, gpu, hangs", "troubled, gpu, dies", "unlike, same, number",
    }  # fmt: skip
    assert any(line.startswith("troubled") and line.split()[-2:] == ["3", "1"] for line in gpu.table(found))
    assert gpu.reasons(found) == {"no such thing": 1}


def test_what_does_not_fit_into_the_time_is_left_out(tmp_path, monkeypatch):
    monkeypatch.setattr(lanes, "work", working)
    steps = [replace(steps_for_tests()["troubled"], limit=limit, name="troubled") for limit in (60,)]
    found = lanes.run(steps, IN_PROCESS, Sizes.dry(), tmp_path, 0, lambda *told: None)
    assert found["troubled"][GPU]["skipped"] == "0 s are left, it may take 60" and gpu.failures(found) == []


def test_the_limits_add_up():
    assert sum(step.limit for name, step in STEPS.items() if step.on and name != "selfmerge") <= gpu.BUDGET + 20
    assert [step.name for step in gpu.chosen(["sessions"])] == ["worlds", "sessions"]


def test_steps_that_are_not_asked_for_stay_as_they_were(tmp_path, monkeypatch):
    path = tmp_path / "gpu-dry-run.json"
    path.write_text(json.dumps({"steps": {"machine": {"date": "then"}, "report": {"date": "then"}}}))

    def instead(steps, *arguments):
        found, told = {"report": {CPU: {"parts": {}}, "date": "now"}}, arguments[4]
        told(found, "report", CPU)
        return found

    monkeypatch.setattr(lanes, "run", instead)
    assert gpu.main(["--device", "cpu", "--steps", "report", "--out", str(tmp_path)]) == 0
    steps = json.loads(path.read_text())["steps"]
    assert {name: halves["date"] for name, halves in steps.items()} == {"machine": "then", "report": "now"}


def test_without_a_gpu_one_line_says_so(monkeypatch, capsys):
    monkeypatch.setattr(gpu, "gpus", list)
    monkeypatch.setattr(gpu, "driver_cuda", lambda: None)
    assert gpu.main(["--device", "cuda"]) == 2
    assert capsys.readouterr().err.startswith("error: no GPU")


# -------------------------------------------------------------------------------------------------------------- pieces
def test_a_log_in_tiles():
    log = synthetic_log(50)
    made = logs.tiled(log, 3)
    assert (len(made), made.n_sessions, made.n_items) == (3 * len(log), 3 * log.n_sessions, 3 * log.n_items)
    second = slice(len(log), 2 * len(log))
    np.testing.assert_array_equal(made.session[second], log.session + log.n_sessions)
    np.testing.assert_array_equal(made.aid[second], log.aid * 3 + 1)
    np.testing.assert_array_equal(made.ts[second], log.ts)
    fresh = replace(made)
    np.testing.assert_array_equal(made.starts, fresh.starts)


def test_matrices_that_are_apart():
    def of(weights, neighbours=(1, 2, 0)):
        return Matrix(np.array([0, 2, 3, 3]), np.array(neighbours, np.int32), np.array(weights, np.float32))

    assert matrices.apart(of([2, 1, 1]), of([2, 1, 1])) == ""
    assert matrices.apart(of([1, 1, 1]), of([1, 1, 1], (2, 1, 0))) == ""  # a tie
    assert "a weight of item 1" in matrices.apart(of([2, 1, 1]), of([2, 1, 3]))
    assert matrices.of_rowwise("large log, pairs buy2buy") == "large log, rowwise buy2buy"


def test_agreement(tmp_path):
    one, other = tmp_path / "one.csv", tmp_path / "other.csv"
    one.write_text("session_type,labels\n7_clicks,1 2 3\n7_carts,4\n")
    other.write_text("session_type,labels\n7_clicks,1 3 9\n7_carts,4 5\n")
    assert demo.agreement(one, other) == {"rows": 2, "same_entries": 3 / 5, "same_places": 2 / 5}
    other.write_text("session_type,labels\n8_clicks,1 3 9\n7_carts,4 5\n")
    with pytest.raises(ValueError, match="different rows: 7_clicks, 8_clicks"):
        demo.agreement(one, other)

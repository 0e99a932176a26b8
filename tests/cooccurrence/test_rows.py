"""The engine of rows: which rules it takes, and what it makes of them, in numba's simulator and on a GPU."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from otto_gpu.cooccurrence import build, rows, rowwise
from otto_gpu.cooccurrence.matrix import Matrix
from otto_gpu.cooccurrence.rule import RULES, MatrixRule
from otto_gpu.device import CPU, Device
from otto_gpu.errors import UserError
from otto_gpu.events.synthetic import synthetic_log
from tests.cooccurrence.compare import assert_same
from tests.cooccurrence.simulated_rows import a_log
from tests.cooccurrence.strategies import SESSION_OF_ALL
from tests.gpus import a_gpu

ROOT = Path(__file__).parents[2]
CUDA = Device("cuda", "as asked")


def test_in_the_simulator_rows_follow_the_oracle_and_are_those_of_the_cpu(tmp_path):
    simulator = os.environ | {"NUMBA_ENABLE_CUDASIM": "1", "NUMBA_DISABLE_JIT": "1"}
    command = [sys.executable, "-m", "tests.cooccurrence.simulated_rows", str(tmp_path / "made.npz")]
    done = subprocess.run(command, cwd=ROOT, env=simulator, capture_output=True, text=True, timeout=1800)
    assert done.returncode == 0, done.stderr[-4000:]
    made, log = np.load(tmp_path / "made.npz"), a_log()
    for name, rule in RULES.items():
        if rows.able(rule):
            matrix = Matrix(*(made[f"{name} {field}"] for field in ("pointer", "neighbours", "weights")))
            assert len(matrix) > 20
            assert_same(matrix, rowwise.build(log, rule))


def test_which_rules_it_takes():
    assert [name for name, rule in RULES.items() if not rows.able(rule)] == [
        "bought_within_2h",
        "first_to_bought",
        "first_to_any",
    ]
    assert rows.able(MatrixRule(once_per=None, keep=5))


def test_on_cuda_it_is_the_default_where_it_can(monkeypatch):
    monkeypatch.setattr("otto_gpu.device.free_bytes", lambda: 10**9)
    assert build._chosen(SESSION_OF_ALL, RULES["time_decay"], CUDA) == "rows"
    assert build._chosen(SESSION_OF_ALL, RULES["first_to_any"], CUDA) == "pairs"
    assert build._chosen(SESSION_OF_ALL, RULES["time_decay"], CPU) == "rowwise"
    monkeypatch.setattr("otto_gpu.device.free_bytes", lambda: 2000)  # of which the log's 15 events take more
    assert build._chosen(SESSION_OF_ALL, RULES["time_decay"], CUDA) == "pairs"


def test_what_it_cannot_do_is_told():
    with pytest.raises(UserError, match="engine 'rows' runs on CUDA only"):
        build.build_matrix(SESSION_OF_ALL, RULES["time_decay"], "rows", CPU)
    with pytest.raises(UserError, match="engine 'rows' does no rule with which: closest"):
        build.build_matrix(SESSION_OF_ALL, RULES["bought_within_2h"], "rows", CUDA)


@pytest.mark.gpu
@pytest.mark.parametrize("name", [name for name, rule in RULES.items() if rows.able(rule)])
def test_on_a_gpu_rows_are_those_of_the_cpu(name):
    device, log = a_gpu(), synthetic_log(20_000, seed=1)
    ours, theirs = rows.build(log, RULES[name], device), rowwise.build(log, RULES[name])
    assert_same(ours, theirs)
    again = rows.build(log, RULES[name], device)
    assert np.array_equal(ours.weights, again.weights) and np.array_equal(ours.neighbours, again.neighbours)

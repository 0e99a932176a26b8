"""The benchmark runs, on a log of a few thousand events; what it measures is not asserted."""

import json
from dataclasses import replace

import numpy as np
import pytest

from benchmarks import matrices
from benchmarks.matrix_peers import PEERS
from benchmarks.measure import peak_memory
from otto_gpu.cooccurrence.build import build_matrix
from otto_gpu.cooccurrence.rule import RULES, MatrixRule
from otto_gpu.events.synthetic import synthetic_log

SMALL = ["--events", "5000", "--repeats", "2"]


def test_it_runs_and_writes_what_it_found(tmp_path, capsys):
    out = tmp_path / "results" / "matrices.json"
    arguments = [
        *SMALL,
        "--rules",
        "time_decay,then_bought",
        "--engines",
        "rowwise,selfmerge",
        "--no-memory",
        "--out",
        str(out),
    ]
    assert matrices.main(arguments) == 0, capsys.readouterr().err
    result = json.loads(out.read_text())
    assert result["environment"]["cores"] >= 1 and "numba" in result["environment"]["packages"]
    assert result["log"]["events"] > 1000
    assert set(result["rules"]) == {"time_decay", "then_bought"}
    for found in result["rules"].values():
        assert found["pairs_kept"] > 0 and found["agreed"] == ["rowwise", "selfmerge"]
        for timing in found["engines"].values():
            assert len(timing["all_s"]) == 2
            assert 0 < timing["min_s"] <= timing["median_s"] <= timing["max_s"]


def test_peak_memory_is_that_of_the_call():
    memory = peak_memory(take, 400_000_000)
    assert 0.35 < memory["peak_gb"] - memory["before_gb"] < 0.6
    assert memory["before_gb"] < 1  # a fresh process, whatever this one holds


def take(n_bytes):
    """Prepares a call that fills as many bytes."""
    return lambda: np.ones(n_bytes, np.int8).sum()


@pytest.mark.parametrize("peer", PEERS)
@pytest.mark.parametrize(
    "rule",
    [
        RULES["time_decay"],
        RULES["time_weighted"],
        MatrixRule(weight={"half_life_hours": 6}, keep=3),
        MatrixRule(tail=2, keep=100),
        matrices.ALL_RULES["count"],
        MatrixRule(keep=100),
    ],
    ids=["time_decay", "time_weighted", "half_life", "tail", "count", "count_100"],
)
def test_a_peer_agrees_with_rowwise(peer, rule):
    pytest.importorskip(peer)
    if not PEERS[peer].able(rule):
        pytest.skip(f"{peer} cannot do this rule")
    log = synthetic_log(300, seed=3)
    assert matrices.difference(build_matrix(log, rule, "rowwise", "cpu"), PEERS[peer].build(log, rule)) == ""


def test_a_peer_that_is_missing_is_left_out_with_the_install_line(capsys, monkeypatch):
    monkeypatch.setattr(matrices.importlib.util, "find_spec", lambda name: None)
    assert matrices.installed(["rowwise", "duckdb"]) == ["rowwise"]
    assert "pip install 'otto_gpu[bench]'" in capsys.readouterr().out


def test_peers_are_asked_for_what_they_can_do_only():
    for joins in ("polars", "duckdb"):
        assert {n for n, rule in matrices.ALL_RULES.items() if PEERS[joins].able(rule)} == {
            "time_decay",
            "time_weighted",
            "count",
        }
    for products in ("implicit", "sparse_dot_topn"):
        assert {n for n, rule in matrices.ALL_RULES.items() if PEERS[products].able(rule)} == {"count"}


def test_engines_that_differ_are_told():
    matrix = build_matrix(synthetic_log(300, seed=3), RULES["time_decay"], "rowwise", "cpu")
    assert matrices.difference(matrix, matrix) == ""
    heavier = matrix.weights.copy()
    heavier[0] *= 2
    assert "a weight of item" in matrices.difference(matrix, replace(matrix, weights=heavier))
    shorter = matrix.pointer.copy()
    shorter[-1] -= 1
    assert "neighbours" in matrices.difference(matrix, replace(matrix, pointer=shorter))
    x = int(np.diff(matrix.pointer).argmax())
    first = matrix.pointer[x]
    assert matrix.weights[first] > 2 * matrix.weights[matrix.pointer[x + 1] - 1]
    other = matrix.neighbours.copy()
    row = other[first : matrix.pointer[x + 1]]
    other[first] = np.setdiff1d(np.arange(matrix.n_items), [*row, x])[0]
    assert f"items {x}, " in matrices.difference(matrix, replace(matrix, neighbours=other))


@pytest.mark.parametrize(
    "arguments, line",
    [
        (["--rules", "time_decai"], "unknown 'time_decai'; did you mean 'time_decay'?"),
        (["--engines", "rowise"], "unknown 'rowise'; did you mean 'rowwise'?"),
        (["--engines", ","], "name at least one"),
        (["--repeats", "0"], "--repeats must be at least 1"),
    ],
)
def test_wrong_arguments_are_one_line_and_exit_code_2(arguments, line, capsys):
    assert matrices.main(arguments) == 2
    error = capsys.readouterr().err
    assert line in error and error.count("\n") == 1

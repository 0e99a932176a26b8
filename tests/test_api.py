"""The public names, as a user of the package meets them."""

import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

import otto_gpu
from otto_gpu import RULES, EventLog, Matrix, MatrixRule, build_matrix, load_config, run_pipeline
from otto_gpu.errors import UserError
from tests.runs import ROOT, frame, of_file, small

HOUR = 3_600_000


def python(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_every_public_name_is_there():
    for name in otto_gpu.__all__:
        assert getattr(otto_gpu, name) is not None and name in dir(otto_gpu)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = otto_gpu.nothing


def test_a_matrix_of_a_frame_in_a_few_lines():
    events = pd.DataFrame({
        "session": ["a", "a", "a", "b", "b"],
        "aid": ["shirt", "shoes", "socks", "shirt", "shoes"],
        "ts": [0, HOUR, 30 * HOUR, 0, 2 * HOUR],
        "type": ["clicks", "carts", "orders", "clicks", "clicks"],
    })  # fmt: skip
    log = EventLog.from_frame(events)
    assert len(log) == 5 and (log.n_sessions, log.n_items) == (2, 3)
    matrix = build_matrix(log, RULES["time_decay"], engine="rowwise", device="cpu")
    found = matrix.to_frame()
    assert isinstance(matrix, Matrix) and list(found.columns) == ["aid_x", "aid_y", "weight"]
    weights = {(x, y): w for x, y, w in found.itertuples(index=False)}
    # half-life 1 h, rising from 1 to 4 over the 30 hours of the log, by the time of x; 24 hours at most: no socks
    assert weights.keys() == {("shirt", "shoes"), ("shoes", "shirt")}
    assert weights["shirt", "shoes"] == pytest.approx(0.5 * 1 + 0.25 * 1)
    assert weights["shoes", "shirt"] == pytest.approx(0.5 * (1 + 3 * 1 / 30) + 0.25 * (1 + 3 * 2 / 30))


def test_the_engines_are_a_choice_and_a_rule_is_data():
    log = EventLog.from_frame(frame(200))
    rule = MatrixRule(tail=10, keep=5)
    one, other = (build_matrix(log, rule, engine=e, device="cpu").to_frame() for e in ("rowwise", "selfmerge"))
    pd.testing.assert_frame_equal(one, other, check_exact=False, rtol=1e-5)
    assert one.groupby("aid_x").size().max() == 5 and set(one["aid_x"]) <= set(frame(200)["aid"])
    with pytest.raises(UserError, match=r"unknown engine 'rowise'.*rowwise"):
        build_matrix(log, rule, engine="rowise", device="cpu")
    with pytest.raises(ValueError, match="kepe"):
        MatrixRule(kepe=5)


def test_all_20_rules_are_there():
    assert len(RULES) == 20 and all(isinstance(rule, MatrixRule) for rule in RULES.values())


def test_a_frame_survives_the_log():
    events = frame(100)
    log = EventLog.from_frame(events.sample(frac=1, random_state=1))
    back = log.to_frame().assign(type=lambda f: f["type"].map(dict(enumerate(log.types))))
    key = ["session", "ts", "aid", "type"]
    pd.testing.assert_frame_equal(
        back.sort_values(key, ignore_index=True), events.sort_values(key, ignore_index=True), check_dtype=False
    )


def test_the_whole_pipeline_by_call(tmp_path):
    data = tmp_path / "log.csv"
    frame(300).to_csv(data, index=False)
    result = run_pipeline(of_file(), data=data, run_dir=tmp_path / "run")
    assert result.ran[0] == "events" and result.ran[-1] == "report"
    assert 0 < result.metrics["test"]["weighted"] < 1
    config = load_config(of_file())
    assert run_pipeline(config, data=str(data), run_dir=str(tmp_path / "run")).ran == []


def test_the_run_directory_is_by_default_named_like_the_config(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = run_pipeline(small(200, name="mine"), to_stage="events")
    assert result.run_dir.resolve() == tmp_path / "runs/mine" and (tmp_path / "runs/mine/events/items.parquet").is_file()


def test_a_call_is_silent_and_the_same_threads_remain(tmp_path, capfd):
    import numba

    most = numba.config.NUMBA_NUM_THREADS
    numba.set_num_threads(most)
    run_pipeline(small(200, threads=1), run_dir=tmp_path / "run", to_stage="candidates")
    assert capfd.readouterr() == ("", "")
    assert numba.get_num_threads() == most


def test_the_import_is_light():
    heavy = ("numpy", "pandas", "numba", "pyarrow", "xgboost", "pydantic", "rich")
    assert python(f"import sys, otto_gpu; print([m for m in {heavy} if m in sys.modules])").strip() == "[]"


def test_the_command_line_loads_nothing_heavy_before_it_must():
    heavy = ("pandas", "numba", "xgboost", "faiss", "torch")
    code = f"import sys, otto_gpu.pipeline; print([m for m in {heavy} if m in sys.modules])"
    assert python(code).strip() == "[]"


def test_no_module_asks_for_a_gpu_when_it_is_imported():
    # PyTorch is the same package with and without a GPU; the stages import the modules that need it when they run, and
    # row_kernel on CUDA alone
    pytest.importorskip("torch", reason="PyTorch is not installed: pip install 'otto_gpu[embeddings]'")
    code = """
import importlib, pkgutil, sys
import otto_gpu
names = [m.name for m in pkgutil.walk_packages(otto_gpu.__path__, "otto_gpu.")]
for name in names:
    if not name.endswith(("__main__", "row_kernel")):
        importlib.import_module(name)
print(len(names), [m for m in ("cudf", "cupy", "numba.cuda", "dask") if m in sys.modules])
"""
    count, found = python(code).strip().split(" ", 1)
    assert int(count) > 40 and found == "[]"


def test_arrays_of_a_log_have_their_types():
    log = EventLog.from_frame(frame(50))
    assert (log.session.dtype, log.aid.dtype, log.ts.dtype, log.type.dtype) == (np.int32, np.int32, np.int64, np.int8)
    assert log.types == ("clicks", "carts", "orders")

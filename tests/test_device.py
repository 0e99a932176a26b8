"""What is there for a GPU, and how what is missing is told."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from otto_gpu.device import choose_device
from otto_gpu.device.report import MISSING, NEEDED, OPTIONAL, gpus, install_line, package
from otto_gpu.errors import UserError

ROOT = Path(__file__).parents[1]


def run(*arguments: str, packages: dict[str, str] | None = None, folder: Path | None = None) -> subprocess.CompletedProcess:
    """python -m ..., with packages {name: source} that stand before the installed ones."""
    environment = dict(os.environ)
    for name, source in (packages or {}).items():
        (folder / name).mkdir()
        (folder / name / "__init__.py").write_text(source)
        environment["PYTHONPATH"] = str(folder)
    return subprocess.run(
        [sys.executable, "-m", *arguments], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300
    )


def rows(shown: subprocess.CompletedProcess) -> dict[str, str]:
    assert (shown.returncode, shown.stderr) == (0, "")
    return dict(line.split(maxsplit=1) for line in shown.stdout.splitlines())


def test_the_report_names_everything():
    told = rows(run("otto_gpu.device"))
    assert {"device", "GPU", "CUDA", "missing", *NEEDED, *OPTIONAL} <= told.keys()
    assert told["device"].startswith(f"auto takes {choose_device('auto').kind}")
    assert ("install" in told) == (told["missing"] != "nothing")
    lacking = told["missing"].split(", ")
    for name in NEEDED:
        if told[name] == MISSING or told[name].endswith("without CUDA"):
            assert name in lacking
    if choose_device("auto").kind == "cpu":
        assert "otto_gpu[cuda13]" in told["install"] or "otto_gpu[cuda12]" in told["install"]


def test_broken_packages_are_a_line_each(tmp_path):
    packages = {
        "cudf": "raise OSError('libcudart.so: no such file\\nand more')",
        "cupy": "raise RuntimeError",
        "torch": "1 / 0",
    }
    told = rows(run("otto_gpu.device", packages=packages, folder=tmp_path))
    assert told["cudf"] == "broken: OSError: libcudart.so: no such file"
    assert told["cupy"] == "broken: RuntimeError"
    assert told["torch"].startswith("broken: ZeroDivisionError")
    assert "no usable GPU (RuntimeError)" in told["device"] and {"cudf", "cupy"} <= set(told["missing"].split(", "))


# what choose_device asks them, on a machine with one GPU
A_GPU = {
    "cudf": "",
    "cupy": """
from types import SimpleNamespace
runtime = SimpleNamespace(getDeviceCount=lambda: 1, getDeviceProperties=lambda i: {"name": b"a GPU"})
cuda = SimpleNamespace(runtime=runtime)
""",
}


def test_an_xgboost_without_cuda_is_told_at_the_beginning(tmp_path):
    xgboost = pytest.importorskip("xgboost")
    if xgboost.build_info()["USE_CUDA"]:
        pytest.skip("this XGBoost is built with CUDA")
    shown = run("otto_gpu.pipeline", "--device", "cuda", "--dry-run", packages=A_GPU, folder=tmp_path)
    assert (shown.returncode, shown.stdout) == (2, "")
    (line,) = shown.stderr.splitlines()
    assert line.startswith("error: device 'cuda': XGBoost is built without CUDA")
    assert "pip uninstall xgboost-cpu" in line and "pip install 'otto_gpu[cuda13]'" in line


def test_a_gpu_and_an_xgboost_with_cuda_are_taken(tmp_path):
    with_cuda = A_GPU | {"xgboost": "build_info = lambda: {'USE_CUDA': True}"}
    shown = run("otto_gpu.pipeline", "--dry-run", "--run-dir", str(tmp_path / "run"), packages=with_cuda, folder=tmp_path)
    assert shown.returncode == 0 and "device cuda (a GPU)" in " ".join(shown.stdout.split())


def test_an_unknown_device():
    with pytest.raises(UserError, match="unknown device 'gpu'; known: auto, cpu, cuda"):
        choose_device("gpu")


@pytest.mark.parametrize(
    "cuda, xgboost, line",
    [
        ((13, 1), MISSING, "pip install 'otto_gpu[cuda13]'"),
        ((12, 4), "3.2.0 with CUDA", "pip install 'otto_gpu[cuda12]'"),
        ((14, 0), MISSING, "pip install 'otto_gpu[cuda13]'"),
        ((13, 0), "3.2.0 without CUDA", "pip uninstall -y xgboost xgboost-cpu && pip install 'otto_gpu[cuda13]'"),
    ],
)
def test_the_line_that_installs_fits_the_driver(cuda, xgboost, line):
    assert install_line(cuda, xgboost) == line


@pytest.mark.parametrize("cuda, first", [(None, "NVIDIA's driver"), ((11, 8), "a newer driver")])
def test_without_a_driver_that_fits_it_comes_first(cuda, first):
    assert install_line(cuda, MISSING).startswith(first) and "otto_gpu[cuda13]" in install_line(cuda, MISSING)


def test_what_nvidia_smi_prints_is_read(tmp_path, monkeypatch):
    tool = tmp_path / "nvidia-smi"
    tool.write_text("#!/bin/sh\necho 'NVIDIA H100, 81559, 80000, 580.65.06'\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    assert gpus() == ["NVIDIA H100, 81559 MiB, 80000 MiB free, driver 580.65.06"]
    tool.write_text("#!/bin/sh\necho 'no devices were found'\nexit 6\n")
    assert gpus() == []


def test_a_package_that_is_not_there_is_not_imported():
    assert package("no_such_package", lambda module: pytest.fail("asked of nothing")) == MISSING
    assert "no_such_package" not in sys.modules

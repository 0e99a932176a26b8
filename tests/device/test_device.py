"""What is there for a GPU, and how what is missing is told."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from otto_gpu.device import choose_device
from otto_gpu.device.report import MISSING, NEEDED, OPTIONAL, gpus, install_line, package
from otto_gpu.errors import UserError

ROOT = Path(__file__).parents[2]


def run(*arguments: str, packages: dict[str, str] | None = None, folder: Path | None = None) -> subprocess.CompletedProcess:
    """python -m ..., with packages {name: source} that stand before the installed ones."""
    environment = dict(os.environ)
    for name, source in (packages or {}).items():
        (folder / name).mkdir(parents=True)
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
    assert ("NVVM" in told) == ("kernel" in told) == all(told[name] != MISSING for name in NEEDED)
    assert told["device"].startswith(f"auto takes {choose_device('auto').kind}")
    assert ("install" in told) == (told["missing"] != "nothing")
    lacking = told["missing"].split(", ")
    for name in NEEDED:
        if told[name] == MISSING:
            assert name in lacking
    assert ("xgboost" in lacking) == told["xgboost"].endswith("without CUDA (optional)")
    if choose_device("auto").kind == "cpu":
        assert "otto_gpu[cuda13]" in told["install"] or "otto_gpu[cuda12]" in told["install"]


def test_broken_packages_are_a_line_each(tmp_path):
    packages = {
        "cudf": "raise OSError('libcudart.so: no such file\\nand more')",
        "cupy": "raise RuntimeError",
        "numba_cuda": "",
        "torch": "1 / 0",
    }
    told = rows(run("otto_gpu.device", packages=packages, folder=tmp_path))
    assert told["cudf"] == "broken: OSError: libcudart.so: no such file (optional)"
    assert told["cupy"] == "broken: RuntimeError"
    assert told["torch"].startswith("broken: ZeroDivisionError")
    assert "no usable GPU (RuntimeError)" in told["device"]
    lacking = told["missing"].split(", ")
    assert "cupy" in lacking and not {"cudf", "torch", "numba-cuda"} & set(lacking)


# what choose_device asks them, on a machine with one GPU
WITH_CUDA = "build_info = lambda: {'USE_CUDA': True}"
A_GPU = {
    "cupy": """
from types import SimpleNamespace
runtime = SimpleNamespace(getDeviceCount=lambda: 1, getDeviceProperties=lambda i: {"name": b"a GPU"})
cuda = SimpleNamespace(runtime=runtime)
""",
    "numba_cuda": "__version__ = '0.30'",
    "cuda/pathfinder": """
from types import SimpleNamespace
load_nvidia_dynamic_lib = lambda name: SimpleNamespace(abs_path=f"/cuda/lib{name}.so.4")
""",
}


def dry_run(folder: Path, packages: dict[str, str], *arguments: str) -> subprocess.CompletedProcess:
    return run("otto_gpu.pipeline", "--dry-run", "--run-dir", str(folder / "run"), *arguments, packages=packages, folder=folder)


def test_without_nvvm_the_cpu_is_taken_and_cuda_refused(tmp_path):
    packages = A_GPU | {"cuda/pathfinder": "def load_nvidia_dynamic_lib(name):\n    raise RuntimeError(f'no lib{name}.so')"}
    shown = dry_run(tmp_path, packages)
    assert shown.returncode == 0
    assert "device cpu (numba-cuda finds no NVVM (RuntimeError: no libnvvm.so))" in " ".join(shown.stdout.split())
    shown = dry_run(tmp_path / "again", packages, "--device", "cuda")
    assert (shown.returncode, shown.stdout) == (2, "")
    (line,) = shown.stderr.splitlines()
    assert line.startswith("error: device 'cuda': numba-cuda finds no NVVM") and "pip install 'otto_gpu[cuda13]'" in line


def test_the_report_tries_a_kernel_and_says_why_it_fails(tmp_path):
    """The stand-ins compile nothing; what is said is the error's first line."""
    told = rows(run("otto_gpu.device", packages=A_GPU | {"xgboost": WITH_CUDA}, folder=tmp_path))
    assert told["NVVM"] == "/cuda/libnvvm.so.4" and told["numba-cuda"] == "0.30"
    assert told["device"] == "auto takes cuda (a GPU)" and told["kernel"].startswith("broken: ")
    assert "kernel" in told["missing"].split(", ")


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
    shown = dry_run(tmp_path, A_GPU | {"xgboost": WITH_CUDA})
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

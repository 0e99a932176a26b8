"""What is installed from a wheel works without the checkout, from any folder."""

import os
import subprocess
import sys
import tarfile
import zipfile
from importlib import metadata
from pathlib import Path

import pytest

from otto_gpu.config import FOLDER, known_configs
from tests.runs import ROOT

SETUPTOOLS = 77  # pyproject.toml


def built(what: str, source: Path, out: Path) -> Path:
    """By setuptools as it is here, without a network: build_sdist or build_wheel of a source folder."""
    program = f"from setuptools import build_meta; print(build_meta.{what}({str(out)!r}))"
    done = subprocess.run([sys.executable, "-c", program], cwd=source, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return out / done.stdout.splitlines()[-1]


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """A folder that holds nothing but the unpacked wheel; the wheel comes of a source distribution, the way to an index."""
    if not (ROOT / "setup.py").is_file():
        pytest.skip("the tests do not lie in a checkout")
    try:
        version = metadata.version("setuptools")
    except metadata.PackageNotFoundError:
        version = "0"
    if int(version.split(".")[0]) < SETUPTOOLS:
        pytest.skip(f"setuptools {SETUPTOOLS} or newer is not here, and fetching it takes a network")
    folder = tmp_path_factory.mktemp("wheel")
    checkout = folder / "checkout"  # nothing is left in the real one
    checkout.mkdir()
    for name in ("setup.py", "pyproject.toml", "README.md", "LICENSE", "otto_gpu", "configs"):
        os.symlink(ROOT / name, checkout / name)
    with tarfile.open(built("build_sdist", checkout, folder)) as file:
        file.extractall(folder / "source", filter="data")
    (source,) = (folder / "source").iterdir()
    with zipfile.ZipFile(built("build_wheel", source, folder)) as file:
        file.extractall(folder / "site")
    return folder / "site"


def python(installed: Path, *arguments) -> subprocess.CompletedProcess:
    """From an empty folder, with the wheel before the checkout."""
    place = installed.parent / "empty"
    place.mkdir(exist_ok=True)
    environment = os.environ | {"PYTHONPATH": str(installed), "NUMBA_DISABLE_JIT": "1"}  # nothing is compiled for it
    line = [sys.executable, *map(str, arguments)]
    done = subprocess.run(line, cwd=place, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    return done


def test_a_wheel_holds_every_file_of_the_package(installed):
    tracked = {p.relative_to(ROOT) for p in (ROOT / "otto_gpu").rglob("*") if p.is_file() and "__pycache__" not in p.parts}
    tracked |= {Path("otto_gpu/configs", p.name) for p in FOLDER.glob("*.yaml")}
    packed = {p.relative_to(installed) for p in installed.rglob("*") if p.is_file()}
    assert {p for p in packed if p.parts[0] == "otto_gpu"} == tracked
    assert {p.parts[0].split("-")[0] for p in packed} == {"otto_gpu"}, "nothing lies beside it"


def test_an_installed_wheel_runs_from_an_empty_folder(installed):
    program = """
import sys
import otto_gpu
from pathlib import Path
from otto_gpu.config import known_configs, load_config
from otto_gpu.pipeline import main
from otto_gpu.report.layout import Section
from otto_gpu.report.page import comparison_html
from importlib.resources import files
print(otto_gpu.__file__)
print(*(load_config(name).name for name in known_configs()))
assert main(["--config", "otto", "--list-stages"]) == 0
rows = [f"{s},{s % 3 + e},{(s * 9 + e) * 3600},clicks" for s in range(60) for e in range(3)]
Path("log.csv").write_text("\\n".join(["session,aid,ts,type", *rows]))
Path("mine.yaml").write_text("name: mine\\nevents: {ts_unit: s}\\nsplit: {test_days: 5, validation_days: 5}")
assert main(["--config", "mine.yaml", "--data", "log.csv", "--to", "events"]) == 0
assert Path("runs/mine/events/summary.json").is_file()
page = {"title": "a", "kicker": "b", "summary": "c", "tiles": [], "notes": [], "sections": [Section("d", "e", ["f"])]}
assert "<style>" in comparison_html(page)
assert all((files("otto_gpu") / "serve/static" / name).is_file() for name in ("page.html", "page.css", "page.js", "docs.css"))
"""
    said = python(installed, "-c", program).stdout.splitlines()
    assert said[0] == str(installed / "otto_gpu/__init__.py") and said[1].split() == known_configs()
    assert any(line.startswith("events:") for line in said)

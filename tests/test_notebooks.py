"""Every notebook runs from beginning to end, shows what it says, and is kept without its outputs."""

import json
import os
import re
import time

import pytest

from tests.runs import ROOT

FOLDER = ROOT / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
SESSIONS = "2500"
LIMIT = 150  # seconds, most of them for kernels that are compiled for the first time
PLACES = {"TMPDIR": "temporary", "IPYTHONDIR": "ipython", "JUPYTER_RUNTIME_DIR": "jupyter", "MPLCONFIGDIR": "matplotlib"}

notebooks = pytest.mark.parametrize("path", NOTEBOOKS, ids=[p.stem for p in NOTEBOOKS])


@pytest.fixture
def outputs(tmp_path, monkeypatch):
    """outputs(notebook) -> the outputs of all its cells, run in a kernel of its own in an empty folder."""
    pytest.importorskip("ipykernel", reason="ipykernel is not installed: pip install 'otto_gpu[test]'")
    nbformat, nbclient = pytest.importorskip("nbformat"), pytest.importorskip("nbclient")

    def run(path, modules: str = str(ROOT)) -> list:
        for variable, place in PLACES.items():
            (tmp_path / place).mkdir()
            monkeypatch.setenv(variable, str(tmp_path / place))
        monkeypatch.setenv("OTTO_GPU_NOTEBOOK_SESSIONS", SESSIONS)
        monkeypatch.setenv("PYTHONPATH", modules)
        here = tmp_path / "here"
        here.mkdir()
        notebook = nbformat.read(path, as_version=4)
        began = time.monotonic()
        where = {"metadata": {"path": str(here)}}
        nbclient.NotebookClient(notebook, timeout=LIMIT, kernel_name="python3", resources=where).execute()
        assert time.monotonic() - began < LIMIT
        assert not list(here.iterdir()), "a notebook writes into a temporary folder only"
        return [output for cell in notebook.cells for output in cell.get("outputs", [])]

    return run


def test_there_are_seven():
    assert [p.name[0] for p in NOTEBOOKS] == list("1234567")


@notebooks
def test_a_notebook_runs_and_shows_plots(path, outputs):
    shown = outputs(path)
    assert any("image/png" in output.get("data", {}) for output in shown)
    assert not [output["text"] for output in shown if output.get("name") == "stderr"]
    assert not any("┃" in output.get("data", {}).get("text/plain", "") for output in shown), "a run that is called is silent"


def test_without_the_extra_embeddings_a_line_says_so_and_the_rest_goes_on(outputs, tmp_path):
    absent = tmp_path / "absent"
    absent.mkdir()
    for name in ("gensim", "torch"):
        (absent / f"{name}.py").write_text("raise ImportError('not installed')")
    shown = outputs(FOLDER / "4_features_and_embeddings.ipynb", f"{absent}{os.pathsep}{ROOT}")
    said = "".join(output["text"] for output in shown if output.get("name") == "stdout")
    assert said.count("pip install 'otto_gpu[embeddings]'") == 2
    assert any("image/png" in output.get("data", {}) for output in shown)


@notebooks
def test_a_notebook_is_kept_without_outputs_and_as_jupyter_writes_it(path):
    text = path.read_text()
    notebook = json.loads(text)
    code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in code), (
        f"jupyter nbconvert --clear-output --inplace {path.relative_to(ROOT)}"
    )
    assert text == json.dumps(notebook, indent=1, sort_keys=True, ensure_ascii=False) + "\n"
    assert set(notebook["metadata"]) <= {"kernelspec", "language_info"}


@notebooks
def test_the_links_of_a_notebook_lead_somewhere(path):
    cells = [cell for cell in json.loads(path.read_text())["cells"] if cell["cell_type"] == "markdown"]
    text = "".join("".join(cell["source"]) for cell in cells)
    for link in re.findall(r"\]\(([^)#]+)", text):
        assert (FOLDER / link).exists(), link
    for name in re.findall(r"`((?:otto_gpu|benchmarks|tests|docs|configs)/[\w./-]+)`", text):
        assert (ROOT / name).exists(), name


def test_the_readme_lists_them_all():
    listed = re.findall(r"\[[^\]]+\]\((\w+\.ipynb)\)", (FOLDER / "README.md").read_text())
    assert listed == [p.name for p in NOTEBOOKS]

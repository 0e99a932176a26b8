"""Nothing that a user can place in the way is executed: no pickles, no Python in YAML, no ways out of the run directory."""

import io
import os
import pickle
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import otto_gpu
from otto_gpu.embeddings.vectors import load_queries, load_vectors, load_weights
from otto_gpu.errors import UserError
from tests.runs import EMBEDDED, GROUP, LEAFWISE, ROOT, needs_embeddings, small, write_config
from tests.trust.machine import call, mistake

PACKAGE = Path(otto_gpu.__file__).parent
UNSAFE = {
    r"\bpickle\.\w|(import|from) \w*pickle": {"run/distributed.py"},  # what this process sends to its own workers, over Dask
    r"allow_pickle=True|torch\.load|joblib|marshal|shelve|dill|yaml\.(load|unsafe_load|full_load)\(": set(),
    r"(?<![\w.])eval\(|os\.system|shell=True|__import__": set(),
    r"(?<![\w.])exec\(": {"device/cuda_kernels.py"},  # kernels' sources, of the package itself
}


@pytest.mark.parametrize("pattern", UNSAFE)
def test_the_package_holds_nothing_that_executes_what_it_reads(pattern):
    found = {str(p.relative_to(PACKAGE)) for p in PACKAGE.rglob("*.py") if re.search(pattern, p.read_text())}
    assert found == UNSAFE[pattern]


def test_every_array_is_read_without_pickles():
    for path in PACKAGE.rglob("*.py"):
        for line in path.read_text().splitlines():
            assert "np.load(" not in line or "allow_pickle=False" in line, f"{path}: {line}"


class Harm:
    """Unpickled, it leaves a file."""

    def __reduce__(self):
        return os.mkdir, ("harmed",)


@pytest.mark.parametrize("name", ["v.npy", "v.sessions.npy", "v.weights.npz"])
@pytest.mark.parametrize("kind", ["objects", "pickle", "cut short", "empty"])
def test_vectors_that_are_none_are_refused_in_one_line(tmp_path, monkeypatch, name, kind):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "embeddings/test" / name
    path.parent.mkdir(parents=True)
    objects, good = np.array([Harm()], object), io.BytesIO()
    if kind == "objects":
        with path.open("wb") as file:
            np.savez(file, v=objects) if name.endswith("z") else np.save(file, objects, allow_pickle=True)
    else:
        np.savez(good, v=np.ones(9)) if name.endswith("z") else np.save(good, np.ones(9))
        path.write_bytes({"pickle": pickle.dumps(Harm()), "cut short": good.getvalue()[:-9], "empty": b""}[kind])
    load = {"v.npy": load_vectors, "v.sessions.npy": load_queries, "v.weights.npz": load_weights}[name]
    with pytest.raises(UserError, match=re.escape(str(path))):
        load(tmp_path, "test", "v")
    assert not (tmp_path / "harmed").exists()


@pytest.mark.parametrize("vectors", [False, pytest.param(True, marks=pytest.mark.long)])
def test_a_whole_run_unpickles_nothing(tmp_path, vectors):
    """Libraries that unpickle what they brought along themselves (numba its cache of kernels) are named."""
    if vectors:
        needs_embeddings()
    config = write_config(
        tmp_path / "c.yaml", small(300, ranking={"groups": {"x": GROUP, "l": LEAFWISE}}, **(EMBEDDED if vectors else {}))
    )
    told = tmp_path / "told.txt"
    line = [sys.executable, "-m", "tests.trust.watched", told, "pipeline", "--config", config, "--run-dir", tmp_path / "run"]
    done = subprocess.run(list(map(str, line)), cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    lines = told.read_text().splitlines() if told.exists() else []
    others = [line for line in lines if "/numba/" not in line.split()[-1]]
    assert others == []


def test_yaml_executes_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for harm in ("!!python/object/apply:os.mkdir ['harmed']", "!!python/name:os.mkdir", "!!python/module:os"):
        (tmp_path / "c.yaml").write_text(f"name: {harm}\n")
        mistake(call("pipeline", "--config", tmp_path / "c.yaml"))
        mistake(call("pipeline", "--set", f"name={harm}"))
    assert not (tmp_path / "harmed").exists()


def test_a_linked_run_directory_is_written_where_it_points_and_nothing_is_removed_behind_links(tmp_path):
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "kept.txt").write_text("kept")
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    config = write_config(tmp_path / "c.yaml", small(60))
    assert call("pipeline", "--config", config, "--run-dir", tmp_path / "link", "--to", "events").code == 0
    assert (tmp_path / "real/events/items.parquet").is_file() and (tmp_path / "link").is_symlink()
    # an output's place is a link to somewhere else: the link goes, what it points to stays
    (tmp_path / "real/matrices").symlink_to(precious)
    assert call("pipeline", "--config", config, "--run-dir", tmp_path / "link", "--to", "matrices").code == 0
    assert (precious / "kept.txt").read_text() == "kept" and not (tmp_path / "real/matrices").is_symlink()
    assert sorted(p.name for p in precious.iterdir()) == ["kept.txt"]


def test_what_is_needed_is_pinned():
    """constraints.txt names a version of everything that the package asks for on the CPU."""
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    pinned = {
        line.split("==")[0].strip().lower() for line in (ROOT / "constraints.txt").read_text().splitlines() if "==" in line
    }
    extras = project["optional-dependencies"]
    wanted = [
        *project["dependencies"],
        *extras["cpu"],
        *extras["cluster"],
        *extras["embeddings"],
        *extras["lightgbm"],
        *extras["search"],
        *extras["test"],
    ]
    names = {re.split(r"[<>=!~\[; ]", need)[0].lower() for need in wanted}
    assert {n.replace("_", "-") for n in names} <= {n.replace("_", "-") for n in pinned}

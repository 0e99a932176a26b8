"""The run directory, with stages of a few bytes; test_resume.py kills real ones."""

import json
import os
import shutil
from importlib import metadata

import pytest

from otto_gpu.errors import UserError
from otto_gpu.run import directory as run_module
from otto_gpu.run.directory import Run, Stage, data_identity, write_atomically
from otto_gpu.run.progress import Reporter


class Killed(BaseException):
    """Nothing catches it, as nothing catches a SIGKILL."""


def toy_stages(calls: list, first: int = 1, second: int = 1) -> list[Stage]:
    """Stages that write what their settings say: parts that they find are kept, as in the real ones."""

    def parts(folder):
        calls.append("parts")
        (folder / "parts").mkdir(exist_ok=True)
        for i in range(3):
            path = folder / "parts" / f"{i}.txt"
            if not path.exists():
                write_atomically(path, lambda p, i=i: p.write_text(f"part {i} of {first}"))
        (folder / "facts.txt").write_text(str(first))
        return {"rows": 3}

    def whole(folder):
        calls.append("whole")
        directory = folder.parent.parent
        text = "".join(sorted(p.read_text() for p in (directory / "parts").iterdir()))
        (folder / "whole.txt").write_text(text * second)
        return {}

    return [
        Stage("parts", ("parts", "facts.txt", "absent"), lambda: first, parts),
        Stage("whole", ("whole.txt",), lambda: second, whole),
    ]


def execute(directory, calls=None, seed="data", force_from=None, last=None, **settings):
    run = Run(directory, Reporter(quiet=True))
    with run.locked():
        return run.execute(toy_stages([] if calls is None else calls, **settings), seed, force_from, last)


def artifacts(directory) -> dict[str, bytes]:
    left_out = ("manifests", ".lock")
    files = [p for p in directory.rglob("*") if p.is_file() and p.relative_to(directory).parts[0] not in left_out]
    return {str(p.relative_to(directory)): p.read_bytes() for p in files}


def manifest(directory, stage):
    return json.loads((directory / "manifests" / f"{stage}.json").read_text())


def test_what_is_done_is_not_done_again(tmp_path):
    calls = []
    assert execute(tmp_path, calls) == ["parts", "whole"]
    before = {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*") if p.is_file() and p.name != ".lock"}
    assert execute(tmp_path, calls) == [] and calls == ["parts", "whole"]
    assert {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*") if p.is_file() and p.name != ".lock"} == before


def test_a_changed_setting_runs_its_stage_and_those_after_it(tmp_path):
    execute(tmp_path)
    assert execute(tmp_path, second=2) == ["whole"]
    assert execute(tmp_path, first=2, second=2) == ["parts", "whole"]
    assert (tmp_path / "whole.txt").read_text() == "part 0 of 2part 1 of 2part 2 of 2" * 2
    assert execute(tmp_path, seed="other data", first=2, second=2) == ["parts", "whole"]


def test_another_version_of_the_package_runs_everything(tmp_path, monkeypatch):
    execute(tmp_path)
    monkeypatch.setattr(run_module, "__version__", "999")
    assert execute(tmp_path) == ["parts", "whole"]


def test_from_and_to(tmp_path):
    assert execute(tmp_path, last="parts") == ["parts"] and not (tmp_path / "whole.txt").exists()
    assert execute(tmp_path) == ["whole"]
    assert execute(tmp_path, force_from="whole") == ["whole"]
    assert execute(tmp_path, force_from="parts", last="parts") == ["parts"]
    assert execute(tmp_path) == []


@pytest.mark.parametrize("damage", ["delete", "shorten", "lengthen", "folder", "manifest", "empty manifest"])
def test_damage_is_noticed_and_mended(tmp_path, damage):
    execute(tmp_path)
    whole, victim = artifacts(tmp_path), tmp_path / "parts" / "1.txt"
    if damage == "delete":
        victim.unlink()
    elif damage == "folder":
        shutil.rmtree(tmp_path / "parts")
    elif damage == "manifest":
        (tmp_path / "manifests/parts.json").unlink()
    elif damage == "empty manifest":
        (tmp_path / "manifests/parts.json").write_text("")
    else:
        victim.write_text("part" if damage == "shorten" else "part 1 of 1 and more")
    # the stage gives the same bytes again, so that those after it stay
    assert execute(tmp_path) == ["parts"]
    assert artifacts(tmp_path) == whole


def test_what_a_stage_no_longer_makes_goes(tmp_path):
    """A manifest's outputs are all that there is: labels of another log do not stay behind."""
    execute(tmp_path)
    (tmp_path / "absent").write_text("from a run that had it")
    execute(tmp_path, first=2)
    assert not (tmp_path / "absent").exists()


def test_a_manifest_tells_what_was_done(tmp_path):
    execute(tmp_path, first=5)
    found = manifest(tmp_path, "parts")
    assert found["stage"] == "parts" and found["settings"] == 5 and found["rows"] == 3
    assert len(found["fingerprint"]) == 64 and found["fingerprint"] != manifest(tmp_path, "whole")["fingerprint"]
    assert {"otto_gpu", "numpy", "pyarrow"} <= found["versions"].keys()
    assert found["seconds"] >= 0 and 1 < found["peak_memory_mb"] < 100_000
    assert found["files"] == {f"parts/{i}.txt": 11 for i in range(3)} | {"facts.txt": 1}


@pytest.mark.parametrize(
    "told",
    [
        "NVRM version: NVIDIA UNIX x86_64 Kernel Module  580.65.06  Sun Jul 27 07:18:52 UTC 2025\nGCC version:  gcc 12.3.0\n",
        "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.65.06  Release Build  (user@host)\n",
    ],
)
def test_versions_of_what_computes_on_a_gpu(tmp_path, monkeypatch, told):
    """The driver's counts where CuPy is installed; elsewhere a machine that has one is like one that has none."""
    monkeypatch.setattr(run_module, "DRIVER", tmp_path / "version")
    (tmp_path / "version").write_text(told)
    installed = {"numba-cuda": "0.30.4", "nvforest-cu13": "26.10.0"}
    without = {"otto_gpu": run_module.__version__} | installed
    assert run_module.versions()["numba"] == metadata.version("numba")
    monkeypatch.setattr(run_module, "_version", installed.get)
    assert run_module.versions() == without
    installed["cupy-cuda13x"] = "14.2.0"
    assert run_module.versions() == without | {"cupy-cuda13x": "14.2.0", "NVIDIA driver": "580.65.06"}
    (tmp_path / "version").unlink()
    assert run_module.versions() == without | {"cupy-cuda13x": "14.2.0"}


def test_killed_at_any_step_and_called_again_gives_the_same_bytes(tmp_path, monkeypatch):
    """Dies before every single change of a name, removal or new folder, one after the other."""
    execute(tmp_path / "straight", first=2)
    expected = artifacts(tmp_path / "straight")
    real = {(os, "replace"): os.replace, (shutil, "rmtree"): shutil.rmtree, (os, "unlink"): os.unlink, (os, "mkdir"): os.mkdir}
    steps = 0
    for die_at in range(1000):
        directory = tmp_path / f"killed-{die_at}"
        execute(directory, first=1)  # an older run's artifacts lie in the way
        count = iter(range(10_000))

        def dies(function, count=count, die_at=die_at):
            def step(*args, **kwargs):
                if next(count) >= die_at:
                    raise Killed
                return function(*args, **kwargs)

            return step

        with monkeypatch.context() as patched:
            for (module, name), function in real.items():
                patched.setattr(module, name, dies(function))
            try:
                execute(directory, first=2)
                died = False
            except Killed:
                died = True
        ran = execute(directory, first=2)
        assert artifacts(directory) == expected
        assert not list((directory / ".partial").iterdir())
        assert execute(directory, first=2) == []
        shutil.rmtree(directory)
        if not died:
            assert ran == []
            break
        steps += 1
    assert steps > 15


def test_parts_of_a_killed_stage_are_taken_up_unless_something_changed(tmp_path):
    execute(tmp_path, last="parts")
    fingerprint = manifest(tmp_path, "parts")["fingerprint"]
    (tmp_path / "manifests/parts.json").unlink()
    finished = tmp_path / ".partial" / f"parts-{fingerprint[:16]}" / "parts"
    finished.mkdir(parents=True)
    (finished / "0.txt").write_text("done before the kill")
    other = tmp_path / ".partial" / "parts-0000000000000000" / "parts"
    other.mkdir(parents=True)
    (other / "1.txt").write_text("of other settings")
    execute(tmp_path, last="parts")
    assert (tmp_path / "parts/0.txt").read_text() == "done before the kill"
    assert (tmp_path / "parts/1.txt").read_text() == "part 1 of 1"
    assert not list((tmp_path / ".partial").iterdir())


def test_an_error_leaves_the_old_outputs(tmp_path):
    execute(tmp_path)
    before = artifacts(tmp_path)
    stages = toy_stages([], first=2)

    def fails(folder):
        (folder / "facts.txt").write_text("half")
        raise UserError("no")

    run = Run(tmp_path, Reporter(quiet=True))
    with pytest.raises(UserError):
        run.execute([Stage("parts", stages[0].outputs, lambda: 3, fails), stages[1]], "data")
    assert {n: b for n, b in artifacts(tmp_path).items() if not n.startswith(".partial")} == before
    assert execute(tmp_path) == []


def test_one_process_at_a_time(tmp_path):
    with Run(tmp_path, Reporter(quiet=True)).locked(), pytest.raises(UserError, match="another process works in it"):
        execute(tmp_path)
    assert execute(tmp_path) == ["parts", "whole"]


def test_a_run_directory_that_cannot_be_is_told(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"file/run: .*--run-dir"):
        execute(tmp_path / "file" / "run")


def test_write_atomically_leaves_the_old_file_when_it_fails(tmp_path):
    path = tmp_path / "a.txt"
    write_atomically(path, lambda p: p.write_text("old"))

    def half(p):
        p.write_text("ne")
        raise OSError("disk full")

    with pytest.raises(OSError):
        write_atomically(path, half)
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


def test_a_changed_data_file_has_another_identity(tmp_path):
    path = tmp_path / "log.csv"
    path.write_bytes(b"a" * 200_000)
    os.utime(path, ns=(1, 1))
    same = data_identity([path])
    assert data_identity([path]) == same
    for place in (0, 199_999):
        changed = bytearray(b"a" * 200_000)
        changed[place] = ord("b")
        path.write_bytes(changed)
        os.utime(path, ns=(1, 1))
        assert data_identity([path]) != same
    path.write_bytes(b"a" * 200_000)
    os.utime(path, ns=(2, 2))
    assert data_identity([path]) != same
    os.utime(path, ns=(1, 1))
    assert data_identity([path]) == same
    assert data_identity([path, path]) != same

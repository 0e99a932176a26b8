"""Where generated kernels lie: a folder of this user's alone."""

import os
import stat

import pytest

from otto_gpu.device import compiled


@pytest.fixture
def named(tmp_path, monkeypatch):
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path / "cache" / "otto_gpu-cuda"


def test_the_same_source_is_the_same_file(named):
    path = compiled.cached_source("x = 1\n")
    assert path.parent == named and path.read_text() == "x = 1\n"
    assert stat.S_IMODE(named.stat().st_mode) == 0o700
    before = path.stat().st_mtime_ns
    assert compiled.cached_source("x = 1\n") == path and path.stat().st_mtime_ns == before
    assert compiled.cached_source("x = 2\n") != path
    assert sorted(p.suffix for p in named.iterdir()) == [".py", ".py"], "nothing half-written stays"


@pytest.mark.parametrize("mode", [0o770, 0o707])
def test_what_others_may_write_to_is_not_taken(named, mode):
    named.mkdir(parents=True)
    named.chmod(mode)
    path = compiled.cached_source("x = 1\n")
    assert path.parent != named and path.read_text() == "x = 1\n"
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700 and not list(named.iterdir())


def test_a_link_to_elsewhere_is_not_taken(named, tmp_path):
    named.parent.mkdir()
    (tmp_path / "elsewhere").mkdir(mode=0o700)
    named.symlink_to(tmp_path / "elsewhere")
    assert compiled.cached_source("x = 1\n").parent not in (named, tmp_path / "elsewhere")


def test_another_users_folder_is_not_taken(named, monkeypatch):
    named.mkdir(parents=True, mode=0o700)
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    assert compiled.cached_source("x = 1\n").parent != named


def test_unnamed_it_is_the_packages_own_folder_then_the_users(tmp_path, monkeypatch):
    monkeypatch.delenv("NUMBA_CACHE_DIR", raising=False)
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(compiled, "_places", lambda: (tmp_path / "file", tmp_path / "home"))
    assert compiled.cached_source("x = 1\n").parent == tmp_path / "home" / "otto_gpu-cuda"

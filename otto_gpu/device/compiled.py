"""Where numba keeps what it has compiled, so that the next process need not compile it again.

That is the package's own folder, or ~/.cache. Where neither may be written, as in many containers, numba gives up; then a
folder for this process alone stands in, which goes with it. It is nobody else's: what lies there is loaded as code. Whoever
starts often names a folder of their own by NUMBA_CACHE_DIR.
"""

from __future__ import annotations

import atexit
import hashlib
import os
import shutil
import stat
import tempfile
from functools import lru_cache
from pathlib import Path


def ensure_cache_folder() -> None:
    """To be called before numba is imported."""
    if not os.environ.get("NUMBA_CACHE_DIR") and not any(map(_may_write, _places())):
        os.environ["NUMBA_CACHE_DIR"] = str(_for_this_process())


def cached_source(source: str) -> Path:
    """A file with this source, for code that is generated: numba keeps what it compiles of a file, and of nothing else.

    The name says the contents, so whoever writes it at the same time writes the same. It lies in a folder that no other
    user may write to.
    """
    name = f"kernel_{hashlib.sha256(source.encode()).hexdigest()[:32]}.py"
    named = os.environ.get("NUMBA_CACHE_DIR")
    places = (Path(named),) if named else _places()
    folder = next(filter(None, (_own(place / "otto_gpu-cuda") for place in places)), None) or _for_this_process()
    path = folder / name
    if not path.exists():
        with tempfile.NamedTemporaryFile("w", dir=folder, prefix=".", delete=False) as file:
            file.write(source)
        os.replace(file.name, path)
    return path


def _places() -> tuple[Path, ...]:
    home = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return Path(__file__).parents[1] / "__pycache__", Path(home) / "numba"


def _own(folder: Path) -> Path | None:
    """The folder, made if need be; None if it cannot be had, or if it is not this user's alone to write to."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = folder.lstat()
    except OSError:
        return None
    alone = stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid() and not found.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    return folder if alone and os.access(folder, os.W_OK | os.X_OK) else None


@lru_cache(1)
def _for_this_process() -> Path:
    folder = tempfile.mkdtemp(prefix="otto_gpu-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return Path(folder)


def _may_write(folder: Path) -> bool:
    """Whether it is there and may be written, or may be made."""
    there = next((place for place in (folder, *folder.parents) if os.path.exists(place)), folder)  # Path.exists may be refused
    return there.is_dir() and os.access(there, os.W_OK | os.X_OK)

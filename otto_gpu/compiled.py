"""Where numba keeps what it has compiled, so that the next process need not compile it again.

That is the package's own folder, or ~/.cache. Where neither may be written, as in many containers, numba gives up; then a
folder for this process alone stands in, which goes with it. It is nobody else's: what lies there is loaded as code. Whoever
starts often names a folder of their own by NUMBA_CACHE_DIR.
"""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from pathlib import Path


def keep_somewhere() -> None:
    """To be called before numba is imported."""
    home = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    places = (Path(__file__).parent / "__pycache__", Path(home) / "numba")
    if os.environ.get("NUMBA_CACHE_DIR") or any(map(_may_write, places)):
        return
    folder = tempfile.mkdtemp(prefix="otto_gpu-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    os.environ["NUMBA_CACHE_DIR"] = folder


def _may_write(folder: Path) -> bool:
    """Whether it is there and may be written, or may be made."""
    there = next((place for place in (folder, *folder.parents) if os.path.exists(place)), folder)  # Path.exists may be refused
    return there.is_dir() and os.access(there, os.W_OK | os.X_OK)

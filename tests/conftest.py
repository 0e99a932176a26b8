import os
from pathlib import Path

# OpenMP's threads sleep while they wait, as it must be told before it is loaded: they ask for work without a pause otherwise,
# which on the cores that the other worker of pytest-xdist needs took more time than the work
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import pytest

try:
    from hypothesis import settings
except ImportError:  # a GPU machine may have no more than what the tests marked `gpu` need
    pass
else:
    # compiling a kernel may fall into an example: no deadline; one seed, so that a failure is everybody's failure
    settings.register_profile("project", deadline=None, derandomize=True, print_blob=True)
    settings.load_profile("project")

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def real_log():
    """real_log(name): the folder of a real log beside the project, or a skip where it is not there."""

    def find(name: str) -> Path:
        folder = DATA / name
        if not folder.is_dir():
            pytest.skip(f"the real log {name} is not beside the project (../shared/data)")
        return folder

    return find

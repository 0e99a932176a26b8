from pathlib import Path

import pytest

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

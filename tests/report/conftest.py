"""Finished runs that the tests of the report share: nobody writes into them."""

import pytest

from otto_gpu.pipeline import run_pipeline
from tests.runs import GROUP, small

ROUNDS = GROUP | {"rounds": 25, "early_stopping": 5}
LEAVES = {"ranker": "lightgbm", "objective": "lambdarank", "rounds": 3, "leaves": 6}
GROUPS = {"binary": ROUNDS, "pairwise": ROUNDS | {"objective": "rank:pairwise"}, "leafwise": LEAVES}
FAMILIES = ["matrix", "session", "recall"]


def settings(**sections) -> dict:
    return small(1200, **{"features": {"families": FAMILIES}, "ranking": {"groups": GROUPS}, **sections})


@pytest.fixture(scope="session")
def finished(tmp_path_factory):
    """A run of groups of two kinds."""
    folder = tmp_path_factory.mktemp("report") / "finished"
    run_pipeline(settings(), run_dir=folder)
    return folder


@pytest.fixture(scope="session")
def changed(tmp_path_factory, finished):
    """The same log under other settings, in a run directory that held the first run's results."""
    import shutil

    folder = tmp_path_factory.mktemp("report") / "changed"
    shutil.copytree(finished, folder)
    run_pipeline(settings(candidates={"fill_to": 40}, blend={"steps": 2}), run_dir=folder)
    return folder

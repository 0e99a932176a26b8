"""SIGKILL at random moments; tests/test_resume.py kills in every stage, tests/run/test_directory.py before every step."""

import pytest

from tests.runs import needs_embeddings, write_config
from tests.trust.kills import PLAIN, WITH_VECTORS, survive
from tests.trust.machine import call


@pytest.mark.parametrize("settings", [PLAIN, pytest.param(WITH_VECTORS, marks=pytest.mark.long)], ids=["plain", "vectors"])
def test_a_few_kills(tmp_path, settings):
    if settings is WITH_VECTORS:
        needs_embeddings()
    config = write_config(tmp_path / "c.yaml", settings)
    assert call("pipeline", "--config", config, "--run-dir", tmp_path / "straight").code == 0
    survived = survive(config, tmp_path / "straight", tmp_path, kills=2, seed=1)
    assert survived.kills >= 2 and survived.runs >= 1

"""The same log, configuration and seed give the same bytes, whoever does the work."""

from pathlib import Path

import pytest

from otto_gpu.cooccurrence.matrix import Matrix
from otto_gpu.pipeline import run_pipeline
from tests.cooccurrence.compare import assert_same
from tests.runs import EMBEDDED, GROUP, LEAFWISE, artifacts, needs_embeddings, small

GROUPS = {"binary": GROUP, "softmax": GROUP | {"objective": "softmax"}, "leafwise": LEAFWISE}


def different(a, b) -> list[str]:
    mine, other = artifacts(a), artifacts(b)
    assert mine.keys() == other.keys()
    return [name for name in mine if mine[name] != other[name]]


@pytest.mark.parametrize("vectors", [False, pytest.param(True, marks=pytest.mark.long)])
def test_threads_change_no_byte_while_each_fold_has_one(tmp_path, vectors):
    """A model is trained by more than one thread only where there are twice as many as folds."""
    if vectors:
        needs_embeddings()
    settings = small(400, ranking={"groups": GROUPS}, **(EMBEDDED if vectors else {}))
    for threads in (1, 2):
        run_pipeline(settings | {"threads": threads}, run_dir=tmp_path / str(threads))
    assert different(tmp_path / "1", tmp_path / "2") == ["model_card.md"]  # which tells their number


def test_engines_agree_up_to_near_ties(tmp_path):
    """Sums in another order differ in their last bits; what the matrices say is the same but for neighbours that tie."""
    settings = small(400)
    for engine in ("rowwise", "selfmerge"):
        run_pipeline(settings | {"matrices": {"engine": engine}}, run_dir=tmp_path / engine)
    changed = different(tmp_path / "rowwise", tmp_path / "selfmerge")
    assert not [n for n in changed if n.split("/")[0] not in ("matrices", "candidates", "features", "models", "predictions")
                and n not in ("submission.csv", "blend.json")]  # fmt: skip
    for name in changed:
        if name.startswith("matrices/"):
            assert_same(*(Matrix.load(tmp_path / engine / name) for engine in ("rowwise", "selfmerge")))
    # a ranker that is trained on another last bit may grow another tree: the lists are alike, not the same
    lists = [_lists(tmp_path / engine / "submission.csv") for engine in ("rowwise", "selfmerge")]
    assert lists[0].keys() == lists[1].keys()
    shared = sum(len(lists[0][key] & lists[1][key]) for key in lists[0]) / sum(map(len, lists[0].values()))
    assert shared > 0.95, shared


def _lists(path: Path) -> dict[str, set[str]]:
    rows = (line.split(",") for line in path.read_text().splitlines()[1:])
    return {key: set(aids.split()) for key, aids in rows}

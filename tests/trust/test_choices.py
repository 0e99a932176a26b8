"""The labels of the test period decide about the figures and about nothing else."""

import json

import numpy as np
import pyarrow.parquet as pq
import pytest

from otto_gpu.candidates.stage import parts
from otto_gpu.events.labels import Labels
from otto_gpu.pipeline import run_pipeline
from otto_gpu.run.directory import checksum
from tests.runs import EMBEDDED, GROUP, artifacts, metrics, needs_embeddings, small

# what tells figures of the test period, or holds its labels
FIGURES = {
    "labels/test.parquet", "candidates/coverage.json", "candidates/coverage_curves.json", "scores.parquet", "metrics.json",
    "model_card.md", "report.html",
}  # fmt: skip
GROUPS = {"binary": GROUP, "pairwise": GROUP | {"objective": "rank:pairwise"}}


def shuffled(run_dir, seed: int = 1) -> None:
    """Other sessions' labels for every test session, as if the stage `events` had written them."""
    path = run_dir / "labels/test.parquet"
    labels = Labels.load(path)
    aid = labels.aid.copy()
    random = np.random.default_rng(seed)
    for kind in np.unique(labels.type):
        mine = np.flatnonzero(labels.type == kind)
        aid[mine] = aid[random.permutation(mine)]
    assert (aid != labels.aid).mean() > 0.8
    Labels.from_arrays(labels.session, labels.type, aid).save(path)
    manifest = run_dir / "manifests/events.json"
    told = json.loads(manifest.read_text())
    told["files"]["labels/test.parquet"], told["sums"]["labels/test.parquet"] = path.stat().st_size, checksum(path)
    manifest.write_text(json.dumps(told))


def without_labels(run_dir) -> list:
    tables = [pq.read_table(path) for path in parts(run_dir, "test")]
    return [table.drop_columns([c for c in table.column_names if c.startswith("label_")]) for table in tables]


@pytest.mark.parametrize("vectors", [False, pytest.param(True, marks=pytest.mark.long)])
def test_shuffled_test_labels_change_the_figures_alone(tmp_path, vectors):
    ranking = {"groups": GROUPS, "cascade": {"orders": ["clicks"]}, "transfer": True, "min_positives": 40}
    more = {}
    if vectors:
        needs_embeddings()
        more = EMBEDDED
    settings = small(500, ranking=ranking, **more)
    run_pipeline(settings, run_dir=tmp_path / "a")
    run_pipeline(settings, run_dir=tmp_path / "b", to_stage="events")
    shuffled(tmp_path / "b")
    run_pipeline(settings, run_dir=tmp_path / "b")

    a, b = artifacts(tmp_path / "a"), artifacts(tmp_path / "b")
    assert a.keys() == b.keys()
    others = {n for n in a if n not in FIGURES and not n.startswith("candidates/test/part-")}
    assert {n.split("/")[0] for n in others} >= {"events", "matrices", "features", "models", "predictions", "blend.json"}
    assert [n for n in sorted(others) if a[n] != b[n]] == []
    assert "submission.csv" in others
    assert without_labels(tmp_path / "a") == without_labels(tmp_path / "b")
    mine, other = metrics(tmp_path / "a"), metrics(tmp_path / "b")
    assert mine["test"]["weighted"] > other["test"]["weighted"]  # the figures saw it
    assert a["candidates/coverage.json"] != b["candidates/coverage.json"]
    for name in ("validation", "blend", "embeddings"):
        assert mine[name] == other[name]

"""Every config of the project runs from beginning to end, by the command line, on a generated log of its shape."""

import pytest

from otto_gpu.config import known_configs, load_config
from otto_gpu.pipeline import STAGES
from tests.runs import called, metrics, needs_embeddings
from tests.shapes import SHAPES

QUICK = {"threads": 1, "ranking.folds": 2, "embeddings.encoder.epochs": 2}  # and few rounds, for any groups


@pytest.mark.parametrize("name", known_configs())
def test_a_config_runs_to_its_end(name, tmp_path):
    assert name in SHAPES, f"configs/{name}.yaml: tests/shapes.py has no log of its shape"
    config = load_config(name)
    if config.vectors:
        needs_embeddings()
    changes = QUICK | {f"ranking.groups.{group}.rounds": 8 for group in config.ranking.groups}
    given = [part for key, value in changes.items() for part in ("--set", f"{key}={value}")]
    (tmp_path / "log").mkdir()
    given += SHAPES[name](tmp_path / "log")
    run_dir = tmp_path / "run"
    ended = called("--config", name, "--run-dir", run_dir, "--device", "cpu", *given)
    assert ended.returncode == 0 and not ended.stderr, ended.stdout + ended.stderr
    assert ended.stdout.splitlines()[-1] == f"report:     {run_dir}/report.html"
    assert {p.stem for p in (run_dir / "manifests").iterdir()} == STAGES.keys()
    made = {p.name for p in (run_dir / "models").rglob("fold-0.*")}
    assert made, "no ranker was trained: the log is too small"
    assert (run_dir / "report.html").read_text().rstrip().endswith("</html>")
    assert metrics(run_dir)["validation"]["sessions"] > 20
    assert len((run_dir / "submission.csv").read_text().splitlines()) > 20

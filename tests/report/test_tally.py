"""Curves and calibration against plain loops, and files that do not fit together."""

import json
import shutil

import numpy as np
import pyarrow.parquet as pq
import pytest

from otto_gpu.errors import UserError
from otto_gpu.ranking.folds import fold_of
from otto_gpu.report import tally as module
from otto_gpu.report.record import Record
from otto_gpu.report.sections.calibration import wilson
from otto_gpu.report.tally import calibrate, tally
from tests.runs import metrics


@pytest.fixture(scope="module")
def record(finished):
    return Record(finished)


def test_the_curves_end_at_the_score(record, finished):
    for target in record.targets.names:
        found = tally(record, target)
        for split in ("validation", "test"):
            figures = metrics(finished)[split]
            assert found.recall[split].final[-1] == pytest.approx(figures["recall@20"][target], abs=1e-12)
            assert found.recall[split].hand_set[-1] == pytest.approx(figures["hand_set_order"]["recall@20"][target], abs=1e-12)


def test_bins_hold_what_lies_in_them():
    random = np.random.default_rng(3)
    margin = random.normal(-3, 2, 5000).astype(np.float32)
    positive = random.random(5000) < 1 / (1 + np.exp(-margin)) / 5
    found = calibrate(margin, positive, rows=10_000, hits=2 * int(positive.sum()), sampled_rate=0.2)
    assert found.n.sum() == 5000 and found.positives.sum() == positive.sum()
    order = np.argsort(margin)
    begin = 0
    for n, predicted, hits in zip(found.n, found.predicted, found.positives, strict=True):
        mine = order[begin : begin + n]
        assert (
            predicted == pytest.approx((1 / (1 + np.exp(-margin[mine].astype(float)))).mean()) and hits == positive[mine].sum()
        )
        begin += n
    # negatives that were left out: all odds fall by the same factor
    rate = positive.mean()
    assert found.odds == pytest.approx((0.2 / 0.8) / (rate / (1 - rate)))
    one = calibrate(np.zeros(10, np.float32), np.arange(10) < 1, 10, 1, 0.5)
    assert one.n.tolist() == [10] and one.predicted == pytest.approx([0.5]) and one.shifted == pytest.approx([0.1])


def test_a_perfect_model_of_sampled_rows_is_on_the_diagonal_after_the_shift():
    """Odds are p/(1-p); of the negatives a tenth was kept, so that a model's odds are ten times those that are true."""
    random = np.random.default_rng(5)
    truth = random.beta(0.3, 20, 400_000)
    positive = random.random(len(truth)) < truth
    margin = np.log(truth / (1 - truth)) + np.log(10)
    kept = positive | (random.random(len(truth)) < 0.1)
    found = calibrate(margin.astype(np.float32), positive, len(truth), int(positive.sum()), positive[kept].mean())
    low, high = wilson(found.positives, found.n)
    some = found.positives >= 20
    assert some.sum() >= 6 and ((found.shifted >= low * 0.95) & (found.shifted <= high * 1.05))[some].all()
    assert (found.predicted[some] > high[some]).mean() > 0.9


def test_wilson_interval():
    low, high = wilson(np.array([0, 5, 10]), np.array([10, 10, 10]))
    assert low == pytest.approx([0, 0.2366, 0.7225], abs=1e-3) and high == pytest.approx([0.2775, 0.7634, 1], abs=1e-3)


def test_only_rows_that_a_model_has_not_seen_are_looked_at(record, finished, tmp_path):
    """A fold that could not be trained: its sessions have no probability, and count nowhere."""
    shutil.copytree(finished, tmp_path / "run")
    (tmp_path / "run/models/clicks/binary/fold-1.json").unlink()
    found = tally(Record(tmp_path / "run"), "clicks").calibration["binary"]
    rows = pq.ParquetDataset(finished / "predictions/validation/clicks").read()["session"].to_numpy()
    assert found.rows == (fold_of(rows, 2, 42) == 0).sum() < tally(record, "clicks").calibration["binary"].rows


def test_of_many_rows_some_are_looked_at(record, monkeypatch):
    whole = tally(record, "clicks").calibration["binary"]
    monkeypatch.setattr(module, "CALIBRATION_ROWS", 1000)
    some = tally(record, "clicks").calibration["binary"]
    assert 500 < some.n.sum() <= 1000 < whole.n.sum() == whole.rows and (some.rows, some.hits) == (whole.rows, whole.hits)


def test_predictions_of_another_run_are_refused(finished, changed, tmp_path):
    shutil.copytree(finished, tmp_path / "run")
    shutil.rmtree(tmp_path / "run/predictions")
    shutil.copytree(changed / "predictions", tmp_path / "run/predictions")
    path = tmp_path / "run/metrics.json"
    found = json.loads(path.read_text())
    found["test"]["recall@20"]["carts"] += 0.01
    path.write_text(json.dumps(found))
    with pytest.raises(UserError, match=r"predictions/.* are not those of metrics\.json: run the pipeline to its end"):
        for target in ("clicks", "carts", "orders"):
            tally(Record(tmp_path / "run"), target)


def test_what_was_cleared_away_is_not_missed(finished, tmp_path):
    """Predictions and candidates take most room; a page without them has fewer charts."""
    shutil.copytree(finished, tmp_path / "run", ignore=shutil.ignore_patterns("predictions", "part-*.parquet", "*.ubj"))
    found = tally(Record(tmp_path / "run"), "clicks")
    assert found.recall == {} and found.calibration == {}
    from otto_gpu.report.page import report_html

    assert "Coverage of clicks" in report_html(Record(tmp_path / "run"))

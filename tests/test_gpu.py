"""Runs on a GPU against runs on the CPU. Every test names what it needs beside CuPy and numba-cuda."""

import numpy as np
import pytest

from benchmarks.gpu_steps.demo import agreement
from otto_gpu.candidates.search_backends import TorchExact
from otto_gpu.config import load_config
from otto_gpu.pipeline import run_pipeline
from tests.gpus import a_gpu
from tests.runs import metrics

pytestmark = pytest.mark.gpu


def test_the_demo_gives_the_same_lists(tmp_path):
    a_gpu("xgboost")
    # rows and columns drawn at random are others on a GPU; all of them are the same
    same = ["ranking.folds=2", "ranking.groups.binary.subsample=1", "ranking.groups.binary.colsample=1"]
    config = load_config(None, ["events.synthetic_sessions=3000", *same])
    for device in ("cuda", "cpu"):
        run_pipeline(config, run_dir=tmp_path / device, device=device)
    ours, theirs = (metrics(tmp_path / device)["test"]["weighted"] for device in ("cuda", "cpu"))
    assert abs(ours - theirs) <= 0.002
    assert agreement(tmp_path / "cuda" / "submission.csv", tmp_path / "cpu" / "submission.csv")["same_entries"] >= 0.99


def test_candidates_are_the_same(tmp_path):
    from otto_gpu.candidates.stage import load_part, parts

    a_gpu()
    config = load_config(None, ["events.synthetic_sessions=3000"])
    for device in ("cuda", "cpu"):
        run_pipeline(config, run_dir=tmp_path / device, device=device, to_stage="candidates")
    for ours, theirs in zip(*(parts(tmp_path / device, "test") for device in ("cuda", "cpu")), strict=True):
        one, other = (load_part(path, config.candidates.sources, ())[0] for path in (ours, theirs))
        np.testing.assert_array_equal(one.pointer, other.pointer)
        assert (one.aid == other.aid).mean() >= 0.99


def test_nearest_vectors():
    a_gpu("torch")
    import torch

    random = np.random.default_rng(0)
    vectors, queries = (random.standard_normal((n, 24)).astype(np.float32) for n in (3000, 40))
    scores, rows = TorchExact(vectors, torch.device("cuda")).search(queries, 25)
    products = np.take_along_axis(queries @ vectors.T, rows, axis=1)
    np.testing.assert_allclose(scores, products, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(scores, -np.sort(-(queries @ vectors.T), axis=1)[:, :25], rtol=1e-4, atol=1e-5)


def test_recommendations_are_the_same(tmp_path):
    from otto_gpu.events.stage import load_period
    from otto_gpu.recommend import Recommender

    a_gpu("xgboost")
    run_dir = run_pipeline(load_config(None, ["events.synthetic_sessions=3000"]), run_dir=tmp_path, device="cpu").run_dir
    events = load_period(run_dir, "test").history.to_frame()  # ids of a generated log are its dense ones
    ours, theirs = (Recommender.load(run_dir, device=device).recommend(events) for device in ("cuda", "cpu"))
    same = [np.mean(ours.lists[target] == theirs.lists[target]) for target in theirs.lists]
    assert min(same) >= 0.99

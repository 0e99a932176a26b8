"""Folds that are trained side by side."""

import json

import numpy as np
import pytest

from otto_gpu.device import Device, choose_device
from otto_gpu.ranking.folds import fold_of
from otto_gpu.ranking.rankers import xgb
from otto_gpu.ranking.settings import Group, RankingConfig
from otto_gpu.ranking.trainer import Trainer

NAMES = ("a", "b", "c")
GROUPS = {
    "binary": Group(depth=3, rounds=12, min_child_weight=1, bins=16),
    "again": Group(depth=2, rounds=12, min_child_weight=1, bins=16, seed=7),
    "pairwise": Group(depth=2, rounds=12, min_child_weight=1, objective="rank:pairwise"),
}
CONFIG = RankingConfig(folds=4, groups=GROUPS)


class Rows:
    """Rows in memory, with the face of Samples. alone: a fold that has no positives."""

    def __init__(self, alone: int | None = None):
        rng = np.random.default_rng(0)
        self.session = np.repeat(np.arange(200, dtype=np.int32), 8)
        self.features = rng.normal(size=(len(self.session), 3)).astype(np.float32)
        self.label = (self.features[:, 0] + rng.normal(size=len(self.session)) > 1).astype(np.float32)
        if alone is not None:
            self.label[fold_of(self.session, CONFIG.folds, CONFIG.seed) == alone] = 0
        self.rows, self.positives = len(self.session), int(self.label.sum())

    def batches(self, keep):
        mask = keep(self.session)
        yield self.features[mask], self.label[mask], self.session[mask]

    def both_labels(self, keep):
        return len(np.unique(self.label[keep(self.session)])) == 2


def cache_of(place):
    return place.with_name(f"{place.name} cache")


def trained(place, threads=1, rows=None, advanced=None, **config):
    """{file: bytes} of every group."""
    config = CONFIG.model_copy(update=config)
    mine = Trainer(place, cache_of(place), rows or Rows(), NAMES, config, choose_device("cpu"), threads)
    mine.train(GROUPS, (advanced if advanced is not None else []).append)
    return {str(path.relative_to(place)): path.read_bytes() for path in place.rglob("fold-*")}


def test_neither_threads_nor_memory_decide_about_a_model(tmp_path, monkeypatch):
    from_disk, prepare = [], xgb.prepare
    monkeypatch.setattr(
        xgb, "prepare", lambda *given, **more: from_disk.append(given[5] is not None) or prepare(*given, **more)
    )
    one = trained(tmp_path / "one")
    assert len(one) == 3 * 4 * 2
    assert trained(tmp_path / "three", threads=3) == one
    assert not any(from_disk)
    assert trained(tmp_path / "from disk", kept_mb=0) == one
    assert sum(from_disk) == 3 * 4
    assert not [p for p in cache_of(tmp_path / "from disk").rglob("*") if p.is_file()]


@pytest.mark.parametrize("free, from_host, kept", [(1 << 20, False, True), (3 * 1600 * 3, False, False), (9000, True, False)])
def test_on_cuda_the_gpus_memory_decides(tmp_path, monkeypatch, free, from_host, kept):
    """Half of what is free there; kept_mb is the host's. 1600 rows of three columns: a byte a value."""

    class Gpu(Device):
        def free_memory(self):
            return free

    seen = []

    def prepare(*given, categorical):
        seen.append((given[5] is not None, given[-1]))
        return "prepared"

    monkeypatch.setattr(xgb, "prepare", prepare)
    monkeypatch.setattr(xgb, "train", lambda *given: ("model", {}))
    config = CONFIG.model_copy(update={"kept_mb": 0})
    mine = Trainer(tmp_path, cache_of(tmp_path), Rows(), NAMES, config, Gpu("cuda", "a test"), 8)
    assert mine._at_once == 1
    for _ in range(2):
        assert mine._train_fold(GROUPS["binary"], 0) == ("model", {})
    assert seen == [(from_host, "cuda")] * (1 if kept else 2)


def test_groups_that_are_alike_share_their_rows(tmp_path, monkeypatch):
    calls, prepare = [], xgb.prepare
    monkeypatch.setattr(
        xgb, "prepare", lambda group, *rest, **more: calls.append(group.objective) or prepare(group, *rest, **more)
    )
    trained(tmp_path)
    assert calls == ["binary:logistic"] * 4 + ["rank:pairwise"] * 4


def test_what_is_there_is_not_trained_again(tmp_path, monkeypatch):
    whole = trained(tmp_path)
    for name in ("binary/fold-2.json", "pairwise/fold-0.json", "pairwise/fold-0.ubj"):
        (tmp_path / name).unlink()  # killed between model and log, and before the model
    calls, train = [], xgb.train
    monkeypatch.setattr(xgb, "train", lambda group, *rest: calls.append(group.objective) or train(group, *rest))
    advanced = []
    assert trained(tmp_path, advanced=advanced) == whole
    assert calls == ["binary:logistic", "rank:pairwise"] and sum(advanced) == 12


def test_a_fold_without_positives_is_left_out(tmp_path):
    advanced = []
    found = trained(tmp_path, rows=Rows(alone=1), advanced=advanced)
    assert {json.loads(name.split("-")[1].split(".")[0]) for name in found} == {0, 2, 3}
    assert sum(advanced) == 12


def test_an_error_in_a_fold_ends_the_work(tmp_path, monkeypatch):
    def broken(*_):
        raise ZeroDivisionError

    monkeypatch.setattr(xgb, "train", broken)
    with pytest.raises(ZeroDivisionError):
        trained(tmp_path, threads=2)
    assert not list(tmp_path.rglob("fold-*"))

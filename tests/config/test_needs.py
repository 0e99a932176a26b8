"""Packages that a run needs are looked for before its first stage."""

import sys
from importlib.abc import MetaPathFinder
from types import ModuleType

import pytest

from otto_gpu.config import load_config
from otto_gpu.config.needs import needs_of
from otto_gpu.device import CPU, Device
from otto_gpu.errors import MissingExtra, UserError
from otto_gpu.needs import Need, installed, look_for
from tests.runs import EMBEDDED, GROUP, LEAFWISE, called, said, small


class Hidden(MetaPathFinder):
    """Says of some modules that they are not there: by None, as if nobody knew them, or by an error."""

    def __init__(self, names, way):
        self.names, self.way = names, way

    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in self.names:
            raise self.way(f"No module named {name}", name=name)


@pytest.fixture
def without(monkeypatch):
    """without(*modules): as if they were not installed."""

    def hide(*names, way=ModuleNotFoundError):
        for name in [n for n in sys.modules if n.split(".")[0] in names]:
            monkeypatch.delitem(sys.modules, name)
        monkeypatch.setattr(sys, "meta_path", [Hidden(names, way), *sys.meta_path])

    return hide


def packages(config: dict, device=CPU) -> dict[str, list[str]]:
    return {stage: [n.package for n in needs] for stage, needs in needs_of(load_config(config), device).items()}


def test_each_stage_names_what_its_settings_need():
    trees = {"rankers": ["xgboost"], "predictions": ["xgboost"]}
    assert packages({}) == trees
    assert packages(small(**EMBEDDED)) == trees | {
        "word2vec": ["gensim"], "factorization": ["torch"], "seq2seq": ["torch"], "encoder": ["torch"],
        "candidates": ["xgboost", "faiss"],
    }  # fmt: skip
    both = {"groups": {"binary": GROUP, "leafwise": LEAFWISE}, "search": {}}
    assert packages({"ranking": both})["rankers"] == ["xgboost", "lightgbm", "optuna"]
    assert packages({"ranking": {"ranker": "lightgbm"}}) == {"rankers": ["lightgbm"], "predictions": ["lightgbm"]}
    titles = {
        "items": {"file": "i.csv", "columns": {"title": "text"}},
        "embeddings": {"text": {"words": {"columns": ["title"]}}},
    }
    assert packages(titles) == trees, "vectors that nobody uses are not made"
    assert packages(titles | {"candidates": {"nearest": {"a": {"vectors": "words"}}}})["text"] == ["scikit-learn"]


def test_on_a_gpu_vectors_are_searched_by_what_is_there(without):
    config = load_config(small(**EMBEDDED) | {"ranking": {"scoring": "nvforest"}})
    found = needs_of(config, Device("cuda", ""))
    assert [n.package for n in found["predictions"]] == ["xgboost", "nvforest"]
    assert {n.extra for n in found["rankers"]} == {"cuda13"}
    assert [n.package for n in found["candidates"]] == ["xgboost"]
    without("faiss", "cuvs", "torch")
    assert [n.package for n in needs_of(config, Device("cuda", ""))["candidates"]] == ["xgboost", "faiss"]


@pytest.mark.parametrize("way", [ModuleNotFoundError, ImportError])
def test_a_module_is_there_or_not_whoever_hides_it(without, monkeypatch, way):
    assert installed("numpy") and not installed("no_such_module") and not installed("no_such.module")
    monkeypatch.setitem(sys.modules, "half_made", ModuleType("half_made"))  # without a spec
    assert installed("half_made")
    without("numpy", way=way)
    assert not installed("numpy")


def test_all_that_is_missing_is_one_line():
    look_for([])
    one = Need("the ranker", "no_such", "cpu")
    with pytest.raises(MissingExtra) as caught:
        look_for([one, one, Need("somebody", "numpy", "cpu")])
    assert str(caught.value) == "the ranker needs no_such, which is not installed: pip install 'otto_gpu[cpu]'"
    with pytest.raises(UserError) as caught:
        look_for([one, Need("a", "scikit", "text", ("no_such_b", "numpy")), Need("a", "no_such_c", "cpu")])
    told = "the ranker needs no_such, a needs scikit and no_such_c, which are not installed: pip install 'otto_gpu[cpu,text]'"
    assert str(caught.value) == told


def test_a_run_that_lacks_a_package_does_not_begin(tmp_path, without):
    run = ["--run-dir", tmp_path / "run", "--set", "events.synthetic_sessions=300", "--set", "threads=1"]
    without("xgboost")
    told = "error: the ranker needs xgboost, which is not installed: pip install 'otto_gpu[cpu]'"
    for more in (["--dry-run"], [], ["--from", "features"], ["--to", "rankers"]):
        assert said(called(*run, *more)) == told
    assert not (tmp_path / "run").exists()
    dry = called(*run, "--dry-run", "--to", "features")
    assert dry.returncode == 0 and "features: would run" in dry.stdout

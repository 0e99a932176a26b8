import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from otto_gpu.device import Device
from otto_gpu.embeddings import stage
from otto_gpu.embeddings.settings import EmbeddingsConfig, Encoder, Factorization, Seq2Seq, Word2Vec
from otto_gpu.embeddings.vectors import load_queries, load_vectors
from otto_gpu.events.settings import SPLITS, TargetsConfig
from otto_gpu.events.stage import load_period
from otto_gpu.pipeline import run_pipeline
from otto_gpu.run.progress import Reporter
from tests.runs import ROOT, small

CPU = Device("cpu", "test")
PARTS = ("word2vec", "factorization", "seq2seq", "encoder")
CONFIG = EmbeddingsConfig(
    word2vec=Word2Vec(dim=6, epochs=2),
    factorization={
        "factorization_1": {"dim": 6, "epochs": 2},
        "factorization_1_5": None,
        "factorization_bought_1_9": {"dim": 6, "epochs": 1},
    },
    seq2seq=Seq2Seq(dim=6, epochs=2),
    encoder=Encoder(dim=8, epochs=1, events=1000),
    held_out=0.1,
)


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory) -> Path:
    pytest.importorskip("torch", reason="PyTorch is not installed: pip install 'otto_gpu[embeddings]'")
    pytest.importorskip("gensim", reason="gensim is not installed: pip install 'otto_gpu[embeddings]'")
    directory = tmp_path_factory.mktemp("run")
    run_pipeline(small(400), run_dir=directory, to_stage="events")
    return directory


def run(folder: Path, run_dir: Path, config=CONFIG, threads=1, parts=PARTS, reporter=None, targets=None) -> dict:
    reporter = reporter or Reporter(quiet=True)
    return {
        part: stage.run(part, folder, run_dir, config, targets or TargetsConfig(), CPU, threads, reporter) for part in parts
    }


def files(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.fixture(scope="module")
def made(run_dir, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("made")
    run(folder, run_dir)
    return folder


def test_what_the_stages_write(made, run_dir):
    for part in PARTS:
        outputs = CONFIG.outputs()[part]
        assert outputs and all((made / name).is_file() for name in outputs), part
    for split in SPLITS:
        known = load_period(run_dir, split).known
        for name in CONFIG.known:
            vectors = load_vectors(made, split, name)
            length = np.linalg.norm(vectors, axis=1)
            assert vectors.dtype == np.float32 and len(vectors) == known.n_items
            assert np.all((length == 0) | (np.abs(length - 1) < 1e-5)) and length.any()
            assert not vectors[np.bincount(known.aid, minlength=known.n_items) == 0].any()
            assert (load_queries(made, split, name) is None) == (name != "encoder")
        assert len(load_queries(made, split, "encoder")) == len(load_period(run_dir, split).sessions)


def test_figures(made):
    figures = stage.figures(made, CONFIG)
    assert list(figures) == CONFIG.known
    for name, part in CONFIG.parts().items():
        for split in SPLITS:
            assert len(figures[name][split]["loss"]) == part.epochs
            assert 0 < figures[name][split]["auc"] < 1
    items = figures["word2vec"]["test"]["items"]
    assert items == np.count_nonzero(load_vectors(made, "test", "word2vec").any(axis=1))


def test_what_is_done_is_not_done_again(made, run_dir, tmp_path):
    """After a kill between any two files the rest comes out as if there had been none."""
    parts = PARTS[:3]
    run(tmp_path, run_dir, parts=parts)
    whole = files(tmp_path)
    assert whole == {name: data for name, data in files(made).items() if "encoder" not in name}
    lost = ["embeddings/word2vec.json", "embeddings/test/factorization_1.json", "embeddings/test/seq2seq.npy"]
    lost += ["embeddings/test/seq2seq.json", "embeddings/seq2seq.json"]
    for name in lost:
        (tmp_path / name).unlink()
    written = {name: (tmp_path / name).stat().st_mtime_ns for name in whole if name not in lost}
    log = tmp_path.parent / f"{tmp_path.name}.log"
    run(tmp_path, run_dir, parts=parts, reporter=Reporter(log, quiet=True))
    assert files(tmp_path) == whole
    learnt = {line.split("   ")[1].split(":")[0] for line in log.read_text().splitlines()}
    assert learnt == {"factorization_1, test", "seq2seq, test"}
    again = {name for name, before in written.items() if (tmp_path / name).stat().st_mtime_ns != before}
    assert again <= {f"embeddings/{n}.json" for n in CONFIG.names} | {"embeddings/test/factorization_1.npy"}


def test_periods_side_by_side_make_the_same(made, run_dir, tmp_path):
    run(tmp_path, run_dir, threads=2, parts=PARTS[:3])
    assert files(tmp_path) == {name: data for name, data in files(made).items() if "encoder" not in name}


def test_an_error_beside_another_period_is_not_lost(run_dir, tmp_path, monkeypatch):
    monkeypatch.setattr(stage, "load_period", lambda run_dir, split: 1 / 0 if split == "test" else load_period(run_dir, split))
    with pytest.raises(ZeroDivisionError):
        run(tmp_path, run_dir, threads=2, parts=PARTS[:1])


def test_switched_off(run_dir, tmp_path):
    off = EmbeddingsConfig(word2vec=None, factorization=None, seq2seq=None, encoder=None)
    assert run(tmp_path, run_dir, off) == {part: {} for part in PARTS}
    assert files(tmp_path) == {}
    assert not any(off.outputs().values())


def test_a_log_without_what_a_part_looks_at(run_dir, tmp_path):
    """Types that the log does not have: rows of zeros and no figures, instead of an error."""
    config = CONFIG.model_copy(update={"factorization": {"none": Factorization(types=["returns"], dim=5)}})
    facts = run(tmp_path, run_dir, config, parts=["factorization"])
    assert facts == {"factorization": {"none": "AUC none and none"}}
    assert json.loads((tmp_path / "embeddings/none.json").read_text())["test"] == {"loss": [], "auc": None, "items": 0}
    vectors = load_vectors(tmp_path, "test", "none")
    assert vectors.shape == (load_period(run_dir, "test").known.n_items, 5) and not vectors.any()


def test_seq2seq_sees_the_next_type_or_the_first(run_dir, tmp_path):
    types = ["clicks", "carts", "orders"]
    known = load_period(run_dir, "test").known
    cases = {"next": (None, ["carts"], 1), "first": (None, [], 0), "own": (["orders"], ["clicks"], 2)}
    for name, (own, next_only, code) in cases.items():
        config = CONFIG.model_copy(update={"seq2seq": Seq2Seq(dim=4, epochs=1, types=own), "held_out": 0.0})
        folder = tmp_path / name
        run(folder, run_dir, config, parts=["seq2seq"], targets=TargetsConfig(types=types, next_only=next_only))
        with_vector = load_vectors(folder, "test", "seq2seq").any(axis=1)
        of_type = np.bincount(known.aid[known.type == code], minlength=known.n_items) > 0
        assert with_vector.any() and not with_vector[~of_type].any()


@pytest.mark.parametrize(("package", "part"), [("gensim", "word2vec"), ("torch", "factorization"), ("torch", "seq2seq")])
def test_a_package_that_is_missing(package, part, tmp_path):
    program = f"""
import sys
sys.modules[{package!r}] = None
from pathlib import Path
from otto_gpu.device import Device
from otto_gpu.embeddings import stage
from otto_gpu.embeddings.settings import EmbeddingsConfig
from otto_gpu.errors import MissingExtra
try:
    stage.run({part!r}, Path(), Path(), EmbeddingsConfig(), None, Device("cpu", ""), 1, None)
except MissingExtra as error:
    print(error)
"""
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    found = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, timeout=120)
    assert found.stdout.strip().endswith(f"needs {package}, which is not installed: pip install 'otto_gpu[embeddings]'")

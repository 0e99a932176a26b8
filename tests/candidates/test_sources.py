"""Kinds of sources: a third one is a file (toy.py) and a line, and goes all the way."""

import json

import numpy as np
import pyarrow.parquet as pq
import pytest
from pydantic import ValidationError

from otto_gpu import Recommender, load_config, run_pipeline
from otto_gpu.candidates.settings import CandidatesConfig, Nearest
from otto_gpu.candidates.sources import KINDS, further_kinds
from otto_gpu.candidates.sources.loaded import PeriodInputs
from otto_gpu.candidates.sources.nearest import NearestItems
from otto_gpu.candidates.stage import parts
from otto_gpu.config.reference import page
from otto_gpu.device import CPU
from otto_gpu.embeddings.vectors import save_vectors, vectors_path
from otto_gpu.errors import UserError
from otto_gpu.events.stage import load_period
from otto_gpu.explain import explain, session_of
from tests.runs import frame, of_file, write_parquet
from tests.test_recommend import histories

OTHER = {"following": {"kind": "toy", "size": 4}, "third": {"kind": "toy", "size": 3, "step": 3}}


@pytest.fixture(autouse=True)
def toy(monkeypatch):
    """The line."""
    monkeypatch.setitem(KINDS, "toy", "tests.candidates.toy")


def test_a_third_kind_goes_all_the_way(tmp_path):
    data, settings = write_parquet(tmp_path / "log.parquet", frame(400)), of_file(candidates={"other_sources": OTHER})
    run_dir = run_pipeline(settings, data=data, run_dir=tmp_path / "run").run_dir
    named = ["history", "clicks", "orders", "wide", "following", "third"]
    coverage = json.loads((run_dir / "candidates/coverage.json").read_text())["test"]
    assert list(coverage) == [*named, "all"] and coverage["third"]["candidates"]["mean"] == 3
    columns = [c["name"] for c in json.loads((run_dir / "features/catalogue.json").read_text())]
    assert "recall_following_score" in columns and "recall_third_rank" in columns
    period = load_period(run_dir, "test")
    table = pq.read_table(parts(run_dir, "test")[0]).to_pandas()
    last = period.history.aid[period.history.starts[1:] - 1]
    first = table[table["recall_third_rank"] == 0].set_index("session")["aid"]
    np.testing.assert_array_equal(first, (last[first.index] + 3) % period.known.n_items)

    recommender = Recommender.load(run_dir, device="cpu")
    events = histories(run_dir)
    mine = events[events["session"] == events["session"].iloc[0]]
    session = session_of(recommender, recommender.reader.read(mine))
    candidates = session.scored.candidates
    assert candidates.sources == tuple(named)
    item = int(candidates.aid[candidates.ranks[:, -1] == 1][0])
    told = {s["source"]: s for s in explain(recommender, mine, recommender.own([item])[0])["sources"]}["third"]
    assert told["rank"] == 2 and [key["gain"] for key in told["because"]] == [0.5]
    assert recommender.config.candidates.says("third") == "every 3th number"
    assert recommender.sources.told == {"following": "counts to 4", "third": "counts to 3"}


def test_settings_are_those_of_the_kind():
    config = load_config({"candidates": {"other_sources": OTHER}})
    assert config.candidates.other_sources["third"].step == 3
    assert load_config(config.model_dump(mode="json")) == config
    assert config.candidates.of_kind("toy") == config.candidates.other_sources and not config.candidates.of_kind("popular")
    assert "candidates.other_sources.NAME, kind toy" in page() and further_kinds().keys() == {"toy"}
    asked = load_config({"candidates": {"other_sources": {"it": {"kind": "toy", "vectors": "word2vec"}}}})
    assert asked.vectors == {"word2vec"}
    with pytest.raises(UserError, match=r"candidates.other_sources.it: the section embeddings has no vectors 'word3vec'"):
        load_config({"candidates": {"other_sources": {"it": {"kind": "toy", "vectors": "word3vec"}}}})


@pytest.mark.parametrize(
    ("sources", "message"),
    [
        ({"it": {"kind": "tox"}}, r"it: unknown kind 'tox'; did you mean 'toy'\?"),
        ({"it": {"size": 3}}, "it: unknown kind None; known: toy"),
        ({"it": {"kind": "toy", "sizes": 3}}, r"it: unknown key 'sizes'; did you mean 'size'\?"),
        ({"it": {"kind": "toy", "step": 0}}, "it: step: Input should be greater than or equal to 1, got 0"),
        ({"clicks": {"kind": "toy"}}, "other_sources: another source is called 'clicks' too"),
        ({"history": {"kind": "toy"}}, "may be called 'history'"),
    ],
)
def test_wrong_settings_are_refused_in_one_line(sources, message):
    with pytest.raises(ValidationError, match=message):
        CandidatesConfig(other_sources=sources)


def test_what_sources_say():
    config = CandidatesConfig(nearest={"near": {"vectors": "word2vec"}}, fusion={})
    said = [config.says(source) for source in config.sources]
    assert all(said) and "near the session's vector by word2vec" in said[-2]


def test_how_vectors_are_searched_is_a_setting(tmp_path):
    pytest.importorskip("faiss", reason="faiss is not installed")
    save_vectors(vectors_path(tmp_path, "test", "words"), np.random.default_rng(1).standard_normal((50, 4)))
    sources = {str(exact): Nearest(vectors="words", exact=exact) for exact in (None, True, False)}
    told = NearestItems(PeriodInputs(tmp_path, "test", None, None, CPU), sources).told
    assert [" searched exactly " in line for line in told.values()] == [True, True, False]


@pytest.mark.parametrize("depths", [[], [0, 3], [20, 20], [50, 20], [1001]])
def test_coverage_depths_that_make_no_sense(depths):
    with pytest.raises(ValidationError, match="coverage_depths"):
        CandidatesConfig(coverage_depths=depths)

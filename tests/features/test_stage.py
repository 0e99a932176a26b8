"""The stage `features` with vectors: what is read from a run, and what of it becomes columns."""

import json
import shutil

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from otto_gpu.candidates.stage import load_part, parts
from otto_gpu.config import load_config
from otto_gpu.embeddings.vectors import queries_path, save_vectors, vectors_path
from otto_gpu.errors import UserError
from otto_gpu.events.stage import SPLITS, load_period
from otto_gpu.features import stage
from otto_gpu.features.catalogue import FeaturesConfig
from otto_gpu.pipeline import run_pipeline
from otto_gpu.run.progress import Reporter
from tests.features.case import random_vectors
from tests.runs import small

NAMES = ("one", "two")
FAMILIES = ("encoder", "embedding", "recall")


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory):
    run_dir = tmp_path_factory.mktemp("features") / "run"
    run_pipeline(small(300), run_dir=run_dir, to_stage="candidates")
    for i, split in enumerate(SPLITS):
        period = load_period(run_dir, split)
        for name in (*NAMES, "encoder"):
            save_vectors(vectors_path(run_dir, split, name), random_vectors(period.known.n_items, len(name) + 1, i))
        save_vectors(queries_path(run_dir, split, "encoder"), random_vectors(len(period.sessions), 8, i))
    return run_dir


def maker_of(run_dir, split, families, embeddings=NAMES):
    c = load_config(small(300))
    features = FeaturesConfig(families=families)
    return stage.feature_maker(run_dir, split, features, c.candidates, c.targets, c.matrices.rules, embeddings)


@pytest.mark.parametrize("split", SPLITS)
def test_vectors_of_the_split(run_dir, split):
    c = load_config(small(300))
    maker = maker_of(run_dir, split, FAMILIES)
    vectors = {name: np.load(run_dir / f"embeddings/{split}/{name}.npy") for name in (*NAMES, "encoder")}
    assert list(maker.period_state.vectors) == list(NAMES)
    for name in NAMES:
        np.testing.assert_array_equal(maker.period_state.vectors[name], vectors[name])
    candidates, _ = load_part(parts(run_dir, split)[0], c.candidates.sources, ())
    found = dict(zip(maker.catalogue.names, maker.make(candidates).T, strict=True))
    period = load_period(run_dir, split)
    session, aid = candidates.session[-1], candidates.aid[-1]
    query = np.load(run_dir / f"embeddings/{split}/encoder.sessions.npy")[np.searchsorted(period.sessions, session)]
    assert found["encoder_score"][-1] == pytest.approx(query @ vectors["encoder"][aid], abs=1e-6)
    newest = period.history.aid[period.history.starts[session + 1] - 1]
    assert found["embed_two_last_0"][-1] == pytest.approx(vectors["two"][newest] @ vectors["two"][aid], abs=1e-6)


def test_what_no_family_asks_for_is_not_read(run_dir):
    maker = maker_of(run_dir, "test", ("session",), ("there is none",))
    assert maker.period_state.vectors == {} and maker.period_state.encoder is None
    assert maker_of(run_dir, "test", ("encoder",), ("there is none",)).period_state.vectors == {}
    assert maker_of(run_dir, "test", ("embedding",)).period_state.encoder is None


def test_the_stage_writes_their_columns(run_dir, tmp_path):
    c = load_config(small(300))
    features = FeaturesConfig(families=FAMILIES)
    facts = stage.run(tmp_path, run_dir, features, c.candidates, c.targets, c.matrices.rules, Reporter(quiet=True), NAMES)
    declared = json.loads((tmp_path / "features/catalogue.json").read_text())
    names = [column["name"] for column in declared]
    assert facts["columns"] == len(names) == 2 + 2 * 30 + 9 and facts["rows"] > 0
    assert names[0] == "encoder_score" and names[2] == "embed_one_one_mean"


def test_vectors_that_are_missing(run_dir, tmp_path):
    with pytest.raises(UserError, match="three"):
        maker_of(run_dir, "test", ("embedding",), ("three",))
    path = queries_path(run_dir, "test", "encoder")
    path.rename(tmp_path / "away.npy")
    try:
        with pytest.raises(UserError, match=r"encoder.sessions.npy: the encoder's session vectors are missing"):
            maker_of(run_dir, "test", ("encoder",))
    finally:
        (tmp_path / "away.npy").rename(path)


def sampled_by(run_dir, folder, **settings):
    c = load_config(small(300))
    features = FeaturesConfig(families=("session", "recall", "rank"), **settings)
    stage.run(folder, run_dir, features, c.candidates, c.targets, c.matrices.rules, Reporter(quiet=True))
    return pq.ParquetDataset(folder / "features/validation").read().to_pandas()


def test_no_more_rows_than_asked_for_and_whole_sessions(run_dir, tmp_path):
    everything = sampled_by(run_dir, tmp_path / "all", negatives={"clicks": 1e9}, chunk_rows=500)
    some = sampled_by(run_dir, tmp_path / "some", negatives={"clicks": 1e9}, chunk_rows=700, most_rows=1000)
    rows = {len(f[f["sampled_clicks"] == 1]): f[f["sampled_clicks"] == 1] for f in (everything, some)}
    (most, before), (fewer, after) = rows.items()
    assert most > 2000 and 500 < fewer < 1500
    # a session that is drawn has all its rows, the same as before, ranks too
    again = before[before["session"].isin(after["session"])].drop(columns=[c for c in before if c.startswith("sampled_")])
    pd.testing.assert_frame_equal(after[again.columns].reset_index(drop=True), again.reset_index(drop=True))
    assert set(some.columns) == set(everything.columns) and some.dtypes.equals(everything.dtypes)


def test_parts_of_which_no_row_stays_have_the_columns(run_dir, tmp_path):
    there = shutil.copytree(run_dir, tmp_path / "run")
    (path,) = parts(there, "validation")
    table = pq.read_table(path)
    for target in ("clicks", "carts", "orders"):
        place = table.column_names.index(f"label_{target}")
        table = table.set_column(place, f"label_{target}", [np.zeros(len(table), np.int8)])
    pq.write_table(table, path)
    nothing = sampled_by(there, tmp_path / "features")
    assert len(nothing) == 0 and {"session", "label_orders", "sampled_clicks", "n_any"} <= set(nothing.columns)

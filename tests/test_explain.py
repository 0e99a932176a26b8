"""Explanations add up: to the recipes' scores, to the models' margins; and they name what is in the lists."""

import json

import numpy as np
import pandas as pd
import pytest

from otto_gpu import Recommender, run_pipeline
from otto_gpu.errors import UserError
from otto_gpu.explain import explain, reasons, session_of
from tests.runs import EMBEDDED, GROUP, LEAFWISE, called, frame, needs_embeddings, of_file, pipeline, said, write_parquet
from tests.test_recommend import histories

SETTINGS = {
    "features": {"families": ["matrix", "popularity", "session", "recall", "rank"]},
    "ranking": {
        "folds": 2, "cascade": {"orders": ["clicks"]},
        "groups": {"binary": GROUP, "softmax": GROUP | {"objective": "softmax"}, "leafwise": LEAFWISE},
    },
}  # fmt: skip


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp("explain")
    data = write_parquet(folder / "log.parquet", frame(900))
    run_dir = run_pipeline(of_file(**SETTINGS), data=data, run_dir=folder / "run").run_dir
    events = histories(run_dir)
    sizes = events.groupby("session")["aid"].nunique()
    chosen = [sizes.idxmax(), sizes.idxmin(), *sizes.index[:6]]
    return Recommender.load(run_dir, device="cpu"), [events[events["session"] == s] for s in chosen]


def test_what_is_added_up_is_the_score_of_the_recipe(world):
    recommender, sessions = world
    for events in sessions:
        session = session_of(recommender, recommender.reader.read(events))
        candidates = session.scored.candidates
        for i, source in enumerate(candidates.sources):
            if source not in session.parts:
                continue
            named = np.flatnonzero(candidates.ranks[:, i] >= 0)
            gains = [sum(p.gain for p in session.parts[source].get(int(a), ())) for a in candidates.aid[named]]
            np.testing.assert_allclose(gains, candidates.scores[named, i], rtol=1e-4, atol=1e-5)


def test_contributions_add_up_to_the_margin(world):
    recommender, sessions = world
    for events in sessions[:4]:
        session = session_of(recommender, recommender.reader.read(events))
        scored = session.scored
        for row in (0, len(scored.candidates) - 1):
            aid = recommender.own([int(scored.candidates.aid[row])])[0]
            answer = explain(recommender, events, aid, top=10_000)
            for target, told in answer["targets"].items():
                weights = np.array([recommender.weights[target].get(g, 0) for g in recommender.models.groups(target)])
                weights = weights if weights.any() else np.ones(len(weights))
                margin = scored.scores[target][row, :-1] @ weights / weights.sum()
                total = told["bias"] + sum(f["contribution"] for f in told["features"])
                assert total == pytest.approx(margin, abs=2e-3)


def test_places_are_those_of_the_lists(world):
    recommender, sessions = world
    for events in sessions[:2]:
        listed = recommender.recommend(events).to_dicts()[0]
        for target in recommender.targets:
            for place, aid in enumerate(listed[target][:3], 1):
                answer = explain(recommender, events, aid, target)
                assert answer["candidate"] and answer["targets"][target]["place"] == place
                assert list(answer["targets"]) == [target]


def test_reasons_are_of_the_lists_and_of_the_history(world):
    recommender, sessions = world
    for events in sessions:
        listed, told = recommender.recommend(events, k=7).to_dicts()[0], reasons(recommender, events, k=7)
        seen = set(events["aid"].tolist())
        for target in recommender.targets:
            assert [row["aid"] for row in told[target]] == listed[target]
            for row in told[target]:
                assert len(row["sources"]) <= 2
                for source in row["sources"]:
                    assert all(key["in_history"] == (key["aid"] in seen) for key in source["because"])
                if row["aid"] in seen:
                    assert any(source["source"] == "history" for source in row["sources"]) or row["sources"]


def test_what_was_not_named_and_what_is_not_known(world):
    recommender, sessions = world
    events = sessions[0]
    candidates = session_of(recommender, recommender.reader.read(events)).scored.candidates
    other = next(a for a in range(len(recommender.items)) if a not in set(candidates.aid.tolist()))
    answer = explain(recommender, events, recommender.own([other])[0])
    assert not answer["candidate"] and answer["sources"] == [] and answer["targets"] == {}
    with pytest.raises(UserError, match="does not know the item 7"):
        explain(recommender, events, 7)
    own = recommender.own([other])[0]
    assert all(explain(recommender, events, aid) == answer for aid in (str(own), float(own), np.int64(own), str(own).encode()))
    for aid in (None, True, [own], {}):
        with pytest.raises(UserError, match="aid must be an item's id"):
            explain(recommender, events, aid)
    with pytest.raises(UserError, match=r"does not know the item 7\.5"):
        explain(recommender, events, 7.5)
    with pytest.raises(UserError, match="'sales' is no target"):
        explain(recommender, events, int(events["aid"].iloc[0]), "sales")
    with pytest.raises(UserError, match="one session"):
        explain(recommender, histories(recommender.run_dir), int(events["aid"].iloc[0]))
    cold = explain(recommender, [], int(events["aid"].iloc[0]))
    assert not cold["candidate"] and cold["in_history"] == 0
    assert reasons(recommender, [], k=3)["clicks"][0]["sources"] == []


def test_vectors_and_fusion_have_no_keys_to_name(tmp_path):
    needs_embeddings()
    data = write_parquet(tmp_path / "log.parquet", frame(500))
    run_dir = run_pipeline(of_file(**EMBEDDED), data=data, run_dir=tmp_path / "run").run_dir
    recommender, events = Recommender.load(run_dir, device="cpu"), histories(run_dir)
    mine = events[events["session"] == events["session"].iloc[0]]
    told = [s for rows in reasons(recommender, mine).values() for row in rows for s in row["sources"]]
    assert {s["source"] for s in told} & {"fusion", "encoder"}
    assert all(s["because"] == [] for s in told if s["source"] in ("fusion", "encoder", "history"))
    aid = reasons(recommender, mine)["clicks"][0]["aid"]
    assert explain(recommender, mine, aid)["targets"]["clicks"]["place"] == 1


def test_by_command(world, tmp_path):
    recommender, sessions = world
    run_dir, events = recommender.run_dir, sessions[0]
    write_parquet(tmp_path / "one.parquet", events)
    aid = recommender.recommend(events).to_dicts()[0]["orders"][0]
    done = pipeline(run_dir, "--sessions", tmp_path / "one.parquet", "--aid", aid, module="explain")
    assert done.returncode == 0 and "place 1 of the candidates" in done.stdout, done.stderr
    told = called(run_dir, "--sessions", tmp_path / "one.parquet", "--aid", aid, "--json", module="explain")
    assert json.loads(told.stdout) == json.loads(json.dumps(explain(recommender, events, aid)))
    write_parquet(tmp_path / "two.parquet", pd.concat(sessions[:2]))
    line = said(called(run_dir, "--sessions", tmp_path / "two.parquet", "--aid", aid, module="explain"))
    assert "--session" in line and "2 sessions" in line
    named = ["--session", events["session"].iloc[0], "--aid", aid, "--json"]
    again = called(run_dir, "--sessions", tmp_path / "two.parquet", *named, module="explain")
    assert json.loads(again.stdout) == json.loads(told.stdout)
    assert "does not know" in said(called(run_dir, "--sessions", tmp_path / "one.parquet", "--aid", 7, module="explain"))

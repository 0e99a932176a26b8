"""The stages rankers, predictions and blend, in a real run."""

import json

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from otto_gpu.candidates.stage import load_part, parts
from otto_gpu.config import load_config
from otto_gpu.device import choose_device
from otto_gpu.errors import UserError
from otto_gpu.features.stage import feature_maker
from otto_gpu.pipeline import run_pipeline
from otto_gpu.ranking.blend import best_lists
from otto_gpu.ranking.folds import fold_of
from otto_gpu.ranking.models import Models
from otto_gpu.ranking.predict import hand_set_score
from otto_gpu.ranking.rankers import load_ranker, xgb
from otto_gpu.ranking.stage import ranked_lists
from tests.runs import GROUP, small
from tests.worlds import synthetic_world

TARGETS = ["clicks", "carts", "orders"]
SETTINGS = small(
    600,
    candidates={"chunk_sessions": 40},
    features={"families": ["session", "recall", "rank"]},
    ranking={"folds": 3, "groups": {"binary": GROUP, "pairwise": GROUP | {"objective": "rank:pairwise"}}},
)


def by_rank(candidates, source):
    """The hand-set order with pandas: 20 of each session by the source's rank, the others behind as they stand."""
    frame = candidates.to_table().to_pandas()
    rank = frame[f"recall_{source}_rank"]
    frame["key"] = rank.where(rank >= 0, 10_000 + np.arange(len(frame)))
    lists = frame.sort_values(["session", "key"]).groupby("session")["aid"].apply(lambda a: a.head(20).tolist())
    return [mine + [-1] * (20 - len(mine)) for mine in lists]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """(config, run directory, what was trained: [(objective, sessions of training, sessions held out)])"""
    run_dir = tmp_path_factory.mktemp("ranking") / "run"
    trained, prepare = [], xgb.prepare

    def watched(group, training, held_out, *rest, **more):
        sessions = [np.concatenate([s for _, _, s in give()]) for give in (training, held_out)]
        assert all(np.all(np.diff(s) >= 0) for s in sessions)
        trained.append((group.objective, *map(set, sessions)))
        return prepare(group, training, held_out, *rest, **more)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(xgb, "prepare", watched)
        run_pipeline(SETTINGS, run_dir=run_dir)
    return load_config(SETTINGS), run_dir, trained


def features_of(config, run_dir, split):
    """(candidates, features) part by part."""
    maker = feature_maker(run_dir, split, config.features, config.candidates, config.targets, config.matrices.rules)
    loaded = (load_part(path, config.candidates.sources, ())[0] for path in parts(run_dir, split))
    return [(candidates, maker.make(candidates)) for candidates in loaded]


def scores_of(run_dir, split, target) -> list[pd.DataFrame]:
    return [pq.read_table(p).to_pandas() for p in sorted((run_dir / "predictions" / split / target).glob("*.parquet"))]


def test_there_is_a_model_per_target_group_and_fold_with_log_and_importance(finished):
    config, run_dir, _ = finished
    catalogue = [column["name"] for column in json.loads((run_dir / "features/catalogue.json").read_text())]
    assert json.loads((run_dir / "models/features.json").read_text()) == {
        target: {"folder": target, "columns": catalogue} for target in TARGETS
    }
    for target in TARGETS:
        for group in config.ranking.groups:
            for fold in range(3):
                path = run_dir / "models" / target / group / f"fold-{fold}"
                log = json.loads(path.with_suffix(".json").read_text())
                assert log.keys() == {"train", "eval", "best_round", "best_score", "importance"}
                assert len(log["eval"]["auc"]) > log["best_round"] >= 0
                assert set(log["importance"]) <= set(catalogue)
                model = xgb.load(path.with_suffix(".ubj"), "cpu", 1)
                assert model.feature_names == catalogue and model.num_boosted_rounds() == log["best_round"] + 1


def test_the_model_of_a_fold_never_saw_the_fold(finished):
    config, run_dir, trained = finished
    assert len(trained) == 3 * 2 * 3  # targets, groups, folds
    sampled = pd.concat(pq.read_table(p).to_pandas() for p in sorted((run_dir / "features/validation").glob("*.parquet")))
    groups = list(config.ranking.groups.values())
    for i, (objective, training, held_out) in enumerate(trained):
        target, fold = TARGETS[i // 6], i % 3
        assert objective == groups[i // 3 % 2].objective
        mine = sampled.loc[sampled[f"sampled_{target}"] == 1, "session"].unique()
        of_fold = fold_of(mine, 3, config.ranking.seed)
        assert held_out == set(mine[of_fold == fold]) and training == set(mine[of_fold != fold])
        assert held_out and len(training) > len(held_out)
    # the same folds for every target
    assert all(trained[0][2].isdisjoint(other[1]) for other in trained[::3])


@pytest.mark.parametrize("split", ["validation", "test"])
def test_scores_are_out_of_fold_for_validation_and_the_mean_for_test(finished, split):
    config, run_dir, _ = finished
    for target in TARGETS:
        models = Models.load(run_dir, config.ranking, config.targets, choose_device("cpu"), 1).ensembles[target].groups
        given = scores_of(run_dir, split, target)
        assert len(given) > 2
        for (candidates, features), table in zip(features_of(config, run_dir, split), given, strict=True):
            assert list(table.columns) == ["session", "aid", "binary", "pairwise", "recall"]
            np.testing.assert_array_equal(table["session"], candidates.session)
            np.testing.assert_array_equal(table["aid"], candidates.aid)
            fold = fold_of(candidates.session, 3, config.ranking.seed)
            for group, of_fold in models.items():
                each = np.stack([xgb.predict(of_fold[k], features) for k in range(3)], axis=1)
                expected = each[np.arange(len(fold)), fold] if split == "validation" else each.mean(axis=1, dtype=np.float64)
                np.testing.assert_allclose(table[group], expected, rtol=1e-6)


def test_the_hand_set_order_is_the_candidates_own(finished):
    config, run_dir, _ = finished
    for target in TARGETS:
        sessions, lists = ranked_lists(run_dir, "test", target, {"recall": 1.0}, 20, config.blend.damping)
        expected = [
            by_rank(load_part(path, config.candidates.sources, ())[0], config.candidates.order_of(target))
            for path in parts(run_dir, "test")
        ]
        np.testing.assert_array_equal(lists, np.concatenate(expected))
        assert len(sessions) == len(lists)


def test_the_parts_are_only_a_way_to_cut(finished, tmp_path):
    """Other chunks and batches: the same candidates, scores and lists."""
    _, run_dir, _ = finished
    other = SETTINGS | {"candidates": {"chunk_sessions": 1000}}
    other["features"] = other["features"] | {"chunk_rows": 700}
    run_pipeline(other, run_dir=tmp_path / "run")
    assert (tmp_path / "run/submission.csv").read_bytes() == (run_dir / "submission.csv").read_bytes()
    assert (tmp_path / "run/blend.json").read_bytes() == (run_dir / "blend.json").read_bytes()


def test_a_fold_that_cannot_be_trained_is_left_out(tmp_path):
    """Few orders in many folds: some have none of them."""
    config = small(250, ranking={"folds": 12, "min_positives": 2})
    result = run_pipeline(config, run_dir=tmp_path / "run")
    models = {t: len(list((tmp_path / "run/models" / t / "binary").glob("*.ubj"))) for t in TARGETS}
    assert models["clicks"] > models["orders"] and min(models.values()) < 12
    assert all(sum(b["weights"]) == 1 for b in result.metrics["blend"].values())
    for target in TARGETS:
        for table in scores_of(tmp_path / "run", "validation", target) + scores_of(tmp_path / "run", "test", target):
            assert np.isfinite(table.drop(columns=["session", "aid"]).to_numpy()).all()


def test_an_unknown_ranker_is_told():
    with pytest.raises(UserError, match=r"ranking.ranker: unknown ranker 'xgbost'; did you mean 'xgboost'\?"):
        load_ranker("xgbost")


@pytest.mark.parametrize("source", ["history", "clicks", "wide"])
def test_the_hand_set_order(source):
    world = synthetic_world()
    candidates = world.candidates(world.some_sessions(30))
    score = hand_set_score(candidates, source)
    assert best_lists(candidates.pointer, candidates.aid, score, 20).tolist() == by_rank(candidates, source)

"""Finished rankers, the cascade and the models of all targets, in real runs."""

import json
import shutil

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from otto_gpu.candidates.stage import load_part, parts
from otto_gpu.config import load_config
from otto_gpu.device import choose_device
from otto_gpu.errors import UserError
from otto_gpu.features.stage import feature_maker
from otto_gpu.pipeline import run_pipeline
from otto_gpu.ranking import trainer
from otto_gpu.ranking.folds import fold_of
from otto_gpu.ranking.models import POOL, Models, training_order
from otto_gpu.ranking.rankers import xgb
from otto_gpu.ranking.train import train
from otto_gpu.run.progress import Reporter
from tests.runs import GROUP, small

TARGETS = ["clicks", "carts", "orders"]
SMALL = GROUP | {"depth": 2, "min_child_weight": 1}
CASCADE = {"orders": ["carts", "clicks"], "carts": ["clicks"]}
SETTINGS = small(
    600,
    candidates={"chunk_sessions": 40},
    ranking={"folds": 3, "cascade": CASCADE, "groups": {"a": SMALL, "b": SMALL | {"objective": "rank:ndcg"}}},
)
CPU = choose_device("cpu")


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    run_dir = tmp_path_factory.mktemp("cascade") / "run"
    run_pipeline(SETTINGS, run_dir=run_dir, to_stage="predictions")
    return load_config(SETTINGS), run_dir


def columns_of(run_dir):
    facts = json.loads((run_dir / "models/features.json").read_text())
    catalogue = [column["name"] for column in json.loads((run_dir / "features/catalogue.json").read_text())]
    return catalogue, {t: (f["folder"], f["columns"]) for t, f in facts.items()}


def handed(folder, run_dir, config, monkeypatch, **watched):
    """Trains into the folder; {(target, fold, held out): (features, label, session, ...)} that the first group was handed."""
    seen, prepare, place = {}, xgb.prepare, []

    class Watched(trainer.Trainer):
        def _train_fold(self, group, fold):
            place[:] = self.place.name, fold
            return super()._train_fold(group, fold)

    def watch(group, training, held_out, *rest, **more):
        for i, give in enumerate((training, held_out)):
            seen.setdefault((*place, bool(i)), [np.concatenate(c) for c in zip(*give(), strict=True)])
        return prepare(group, training, held_out, *rest, **more)

    monkeypatch.setattr(xgb, "prepare", watch)
    monkeypatch.setattr("otto_gpu.ranking.train.Trainer", Watched)
    folder.mkdir()
    train(folder, run_dir, config.ranking, config.targets, CPU, 1, Reporter(quiet=True))
    return seen


def test_the_columns_of_each_target_are_recorded(finished):
    _, run_dir = finished
    catalogue, found = columns_of(run_dir)
    assert found == {
        "clicks": ("clicks", catalogue),
        "carts": ("carts", [*catalogue, "cascade_clicks_score"]),
        "orders": ("orders", [*catalogue, "cascade_carts_score", "cascade_clicks_score"]),
    }
    for target, (_, names) in found.items():
        for path in (run_dir / "models" / target).rglob("*.ubj"):
            assert xgb.load(path, "cpu", 1).feature_names == names


@pytest.mark.parametrize("split", ["validation", "test"])
def test_a_later_target_sees_the_mean_score_of_the_earlier_ones(finished, split):
    """With the models of the session's fold for validation, with the mean over the folds for test."""
    config, run_dir = finished
    maker = feature_maker(run_dir, split, config.features, config.candidates, config.targets, config.matrices.rules)

    def margin(target, rows, fold):
        groups = []
        for group in config.ranking.groups:
            place = run_dir / "models" / target / group
            each = np.stack([xgb.predict(xgb.load(place / f"fold-{k}.ubj", "cpu", 1), rows) for k in range(3)], axis=1)
            groups.append(each[np.arange(len(rows)), fold] if split == "validation" else each.mean(axis=1))
        return np.stack(groups, axis=1)

    for path in parts(run_dir, split)[:2]:
        candidates = load_part(path, config.candidates.sources, ())[0]
        features = maker.make(candidates)
        fold = fold_of(candidates.session, 3, config.ranking.seed)
        clicks = margin("clicks", features, fold)
        carts = margin("carts", np.column_stack([features, clicks.mean(axis=1)]), fold)
        orders = margin("orders", np.column_stack([features, carts.mean(axis=1), clicks.mean(axis=1)]), fold)
        for target, expected in zip(TARGETS, (clicks, carts, orders), strict=True):
            table = pq.read_table(run_dir / "predictions" / split / target / path.name).to_pandas()
            np.testing.assert_allclose(table[["a", "b"]], expected, rtol=1e-4, atol=1e-5)


def test_the_scores_of_a_fold_do_not_know_its_labels(finished, tmp_path, monkeypatch):
    """Other labels of one fold's sessions: what the later targets see of that fold stays, of the others it changes. (With one
    round: how many rounds a model keeps is told by the AUC on the fold, the only thing that is.)"""
    config, run_dir = finished
    groups = {name: group.model_copy(update={"rounds": 1}) for name, group in config.ranking.groups.items()}
    config = config.model_copy(update={"ranking": config.ranking.model_copy(update={"groups": groups})})
    before = handed(tmp_path / "before", run_dir, config, monkeypatch)
    other = tmp_path / "run"
    shutil.copytree(run_dir / "features", other / "features")
    for path in (other / "features/validation").glob("*.parquet"):
        table = pq.read_table(path)
        fold = fold_of(table["session"].to_numpy(), 3, config.ranking.seed)
        label = table["label_clicks"].to_numpy()
        flipped = pa.array(np.where(fold == 1, 1 - label, label).astype(np.int8))
        pq.write_table(table.set_column(table.column_names.index("label_clicks"), "label_clicks", flipped), path)
    after = handed(tmp_path / "after", other, config, monkeypatch)

    for k in range(3):
        (mine, *_), (again, *_) = (seen["carts", k, True] for seen in (before, after))
        np.testing.assert_array_equal(mine[:, :-1], again[:, :-1])
        assert np.array_equal(mine[:, -1], again[:, -1]) == (k == 1)
    # a fold's score is one thing, whether the fold is held out or trained on
    training, held_out = ({k: before["carts", k, out][0] for k in range(3)} for out in (False, True))
    for k in range(3):
        rest = pd.DataFrame(np.concatenate([held_out[j] for j in range(3) if j != k]))
        pd.testing.assert_frame_equal(rest.sort_values(list(rest)).reset_index(drop=True), _sorted(training[k]))


def _sorted(rows):
    frame = pd.DataFrame(rows)
    return frame.sort_values(list(frame)).reset_index(drop=True)


def test_an_earlier_target_without_models_is_no_column(finished, tmp_path):
    config, run_dir = finished
    positives = dict.fromkeys(TARGETS, 0)
    for path in (run_dir / "features/validation").glob("*.parquet"):
        table = pq.read_table(path)
        positives |= {t: n + int(table[f"label_{t}"].to_numpy().sum()) for t, n in positives.items()}
    poorest, *_, richest = sorted(TARGETS, key=positives.get)
    change = {"min_positives": positives[poorest] + 1, "cascade": {richest: (poorest,)}}
    train(tmp_path, run_dir, config.ranking.model_copy(update=change), config.targets, CPU, 1, Reporter(quiet=True))
    facts = json.loads((tmp_path / "models/features.json").read_text())
    assert poorest not in facts and facts[richest]["columns"] == columns_of(run_dir)[0]


def test_the_order_of_training():
    assert training_order(TARGETS, {}) == TARGETS
    assert training_order(TARGETS, {"clicks": ("orders",), "orders": ("carts",)}) == ["carts", "orders", "clicks"]
    with pytest.raises(UserError, match=r"ranking.cascade: 'cart' is no target; did you mean 'carts'\?"):
        training_order(TARGETS, {"orders": ("cart",)})
    with pytest.raises(UserError, match=r"ranking.cascade: 'views' is no target"):
        training_order(TARGETS, {"views": ("clicks",)})


@pytest.mark.parametrize("cascade", [{"carts": ["orders"], "orders": ["carts"]}, {"carts": ["carts"]}])
def test_a_circle_is_refused(cascade):
    with pytest.raises(UserError, match=r"ranking.cascade: targets wait for each other: carts -> .*carts"):
        load_config({"ranking": {"cascade": cascade}})


@pytest.fixture(scope="module")
def transferred(tmp_path_factory):
    run_dir = tmp_path_factory.mktemp("transfer") / "run"
    ranking = {"folds": 3, "min_positives": 60, "transfer": True, "groups": SETTINGS["ranking"]["groups"]}
    settings = SETTINGS | {"ranking": ranking}
    run_pipeline(settings, run_dir=run_dir)
    return load_config(settings), run_dir


def test_poor_targets_get_the_models_of_all(transferred, tmp_path, monkeypatch):
    config, run_dir = transferred
    catalogue, found = columns_of(run_dir)
    poor = [t for t, (folder, _) in found.items() if folder == POOL]
    assert set(found) == set(TARGETS) and 0 < len(poor) < 3
    for target, (folder, names) in found.items():
        assert (folder, names) == ((POOL, [*catalogue, "target"]) if target in poor else (target, catalogue))

    seen = handed(tmp_path / "again", run_dir, config, monkeypatch)
    sampled = pd.concat(pq.read_table(p).to_pandas() for p in sorted((run_dir / "features/validation").glob("*.parquet")))
    for k in range(3):
        features, label, session, weight = seen[POOL, k, True]
        assert set(fold_of(session, 3, config.ranking.seed)) == {k}
        for code, target in enumerate(TARGETS):
            mine = features[:, -1] == code
            rows = sampled[sampled[f"sampled_{target}"] == 1]
            rows = rows[fold_of(rows["session"].to_numpy(), 3, config.ranking.seed) == k]
            np.testing.assert_array_equal(session[mine], rows["session"])
            np.testing.assert_array_equal(label[mine], rows[f"label_{target}"])
            np.testing.assert_array_equal(features[mine, :-1], rows[catalogue])
    # every target weighs the same
    weights = dict.fromkeys(range(3), 0.0)
    for k in range(3):
        features, _, _, weight = seen[POOL, k, True]
        for code in weights:
            weights[code] += weight[features[:, -1] == code].sum(dtype=np.float64)
    assert list(weights.values()) == pytest.approx([weights[0]] * 3, rel=1e-5)


def test_a_poor_targets_scores_are_those_of_its_own_code(transferred):
    config, run_dir = transferred
    _, found = columns_of(run_dir)
    models = Models.load(run_dir, config.ranking, config.targets, CPU, 1)
    maker = feature_maker(run_dir, "test", config.features, config.candidates, config.targets, config.matrices.rules)
    path = parts(run_dir, "test")[0]
    features = maker.make(load_part(path, config.candidates.sources, ())[0])
    for target in (t for t, (folder, _) in found.items() if folder == POOL):
        rows = np.column_stack([features, np.full(len(features), TARGETS.index(target))]).astype(np.float32)
        table = pq.read_table(run_dir / "predictions/test" / target / path.name)
        for group, of_fold in models.ensembles[target].groups.items():
            expected = np.mean([xgb.predict(m, rows) for m in of_fold.values()], axis=0)
            np.testing.assert_allclose(table[group], expected, rtol=1e-5, atol=1e-6)


def test_without_transfer_poor_targets_keep_the_hand_set_order(transferred, tmp_path):
    config, run_dir = transferred
    ranking = config.ranking.model_copy(update={"transfer": False})
    train(tmp_path, run_dir, ranking, config.targets, CPU, 1, Reporter(quiet=True))
    rich = {t for t, (folder, _) in columns_of(run_dir)[1].items() if folder == t}
    assert set(json.loads((tmp_path / "models/features.json").read_text())) == rich
    assert not (tmp_path / "models" / POOL).exists()

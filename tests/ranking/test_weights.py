"""The choice of the blend's weights and its honest figures, against plain loops."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from otto_gpu.events.labels import Labels
from otto_gpu.events.settings import TargetsConfig
from otto_gpu.ranking.folds import fold_of
from otto_gpu.ranking.scores import ranked_lists
from otto_gpu.ranking.settings import BlendConfig, RankingConfig
from otto_gpu.ranking.weights import blend
from otto_gpu.run.progress import Reporter

TARGETS = TargetsConfig(types=["clicks", "carts"], weights={"clicks": 1, "carts": 2}, next_only=[], k=3)
RANKING = RankingConfig(folds=3, seed=5)
CONFIG = BlendConfig(steps=2, damping=4)
CAUTIONS = [0.0, 0.5, 50.0]
ITEMS = 40


@pytest.fixture
def world(tmp_path):
    """A run directory with two parts of predictions; one group that knows nothing, and the hand-set order that knows a bit."""
    rng = np.random.default_rng(0)
    session = np.repeat(np.arange(60, dtype=np.int32), 8)
    aid = np.concatenate([rng.permutation(ITEMS)[:8] for _ in range(60)]).astype(np.int32)
    truth = [(s, a) for s, a in zip(session.tolist(), aid.tolist(), strict=True) if rng.random() < 0.25]
    truth += [(s, 39) for s in range(0, 60, 5)]  # some of it nobody names
    hit = np.array([(s, a) in set(truth) for s, a in zip(session.tolist(), aid.tolist(), strict=True)])
    scores = {
        "noise": rng.normal(size=len(aid)).astype(np.float32),
        "binary": (rng.normal(size=len(aid)) + hit).astype(np.float32),
        "recall": (rng.normal(size=len(aid)) + 0.8 * hit).astype(np.float32),
    }
    place = tmp_path / "predictions/validation/clicks"
    place.mkdir(parents=True)
    table = pa.table({"session": session, "aid": aid, **scores})
    for i, (first, n) in enumerate([(0, 160), (160, 320)]):
        pq.write_table(table.slice(first, n), place / f"part-{i:05d}.parquet")
    (tmp_path / "labels").mkdir()
    labels = Labels.from_arrays([s for s, _ in truth], [0] * len(truth), [a for _, a in truth])
    labels.save(tmp_path / "labels/validation.parquet")
    return tmp_path, table.to_pandas(), {s: {a for t, a in truth if t == s} for s, _ in truth}


def gain_of(metric, hits, most) -> float:
    """Of a list whose entries are hits or not: recall's hits, or what MRR and NDCG make of them."""
    places = [p for p, hit in enumerate(hits, 1) if hit]
    if metric == "mrr":
        return 1 / places[0] if places else 0
    best = sum(1 / np.log2(p + 1) for p in range(1, most + 1))
    return len(places) if metric == "recall" else sum(1 / np.log2(p + 1) for p in places) / best if places else 0


def hits_by_fold(frame, truth, weights, metric="recall"):
    """{fold: hits, or gains} of the three best by weighted reciprocal places, and the most that there could be."""
    hits, total = dict.fromkeys(range(RANKING.folds), 0), 0
    for session, mine in frame.groupby("session"):
        value = dict.fromkeys(mine["aid"], 0.0)
        for name, weight in weights.items():
            for place, aid in enumerate(mine.sort_values(name, ascending=False)["aid"]):
                value[aid] += weight / (place + CONFIG.damping)
        best = sorted(value, key=lambda aid: -value[aid])[: TARGETS.k]
        fold = int(fold_of(np.array([session]), RANKING.folds, RANKING.seed)[0])
        answers = truth.get(session, set())
        most = min(len(answers), TARGETS.k)
        hits[fold] += gain_of(metric, [aid in answers for aid in best], most)
        total += most if metric == "recall" else most > 0
    return hits, total


def worth(hits, weights, most, caution) -> float:
    """Hits, less what weights far from equal ones cost."""
    return hits - caution * most**0.5 * sum(abs(w - 1 / len(weights)) for w in weights)


@pytest.mark.parametrize(("caution", "metric"), [*((c, "recall") for c in CAUTIONS), (0.5, "mrr"), (0.5, "ndcg")])
def test_weights_and_cross_fitted_figures(world, caution, metric):
    run_dir, frame, truth = world
    config, name = CONFIG.model_copy(update={"caution": caution}), f"{metric}@3"
    targets = TARGETS.model_copy(update={"metric": metric})
    blend(run_dir, run_dir, config, RANKING, targets, ITEMS, Reporter(quiet=True))
    found = json.loads((run_dir / "blend.json").read_text())["clicks"]
    assert found["groups"] == ["noise", "binary", "recall"]

    tried, total = [], 0
    for entry in found["tried"]:
        hits, total = hits_by_fold(frame, truth, dict(zip(found["groups"], entry["weights"], strict=True)), metric)
        assert entry[name] == pytest.approx(sum(hits.values()) / total, abs=1e-6)
        tried.append((entry["weights"], hits))
    assert len(tried) == 6

    def best(folds):
        most = max(sum(h[k] for k in folds) for _, h in tried)
        return max(tried, key=lambda t: worth(sum(t[1][k] for k in folds), t[0], most, caution))

    weights, hits = best(range(RANKING.folds))
    assert found["weights"] == weights and found[name] == pytest.approx(sum(hits.values()) / total, abs=1e-6)
    honest = 0
    for fold in range(RANKING.folds):
        weights, hits = best([k for k in range(RANKING.folds) if k != fold])
        assert found["cross_fitted"]["weights"][fold] == weights
        honest += hits[fold]
    assert found["cross_fitted"][name] == pytest.approx(honest / total, abs=1e-6)


def test_caution_keeps_the_weights_together(world):
    run_dir, _, _ = world
    chosen = []
    for caution in CAUTIONS:
        config = CONFIG.model_copy(update={"caution": caution, "steps": 3})
        blend(run_dir, run_dir, config, RANKING, TARGETS, ITEMS, Reporter(quiet=True))
        chosen.append(json.loads((run_dir / "blend.json").read_text())["clicks"])
    assert chosen[0]["recall@3"] == max(e["recall@3"] for e in chosen[0]["tried"])
    assert chosen[0]["weights"][0] == 0 < chosen[0]["weights"][1]  # the noise
    assert chosen[2]["weights"] == pytest.approx([1 / 3] * 3)


def test_the_lists_are_those_that_were_counted(world):
    run_dir, frame, truth = world
    blend(run_dir, run_dir, CONFIG, RANKING, TARGETS, ITEMS, Reporter(quiet=True))
    found = json.loads((run_dir / "blend.json").read_text())["clicks"]
    weights = dict(zip(found["groups"], found["weights"], strict=True))
    sessions, lists = ranked_lists(run_dir, "validation", "clicks", weights, TARGETS.k, CONFIG.damping)
    hits = sum(len(set(mine) & truth.get(s, set())) for s, mine in zip(sessions.tolist(), lists.tolist(), strict=True))
    assert found["recall@3"] == pytest.approx(hits / hits_by_fold(frame, truth, weights)[1], abs=1e-6)


def test_without_ground_truth_the_hand_set_order_stays(world):
    run_dir, _, _ = world
    blend(run_dir, run_dir, CONFIG, RANKING, TARGETS, ITEMS, Reporter(quiet=True))
    found = json.loads((run_dir / "blend.json").read_text())["carts"]
    assert (found["groups"], found["weights"], found["recall@3"]) == (["recall"], [1.0], None)
    assert found["cross_fitted"] == {"recall@3": None, "weights": [[1.0]] * 3}

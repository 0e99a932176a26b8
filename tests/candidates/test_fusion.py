"""Learned fusion: its inputs by plain loops, its folds, and that a model's bits depend on nothing but the training_size."""

import sys
from itertools import pairwise

import numba
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from otto_gpu.candidates.coverage import label_rows
from otto_gpu.candidates.fuse import UNRANKED, Candidates
from otto_gpu.candidates.fusion import (
    FUSION,
    CandidateFeatures,
    Fusion,
    _training_rows,
    folds_and_draws,
    mark_best,
    reciprocal_ranks,
    train,
    training_size,
    with_fusion_of,
)
from otto_gpu.device import Device
from otto_gpu.errors import MissingExtra
from otto_gpu.ranking.folds import fold_of
from otto_gpu.ranking.settings import RankingConfig
from tests.worlds import synthetic_world

CPU = Device("cpu", "for the test")
TARGETS = {"clicks": 0, "carts": 1, "orders": 2}
WEIGHTS = {"clicks": 0.1, "carts": 0.3, "orders": 0.6}
CONFIG = Fusion(rounds=5, depth=3)
MINUTE, HOUR, DAY = 60_000, 3_600_000, 86_400_000


@pytest.fixture(scope="module")
def world():
    return synthetic_world()


def part_of(world, sessions) -> tuple[Candidates, dict[str, np.ndarray]]:
    candidates = world.candidates(sessions)
    return candidates, {t: label_rows(candidates, world.labels, c, world.known.n_items) for t, c in TARGETS.items()}


@pytest.fixture(scope="module")
def inputs(world):
    return CandidateFeatures(world.known, world.history)


@pytest.fixture(scope="module")
def part(world):
    return part_of(world, world.sessions)


def test_inputs_are_those_of_plain_loops(world):
    candidates = world.candidates(world.some_sessions(12))
    # a log that begins in the middle of the period: for some sessions all of an item's events are yet to come
    known = world.known.where(world.known.ts > np.median(world.history.ts))
    inputs = CandidateFeatures(known, world.history)
    found = inputs.of(candidates)
    names = inputs.names(candidates.sources)
    assert found.dtype == np.float32 and found.shape == (len(candidates), len(names)) and len(set(names)) == len(names)
    events = {}
    for aid, ts in zip(known.aid.tolist(), known.ts.tolist(), strict=True):
        events.setdefault(aid, []).append(ts)
    log_end = max(known.ts.tolist())
    in_last_day = sum(1 for ts in known.ts.tolist() if ts >= log_end - DAY)
    for row, session in enumerate(candidates.session.tolist()):
        now = world.events(session)[-1][1]
        mine = events.get(int(candidates.aid[row]), [])
        until = [ts for ts in mine if ts <= now]
        ranks = candidates.ranks[row].tolist()
        expected = {f"recall_{source}_rank": r if r >= 0 else 1000 for source, r in zip(candidates.sources, ranks, strict=True)}
        expected |= {f"recall_{source}_score": candidates.scores[row, i] for i, source in enumerate(candidates.sources)}
        expected["sources"] = sum(1 for r in ranks if r >= 0)
        expected["reciprocal_ranks"] = sum(1 / (61 + r) for r in ranks if r >= 0)
        expected["share_known"] = len(mine) / len(known)
        expected["share_last_day"] = sum(1 for ts in mine if ts >= log_end - DAY) / in_last_day
        expected["events_hour"] = sum(1 for ts in until if ts > now - HOUR)
        expected["events_day"] = sum(1 for ts in until if ts > now - DAY)
        expected["age_minutes"] = (now - min(until)) / MINUTE if until else -1
        expected["quiet_minutes"] = (now - max(until)) / MINUTE if until else -1
        assert list(expected) == names
        np.testing.assert_allclose(found[row], list(expected.values()), rtol=1e-5, err_msg=str(row))
    assert found[:, names.index("age_minutes")].min() == -1
    assert min(found[:, names.index(n)].max() for n in names[-6:]) > 0


def test_inputs_of_a_part_are_those_of_the_whole(part, inputs):
    candidates, _ = part
    whole = inputs.of(candidates)
    for first, last in pairwise(np.linspace(0, len(candidates.sessions), 4).astype(int)):
        rows = slice(candidates.pointer[first], candidates.pointer[last])
        np.testing.assert_array_equal(inputs.of(candidates.rows(first, last)), whole[rows])


def test_without_any_events():
    world = synthetic_world()
    nothing = world.known.where(np.zeros(len(world.known), bool))
    candidates = world.candidates(world.some_sessions(3))
    found = CandidateFeatures(nothing, world.history).of(candidates)
    assert np.isfinite(found).all() and (found[:, -6:] == [0, 0, 0, 0, -1, -1]).all()


def test_folds_are_those_of_the_rankers():
    sessions = np.arange(20_000, dtype=np.int32)
    for folds, seed in ((4, 42), (7, 1)):
        fold, drawn = folds_and_draws(sessions, Fusion(folds=folds, seed=seed))
        np.testing.assert_array_equal(fold, fold_of(sessions, folds, seed))
        assert drawn.min() >= 0 and drawn.max() < 1
        for k in range(folds):  # a share of the sessions is the same share of every fold
            assert abs((drawn[fold == k] < 0.3).mean() - 0.3) < 0.03
    assert (Fusion().folds, Fusion().seed) == (RankingConfig().folds, RankingConfig().seed)


def test_lessons_are_counted_and_gathered(part, inputs):
    candidates, labels = part
    session = candidates.session.tolist()
    positive = [any(mask[row] for mask in labels.values()) for row in range(len(candidates))]
    useful = {s for s, hit in zip(session, positive, strict=True) if hit}
    pieces = cut(part, 3)
    assert training_size(pieces) == (len(useful), len(candidates)) and len(useful) < len(candidates.sessions)
    of, gain, fold = _training_rows(pieces, 1.0, WEIGHTS, inputs, CONFIG)
    chosen = [row for row, s in enumerate(session) if s in useful]
    np.testing.assert_array_equal(of, inputs.of(candidates)[chosen])
    np.testing.assert_allclose(gain, [sum(WEIGHTS[t] for t in TARGETS if labels[t][row]) for row in chosen])
    assert len({round(g, 3) for g in gain}) > 4  # items that are wanted in more than one way are among them
    np.testing.assert_array_equal(fold, fold_of(candidates.session[chosen], CONFIG.folds, CONFIG.seed))


def trained(place, pieces: list[tuple], inputs, config=CONFIG):
    rows = sum(len(candidates) for candidates, _ in pieces)
    models = train(place, iter(pieces), rows, WEIGHTS, inputs, pieces[0][0].sources, config, CPU)
    return models, [(place / f"fold-{k}.ubj").read_bytes() for k in range(config.folds)]


def cut(part, pieces: int) -> list[tuple]:
    candidates, labels = part
    result = []
    for first, last in pairwise(np.linspace(0, len(candidates.sessions), pieces + 1).astype(int)):
        rows = slice(candidates.pointer[first], candidates.pointer[last])
        result.append((candidates.rows(first, last), {t: mask[rows] for t, mask in labels.items()}))
    return result


@pytest.fixture
def threads():
    before = numba.get_num_threads()
    yield numba.set_num_threads
    numba.set_num_threads(before)


def test_the_same_bits_for_any_parts_and_threads(tmp_path, part, inputs, threads):
    made = []
    for pieces, workers in ((1, 1), (5, 1), (1, min(2, numba.config.NUMBA_NUM_THREADS))):
        threads(workers)
        parts = cut(part, pieces)
        models, saved = trained(tmp_path / f"{pieces}-{workers}", parts, inputs)
        candidates, _ = part
        of = inputs.of(candidates)
        made.append((saved, models.score(of, candidates.session).tobytes(), models.score(of, None).tobytes()))
    assert made[0] == made[1] == made[2]
    assert len(set(made[0][0])) == CONFIG.folds


def test_scores_come_from_the_models_that_have_not_seen_the_session(tmp_path, part, inputs):
    import xgboost

    candidates, _ = part
    models, saved = trained(tmp_path, [part], inputs)
    of, fold = inputs.of(candidates), fold_of(candidates.session, CONFIG.folds, CONFIG.seed)
    names = CandidateFeatures.names(candidates.sources)
    margins = []
    for model in saved:
        data = xgboost.DMatrix(of, feature_names=names)
        margins.append(xgboost.Booster(model_file=bytearray(model)).predict(data, output_margin=True))
    found = models.score(of, candidates.session)
    np.testing.assert_allclose(found, np.choose(fold, margins), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(models.score(of, None), np.mean(margins, axis=0), rtol=1e-5, atol=1e-6)
    assert found.dtype == models.score(of, None).dtype == np.float32


def test_what_is_there_is_not_trained_again(tmp_path, part, inputs):
    _, first = trained(tmp_path, [part], inputs)

    def nobody_asks():
        raise AssertionError("trained again")
        yield

    train(tmp_path, nobody_asks(), 1, WEIGHTS, inputs, part[0].sources, CONFIG, CPU)
    (tmp_path / "fold-2.ubj").unlink()  # killed in between
    assert trained(tmp_path, [part], inputs)[1] == first


def test_a_session_is_never_judged_by_its_own_labels(tmp_path, part, inputs):
    candidates, labels = part
    of = inputs.of(candidates)
    before = trained(tmp_path / "a", [part], inputs)[0].score(of, candidates.session)
    session = candidates.sessions[len(candidates.sessions) // 2]
    mine = candidates.session == session
    flipped = (candidates, {t: mask ^ mine for t, mask in labels.items()})
    after = trained(tmp_path / "b", [flipped], inputs)[0].score(of, candidates.session)
    fold = fold_of(candidates.session, CONFIG.folds, CONFIG.seed)
    same_fold = fold == fold[mine][0]
    np.testing.assert_array_equal(after[same_fold], before[same_fold])
    assert (after[~same_fold] != before[~same_fold]).any()


def test_it_learns_what_no_formula_knows(tmp_path, part, inputs):
    """Sessions want what one source names in the middle of its list: out of fold, that stands in front."""
    candidates, _ = part
    planted = (candidates.ranks[:, candidates.sources.index("wide")] // 3) == 4
    planted &= np.random.default_rng(1).random(len(planted)) < 0.7
    lesson = (candidates, dict.fromkeys(TARGETS, planted))
    models, _ = trained(tmp_path, [lesson], inputs, Fusion(rounds=20))
    score = models.score(inputs.of(candidates), candidates.session)
    ranks = mark_best(candidates, score, 1000).ranks[planted, -1]
    assert (ranks < 3).mean() > 0.9
    assert (mark_best(candidates, reciprocal_ranks(candidates), 1000).ranks[planted, -1] < 3).mean() < 0.2


def test_a_share_of_the_sessions_is_enough(tmp_path, part, inputs):
    of, gain, fold = _training_rows(cut(part, 3), 1 / 3, WEIGHTS, inputs, CONFIG)
    everything = len(_training_rows([part], 1.0, WEIGHTS, inputs, CONFIG)[1])
    assert 0.7 * everything / 3 < len(of) == len(gain) == len(fold) < 1.3 * everything / 3
    assert set(fold) == set(range(CONFIG.folds)) and (gain > 0).any()
    made = [trained(tmp_path / str(n), [part], inputs, CONFIG.model_copy(update={"max_rows": n})) for n in (10_000, 10**6)]
    assert made[0][1] != made[1][1]


a_session = st.lists(st.integers(0, 3), min_size=1, max_size=9)  # scores: many ties


@settings(max_examples=100)
@given(st.lists(a_session, min_size=1, max_size=5), st.integers(1, 6))
def test_the_best_stay_and_are_found_again(scores, keep):
    pointer = np.cumsum([0, *map(len, scores)])
    n = pointer[-1]
    aid = np.concatenate([np.random.default_rng(len(s)).permutation(50)[: len(s)] for s in scores]).astype(np.int32)
    candidates = Candidates(
        np.arange(len(scores), dtype=np.int32) * 3,
        pointer,
        aid,
        np.ones((n, 1), np.float32),
        np.zeros((n, 1), np.int16),
        ("x",),
    )
    ranked = mark_best(candidates, np.concatenate(scores).astype(np.float32), keep)
    assert ranked.sources == ("x", FUSION) and ranked.ranks.dtype == np.int16 and ranked.scores.dtype == np.float32
    for s, mine in enumerate(scores):
        part = slice(pointer[s], pointer[s + 1])
        order = sorted(range(len(mine)), key=lambda i: -mine[i])[:keep]  # stable: ties by first mention
        expected = [order.index(i) if i in order else -1 for i in range(len(mine))]
        assert ranked.ranks[part, 1].tolist() == expected
        assert ranked.scores[part, 1].tolist() == [mine[i] if i in order else 0 for i in range(len(mine))]
    kept = ranked.where(ranked.ranks[:, 1] != UNRANKED)
    assert np.diff(kept.pointer).tolist() == [min(len(s), keep) for s in scores]
    np.testing.assert_array_equal(kept.session, candidates.session[ranked.ranks[:, 1] >= 0])
    again = with_fusion_of(candidates, kept)
    np.testing.assert_array_equal(again.ranks, ranked.ranks)
    np.testing.assert_array_equal(again.scores, ranked.scores)
    assert again.sources == ranked.sources


def test_xgboost_is_an_extra(tmp_path, part, inputs, monkeypatch):
    monkeypatch.setitem(sys.modules, "xgboost", None)
    with pytest.raises(MissingExtra, match="needs xgboost"):
        trained(tmp_path, [part], inputs)

"""The peers against plain loops, the lists that are made of theirs, and the command on a small run; no figure is asserted."""

import json
import sys
from collections import Counter

import numpy as np
import pytest

from benchmarks import quality
from benchmarks.peers import budget, covisitation, vsknn
from benchmarks.peers.settings import PEERS
from benchmarks.peers.split import Split, padded
from otto_gpu.errors import UserError
from otto_gpu.events.log import EventLog
from otto_gpu.events.split import Period
from tests.runs import small, write_config

HOUR = 3_600_000


def random_split(seed, sessions=40, n_items=60, types=3, longest=45):
    random = np.random.default_rng(seed)
    lengths = random.integers(1, longest, sessions)
    session = np.repeat(np.arange(sessions) * 2 + 1, lengths).astype(np.int32)  # ids with gaps
    item = (n_items * random.random(len(session)) ** 2).astype(np.int32)
    ts = np.concatenate([random.integers(0, 20 * 24 * HOUR) + np.sort(random.integers(0, 60 * HOUR, n)) for n in lengths])
    kind = random.choice(types, len(session), p=[0.7, 0.2, 0.1][:types] if types > 1 else [1.0]).astype(np.int8)
    asked = np.sort(random.choice(np.unique(session), sessions // 2, replace=False))
    return Split(session, item, ts, kind, asked, n_items, types)


def events_of(split, session):
    """[(aid, ts, type)], oldest first."""
    mask = split.session == session
    return list(zip(*(column[mask].tolist() for column in (split.aid, split.ts, split.type)), strict=True))


# ------------------------------------------------------------------------------------------------- peers, by plain loops


def plain_matrix(split, tail, hours, weigh, by_type, keep, types):
    """{x: [y, ...]}: the neighbours of x, heaviest first."""
    weight = {}
    for session in np.unique(split.session):
        events = [e for e in events_of(split, session) if e[2] in types][-tail:][::-1]
        seen = set()
        for x, tx, _ in events:
            for y, ty, kind in events:
                key = (x, y, kind) if by_type else (x, y)
                if x != y and abs(tx - ty) < hours * HOUR and key not in seen:
                    seen.add(key)
                    row = weight.setdefault(x, {})
                    row[y] = row.get(y, 0) + weigh(tx, kind)
    return {x: sorted(row, key=lambda y: (-round(row[y], 9), y))[:keep] for x, row in weight.items()}


def plain_covisitation(split, session, matrices, n, s, for_clicks):
    clicks, buys, bought = matrices
    events = events_of(split, session)
    own = list(dict.fromkeys(aid for aid, _, _ in reversed(events)))
    own_bought = list(dict.fromkeys(aid for aid, _, kind in reversed(events) if kind > 0))
    if len(own) >= s["rerank_from"]:
        scores = Counter()
        for (aid, _, kind), age in zip(events, np.linspace(0.1, 1, len(events)), strict=True):
            scores[aid] += (2**age - 1) * s["type_weights"][kind]
        if not for_clicks:
            for aid in own_bought:
                for y in bought.get(aid, []):
                    scores[y] += s["bought_bonus"]
        return [set(scores), {aid: round(v, 9) for aid, v in scores.items()}]
    mentioned = [y for x in own for y in (clicks if for_clicks else buys).get(x, [])]
    if not for_clicks:
        mentioned += [y for x in own_bought for y in bought.get(x, [])]
    return (own + [y for y, _ in Counter(mentioned).most_common() if y not in own])[:n]


@pytest.mark.parametrize("seed", range(3))
def test_covisitation_is_that_of_plain_loops(seed):
    split, n = random_split(seed), 50
    s = PEERS["covisitation"][2]
    recommend, facts = covisitation.fit(split, n, **s)
    lists = recommend()
    assert facts["of_type"] == [0, 1, 1] and lists.shape == (2, len(split.sessions), n)
    oldest, newest = split.ts.min(), split.ts.max()
    matrices = (
        plain_matrix(split, 30, 24, lambda t, _: 1 + 3 * (t - oldest) / (newest - oldest), False, 20, (0, 1, 2)),
        plain_matrix(split, 30, 24, lambda _, kind: (1, 6, 3)[kind], True, 15, (0, 1, 2)),
        plain_matrix(split, 30, 14 * 24, lambda *_: 1, True, 15, (1, 2)),
    )
    ways = set()
    for which, row in np.ndindex(lists.shape[:2]):
        listed = lists[which, row][lists[which, row] >= 0].tolist()
        expected = plain_covisitation(split, split.sessions[row], matrices, n, s, which == 0)
        ways.add((which, isinstance(expected[0], set)))
        if isinstance(expected[0], set):  # re-ranked: the order may differ among equal scores only
            items, score = expected
            assert set(listed) <= items and len(listed) == min(n, len(items))
            assert [score[y] for y in listed] == sorted(score.values(), reverse=True)[:n]
        else:
            assert listed == expected
    assert len(ways) == 4  # both lists have re-ranked and short sessions


def test_covisitation_of_clicks_only_makes_one_list():
    split = random_split(5, types=1)
    recommend, facts = covisitation.fit(split, 20, **PEERS["covisitation"][2])
    assert facts["of_type"] == [0] and recommend().shape == (1, len(split.sessions), 20)


def test_a_matrix_in_pieces_is_the_matrix_at_once(monkeypatch):
    settings = PEERS["covisitation"][2]
    at_once = covisitation.fit(random_split(1), 50, **settings)[0]()
    monkeypatch.setattr(covisitation, "PAIRS_AT_ONCE", 3000)
    np.testing.assert_array_equal(covisitation.fit(random_split(1), 50, **settings)[0](), at_once)


def plain_vsknn(split, session, k, sample):
    """{aid: score}"""
    history = [aid for aid, _, _ in events_of(split, session)]
    place = {aid: i for i, aid in enumerate(history, 1)}
    others = []
    for other in np.unique(split.session):
        events = events_of(split, other)
        shared = place.keys() & {aid for aid, _, _ in events}
        if other != session and shared:
            others.append((events[-1][1], other, sum(place[aid] for aid in shared) / len(history), max(map(place.get, shared))))
    recent = sorted(others, reverse=True)[:sample]
    scores = Counter()
    for _, other, similarity, newest in sorted(recent, key=lambda o: round(-o[2], 9))[:k]:
        for aid in {aid for aid, _, _ in events_of(split, other)}:
            scores[aid] += similarity / (len(history) - newest + 1) ** 2
    return scores


@pytest.mark.parametrize("k, sample", [(500, 1000), (3, 1000), (4, 9)])
def test_vsknn_is_that_of_plain_loops(k, sample):
    split, n = random_split(3, longest=12), 30
    untouched = split.aid.copy()
    lists = vsknn.fit(split, n, k, sample)[0]()[0]
    np.testing.assert_array_equal(split.aid, untouched)
    named = 0
    for row, session in enumerate(split.sessions):
        scores = {aid: round(v, 9) for aid, v in plain_vsknn(split, session, k, sample).items()}
        listed = lists[row][lists[row] >= 0].tolist()
        assert listed == sorted(scores, key=lambda aid: (-scores[aid], aid))[:n]
        named += len(listed)
    assert named > 100


def test_recent_items_and_the_budget_of_training():
    split = random_split(4)
    ages = {s: (events_of(split, s)[-1][1], s) for s in np.unique(split.session)}
    met = list(dict.fromkeys(a for s in sorted(ages, key=ages.get)[::-1] for a, _, _ in events_of(split, s)))
    kept = split.of_recent_items(10)
    np.testing.assert_array_equal(kept, np.flatnonzero(np.isin(split.aid, met[:10])))
    recent, places, negatives = split.newest_first, 7, 4
    whole = len(recent) * places * (len(set(split.aid.tolist())) + 1000)
    sampled = len(recent) * places * 5 * 36

    def plan(units):
        return budget.plan(split, recent, places, negatives, units, 20, 3)

    assert plan(4.5 * whole) == ("softmax", len(recent), 4)
    assert plan(1e3 * whole) == ("softmax", len(recent), 20)
    assert plan(2.9 * whole)[:2] == ("sampled_softmax", len(recent))
    assert plan(4.5 * sampled) == ("sampled_softmax", len(recent), 4)
    assert plan(1.5 * sampled) == ("sampled_softmax", len(recent) // 2, 3)
    assert plan(1.0) == ("sampled_softmax", 1, 3)


# ------------------------------------------------------------------------------------------------------------- lists


def test_lists_are_put_together_as_by_plain_loops():
    random = np.random.default_rng(0)
    k = 6
    history, lists = (np.where(random.random((200, w)) < 0.6, random.integers(0, 15, (200, w)), -1) for w in (4, 9))
    popular = random.permutation(12)[:8].astype(np.int32)
    made = quality.both_variants(lists.astype(np.int32), history.astype(np.int32), popular, k)
    for row in range(200):
        for variant, parts in ((quality.RAW, []), (quality.HISTORY, history[row].tolist())):
            items = list(dict.fromkeys(x for x in parts + lists[row].tolist() + popular.tolist() if x >= 0))
            assert made[variant][row].tolist() == items[:k]


def test_lists_stay_short_where_nothing_is_left():
    made = quality.in_turn([np.array([[3, 3, -1], [-1, -1, -1]], np.int32), np.array([[1], [3]], np.int32)], 6)
    assert made.tolist() == [[3, 1, -1, -1, -1, -1], [3, -1, -1, -1, -1, -1]] and made.dtype == np.int32


def test_histories_are_the_different_items_newest_first():
    split = random_split(6, longest=15)
    log = EventLog.from_arrays(split.session, split.aid, split.ts, split.type, n_sessions=200, n_items=split.n_items)
    period = Period(log, log, None)
    made = quality.histories(period.history, period.sessions, 5)
    for row, session in enumerate(period.sessions):
        items = list(dict.fromkeys(aid for aid, _, _ in reversed(events_of(split, session))))[:5]
        assert made[row].tolist() == items + [-1] * (5 - len(items))


def test_padded_rows():
    assert padded(np.array([0, 0, 0, 2]), np.array([7, 8, 9, 4]), 4, 2).tolist() == [[7, 8], [-1, -1], [4, -1], [-1, -1]]


# ----------------------------------------------------------------------------------------------------------- command


@pytest.fixture(scope="module")
def settings(tmp_path_factory):
    return write_config(tmp_path_factory.mktemp("config") / "small.yaml", small(600))


def test_everybody_is_scored_on_the_same_sessions(settings, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(quality, "PYTHON", type(quality.PYTHON)(sys.executable))
    out = tmp_path / "quality.json"
    arguments = ["--log", "small", "--config", str(settings), "--run-dir", str(tmp_path / "run"), "--bootstrap", "50"]
    arguments += ["--peers", "popular,covisitation,vsknn", "--out", str(out)]
    assert quality.main(arguments) == 0, capsys.readouterr().err
    result = json.loads(out.read_text())
    rows = {(row["name"], row["variant"]): row for row in result["methods"]}
    peers = [(name, variant) for name in ("popular", "covisitation", "vsknn") for variant in (quality.RAW, quality.HISTORY)]
    assert list(rows) == [("otto_gpu", "full"), ("otto_gpu", "hand-set order"), *peers]

    metrics = json.loads((tmp_path / "run/metrics.json").read_text())["test"]
    assert rows["otto_gpu", "full"]["recall@20"] == metrics["recall@20"]
    assert rows["otto_gpu", "hand-set order"]["weighted"] == metrics["hand_set_order"]["weighted"]
    full = rows["otto_gpu", "full"]["weighted"]
    for key in peers:
        row = rows[key]
        assert row["otto_gpu_minus_this"]["difference"]["weighted"] == pytest.approx(full - row["weighted"])
        assert row["interval"]["weighted"][0] <= row["weighted"] <= row["interval"]["weighted"][1]
    assert result["best_peer"]["weighted"] == max(rows[key]["weighted"] for key in peers)
    assert rows["vsknn", quality.RAW]["peak_memory_mb"] > 10
    assert rows["covisitation", quality.RAW]["lists"] == 2
    assert set(result["coverage@100"]) == {"clicks", "carts", "orders"}

    assert "peer vsknn: started" in capsys.readouterr().out
    first = out.read_text()
    assert quality.main(arguments) == 0
    again = capsys.readouterr().out
    assert "peer vsknn: unchanged" in again and "peer covisitation: unchanged" in again
    assert json.loads(out.read_text())["methods"] == json.loads(first)["methods"]

    # the popular items' recall of clicks, counted by hand
    from otto_gpu.events.stage import load_period

    period = load_period(tmp_path / "run", "test")
    recent = period.known.aid[period.known.ts >= period.known.ts.max() - 7 * 24 * HOUR]
    everywhere = np.bincount(period.known.aid)
    best = sorted(Counter(recent.tolist()).items(), key=lambda e: (-e[1], -everywhere[e[0]], e[0]))[:20]
    session, aid = period.labels.of_type(0)
    hits = np.isin(aid, [item for item, _ in best]).sum()
    assert rows["popular", quality.RAW]["recall@20"]["clicks"] == pytest.approx(hits / len(session))


def failure(arguments, capsys):
    assert quality.main(["--log", "demo", *arguments]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and error.count("\n") == 1
    return error


def test_a_missing_environment_is_one_line(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(quality, "PYTHON", tmp_path / ".venv-peers/bin/python")
    assert ".venv-peers is missing: make peers" in failure([], capsys)


def test_an_unknown_peer_is_one_line(capsys):
    assert "--peers: unknown 'vsknm'; did you mean 'vsknn'?" in failure(["--peers", "vsknm"], capsys)


def test_a_peer_that_fails_is_told_with_its_last_line(tmp_path, monkeypatch):
    monkeypatch.setattr(quality, "PYTHON", type(quality.PYTHON)(sys.executable))
    split = tmp_path / "events/test"
    split.mkdir(parents=True)
    for name in ("train", "history"):
        (split / f"{name}.parquet").write_text("no parquet")
    with pytest.raises(UserError, match=r"peer vsknn ended with exit code 1: .*Parquet"):
        quality.run_peer("vsknn", tmp_path, lambda line: None)
    assert not list((tmp_path / "peers").glob("*.npy"))

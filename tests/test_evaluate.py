import gzip
import json
import lzma
import math
import subprocess
import sys
from collections import defaultdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from otto_gpu import evaluate, metrics
from otto_gpu.events.labels import Labels
from otto_gpu.events.settings import TargetsConfig

OTTO = TargetsConfig()


def figures(truth: dict, lists: dict, targets=OTTO, **kwargs) -> dict:
    """truth: {(session, type): aids}; lists: {(session, type): aids, best first}."""
    rows = [(s, targets.code(t), a) for (s, t), aids in truth.items() for a in aids]
    labels = Labels.from_arrays(*np.array(rows).reshape(-1, 3).T)
    sessions = sorted({s for s, _ in lists}, reverse=True)
    width = max([1, *map(len, lists.values())])
    arrays = {t: np.array([_padded(lists.get((s, t), ()), width) for s in sessions]).reshape(-1, width) for t in targets.names}
    hits = metrics.find_hits(labels, arrays, np.array(sessions, np.int32), targets)
    assert all(h.truth.dtype == h.place.dtype == np.int32 for h in hits)
    return metrics.score(hits, targets, bootstrap=kwargs.pop("bootstrap", 0), **kwargs)


def _padded(aids, width):
    return [*aids, *[-1] * (width - len(aids))]


def test_the_weighted_sum_of_three_recalls():
    truth = {(1, "clicks"): [10], (2, "clicks"): [11], (1, "carts"): [1, 2, 3], (2, "carts"): [4], (2, "orders"): [5]}
    lists = {(1, "clicks"): [9, 10], (2, "clicks"): [10], (1, "carts"): [3, 8, 1], (2, "carts"): [4], (2, "orders"): [5, 4]}
    found = figures(truth, lists)
    assert found["recall@20"] == {"clicks": 1 / 2, "carts": 3 / 4, "orders": 1.0}
    assert found["weighted"] == pytest.approx(0.1 * 1 / 2 + 0.3 * 3 / 4 + 0.6)
    assert found["labels"] == {"clicks": 2, "carts": 4, "orders": 1}
    assert (found["sessions"], found["absent"], found["interval"]) == (2, [], None)


def test_only_the_first_20_count_and_more_than_20_labels_count_as_20():
    truth = {(1, "carts"): range(100, 130), (2, "carts"): [1]}
    lists = {(1, "carts"): range(100, 125), (2, "carts"): [*range(50, 70), 1]}
    found = figures(truth, lists)
    # 20 of min(30, 20) in session 1; in session 2 the item stands in place 21
    assert found["recall@20"]["carts"] == 20 / 21
    assert found["labels"]["carts"] == 21
    found = figures(truth, lists, OTTO.model_copy(update={"k": 25}))
    assert found["recall@25"]["carts"] == 26 / 26
    assert figures(truth, lists, OTTO.model_copy(update={"k": 1}))["recall@1"]["carts"] == 1 / 2
    # lists that are shorter than k do not make k smaller
    assert figures(truth, {(1, "carts"): [100, 101]})["recall@20"]["carts"] == 2 / 21


def test_duplicates_hit_once_and_take_up_room():
    truth = {(1, "orders"): [1, 2]}
    assert figures(truth, {(1, "orders"): [1, 1, 1]})["recall@20"]["orders"] == 1 / 2
    assert figures(truth, {(1, "orders"): [1] * 20 + [2]})["recall@20"]["orders"] == 1 / 2
    assert figures(truth, {(1, "orders"): [1] * 19 + [2]})["recall@20"]["orders"] == 1


def test_a_session_without_a_list_counts_with_no_hits():
    truth = {(1, "clicks"): [1], (2, "clicks"): [1], (3, "clicks"): [1]}
    assert figures(truth, {(2, "clicks"): [1]})["recall@20"]["clicks"] == 1 / 3
    assert figures(truth, {})["recall@20"]["clicks"] == 0


def test_lists_of_sessions_without_labels_do_not_count():
    found = figures({(5, "clicks"): [1]}, {(5, "clicks"): [1], (6, "clicks"): [1], (4, "carts"): [1]})
    assert found["recall@20"]["clicks"] == 1 and found["sessions"] == 1


def test_a_hit_needs_the_same_type_and_the_same_session():
    truth = {(1, "carts"): [1], (2, "orders"): [2], (1, "clicks"): [3]}
    lists = {(1, "orders"): [1], (2, "carts"): [2], (2, "clicks"): [3], (1, "carts"): [2]}
    assert set(figures(truth, lists)["recall@20"].values()) == {0.0}


def test_item_zero_is_an_item():
    assert figures({(0, "clicks"): [0]}, {(0, "clicks"): [0]})["recall@20"]["clicks"] == 1


def test_an_absent_type_is_left_out_and_the_weights_go_to_the_others():
    found = figures({(1, "clicks"): [1], (1, "orders"): [2]}, {(1, "clicks"): [1]}, bootstrap=10)
    assert found["recall@20"] == {"clicks": 1.0, "carts": None, "orders": 0.0}
    assert found["absent"] == ["carts"]
    assert found["weighted"] == pytest.approx(0.1 / 0.7)
    assert found["interval"]["carts"] is None
    low, high = found["interval"]["weighted"]
    assert low < 0.1 / 0.7 < 0.5 < high < 1  # one session knows little
    nothing = figures({}, {(1, "clicks"): [1]}, bootstrap=10)
    assert nothing["weighted"] is None and nothing["absent"] == OTTO.names and nothing["sessions"] == 0
    assert nothing["interval"] == dict.fromkeys([*OTTO.names, "weighted"])


def test_weights_need_not_sum_to_one():
    heavy = TargetsConfig(weights={"clicks": 2, "carts": 6})
    both = {(1, "clicks"): [1], (1, "carts"): [1, 2]}
    assert figures(both, {(1, "clicks"): [1], (1, "carts"): [1]}, heavy)["weighted"] == pytest.approx(2 + 6 / 2)
    assert figures({(1, "clicks"): [1]}, {(1, "clicks"): [1]}, heavy)["weighted"] == pytest.approx(8)
    # a type with labels that weighs nothing does not make a score
    none = TargetsConfig(weights={"clicks": 0, "carts": 1})
    assert figures({(1, "clicks"): [1]}, {(1, "clicks"): [1]}, none)["weighted"] is None


aids = st.integers(0, 6)
keys = st.tuples(st.integers(0, 5), st.sampled_from(OTTO.names))


@settings(deadline=None)
@given(st.dictionaries(keys, st.sets(aids, min_size=1)), st.dictionaries(keys, st.lists(aids, max_size=9)), st.integers(1, 8))
def test_agrees_with_sets_in_a_loop(truth, lists, k):
    found = figures(truth, lists, OTTO.model_copy(update={"k": k}))
    total, weighed = 0.0, 0.0
    for name in OTTO.names:
        hits = sum(len(set(lists.get(key, ())[:k]) & own) for key, own in truth.items() if key[1] == name)
        there = sum(min(len(own), k) for key, own in truth.items() if key[1] == name)
        assert found["labels"][name] == there
        assert found[f"recall@{k}"][name] == (hits / there if there else None)
        if there:
            total += OTTO.weights[name] * hits / there
            weighed += OTTO.weights[name]
    assert found["weighted"] == (pytest.approx(total / weighed) if weighed else None)
    assert found["sessions"] == len({s for s, _ in truth})


def of_counts(hits: np.ndarray, truth: np.ndarray) -> tuple[metrics.TargetHits, ...]:
    """Hits in the first places; both int [S, T]."""
    return tuple(metrics.TargetHits.of_matrix(np.arange(20) < h[:, None], t) for h, t in zip(hits.T, truth.T, strict=True))


def random_sessions(n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    truth = np.minimum(rng.poisson([0.9, 0.4, 0.1], (n, 3)), [1, 20, 20])
    return rng.binomial(truth, [0.5, 0.4, 0.7]).astype(np.int32), truth.astype(np.int32)


def resampled(hits, truth, draws: int) -> np.ndarray:
    """[draws, 4]: the recalls and the weighted sum of sessions drawn with replacement, one draw after the other."""
    rng = np.random.default_rng(1)
    rows = []
    for _ in range(draws):
        drawn = rng.integers(0, len(hits), len(hits))
        recalls = hits[drawn].sum(0) / truth[drawn].sum(0)
        rows.append([*recalls, recalls @ [0.1, 0.3, 0.6]])
    return np.array(rows)


def test_the_interval_is_that_of_plain_resampling():
    hits, truth = random_sessions(800)
    expected = np.percentile(resampled(hits, truth, 4000), [2.5, 97.5], axis=0).T
    both = of_counts(hits, truth)
    found = metrics.score(both, OTTO, bootstrap=4000)
    widths = expected[:, 1] - expected[:, 0]
    for ends, want, width in zip(found["interval"].values(), expected, widths, strict=True):
        assert np.abs(np.array(ends) - want).max() < 0.08 * width  # each end's own error is about 2 % of the width
    assert list(found["interval"]) == [*OTTO.names, "weighted"]
    assert found["interval"] == metrics.score(both, OTTO, bootstrap=4000)["interval"]
    assert found["interval"] != metrics.score(both, OTTO, bootstrap=4000, seed=1)["interval"]


def test_batches_of_draws_leave_no_trace(monkeypatch):
    hits = of_counts(*random_sessions(300))
    whole = metrics.score(hits, OTTO, bootstrap=50)
    monkeypatch.setattr(metrics, "DRAWN_AT_ONCE", 1)
    assert metrics.score(hits, OTTO, bootstrap=50) == whole


def test_the_paired_interval_is_that_of_plain_resampling_and_much_narrower_than_the_parts():
    a, truth = random_sessions(800)
    b = a.copy()
    b[:40] = 0  # the same system, but for some sessions
    one, other = of_counts(a, truth), of_counts(b, truth)
    both = metrics.paired_interval(one, other, OTTO, bootstrap=4000)
    expected = resampled(a, truth, 4000) - resampled(b, truth, 4000)  # the same seed: the same draws for both
    want = np.percentile(expected, [2.5, 97.5], axis=0).T
    for ends, limits in zip(both["interval"].values(), want, strict=True):
        assert np.abs(np.array(ends) - limits).max() < 0.08 * (limits[1] - limits[0])
    point = metrics.metric_values(one) - metrics.metric_values(other)
    assert list(both["difference"].values()) == pytest.approx([*point, point @ [0.1, 0.3, 0.6]])
    assert both["interval"]["weighted"][0] > 0
    alone = metrics.score(one, OTTO)["interval"]["weighted"]
    assert both["interval"]["weighted"][1] - both["interval"]["weighted"][0] < 0.7 * (alone[1] - alone[0])
    same = metrics.paired_interval(one, one, OTTO, bootstrap=20)
    assert same["difference"]["weighted"] == 0 and same["interval"]["weighted"] == [0, 0]


# ------------------------------------------------------------------------------------------------------- files, CLI

LABELS = """\
{"session": 1, "labels": {"clicks": 10, "carts": [1, 2, 3]}}
{"session": 2, "labels": {"clicks": 0, "carts": [4], "orders": [5]}}
{"session": 3, "labels": {"clicks": 12}}
{"session": 4, "labels": {}}
"""
PREDICTIONS = """\
session_type,labels
1_clicks,9 10
1_carts,3 8 1
1_orders,
2_clicks,0 7
2_carts,4 4
2_orders,6
9_orders,6
"""


@pytest.fixture
def files(tmp_path):
    def write(labels=LABELS, predictions=PREDICTIONS):
        (tmp_path / "l.jsonl").write_text(labels)
        (tmp_path / "p.csv").write_text(predictions)
        return ["--test-labels", str(tmp_path / "l.jsonl"), "--predictions", str(tmp_path / "p.csv")]

    return write


def cli(*arguments: str) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, "-m", "otto_gpu.evaluate", *arguments], capture_output=True, text=True, timeout=60)


def test_the_cli_scores_official_files(files):
    done = cli(*files(), "--json", "--bootstrap", "50")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    # clicks: 10 and 0 of three; carts: 1 and 3 of three, 4 of one; orders: none of one
    assert found["recall@20"] == {"clicks": 2 / 3, "carts": 3 / 4, "orders": 0.0}
    assert found["weighted"] == pytest.approx(0.1 * 2 / 3 + 0.3 * 3 / 4)
    assert found["sessions"] == 3 and len(found["interval"]["weighted"]) == 2
    assert "0.7500" in done.stderr and "Scores: {'clicks': 0.666" in done.stderr


def run(capsys, arguments) -> tuple[int, str, str]:
    code = evaluate.main(arguments)
    return code, *capsys.readouterr()


def test_with_the_quirk_the_click_on_zero_is_no_click(files, capsys):
    code, out, err = run(capsys, [*files(), "--json", "--official-quirks"])
    assert code == 0
    assert json.loads(out)["recall@20"] == {"clicks": 1 / 2, "carts": 3 / 4, "orders": 0.0}
    assert "Scores:" in err


def official_script(labels: str, predictions: str, k: int, weights: dict) -> dict | str:
    """What otto-de/recsys-dataset's evaluate.py says, retold with dictionaries; the name of its exception if it fails."""
    lists = defaultdict(dict)
    for row in predictions.splitlines()[1:]:
        key, own = row.split(",")
        session, kind = key.split("_")
        lists[int(session)][kind] = [int(aid) for aid in own.split()]
    hits, there = dict.fromkeys(weights, 0), dict.fromkeys(weights, 0)
    truth = {}
    for line in labels.splitlines():
        record = json.loads(line)
        truth[record["session"]] = record["labels"]
    for session, own in truth.items():
        for name in weights:
            value = own.get(name)
            if not value:  # none, empty or item 0
                continue
            wanted = {value} if name == "clicks" else set(value)
            there[name] += min(len(wanted), k)
            if session in lists:
                if name not in lists[session]:
                    return "KeyError"
                hits[name] += len(wanted & set(lists[session][name][:k]))
    if not all(there.values()):
        return "ZeroDivisionError"
    return {name: hits[name] / there[name] for name in weights}


ids = st.integers(0, 3)
label_lines = st.lists(
    st.tuples(ids, st.fixed_dictionaries({}, optional={"clicks": ids, "carts": st.lists(ids), "orders": st.lists(ids)})),
    max_size=6,
)
prediction_rows = st.lists(st.tuples(ids, st.sampled_from(OTTO.names), st.lists(ids, max_size=4)), max_size=14)


@settings(deadline=None)
@given(label_lines, prediction_rows, st.integers(1, 3))
def test_with_the_quirks_any_files_score_as_officially(tmp_path_factory, lines, rows, k):
    folder = tmp_path_factory.mktemp("official")
    labels = "".join(json.dumps({"session": s, "labels": own}) + "\n" for s, own in lines)
    predictions = "session_type,labels\n" + "".join(f"{s}_{t},{' '.join(map(str, own))}\n" for s, t, own in rows)
    (folder / "l.jsonl").write_text(labels)
    (folder / "p.csv").write_text(predictions)
    expected = official_script(labels, predictions, k, OTTO.weights)
    targets = OTTO.model_copy(update={"k": k})
    try:
        found = evaluate.evaluate_files(folder / "l.jsonl", folder / "p.csv", targets, quirks=True, bootstrap=0)
    except evaluate.UserError as error:
        assert "official script" in str(error) and isinstance(expected, str)
    else:
        assert found[f"recall@{k}"] == expected
        assert math.isclose(found["weighted"], sum(OTTO.weights[n] * r for n, r in expected.items()), abs_tol=1e-12)


def test_a_session_that_lacks_a_row_counts_as_empty_or_is_an_error_with_the_quirks(files, capsys):
    arguments = [*files(predictions=PREDICTIONS.replace("2_carts,4 4\n", "")), "--json"]
    assert json.loads(run(capsys, arguments)[1])["recall@20"]["carts"] == 2 / 4
    code, out, err = run(capsys, [*arguments, "--official-quirks"])
    assert (code, out) == (2, "") and "session 2 has no row of type carts" in err and err.count("\n") == 1


def test_an_absent_type_is_a_warning_or_an_error_with_the_quirks(files, capsys):
    arguments = files(labels=LABELS.replace(', "orders": [5]', ""))
    code, out, _ = run(capsys, arguments)
    assert code == 0 and "no labels of type orders" in out and "absent" in out
    code, out, err = run(capsys, [*arguments, "--official-quirks"])
    assert (code, out) == (2, "") and "no labels of type orders" in err and err.count("\n") == 1


def test_k_and_weights_are_options(files, capsys):
    _, out, _ = run(capsys, [*files(), "--json", "--k", "1", "--weights", "carts=1"])
    found = json.loads(out)
    assert found["recall@1"] == {"carts": 1.0}  # 3 of min(3, 1) and 4 of 1
    assert found["weighted"] == 1


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--k", "0"], "greater than or equal to 1, got 0"),
        (["--weights", "clicks"], "expected type=number"),
        (["--weights", "clicks=-1"], "weights"),
        (["--weights", "clicks=nan"], "finite"),
        (["--bootstrap", "-1"], "--bootstrap: expected the number of draws"),
        (["--predictions", "nowhere.csv"], "nowhere.csv: cannot be read: No such file or directory"),
        (["--test-labels", "."], ".: cannot be read: Is a directory"),
    ],
)
def test_mistakes_end_in_one_line(files, capsys, more, message):
    code, out, err = run(capsys, [*files(), *more])
    assert (code, out) == (2, "") and message in err and err.count("\n") == 1


def test_broken_lines_are_named(files, capsys):
    code, _, err = run(capsys, files(labels=LABELS + "{\n"))
    assert code == 2 and "l.jsonl:5: expected a line like" in err
    code, _, err = run(capsys, files(predictions=PREDICTIONS + "3_clicks,x\n"))
    assert code == 2 and "p.csv:9: expected integer aids" in err


# ------------------------------------------------------------------------------------- files that do not fit each other
def warnings(capsys, arguments) -> list[str]:
    code, out, err = run(capsys, arguments)
    assert code == 0, err
    return [line.removeprefix("warning: ") for line in out.splitlines() if line.startswith("warning: ")]


def test_files_that_fit_are_not_commented(files, capsys):
    rows = "".join(f"{s}_{t},1 2 {' '.join(map(str, range(30, 50)))}\n" for s in range(1, 4) for t in OTTO.names)
    assert warnings(capsys, files(predictions="session_type,labels\n" + rows)) == []


@pytest.mark.parametrize(
    ("change", "such"),
    [
        (lambda rows: rows.replace("1_", "101_").replace("2_", "102_"), "3 other sessions, such as 101"),
        (lambda rows: "session_type,labels\n9_orders,6\n", "1 other sessions, such as 9"),
    ],
)
def test_files_of_two_splits_are_an_error_and_with_the_quirks_a_warning(files, capsys, change, such):
    arguments = files(predictions=change(PREDICTIONS))
    code, out, err = run(capsys, arguments)
    assert (code, out) == (2, "") and err.count("\n") == 1
    assert (
        "none of the 3 sessions with labels of " in err
        and f"such as 1, has a list: those of {arguments[3]} are of {such}" in err
    )
    assert any("none of the 3 sessions" in line for line in warnings(capsys, [*arguments, "--official-quirks"]))


def test_packed_files_are_scored_as_they_are(files, tmp_path, capsys):
    plain = run(capsys, [*files(), "--json"])
    for name, pack in (("l.jsonl", gzip.compress), ("p.csv", lzma.compress)):
        path = tmp_path / name
        path.write_bytes(pack(path.read_bytes()))
    assert (
        run(capsys, ["--test-labels", str(tmp_path / "l.jsonl"), "--predictions", str(tmp_path / "p.csv"), "--json"]) == plain
    )
    (tmp_path / "p.csv").write_bytes(gzip.compress(PREDICTIONS.encode())[:-9])
    code, out, err = run(capsys, ["--test-labels", str(tmp_path / "l.jsonl"), "--predictions", str(tmp_path / "p.csv")])
    assert (code, out) == (2, "") and "p.csv: cannot be read" in err and err.count("\n") == 1


def test_text_and_integers_are_one_kind_of_ids(files, capsys):
    text = LABELS.replace('"session": 1', '"session": "1"').replace('"session": 2', '"session": "2"')
    text = text.replace('"session": 3', '"session": "3"').replace('"session": 4', '"session": "4"')
    _, out, _ = run(capsys, [*files(labels=text), "--json"])
    assert json.loads(out)["recall@20"] == {"clicks": 2 / 3, "carts": 3 / 4, "orders": 0.0}
    hashes = text.replace('"1"', '"a"').replace('"2"', '"b"').replace('"3"', '"c"')
    assert "such as a, has a list: those of" in run(capsys, files(labels=hashes))[2]


def test_what_does_not_fit_is_counted(files, capsys):
    partly = "session_type,labels\n1_click,10\n1_carts,3 3 3\n1_carts,1 3 3\n2_views,5\n9_carts,7\n8_carts,7\n"
    labels = LABELS.replace('"clicks": 12', '"clicks": 12, "views": [1, 2]') + '{"session": 3, "labels": {"clicks": 12}}\n'
    assert warnings(capsys, files(labels=labels, predictions=partly)) == [
        "2 of 3 sessions with labels (66.7%) have no list: they count as misses",
        "2 sessions, such as 9, have a list and are not among the sessions with labels: not counted",
        "no list is of type clicks, which has 3 labels: all of them count as misses",
        "no list is of type orders, which has 1 labels: all of them count as misses",
        "2 lists are of types that are not scored, such as '1_click' (scored: clicks, carts, orders)",
        "labels of types that are not scored: views (2); see --weights",
        "no list holds more than 3 items, of the 20 that would count",
        "1 lists name an item twice: it hits once, and takes up two places",
        "1 lists are replaced by a later one of the same session and type",
        "1 lines of labels are replaced by a later one of the same session",
    ]


def test_items_that_are_nobodys_answer_are_told(files, capsys):
    other = "session_type,labels\n1_clicks,1010 1011\n2_carts,1012\n3_clicks,1013\n"
    told = "none of the 4 items in the lists is anybody's answer, such as 0 is: are the items' ids the same?"
    assert told in warnings(capsys, files(predictions=other))
    assert warnings(capsys, files(predictions="session_type,labels\n"))[0].endswith("has a list: " + files()[3] + " holds none")

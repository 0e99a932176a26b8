"""The last files of whole runs: submission.csv and metrics.json, on logs of several kinds."""

import json

import numpy as np
import pytest

from otto_gpu.config import load_config
from otto_gpu.events.stage import SPLITS, load_ids, load_period
from otto_gpu.events.synthetic import START, write_log
from otto_gpu.pipeline import STAGES, run_pipeline
from otto_gpu.run.progress import Reporter
from tests.runs import GROUP, called, frame, metrics, of_file, small, write_config, write_parquet

TARGETS = ["clicks", "carts", "orders"]


def rows(run_dir) -> dict[tuple[str, str], list[str]]:
    """{(session, type): aids} of submission.csv, as text."""
    header, *lines = (run_dir / "submission.csv").read_text().splitlines()
    assert header == "session_type,labels"
    result = {}
    for line in lines:
        key, aids = line.split(",")
        session, kind = key.rsplit("_", 1)
        assert (session, kind) not in result
        result[session, kind] = aids.split()
    return result


def is_whole(run_dir, targets=TARGETS, k: int = 20) -> None:
    """A row per session of the official test file and target, at most k items of the log's own, none twice."""
    sessions = [json.loads(line)["session"] for line in (run_dir / "official/test_sessions.jsonl").read_text().splitlines()]
    found = rows(run_dir)
    assert list(found) == [(str(s), t) for s in sessions for t in targets] and sessions
    items = {str(i) for i in load_ids(run_dir, "items").to_pylist()}
    for aids in found.values():
        assert 1 <= len(aids) <= k and len(set(aids)) == len(aids) and items.issuperset(aids)


@pytest.fixture(scope="module")
def generated(tmp_path_factory):
    """A run on a log of 3,000 sessions with ids of its own: (log, run directory)."""
    folder = tmp_path_factory.mktemp("generated")
    log = frame(3000)
    groups = {"binary": GROUP | {"rounds": 40}, "pairwise": GROUP | {"rounds": 40, "objective": "rank:pairwise"}}
    config = of_file(ranking={"groups": groups, "folds": 3})
    run_pipeline(config, data=write_parquet(folder / "log.parquet", log), run_dir=folder / "run")
    return log, folder / "run"


def test_the_submission_is_whole_and_in_the_users_own_ids(generated):
    log, run_dir = generated
    is_whole(run_dir)
    own = rows(run_dir)
    assert {int(s) for s, _ in own} <= set(log["session"]) and {int(a) for aids in own.values() for a in aids} <= set(
        log["aid"]
    )
    assert np.mean([len(aids) for aids in own.values()]) == 20  # popular items fill up what is short


def test_the_figures_have_their_shape(generated):
    _, run_dir = generated
    found = metrics(run_dir)
    parts = {"validation", "test", "blend", "embeddings", "events", "stages", "long_sessions", "versions", "config"}
    assert parts == found.keys() and found["long_sessions"] == {}
    for name in SPLITS:
        figures, period = found[name], load_period(run_dir, name)
        assert figures["recall@20"].keys() == figures["labels"].keys() == set(TARGETS)
        assert figures["interval"].keys() == {*TARGETS, "weighted"}
        values = figures["recall@20"] | {"weighted": figures["weighted"]}
        for key, (low, high) in figures["interval"].items():
            assert 0 <= low <= values[key] <= high <= 1 and low < high
        weights = {"clicks": 0.1, "carts": 0.3, "orders": 0.6}
        assert figures["weighted"] == pytest.approx(sum(w * values[t] for t, w in weights.items()))
        assert figures["sessions"] == len(np.unique(period.labels.session)) and figures["absent"] == []
        assert figures["hand_set_order"].keys() >= {"recall@20", "weighted", "interval"}
        gain = figures["gain_over_hand_set_order"]
        assert gain["difference"]["weighted"] == pytest.approx(figures["weighted"] - figures["hand_set_order"]["weighted"])
        assert gain["interval"]["weighted"][0] <= gain["difference"]["weighted"] <= gain["interval"]["weighted"][1]
        # recall can reach what the candidates cover, and no more
        assert figures["coverage"].keys() >= {"history", "clicks", "orders", "wide", "all"}
        assert figures["coverage"]["all"]["candidates"]["mean"] > 20
    # the stage that writes them cannot yet tell its own cost
    assert found["stages"].keys() == set(STAGES) - {"submission", "report"}
    assert all(cost["seconds"] >= 0 and cost["peak_memory_mb"] > 0 for cost in found["stages"].values())
    assert {"otto_gpu", "numpy"} <= found["versions"].keys()


def test_the_blend_beats_the_hand_set_order_where_it_was_chosen(generated):
    """Out of fold, target by target, the chosen weights are the best that were tried, the hand-set order's among them: by their
    hits, less a quarter of the square root of the most hits for every unit of distance from equal weights."""
    _, run_dir = generated
    found = metrics(run_dir)
    for target in TARGETS:
        blend = found["blend"][target]
        assert blend["groups"] == ["binary", "pairwise", "recall"] and sum(blend["weights"]) == 1
        tried = {tuple(choice["weights"]): choice["recall@20"] for choice in blend["tried"]}
        assert len(tried) == len(blend["tried"]) == 15
        recall, hand_set = (f["recall@20"][target] for f in (found["validation"], found["validation"]["hand_set_order"]))
        assert tried[tuple(blend["weights"])] == pytest.approx(recall, abs=1e-6)
        truth = found["validation"]["labels"][target]
        most = max(tried.values()) * truth
        worth = {w: r * truth - 0.25 * most**0.5 * sum(abs(x - 1 / 3) for x in w) for w, r in tried.items()}
        assert worth[tuple(blend["weights"])] == pytest.approx(max(worth.values()), abs=0.01)
        assert tried[0, 0, 1] == pytest.approx(hand_set, abs=1e-6)
    assert found["validation"]["weighted"] > found["validation"]["hand_set_order"]["weighted"]


def test_the_official_score_of_the_official_files_is_that_of_the_metrics(generated):
    _, run_dir = generated
    files = ("--test-labels", run_dir / "official/test_labels.jsonl", "--predictions", run_dir / "submission.csv")
    scored = called(*files, "--json", module="evaluate")
    assert scored.returncode == 0, scored.stderr
    figures, ours = json.loads(scored.stdout), metrics(run_dir)["test"]
    for key in ("recall@20", "weighted", "labels", "sessions", "interval"):
        assert figures[key] == ours[key], key


def test_the_official_sessions_are_the_histories_and_the_labels_what_follows(generated):
    log, run_dir = generated
    by_session = dict(tuple(log.sort_values("ts", kind="stable").groupby("session")))
    known = set(load_ids(run_dir, "items").take(np.unique(load_period(run_dir, "test").train.aid)).to_pylist())
    labels = [json.loads(line) for line in (run_dir / "official/test_labels.jsonl").read_text().splitlines()]
    truth = {line["session"]: line["labels"] for line in labels}
    for line in (run_dir / "official/test_sessions.jsonl").read_text().splitlines()[:200]:
        session = json.loads(line)
        events = by_session[session["session"]]
        events = events[events["aid"].isin(known)]
        n = len(session["events"])
        assert [(e["aid"], e["ts"], e["type"]) for e in session["events"]] == list(
            events[["aid", "ts", "type"]].head(n).itertuples(index=False, name=None)
        )
        after = events.iloc[n:]
        clicks = after.loc[after["type"] == "clicks", "aid"]
        expected = {t: set(after.loc[after["type"] == t, "aid"]) for t in ("carts", "orders")}
        mine = truth[session["session"]]
        assert mine.get("clicks") == (None if clicks.empty else clicks.iloc[0])
        assert {t: set(mine.get(t, [])) for t in expected} == expected


def test_another_k_and_other_weights(tmp_path):
    targets = {"k": 5, "weights": {"carts": 1.0, "clicks": 3.0}}
    found = run_pipeline(small(300, targets=targets), run_dir=tmp_path / "run").metrics["test"]
    is_whole(tmp_path / "run", ["clicks", "carts"], 5)
    recall = found["recall@5"]
    assert recall.keys() == {"clicks", "carts"} and found["weighted"] == pytest.approx(3 * recall["clicks"] + recall["carts"])


# ------------------------------------------------------------------------------------------- logs of other kinds
@pytest.mark.parametrize("absent", [["orders"], ["carts", "orders"]])
def test_a_log_without_some_types_runs_and_says_so(tmp_path, absent):
    log = frame(500)
    log = log[~log["type"].isin(absent)]
    config = write_config(tmp_path / "config.yaml", of_file())
    data = write_parquet(tmp_path / "log.parquet", log)
    ran = called("--config", config, "--data", data, "--run-dir", tmp_path / "run")
    assert ran.returncode == 0, ran.stderr
    for name in absent:
        assert f"the log has no {name}: reported as absent" in ran.stdout
    is_whole(tmp_path / "run")
    found = metrics(tmp_path / "run")
    assert found["events"]["absent"] == absent
    for name in SPLITS:
        figures = found[name]
        assert figures["absent"] == absent
        assert all(figures["recall@20"][t] is None and figures["interval"][t] is None for t in absent)
        present = {t: w for t, w in (("clicks", 0.1), ("carts", 0.3)) if t not in absent}
        weighted = sum(w * figures["recall@20"][t] for t, w in present.items()) / sum(present.values())
        assert figures["weighted"] == pytest.approx(weighted)


def test_ids_that_are_text_come_back_unchanged(tmp_path):
    log = frame(300)
    session = "visit-" + log["session"].astype(str).str.zfill(12) + "_ä"
    aid = "007/" + log["aid"].astype(str)
    log = log.assign(session=session, aid=aid)
    data = tmp_path / "log.csv"
    log.to_csv(data, index=False)
    run_pipeline(of_file(), data=data, run_dir=tmp_path / "run")
    is_whole(tmp_path / "run")
    own = rows(tmp_path / "run")
    assert {s for s, _ in own} <= set(log["session"]) and {a for aids in own.values() for a in aids} <= set(log["aid"])


def test_large_integers_come_back_unchanged(tmp_path):
    log = frame(300)
    big = log.assign(session=log["session"].astype("int64") + (1 << 60), aid=log["aid"].astype("int64") - (1 << 61))
    run_pipeline(of_file(), data=write_parquet(tmp_path / "log.parquet", big), run_dir=tmp_path / "run")
    is_whole(tmp_path / "run")
    assert {int(a) for aids in rows(tmp_path / "run").values() for a in aids} <= set(big["aid"])


OTTO = {
    "ranking.folds": 2,
    "ranking.min_positives": 5,
    "ranking.groups": {"binary": GROUP},
    "features.families": ["session"],
    "threads": 1,
}


TRAIN_END = START + 28 * 86_400_000


def kaggle(folder, sessions: int, test_sessions: int = 0):
    """A folder as Kaggle gives it: train.jsonl and, where asked for, truncated later sessions in test.jsonl."""
    folder.mkdir()
    write_log(folder / "train.jsonl", sessions, seed=5, format="jsonl")
    later = []
    if test_sessions:
        lines = (folder / "train.jsonl").read_text().splitlines()
        for i, line in enumerate(lines[:test_sessions]):
            session = json.loads(line)
            first = session["events"][0]["ts"]
            events = [e | {"ts": TRAIN_END + e["ts"] - first} for e in session["events"] if e["ts"] < first + 86_400_000]
            later.append({"session": 90_000 + i, "events": events})
        (folder / "test.jsonl").write_text("".join(json.dumps(s) + "\n" for s in later))
    return later


def test_otto_as_kaggle_gives_it(tmp_path):
    later = kaggle(tmp_path / "otto", 600, 50)
    settings = [f"--set={key}={json.dumps(value)}" for key, value in OTTO.items()]
    arguments = ["--config", "otto", "--data", tmp_path / "otto", "--run-dir", tmp_path / "run", "--device", "cpu", *settings]
    ran = called(*arguments)
    assert ran.returncode == 0, ran.stderr
    assert "no ground truth" in ran.stdout
    is_whole(tmp_path / "run")
    assert list(rows(tmp_path / "run")) == [(str(s["session"]), t) for s in later for t in TARGETS]
    sessions = [json.loads(line) for line in (tmp_path / "run/official/test_sessions.jsonl").read_text().splitlines()]
    assert sessions == later  # untouched
    found = metrics(tmp_path / "run")
    assert found["test"]["labels"] is None and found["test"]["sessions"] == 50 and "recall@20" not in found["test"]
    assert found["validation"]["labels"]["clicks"] > 0
    assert not (tmp_path / "run/official/test_labels.jsonl").exists()

    # the same run without the test file: the last period of train is the test, with labels
    (tmp_path / "otto/test.jsonl").unlink()
    ran = called(*arguments)
    assert ran.returncode == 0, ran.stderr
    found = metrics(tmp_path / "run")
    assert found["test"]["labels"]["clicks"] > 0 and (tmp_path / "run/official/test_labels.jsonl").exists()
    is_whole(tmp_path / "run")


def test_a_single_event_of_an_unknown_item_still_gets_a_list(tmp_path):
    """A test file is taken as it is: sessions of one event, and items that nobody knows."""
    kaggle(tmp_path / "otto", 400, 5)
    with (tmp_path / "otto/test.jsonl").open("a") as file:
        event = {"aid": 1_999_999, "ts": TRAIN_END, "type": "carts"}
        file.write(json.dumps({"session": 99_999, "events": [event]}) + "\n")
    changes = [f"{key}={json.dumps(value)}" for key, value in OTTO.items()]
    run_pipeline(load_config("otto", changes), data=tmp_path / "otto", run_dir=tmp_path / "run")
    is_whole(tmp_path / "run")
    assert len(rows(tmp_path / "run")["99999", "clicks"]) == 20


def test_targets_with_too_few_positives_keep_the_hand_set_order(tmp_path):
    said = []

    class Ear(Reporter):
        def say(self, line, style=None):
            said.append(line)

    config = small(300, ranking={"min_positives": 100_000})
    found = run_pipeline(config, run_dir=tmp_path / "run", reporter=Ear()).metrics
    assert sum("too few to train on: the hand-set order stays" in line for line in said) == 3
    assert all(found["blend"][t]["groups"] == ["recall"] and found["blend"][t]["weights"] == [1.0] for t in TARGETS)
    for name in SPLITS:
        assert found[name]["recall@20"] == found[name]["hand_set_order"]["recall@20"]
    is_whole(tmp_path / "run")

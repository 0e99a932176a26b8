"""A finished run answers for new sessions as the pipeline did for those of the test period."""

import json
import shutil
import threading

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from otto_gpu import Recommender, run_pipeline
from otto_gpu.errors import UserError
from otto_gpu.events.stage import load_ids, load_period
from tests.runs import EMBEDDED, GROUP, called, frame, needs_embeddings, of_file, pipeline, said, small, write_parquet

EVERYTHING = {
    "events": {"context": {"device": "code", "seconds": "number"}},
    "features": {"families": ["matrix", "popularity", "session", "recall", "rank", "context"]},
    "ranking": {"folds": 2, "groups": {"binary": GROUP, "pairwise": GROUP | {"objective": "rank:pairwise"}}},
}
HOUR, WEEK = 3_600_000, 7 * 24 * 3_600_000


def with_context(events: pd.DataFrame) -> pd.DataFrame:
    """The events with a code and a number, which some lack."""
    drawn = pd.Series(pd.util.hash_array(events["aid"].astype(str).to_numpy(object)) % 28, events.index)
    return events.assign(device=(drawn % 4).map({0: "phone", 1: "tablet", 2: "desk"}), seconds=(drawn % 7).replace(3, np.nan))


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory):
    folder = tmp_path_factory.mktemp("recommend")
    data = write_parquet(folder / "log.parquet", with_context(frame(900)))
    return run_pipeline(of_file(**EVERYTHING), data=data, run_dir=folder / "run").run_dir


@pytest.fixture(scope="module")
def recommender(run_dir):
    return Recommender.load(run_dir, device="cpu")


def histories(run_dir) -> pd.DataFrame:
    """The test sessions up to their cuts, in the user's own ids."""
    period, types = load_period(run_dir, "test"), np.array(["clicks", "carts", "orders"])
    own = period.history.to_frame()
    own["session"] = load_ids(run_dir, "sessions").to_numpy(zero_copy_only=False)[own["session"]]
    own["aid"] = load_ids(run_dir, "items").to_numpy(zero_copy_only=False)[own["aid"]]
    return with_context(own.assign(type=types[own["type"]]))


def submitted(run_dir) -> dict[str, list[str]]:
    rows = (line.split(",") for line in (run_dir / "submission.csv").read_text().splitlines()[1:])
    return {key: labels.split() for key, labels in rows}


def as_submitted(made) -> dict[str, list[str]]:
    return {f"{row['session']}_{t}": [str(a) for a in row[t]] for row in made.to_dicts() for t in made.lists}


def test_the_lists_of_the_pipeline(run_dir, recommender, tmp_path):
    events = histories(run_dir)
    made = recommender.recommend(events)
    assert as_submitted(made) == submitted(run_dir) and not made.cold.any() and not made.unknown.any()
    made.write(tmp_path / "again.csv")
    assert sorted((tmp_path / "again.csv").read_text().splitlines()) == sorted(
        (run_dir / "submission.csv").read_text().splitlines()
    )


def test_in_any_order_and_form_and_one_at_a_time(run_dir, recommender):
    events, expected = histories(run_dir), submitted(run_dir)
    mixed = events.sample(frac=1, random_state=5)
    # ties in time keep the order of the events: mixed as they are only where there are none
    mixed = mixed.sort_values(["ts"], kind="stable") if events.duplicated(["session", "ts"]).any() else mixed
    assert as_submitted(recommender.recommend(pa.Table.from_pandas(events, preserve_index=False))) == expected
    assert as_submitted(recommender.recommend(events.to_dict("records"))) == expected
    assert as_submitted(recommender.recommend(events.assign(session=events["session"].astype(str)))) == expected
    assert as_submitted(recommender.recommend(events.assign(aid=events["aid"].astype(str)))) == expected
    text = pa.array(events["aid"].astype(str), pa.string_view())  # as some frames hold text
    table = pa.Table.from_pandas(events, preserve_index=False)
    assert as_submitted(recommender.recommend(table.set_column(table.column_names.index("aid"), "aid", text))) == expected
    for session, own in list(events.groupby("session"))[:25]:
        alone = recommender.recommend(own.drop(columns="session").to_dict("records")).to_dicts()[0]
        assert alone["session"] == 0
        assert all([str(a) for a in alone[t]] == expected[f"{session}_{t}"] for t in recommender.targets)


def test_sessions_come_back_in_the_order_in_which_they_came(run_dir, recommender):
    events = histories(run_dir)
    order = events["session"].drop_duplicates().sample(frac=1, random_state=3)
    shuffled = pd.concat([events[events["session"] == s] for s in order[:40]])
    made = recommender.recommend(shuffled)
    assert made.sessions.to_pylist() == order[:40].tolist()
    expected = submitted(run_dir)
    assert all(labels == expected[key] for key, labels in as_submitted(made).items())


def test_frames_and_lists_say_the_same(run_dir, recommender):
    made = recommender.recommend(histories(run_dir), k=5)
    table = made.to_frame()
    assert list(table.columns) == ["session", "type", "rank", "aid"] and table["rank"].between(1, 5).all()
    listed = table.groupby(["session", "type"], sort=False)["aid"].agg(list)
    for row in made.to_dicts():
        assert all(listed[row["session"], t] == row[t] for t in made.lists)
    longer = recommender.recommend(histories(run_dir), k=8)
    assert all(
        one[t] == other[t][:5] for one, other in zip(made.to_dicts(), longer.to_dicts(), strict=True) for t in made.lists
    )


def popular(run_dir, kind: str, k: int) -> list:
    """The items with most events of a type in the last 7 days, counted by pandas."""
    known = load_period(run_dir, "test").known
    events = pd.DataFrame({"aid": known.aid, "ts": known.ts, "type": known.type})
    recent = events[events["ts"] >= events["ts"].max() - 7 * 24 * HOUR]
    code = ["clicks", "carts", "orders"].index(kind)
    counts = pd.DataFrame({
        "mine": recent[recent["type"] == code]["aid"].value_counts(),
        "recent": recent["aid"].value_counts(),
        "all": events["aid"].value_counts(),
    }).fillna(0)  # fmt: skip
    ranked = counts.reset_index(names="aid").sort_values(
        ["mine", "recent", "all", "aid"], ascending=[False, False, False, True]
    )
    return load_ids(run_dir, "items").to_numpy()[ranked["aid"].to_numpy()[:k]].tolist()


def test_without_a_known_item_there_are_popular_ones(run_dir, recommender):
    known = histories(run_dir).iloc[:3]
    unknown = pd.DataFrame({"session": [-5, -5], "aid": [1, 2], "ts": known["ts"].iloc[:2].to_numpy(), "type": "clicks"})
    made = recommender.recommend(pd.concat([unknown, known]), sessions=[-9])
    assert made.sessions.to_pylist()[0] == -5 and made.sessions.to_pylist()[-1] == -9
    assert made.cold.tolist()[0] and made.cold.tolist()[-1] and not made.cold[1:-1].any()
    assert made.unknown.tolist()[0] == 2 and made.unknown[1:].sum() == 0
    first, last = made.to_dicts()[0], made.to_dicts()[-1]
    for target in recommender.targets:
        assert first[target] == last[target] == popular(run_dir, target, 20)
    nobody = recommender.recommend([])
    assert nobody.to_dicts() == [{**last, "session": 0}] and nobody.cold.all()


def test_unknown_items_among_others_change_nothing(run_dir, recommender):
    events = histories(run_dir)
    more = events.groupby("session").head(1).assign(aid=3)
    made = recommender.recommend(pd.concat([events, more]))
    assert as_submitted(made) == submitted(run_dir) and (made.unknown == 1).all()


def test_later_and_earlier_sessions_are_read_in_the_last_week(run_dir, recommender):
    events = histories(run_dir)
    ends = events.groupby("session")["ts"].max()
    last = load_period(run_dir, "test").known.ts.max()
    some = ends[ends > last - WEEK].index[:30]
    mine = events[events["session"].isin(some)]
    expected = as_submitted(recommender.recommend(mine))
    for weeks in (3, 400, -200):
        assert as_submitted(recommender.recommend(mine.assign(ts=mine["ts"] + weeks * WEEK))) == expected
    for ts in (0, 7_258_118_399_999):  # 1970 and the end of 2199
        assert not recommender.recommend(mine.assign(ts=ts)).cold.any()


def test_threads_may_share_it(run_dir, recommender):
    events, expected, wrong = histories(run_dir), submitted(run_dir), []
    mine = [own for _, own in events.groupby("session")]

    def ask(part):
        for own in part:
            for key, labels in as_submitted(recommender.recommend(own)).items():
                if labels != expected[key]:
                    wrong.append(key)

    threads = [threading.Thread(target=ask, args=(mine[i:40:4],)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


@pytest.mark.parametrize(
    ("events", "said"),
    [
        ([{"aid": 1, "ts": 5}], "missing column 'type'; there are: aid, ts"),
        ([{"ts": 5, "type": "clicks"}], "missing column 'aid'"),
        ([{"aid": 1, "ts": 5, "type": "views"}], "row 0: unknown type"),
        ([{"aid": 1, "ts": -5, "type": "clicks"}], "row 0: ts is negative"),
        ([{"aid": 1, "ts": 10**15, "type": "clicks"}], "row 0: ts is at or after the year 2200"),
        ([{"aid": 1, "ts": "soon", "type": "clicks"}], "row 0: ts is not a time"),
        ([{"aid": 1, "ts": 5, "type": "clicks"}, {"aid": None, "ts": 5, "type": "clicks"}], "row 1: missing aid"),
        ([{"aid": 1, "ts": 5, "type": "clicks"}, {"aid": {}, "ts": 5, "type": "clicks"}], "more than one kind"),
        ([{"aid": 1.5, "ts": 5, "type": "clicks"}], "row 0: aid: id is no whole number"),
        ([1, 2], "must be a data frame"),
        ("events.csv", "must be a data frame"),
    ],
)
def test_what_is_no_event_is_told(recommender, events, said):
    with pytest.raises(UserError, match=said):
        recommender.recommend(events)


@pytest.mark.parametrize("k", [0, -1, 1001, 2.5, float("nan"), float("inf"), "x", "5", True, [3]])
def test_k_is_a_number_of_items(recommender, k):
    with pytest.raises(UserError, match="k must be between 1 and 1000, a whole number, got "):
        recommender.recommend([], k=k)


def test_frames_of_any_kind(run_dir, recommender):
    events = histories(run_dir).head(40)
    expected = recommender.recommend(events).to_dicts()
    table = pa.Table.from_pandas(events, preserve_index=False)
    for form in (events.set_index("session"), table.to_batches()[0], table.to_reader(), table.to_pydict()):
        assert recommender.recommend(form).to_dicts() == expected
    none = recommender.recommend(events[:0], k=np.int64(5))
    assert len(none) == len(none.to_frame()) == 0 and none.to_dicts() == []
    asked = recommender.recommend(events[:0], sessions=[4], k=5.0)
    assert asked.sessions.to_pylist() == [4] and asked.cold.all() and asked.lists["clicks"].shape == (1, 5)
    with pytest.raises(UserError, match="if 'visitor' says whose events they are, rename it"):
        recommender.recommend(events.rename(columns={"session": "visitor"}))


@pytest.mark.parametrize("form", ["csv", "CSV", "txt", "parquet", "json", "jsonl"])
def test_lists_are_written_as_the_name_says(run_dir, recommender, tmp_path, form):
    made, path = recommender.recommend(histories(run_dir).head(30), k=4), tmp_path / f"lists.{form}"
    made.write(path)
    if form == "parquet":
        pd.testing.assert_frame_equal(pd.read_parquet(path), made.to_frame(), check_dtype=False)
    elif form.startswith("json"):
        text = path.read_text()
        assert (json.loads(text) if form == "json" else list(map(json.loads, text.splitlines()))) == made.to_dicts()
    else:
        assert path.read_text().startswith("session_type,labels\n")
    with pytest.raises(UserError, match=r"lists.csv.gz: .gz is not a format that lists are written in; choose one of .csv, "):
        made.write(tmp_path / "lists.csv.gz")
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_everything_that_a_run_can_have(tmp_path):
    """Vectors, the encoder and learned fusion, on string ids and a log with names of its own."""
    needs_embeddings()
    log = frame(500).assign(aid=lambda f: "item " + f["aid"].astype(str), session=lambda f: "s" + f["session"].astype(str))
    log = log.rename(columns={"session": "visit", "aid": "sku", "ts": "time", "type": "action"})
    data = tmp_path / "log.parquet"
    log.to_parquet(data)
    columns = {"session": "visit", "aid": "sku", "ts": "time", "type": "action"}
    run_dir = run_pipeline(of_file(events={"columns": columns}, **EMBEDDED), data=data, run_dir=tmp_path / "run").run_dir
    events = histories(run_dir)
    made = Recommender.load(run_dir, device="cpu").recommend(events.rename(columns=columns))
    table = made.to_frame()
    rows = pd.read_csv(run_dir / "submission.csv")
    for (session, target), aids in table.groupby(["session", "type"])["aid"]:
        listed = rows.loc[rows["session_type"] == f"{session}_{target}", "labels"].item()
        assert listed == " ".join(f'"{aid}"' for aid in aids)
    assert len(rows) == len(table.groupby(["session", "type"]))


def test_by_command(run_dir, tmp_path):
    events = histories(run_dir)
    write_parquet(tmp_path / "new.parquet", events)
    done = pipeline(run_dir, "--sessions", tmp_path / "new.parquet", "--out", tmp_path / "lists.csv", module="recommend")
    assert done.returncode == 0, done.stderr
    assert sorted((tmp_path / "lists.csv").read_text().splitlines()) == sorted(
        (run_dir / "submission.csv").read_text().splitlines()
    )


def test_by_command_mistakes_are_one_line(run_dir, tmp_path):
    given = ["--sessions", run_dir / "events/test/history.parquet", "--out", tmp_path / "lists.csv"]
    assert "no such run directory" in said(called(tmp_path / "nowhere", *given, module="recommend"))
    nowhere = ["--sessions", tmp_path / "none.csv", "--out", tmp_path / "lists.csv"]
    assert "no such file" in said(called(run_dir, *nowhere, module="recommend"))
    assert "--out" in said(called(run_dir, *given[:2], "--out", tmp_path / "no" / "lists.csv", module="recommend"))
    assert ".xlsx is not a format" in said(called(run_dir, *given[:2], "--out", tmp_path / "lists.xlsx", module="recommend"))
    assert not (tmp_path / "lists.csv").exists()


def test_a_run_that_is_not_whole_is_refused(run_dir, tmp_path):
    copy = tmp_path / "run"
    shutil.copytree(run_dir, copy)
    manifest = copy / "manifests" / "rankers.json"
    told = json.loads(manifest.read_text())
    manifest.write_text(json.dumps(told | {"fingerprint": "another"}))
    with pytest.raises(UserError, match="not finished"):
        Recommender.load(copy)
    manifest.write_text(json.dumps(told))
    assert Recommender.load(copy, device="cpu").targets == ["clicks", "carts", "orders"]
    next((copy / "models").rglob("*.ubj")).unlink()
    with pytest.raises(UserError, match="not finished"):
        Recommender.load(copy)
    half = run_pipeline(small(300), run_dir=tmp_path / "half", to_stage="rankers").run_dir
    with pytest.raises(UserError, match="not finished"):
        Recommender.load(half)


def test_what_the_run_was_made_with_counts_and_not_its_config_file(run_dir, tmp_path):
    copy = tmp_path / "run"
    shutil.copytree(run_dir, copy)
    (copy / "config.yaml").write_text("targets: {k: 3}")
    assert as_submitted(Recommender.load(copy, device="cpu").recommend(histories(run_dir))) == submitted(run_dir)

"""Labels of a separate test file, through the stage and by themselves."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from otto_gpu.config import load_config
from otto_gpu.errors import UserError
from otto_gpu.events.answers import read_answers
from otto_gpu.events.settings import EventsConfig, TargetsConfig
from otto_gpu.events.stage import load_ids, load_period
from otto_gpu.pipeline import run_pipeline
from tests.events.logs import T0, random_events, write_csv, write_parquet

CLICKS = {"types": ["clicks"], "weights": {"clicks": 1}}
EVENTS = {"test_file": "test.csv", "test_answers": "answers.csv"}
ALL = TargetsConfig()


def data(folder, answers, suffix=".csv", header=("session", "aid"), sessions=(100, 101, 102)):
    folder.mkdir()
    write_csv(folder / "train.csv", random_events(300))
    write_csv(folder / "test.csv", [(s, 1 + i, T0 + i, "clicks") for s in sessions for i in range(3)])
    path = folder / f"answers{suffix}"
    if suffix == ".csv":
        write_csv(path, answers, header)
    elif suffix == ".parquet":
        write_parquet(path, answers, header)
    else:
        path.write_text("".join(json.dumps(dict(zip(header, row, strict=True))) + "\n" for row in answers))
    return folder


def run(tmp_path, folder, suffix=".csv", **more):
    events = EVENTS | {"test_answers": f"answers{suffix}", "types": {"clicks": "clicks", "carts": "clicks", "orders": "clicks"}}
    settings = {"events": events, "targets": CLICKS, "split": {"by": "session"}} | more
    run_pipeline(settings, data=folder, run_dir=tmp_path / "run", to_stage="events")
    return load_period(tmp_path / "run", "test"), load_ids(tmp_path / "run", "sessions"), load_ids(tmp_path / "run", "items")


@pytest.mark.parametrize("suffix", [".csv", ".parquet", ".jsonl"])
def test_the_answers_are_the_test_periods_labels_and_no_part_of_the_log(tmp_path, suffix):
    folder = data(tmp_path / "data", [(101, 777), (100, 3), (100, 4), (55, 1)], suffix)
    period, sessions, items = run(tmp_path, folder, suffix)
    own = zip(sessions.take(pa.array(period.labels.session)), items.take(pa.array(period.labels.aid)), strict=True)
    assert [(s.as_py(), a.as_py()) for s, a in own] == [(100, 3), (101, 777)]  # 777 is an answer that nobody met before
    assert 777 not in items.take(pa.array(period.known.aid)).to_pylist() and period.known.n_items == len(items)
    assert sessions.take(pa.array(period.sessions)).to_pylist() == [100, 101, 102]
    told = (tmp_path / "run/run.log").read_text()
    assert "1 of 4 answers are of sessions that the test file lacks: left out" in told
    assert "1 more answers of a type of which only the next event is asked" in told  # 4, which comes after 3
    assert "1 of 3 sessions of the test file have no answer" in told
    assert (tmp_path / "run/official/test_labels.jsonl").is_file()
    summary = json.loads((tmp_path / "run/events/summary.json").read_text())
    assert summary["periods"]["test"]["labels"] == {"clicks": 2} and summary["counts"]["files"] == 2


def test_without_a_file_there_are_no_labels_and_a_changed_one_is_another_run(tmp_path):
    folder = data(tmp_path / "data", [(101, 777)])
    (folder / "answers.csv").rename(folder / "kept")
    assert run(tmp_path, folder)[0].labels is None
    assert "no such file (events.test_answers)" in (tmp_path / "run/run.log").read_text()
    (folder / "kept").rename(folder / "answers.csv")
    assert len(run(tmp_path, folder)[0].labels) == 1
    (folder / "test.csv").rename(folder / "typo")
    run(tmp_path, folder)
    assert "no file 'test.csv' (events.test_file): the test period is cut from" in (tmp_path / "run/run.log").read_text()


@pytest.mark.parametrize(
    ("answers", "header", "message"),
    [
        ([(1, 1)], ("session", "aid"), "no session of the test file is there .*such as 1"),
        ([(101, 1)], ("user", "aid"), "missing column 'session' .events.columns.session.; the file has: user, aid"),
        ([(101, 1), (101, "")], ("session", "aid"), "row 2 of the table has no 'aid'"),
        ([(101, 1, "bought")], ("session", "aid", "type"), "row 1 of the table: unknown type 'bought' .*; known: clicks"),
    ],
)
def test_what_is_wrong_is_one_line(tmp_path, answers, header, message):
    with pytest.raises(UserError, match=message) as error:
        run(tmp_path, data(tmp_path / "data", answers, header=header))
    assert "\n" not in str(error.value)


def test_types_are_those_of_the_log_and_must_be_there_where_there_are_several(tmp_path):
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"session": [1, 1, 2], "aid": ["x", "y", "x"], "type": [0, 2, 1]}), path)
    targets = ALL.model_copy(update={"weights": {"clicks": 1, "orders": 1}})
    found = read_answers(path, EventsConfig(), targets)
    assert found.type.tolist() == [0, 2] and found.aid.to_pylist() == ["x", "y"]
    pq.write_table(pa.table({"session": [1], "aid": [3]}), path)
    with pytest.raises(UserError, match="missing column 'type'"):
        read_answers(path, EventsConfig(), ALL)
    assert read_answers(path, EventsConfig(default_type="carts"), ALL).type.tolist() == [1]
    with pytest.raises(UserError, match="test_answers needs test_file"):
        load_config({"events": {"test_answers": "x.csv"}})


def test_a_period_of_prefixes_comes_back_as_one(tmp_path):
    write_csv(tmp_path / "log.csv", random_events(200))
    settings = {"split": {"cut": "every", "by": "session", "test_fraction": 0.3, "validation_fraction": 0.3}}
    run_pipeline(settings, data=tmp_path / "log.csv", run_dir=tmp_path / "run", to_stage="events")
    own = load_ids(tmp_path / "run", "sessions").to_pylist()
    for split in ("validation", "test"):
        period = load_period(tmp_path / "run", split)
        assert period.prefixes and period.known is period.train and not len(period.counted)
        assert period.history.n_sessions == period.train.n_sessions == len(own)
        lengths = np.diff(period.history.starts)[period.sessions]
        assert [int(own[s].split("#")[1]) for s in period.sessions] == lengths.tolist()
    line = json.loads((tmp_path / "run/official/test_sessions.jsonl").read_text().splitlines()[0])
    assert line["session"].endswith("#1") and len(line["events"]) == 1

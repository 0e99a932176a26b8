import csv
import json

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from otto_gpu.errors import UserError
from otto_gpu.events import official
from otto_gpu.events.labels import ground_truth
from otto_gpu.events.log import EventLog
from otto_gpu.events.settings import TargetsConfig

OTTO = TargetsConfig()
NAMES = ("clicks", "carts", "orders")
WEIRD = [
    "",
    " ",
    "a b",
    "a,b",
    'say "no"',
    '"',
    "12",
    "007",
    "50%",
    "a%20b",
    "line\nbreak",
    "c\r\nd",
    "ü\u2028\t",
    "a_clicks",
    "\\",
    "_",
]


@pytest.fixture
def log() -> EventLog:
    rows = [
        (11, 500, 1661724000123, "clicks"),
        (11, 40, 1661724001000, "carts"),
        (11, 500, 1661724002000, "clicks"),
        (11, 40, 1661724003000, "orders"),
        (11, 41, 1661724004000, "orders"),
        (7, 0, 1661724000000, "clicks"),
        (7, 41, 1661724000001, "clicks"),
        (9, 41, 1661724000001, "carts"),
    ]
    return EventLog.from_frame(pd.DataFrame(rows, columns=["session", "aid", "ts", "type"]))


def test_the_lines_of_the_sessions_and_labels_file(log, tmp_path):
    cuts = np.array([1, 1, 2])  # of the sessions 7, 9 and 11
    history = log.where(np.array([True, False, True, True, True, False, False, False]))
    labels = ground_truth(log, cuts, OTTO)
    official.write_sessions(tmp_path / "s.jsonl", history)
    official.write_labels(tmp_path / "l.jsonl", np.arange(3), labels, log, NAMES, ["clicks"])
    assert (tmp_path / "s.jsonl").read_text() == (
        '{"session":7,"events":[{"aid":0,"ts":1661724000000,"type":"clicks"}]}\n'
        '{"session":9,"events":[{"aid":41,"ts":1661724000001,"type":"carts"}]}\n'
        '{"session":11,"events":[{"aid":500,"ts":1661724000123,"type":"clicks"},{"aid":40,"ts":1661724001000,"type":"carts"}]}\n'
    )
    assert (tmp_path / "l.jsonl").read_text() == (
        '{"session":7,"labels":{"clicks":41}}\n'
        '{"session":9,"labels":{}}\n'
        '{"session":11,"labels":{"clicks":500,"orders":[40,41]}}\n'
    )
    assert sorted(p.name for p in tmp_path.iterdir()) == ["l.jsonl", "s.jsonl"]


def test_the_lines_of_the_submission(tmp_path):
    lists = {"clicks": np.array([[2, 0, 1], [-1, -1, -1]]), "orders": np.array([[1, -1, -1], [0, 2, -1]])}
    official.write_submission(tmp_path / "s.csv", pa.array([30, 12]), ["clicks", "orders"], lists, pa.array([100, 101, 102]))
    assert (tmp_path / "s.csv").read_bytes() == (
        b"session_type,labels\n30_clicks,102 100 101\n30_orders,101\n12_clicks,\n12_orders,100 102\n"
    )
    official.write_submission(tmp_path / "s.csv", pa.array([5]), ["clicks"], {"clicks": np.array([[2, 0]])}, None)
    assert (tmp_path / "s.csv").read_text() == "session_type,labels\n5_clicks,2 0\n"
    official.write_submission(tmp_path / "s.csv", pa.array([], pa.int64()), ["clicks"], {"clicks": np.empty((0, 20))}, None)
    assert (tmp_path / "s.csv").read_text() == "session_type,labels\n"


def test_strings_are_quoted_only_where_they_must_be(tmp_path):
    items = pa.array(["shoe", "red shoe", "a,b", "50%"])
    lists = {"clicks": np.array([[0, 3, -1], [0, 1, -1], [2, 0, -1]])}
    official.write_submission(tmp_path / "s.csv", pa.array(["u1", "u,2", "u 3"]), ["clicks"], lists, items)
    assert (tmp_path / "s.csv").read_text().splitlines()[1:] == [
        "u1_clicks,shoe 50%",
        '"u,2_clicks","shoe ""red shoe"""',
        'u 3_clicks,"a,b shoe"',
    ]


def test_a_file_that_fails_midway_leaves_what_was_there(tmp_path):
    path = tmp_path / "s.csv"
    path.write_text("before")
    with pytest.raises(pa.ArrowIndexError):  # a dense id beyond the dictionary
        official.write_submission(path, pa.array([1]), ["clicks"], {"clicks": np.array([[5]])}, pa.array([1, 2]))
    assert path.read_text() == "before" and len(list(tmp_path.iterdir())) == 1


def test_labels_of_other_sessions_are_refused(log, tmp_path):
    labels = ground_truth(log, np.array([1, 0, 2]), OTTO)
    with pytest.raises(ValueError, match="not written"):
        official.write_labels(tmp_path / "l.jsonl", np.array([0, 1]), labels, log, NAMES, ["clicks"])


@pytest.mark.parametrize("chunk", [1, 3, 500_000])
def test_chunks_leave_no_trace(chunk, monkeypatch, tmp_path):
    rng = np.random.default_rng(0)
    events = {"session": rng.integers(0, 30, 400) * 2, "aid": rng.integers(0, 50, 400), "ts": rng.integers(0, 9999, 400)}
    log = EventLog.from_frame(pd.DataFrame(events | {"type": rng.integers(0, 3, 400)}))
    cuts = np.maximum(np.diff(log.starts) // 2, 1)
    labels = ground_truth(log, cuts, OTTO)
    monkeypatch.setattr(official, "CHUNK_EVENTS", chunk * 10)
    official.write_sessions(tmp_path / "s.jsonl", log)
    official.write_labels(tmp_path / "l.jsonl", np.arange(log.n_sessions), labels, log, NAMES, ["clicks"])
    frame = log.to_frame().assign(type=[NAMES[t] for t in log.type])
    sessions = [json.loads(line) for line in (tmp_path / "s.jsonl").open()]
    assert {s["session"]: s["events"] for s in sessions} == {
        session: f[["aid", "ts", "type"]].to_dict("records") for session, f in frame.groupby("session")
    }
    read = official.read_labels(tmp_path / "l.jsonl", NAMES)
    assert read.sessions.equals(log.sessions)
    assert np.array_equal(read.labels.session, labels.session) and np.array_equal(read.labels.type, labels.type)
    assert read.items.take(read.labels.aid).equals(log.items.take(labels.aid))


@settings(deadline=None)
@given(st.data())
def test_any_ids_come_back(tmp_path_factory, data):
    """Out and in again; and the submission is read by the csv module alone, as the module's docstring promises."""
    folder = tmp_path_factory.mktemp("ids")
    text = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=5) | st.sampled_from(WEIRD)
    ids = data.draw(st.sampled_from([text, st.integers(-(2**63), 2**63 - 1), st.integers(0, 2**64 - 1)]))
    items = data.draw(st.lists(ids, min_size=1, max_size=8, unique=True))
    sessions = data.draw(st.lists(ids, min_size=1, max_size=6, unique=True))
    kind = pa.string() if isinstance(items[0], str) else (pa.uint64() if max(items + sessions) >= 2**63 else pa.int64())
    if kind == pa.uint64() and min(items + sessions) < 0:
        kind = pa.int64()
        items, sessions = [i for i in items if i < 2**63] or [1], [s for s in sessions if s < 2**63] or [1]
    log = EventLog(
        np.zeros(0, np.int32), np.zeros(0, np.int32), np.zeros(0, np.int64), np.zeros(0, np.int8),
        n_sessions=len(sessions), n_items=len(items), items=pa.array(items, kind), sessions=pa.array(sessions, kind),
    )  # fmt: skip
    lists = {}
    for name in NAMES:
        rows = [data.draw(st.lists(st.integers(0, len(items) - 1), max_size=4)) for _ in sessions]
        lists[name] = np.array([row + [-1] * (4 - len(row)) for row in rows], np.int32)
    path = folder / "submission.csv"
    official.write_submission(path, log.sessions, NAMES, lists, log.items)
    back = official.read_predictions(path, NAMES, 4, log.sessions, log.items)
    assert back.rows.all()
    for name in NAMES:
        assert np.array_equal(back.lists[name], lists[name])
    with path.open(newline="", encoding="utf-8") as file:
        header, *rows = csv.reader(file)
    assert header == ["session_type", "labels"]
    expected = [
        (f"{session}_{name}", [str(items[i]) for i in lists[name][s] if i >= 0])
        for s, session in enumerate(sessions)
        for name in NAMES
    ]
    assert [(key, next(csv.reader([aids], delimiter=" "), [])) for key, aids in rows] == expected

    followed = [
        (s, t, i) for t, n in enumerate(NAMES) for s, row in enumerate(lists[n]) for i in row[: 4 if t else 1] if i >= 0
    ]
    labels = official.Labels.from_arrays(*np.array(followed).reshape(-1, 3).T)
    official.write_labels(folder / "labels.jsonl", np.arange(len(sessions)), labels, log, NAMES, ["clicks"])
    read = official.read_labels(folder / "labels.jsonl", NAMES)
    assert sorted(read.sessions.to_pylist()) == sorted(sessions)
    owned = {(sessions[s], t, items[i]) for s, t, i in followed}
    found = (
        read.sessions.take(read.labels.session).to_pylist(),
        read.labels.type,
        read.items.take(read.labels.aid).to_pylist(),
    )
    assert set(zip(*found, strict=True)) == owned and len(read.labels) == len(owned)


def test_of_several_lines_the_last_counts_and_other_types_are_ignored(tmp_path):
    path = tmp_path / "l.jsonl"
    path.write_text(
        '{"session": 5, "labels": {"clicks": 1, "carts": [2, 2, 3]}}\n\n'
        '{"session": 4, "labels": {"clicks": null, "views": [8], "orders": []}}\n'
        '{"session": 5, "labels": {"carts": [9, 3, 9]}}\n'
    )
    read = official.read_labels(path, NAMES)
    assert read.sessions.to_pylist() == [4, 5]
    assert read.labels.session.tolist() == [1, 1] and read.labels.type.tolist() == [1, 1]
    assert read.items.take(read.labels.aid).to_pylist() == [3, 9]


def test_the_zero_as_single_value_is_none_on_demand(tmp_path):
    path = tmp_path / "l.jsonl"
    path.write_text('{"session": 5, "labels": {"clicks": 0, "carts": [0, 3]}}\n')
    for quirk, types in ((False, [0, 1, 1]), (True, [1, 1])):
        assert official.read_labels(path, NAMES, zero_is_none=quirk).labels.type.tolist() == types


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"session": 5, "labels": ', "l.jsonl:2: expected a line like"),
        ('{"labels": {}}', "l.jsonl:2: expected a line like"),
        ('{"session": 5, "labels": 7}', "l.jsonl:2: expected a line like"),
        ("[1]", "l.jsonl:2: expected a line like"),
        ('{"session": "5", "labels": {}}', "l.jsonl:2: expected the session to be an integer, as on the lines before, got '5'"),
        ('{"session": 5, "labels": {"carts": [7, "x"]}}', "l.jsonl:2: expected the aid to be an integer.* got 'x'"),
        ('{"session": 5, "labels": {"carts": [7.5]}}', "l.jsonl:2: expected the aid to be an integer.* got 7.5"),
        ('{"session": 5, "labels": {"carts": [true]}}', "l.jsonl:2: .* got True"),
        ('{"session": 5, "labels": {"carts": [[1]]}}', r"l.jsonl:2: .* got \[1\]"),
        ('{"session": null, "labels": {}}', "l.jsonl:2: .* got None"),
    ],
)
def test_a_broken_labels_file_is_an_error_with_its_line(tmp_path, line, message):
    path = tmp_path / "l.jsonl"
    path.write_text('{"session": 1, "labels": {"clicks": 3}}\n' + line + "\n")
    with pytest.raises(UserError, match=message):
        official.read_labels(path, NAMES)


def predictions_of(path, text: str, sessions=(1, 2, 3), items=(5, 6, 7), k=3, targets=NAMES):
    path.write_text("session_type,labels\n" + text, newline="")
    return official.read_predictions(path, targets, k, pa.array(sessions), pa.array(items))


def test_predictions_are_read_by_session_and_type(tmp_path):
    read = predictions_of(
        tmp_path / "p.csv",
        "3_carts,7 99 5 6\r\n1_clicks,\r\n8_clicks,5\r\n\r\n1_orders,6\r\n2_views,5\r\n1_orders,7  5 \r\n",
    )
    assert read.lists["carts"].tolist() == [[-1] * 3, [-1] * 3, [2, -1, 0]]  # 99 is unknown and keeps its place
    assert read.lists["orders"].tolist() == [[2, 0, -1], [-1] * 3, [-1] * 3]  # of two rows the last counts
    assert (read.lists["clicks"] == -1).all()
    assert read.rows.tolist() == [[True, False, True], [False, False, False], [False, True, False]]
    assert {a.dtype for a in read.lists.values()} == {np.dtype(np.int32)}
    assert not predictions_of(tmp_path / "p.csv", "").rows.any()


def test_predictions_say_what_the_dictionaries_do_not_have(tmp_path):
    text = "3_carts,7 99 5 6\n8_clicks,5\n8_carts,5\n9_carts,5\n2_views,5\n2_click,5\n1_orders,6\n1_orders,7 7\n1_orders,5\n"
    read = predictions_of(tmp_path / "p.csv", text)
    assert sorted(read.others.to_pylist()) == ["8", "9"] and read.untyped == (2, "2_views")
    assert (read.repeated, read.longest, read.named, read.known) == (2, 4, 3 + 1 + 2 + 1, 3)


def test_whole_numbers_are_integers(tmp_path):
    read = predictions_of(tmp_path / "p.csv", "3.0_carts,7.0 99.0 5\n1_carts,6\n")
    assert read.lists["carts"].tolist() == [[1, -1, -1], [-1] * 3, [2, -1, 0]]


def test_a_type_whose_name_ends_like_another(tmp_path):
    read = predictions_of(tmp_path / "p.csv", "a_cart,x\na_add_cart,y\n", ["a", "a_add"], ["x", "y"], 1, ("cart", "add_cart"))
    assert read.lists["cart"].tolist() == [[0], [-1]]
    assert read.lists["add_cart"].tolist() == [[1], [-1]]


def test_small_blocks_leave_no_trace(tmp_path, monkeypatch):
    text = "".join(f"{s}_{name},{s} {s + 1} {s + 2}\n" for s in range(500) for name in NAMES)
    whole = predictions_of(tmp_path / "p.csv", text, range(500), range(502))
    monkeypatch.setattr(official, "BLOCK_BYTES", 100)
    parts = predictions_of(tmp_path / "p.csv", text, range(500), range(502))
    assert whole.rows.all() and parts.rows.all()
    for name in NAMES:
        assert np.array_equal(whole.lists[name], np.arange(500)[:, None] + np.arange(3))
        assert np.array_equal(parts.lists[name], whole.lists[name])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1_clicks,5\n\n2_clicks,5,6\n", "p.csv:4: expected two fields, session_type,labels, got 3"),
        ("1_clicks\n", "p.csv:2: expected two fields, session_type,labels, got 1"),
        ("1_clicks,5\n2clicks,5\n", "p.csv:3: expected a session and a type such as 12_clicks, got '2clicks'"),
        ("x_clicks,5\n", "p.csv:2: expected an integer session, as in the labels, got 'x'"),
        ("_clicks,5\n", "p.csv:2: expected an integer session, as in the labels, got ''"),
        ("1_clicks,5\n1_carts,5 6.5 7\n", "p.csv:3: expected integer aids, as in the labels, got '6.5'"),
        ("1_carts,99999999999999999999\n", "p.csv:2: expected integer aids, as in the labels, got '99999999999999999999'"),
    ],
)
def test_a_broken_predictions_file_is_an_error_with_its_line(tmp_path, text, message):
    with pytest.raises(UserError, match=message):
        predictions_of(tmp_path / "p.csv", text)


def test_files_that_are_missing_or_something_else(tmp_path):
    with pytest.raises(UserError, match=r"none.jsonl: cannot be read: No such file"):
        official.read_labels(tmp_path / "none.jsonl", NAMES)
    path = tmp_path / "p.csv"
    for content in (b"", b"session,labels\n1,2\n"):
        path.write_bytes(content)
        with pytest.raises(UserError, match=r"p.csv:1: expected the header session_type,labels"):
            official.read_predictions(path, NAMES, 3, pa.array([1]), pa.array([1]))
    path.write_bytes(b"session_type,labels\n1_clicks,\xff\xfe\n")
    with pytest.raises(UserError, match=r"p.csv"):
        official.read_predictions(path, NAMES, 3, pa.array([1]), pa.array([1]))

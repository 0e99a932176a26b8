import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from otto_gpu.errors import UserError
from otto_gpu.events.labels import Labels, ground_truth
from otto_gpu.events.log import EventLog
from otto_gpu.events.settings import TargetsConfig

OTTO = TargetsConfig()


def log_of(*sessions) -> EventLog:
    """Each session is a list of (aid, type letter); events are a second apart."""
    code = {"c": 0, "a": 1, "o": 2}
    rows = [(s, aid, 1000 * i, code[t]) for s, events in enumerate(sessions) for i, (aid, t) in enumerate(events)]
    return EventLog.from_frame(pd.DataFrame(rows, columns=["session", "aid", "ts", "type"]))


def truth_of(log: EventLog, cuts, targets=OTTO) -> dict:
    """{(session, type): [the user's aids]}"""
    labels = ground_truth(log, np.array(cuts, np.int64), targets)
    found = {}
    for session, kind, aid in zip(labels.session, labels.type, labels.aid, strict=True):
        found.setdefault((int(session), log.types[kind]), []).append(log.items[int(aid)].as_py())
    return found


def test_the_next_click_counts_even_when_carts_and_orders_come_first():
    log = log_of([(1, "c"), (2, "a"), (3, "o"), (4, "c"), (5, "c")])
    assert truth_of(log, [1]) == {(0, "clicks"): [4], (0, "carts"): [2], (0, "orders"): [3]}


def test_all_later_carts_and_orders_count_once_and_earlier_ones_do_not():
    log = log_of([(7, "a"), (8, "o"), (1, "c"), (2, "a"), (9, "o"), (3, "a"), (2, "a"), (9, "o"), (7, "a")])
    assert truth_of(log, [3]) == {(0, "carts"): [2, 3, 7], (0, "orders"): [9]}


def test_what_stands_in_the_history_is_a_label_when_it_comes_again():
    log = log_of([(1, "c"), (1, "c"), (1, "a")])
    assert truth_of(log, [1]) == {(0, "clicks"): [1], (0, "carts"): [1]}


def test_the_first_event_after_the_cut_counts_and_the_last_before_it_does_not():
    log = log_of([(1, "c"), (2, "c"), (3, "c"), (4, "c")])
    assert [truth_of(log, [cut])[0, "clicks"] for cut in (1, 2, 3)] == [[2], [3], [4]]


def test_sessions_without_cut_or_without_anything_after_it_have_no_labels():
    log = log_of([(1, "c"), (2, "c")], [(1, "c"), (2, "c")], [(3, "a"), (4, "o")])
    assert truth_of(log, [0, 2, 1]) == {(2, "orders"): [4]}


def test_sessions_do_not_look_into_each_other():
    log = log_of([(1, "c"), (2, "a")], [(3, "c"), (4, "c"), (5, "a")])
    assert truth_of(log, [1, 1]) == {(0, "carts"): [2], (1, "clicks"): [4], (1, "carts"): [5]}


def test_aid_zero_as_the_next_click_is_no_click_in_the_official_way_only():
    log = log_of([(5, "c"), (0, "c"), (4, "c"), (0, "a")], [(0, "c"), (5, "c"), (0, "c")])
    quirky = OTTO.model_copy(update={"click_zero_is_no_click": True})
    assert truth_of(log, [1, 1]) == {(0, "clicks"): [0], (0, "carts"): [0], (1, "clicks"): [5]}
    # the 0 is not skipped for the click after it: there is no label; and carts are not touched
    assert truth_of(log, [1, 1], quirky) == {(0, "carts"): [0], (1, "clicks"): [5]}


@pytest.mark.parametrize("ids", [[3, 5], ["0", "5"], [-4, 5]])
def test_the_quirk_asks_for_the_users_own_number_zero_not_the_dense_id(ids):
    frame = pd.DataFrame({"session": [1, 1], "aid": [ids[1], ids[0]], "ts": [0, 1], "type": ["clicks", "clicks"]})
    log = EventLog.from_frame(frame)
    quirky = OTTO.model_copy(update={"click_zero_is_no_click": True})
    assert truth_of(log, [1], quirky) == {(0, "clicks"): [ids[0]]}


def test_only_targets_have_labels_and_next_only_is_configuration():
    log = log_of([(1, "c"), (2, "c"), (3, "c"), (4, "o"), (5, "o")])
    targets = TargetsConfig(weights={"clicks": 1, "orders": 1}, next_only=["orders"])
    assert truth_of(log, [1], targets) == {(0, "clicks"): [2, 3], (0, "orders"): [4]}
    assert truth_of(log, [1], TargetsConfig(weights={"orders": 1})) == {(0, "orders"): [4, 5]}


def test_other_types_than_the_logs_are_refused():
    with pytest.raises(UserError, match="not the types of the log"):
        ground_truth(log_of([(1, "c"), (2, "c")]), np.array([1]), TargetsConfig(types=["clicks"], weights={"clicks": 1}))


def test_save_and_load(tmp_path):
    labels = Labels.from_arrays([3, 1, 3, 3], [0, 2, 0, 0], [9, 4, 9, 8])
    labels.save(tmp_path / "test.parquet")
    loaded = Labels.load(tmp_path / "test.parquet")
    assert [c.tolist() for c in (loaded.session, loaded.type, loaded.aid)] == [[1, 3, 3], [2, 0, 0], [4, 8, 9]]
    assert [c.dtype for c in (loaded.session, loaded.type, loaded.aid)] == [np.int32, np.int8, np.int32]


events = st.lists(st.tuples(st.integers(0, 4), st.sampled_from("cao")), max_size=9)


@settings(deadline=None)
@given(st.lists(events, min_size=1, max_size=5), st.data(), st.booleans())
def test_agrees_with_a_walk_backwards_over_each_session(sessions, data, quirk):
    """The oracle goes the way of the official script: from the last event to the first, taking notes."""
    sessions = [s for s in sessions if s] or [[(1, "c")]]
    log = log_of(*sessions)
    cuts = [data.draw(st.integers(0, len(s))) for s in sessions]
    expected = {}
    for number, (session, cut) in enumerate(zip(sessions, cuts, strict=True)):
        click, bought = None, {"carts": set(), "orders": set()}
        for aid, kind in reversed(session[cut:] if cut else []):
            if kind == "c":
                click = aid
            else:
                bought["carts" if kind == "a" else "orders"].add(aid)
        if click is not None and not (quirk and click == 0):
            expected[number, "clicks"] = [click]
        expected |= {(number, name): sorted(aids) for name, aids in bought.items() if aids}
    assert truth_of(log, cuts, OTTO.model_copy(update={"click_zero_is_no_click": quirk})) == expected


def test_every_cut_of_the_real_sessions_keeps_all_862_events(real_log):
    sessions = [json.loads(line) for line in (real_log("otto_fixture") / "train.jsonl").open()]
    rows = [{"session": s["session"], **event} for s in sessions for event in s["events"]]
    assert len(rows) == 862
    log = EventLog.from_frame(pd.DataFrame(rows))
    assert len(log) == 862
    lengths = np.diff(log.starts)
    for cut in range(1, lengths.max()):
        cuts = np.where(lengths > cut, cut, 0)
        labels = ground_truth(log, cuts, OTTO)
        for session in np.flatnonzero(cuts):
            own = next(s["events"] for s in sessions if s["session"] == log.sessions[int(session)].as_py())
            history, rest = own[:cut], own[cut:]
            assert len(history) + len(rest) == lengths[session]
            mine = labels.session == session
            for code, name in enumerate(log.types):
                later = [event["aid"] for event in rest if event["type"] == name]
                expected = later[:1] if name == "clicks" else sorted(set(later))
                assert log.items.take(labels.aid[mine & (labels.type == code)]).to_pylist() == expected

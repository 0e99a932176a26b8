import json
from datetime import UTC, datetime

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from otto_gpu.errors import UserError
from otto_gpu.events import split
from otto_gpu.events.log import EventLog
from otto_gpu.events.settings import SplitConfig, TargetsConfig

DAY = split.DAY_MS
OTTO = TargetsConfig()


def log_of(sessions: dict) -> EventLog:
    """{the user's session: [(day, aid), ...]}; all are clicks."""
    rows = [(s, aid, round(day * DAY), 0) for s, events in sessions.items() for day, aid in events]
    return EventLog.from_frame(pd.DataFrame(rows, columns=["session", "aid", "ts", "type"]))


def told(log: EventLog) -> dict:
    """{the user's session: [(day, aid), ...]}"""
    frame = log.to_frame()
    return {s: [(ts / DAY, aid) for ts, aid in zip(f.ts, f.aid, strict=True)] for s, f in frame.groupby("session")}


def day(n: float) -> datetime:
    return datetime.fromtimestamp(n * 86400, UTC)


def keep_one(monkeypatch):
    monkeypatch.setattr(split, "random_cuts", lambda lengths, seed: np.ones(len(lengths), np.int64))


def test_by_time_worked_by_hand(monkeypatch):
    keep_one(monkeypatch)
    log = log_of(
        {
            "a": [(0, 1), (1, 2)],  # train throughout
            "b": [(1, 2), (1.5, 3), (2.5, 1)],  # began before validation: loses day 2.5 there
            "c": [(1, 3), (2.2, 1)],  # one event before validation: not in its train, but in the test's
            "d": [(2, 1), (3.5, 3), (4.5, 2)],  # begins where validation begins; loses day 4.5
            "e": [(3, 9), (3.1, 1), (3.2, 2)],  # 9 is unknown before validation, but known before the test
            "f": [(3, 9), (3.1, 1)],  # one known event: no validation session
            "g": [(4, 9), (4.1, 3), (5, 8)],  # test; 8 is unknown
            "h": [(4.2, 8), (4.3, 1)],  # one known event: no test session
            "i": [(3.9, 1), (4.4, 1)],  # one event before the test: nowhere
        }
    )
    periods = split.split_log(log, SplitConfig(test_start=day(4), validation_start=day(2)), OTTO)
    assert list(periods) == ["validation", "test"]
    validation, test = periods["validation"], periods["test"]
    assert told(validation.train) == {"a": [(0, 1), (1, 2)], "b": [(1, 2), (1.5, 3)]}
    assert told(validation.history) == {"d": [(2, 1)], "e": [(3.1, 1)]}
    assert told(test.history) == {"g": [(4, 9)]}
    assert told(test.train) == {
        "a": [(0, 1), (1, 2)],
        "b": [(1, 2), (1.5, 3), (2.5, 1)],
        "c": [(1, 3), (2.2, 1)],
        "d": [(2, 1), (3.5, 3)],
        "e": [(3, 9), (3.1, 1), (3.2, 2)],
        "f": [(3, 9), (3.1, 1)],
    }
    assert log.items.take(validation.labels.aid).to_pylist() == [3, 2]
    assert log.items.take(test.labels.aid).to_pylist() == [3]
    assert validation.sessions.tolist() == [3, 4] and validation.sessions.dtype == np.int32
    assert told(validation.known) == told(validation.train) | told(validation.history)
    assert test.known.n_sessions == log.n_sessions and test.known.items is log.items


def test_days_count_from_the_last_event(monkeypatch):
    keep_one(monkeypatch)
    log = log_of({s: [(s, 1), (s + 0.25, 1), (s + 0.5, 1)] for s in range(6)})
    # the last event is at 5.5: the test period begins at 4.5 and the validation period at 2.5
    periods = split.split_log(log, SplitConfig(test_days=1, validation_days=2), OTTO)
    assert told(periods["test"].history) == {5: [(5, 1)]}
    assert told(periods["validation"].history) == {3: [(3, 1)], 4: [(4, 1)]}
    assert told(periods["validation"].train)[2] == [(2, 1), (2.25, 1)]
    # day 4.5 itself belongs to the test period, so session 4 loses its last event
    assert told(periods["test"].train)[4] == [(4, 1), (4.25, 1)]


def test_a_session_that_begins_at_the_start_belongs_to_the_period(monkeypatch):
    keep_one(monkeypatch)
    log = log_of({0: [(0, 1), (0.1, 1)], 1: [(1, 1), (1.1, 1)], 2: [(2, 1), (3, 1)]})
    periods = split.split_log(log, SplitConfig(test_days=1, validation_days=1), OTTO)
    assert told(periods["test"].history) == {2: [(2, 1)]}
    assert told(periods["validation"].history) == {1: [(1, 1)]}


@pytest.mark.parametrize("by", ["time", "session"])
def test_a_sample_of_sessions_is_cut_as_in_the_whole_and_keeps_the_rest_as_knowledge(by):
    log = log_of({s: [(s / 40, i % 3) for i in range(6)] for s in range(200)})
    config = SplitConfig(by=by, test_days=1, validation_days=1)
    whole = split.split_log(log, config, OTTO)
    some = split.split_log(log, config.model_copy(update={"max_test_sessions": 7, "max_validation_sessions": 5}), OTTO)
    for name, count in (("test", 7), ("validation", 5)):
        part, full = told(some[name].history), told(whole[name].history)
        assert len(part) == count < len(full)
        assert part.items() <= full.items()
        assert told(some[name].train) == told(whole[name].train)
        assert set(some[name].labels.session) == set(some[name].sessions)
    more = split.split_log(log, config.model_copy(update={"max_test_sessions": 10_000}), OTTO)
    assert told(more["test"].history) == told(whole["test"].history)


def test_by_session_the_shares_are_disjoint_and_test_sessions_are_never_known():
    log = log_of({s: [(0, s % 7), (1, 1), (2, 2)] for s in range(100)})
    periods = split.split_log(log, SplitConfig(by="session", test_fraction=0.2, validation_fraction=0.1), OTTO)
    test, validation = set(periods["test"].sessions), set(periods["validation"].sessions)
    assert len(test) == 20 and len(validation) == 10 and not test & validation
    assert set(periods["validation"].train.session) == set(range(100)) - test - validation
    assert set(periods["test"].train.session) == set(range(100)) - test
    assert len(periods["test"].train) == 3 * 80


def test_by_session_the_draw_depends_on_the_number_of_sessions_alone():
    config = SplitConfig(by="session")
    one = split.split_log(log_of({s: [(0, 1), (1, 2)] for s in range(60)}), config, OTTO)
    two = split.split_log(log_of({s: [(s, 2), (s + 1, 1), (s + 9, 1)] for s in range(60)}), config, OTTO)
    for name in ("validation", "test"):
        assert one[name].sessions.tolist() == two[name].sessions.tolist()
    other = split.split_log(log_of({s: [(0, 1), (1, 2)] for s in range(60)}), config.model_copy(update={"seed": 1}), OTTO)
    assert other["test"].sessions.tolist() != one["test"].sessions.tolist()


def test_by_session_items_of_held_out_sessions_alone_are_unknown():
    log = log_of({s: [(0, 1), (1, 1000 + s), (2, 1)] for s in range(50)})  # every session has an item of its own
    periods = split.split_log(log, SplitConfig(by="session"), OTTO)
    for period in periods.values():
        assert set(log.items.take(period.history.aid).to_pylist()) == {1}
        assert set(log.items.take(period.labels.aid).to_pylist()) == {1}


@pytest.mark.parametrize("by", ["time", "session"])
def test_the_sessions_of_a_test_file_stay_as_they_are(by):
    sessions = {s: [(s / 8, s % 4), (s / 8 + 1 / 64, 1)] for s in range(50)}
    sessions |= {100: [(8, 777)], 101: [(8, 1), (8, 888), (8.5, 1)], 102: [(0.5, 2), (9, 2)]}
    log = log_of(sessions)
    from_test_file = np.array([s >= 100 for s in log.sessions.to_pylist()])
    periods = split.split_log(log, SplitConfig(by=by, validation_days=1), OTTO, from_test_file)
    assert told(periods["test"].history) == {s: e for s, e in sessions.items() if s >= 100}
    assert periods["test"].labels is None
    assert told(periods["test"].train) == {s: e for s, e in sessions.items() if s < 100}
    validation = periods["validation"].sessions
    # the rest ends at day 6.14, wherever the test file ends
    assert validation.tolist() == list(range(42, 50)) if by == "time" else len(validation) == 5
    assert max(validation) < 50


def test_random_cuts_are_uniform_over_1_to_length_minus_1_and_seeded():
    lengths = np.repeat([2, 3, 6], 6000)
    cuts = split.random_cuts(lengths, 1)
    assert cuts.dtype == np.int64
    for length in (2, 3, 6):
        values, counts = np.unique(cuts[lengths == length], return_counts=True)
        assert values.tolist() == list(range(1, length))
        assert np.all(np.abs(counts / 6000 - 1 / (length - 1)) < 0.03)
    assert np.array_equal(cuts, split.random_cuts(lengths, 1))
    assert not np.array_equal(cuts, split.random_cuts(lengths, 2))


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"test_days": 30}, r"before the test period, which begins at 1969-.*: lower split.test_days"),
        ({"test_days": 2, "validation_days": 30}, "before the validation period.*lower split.validation_days"),
        ({"test_days": 0.01}, "test period, which begins at .* raise split.test_days, or set split.test_start earlier"),
        ({"test_days": 2, "validation_days": 0.01}, "validation period.*raise split.validation_days"),
        ({"test_start": day(300)}, "test period.*set split.test_start earlier"),
        ({"test_start": day(-300)}, "set split.test_start later"),
        ({"test_days": 2, "validation_start": day(8.9)}, "validation period.*set split.validation_start earlier"),
        ({"by": "session", "test_fraction": 0.001}, "share of 0.001 of 10 sessions.*raise split.test_fraction"),
        ({"by": "session", "validation_fraction": 0.001}, "raise split.validation_fraction"),
        ({"by": "session", "test_fraction": 0.97, "validation_fraction": 0.01}, "lower split.test_fraction"),
    ],
)
def test_an_empty_period_is_an_error_that_names_the_setting(config, message):
    log = log_of({s: [(s, 1), (s + 0.5, 2)] for s in range(10)})
    with pytest.raises(UserError, match=message) as error:
        split.split_log(log, SplitConfig(**config), OTTO)
    assert "\n" not in str(error.value)


def test_a_log_without_events_is_an_error():
    log = log_of({0: [(0, 1), (1, 1)]})
    with pytest.raises(UserError, match="no events"):
        split.split_log(log.where(np.zeros(2, bool)), SplitConfig(), OTTO)
    with pytest.raises(UserError, match="the test file holds no events"):
        split.split_log(log, SplitConfig(), OTTO, np.array([False]))
    with pytest.raises(UserError, match="nothing to learn from"):
        split.split_log(log, SplitConfig(), OTTO, np.array([True]))


def naive(sessions: dict, start: int) -> tuple[dict, dict]:
    """The official procedure, session by session: (train, whole sessions of the period) with events (ts, aid)."""
    train, full = {}, {}
    for name, events in sessions.items():
        if events[0][0] >= start:
            full[name] = events
        else:
            left = [event for event in events if event[0] < start]
            if len(left) >= 2:
                train[name] = left
    items = {aid for events in train.values() for _, aid in events}
    full = {name: [event for event in events if event[1] in items] for name, events in full.items()}
    return train, {name: events for name, events in full.items() if len(events) >= 2}


def short_sessions():
    """30 days, few items: sessions of up to three days, so that every period gets some, at least now and then."""
    gaps = st.tuples(st.integers(0, 1), st.integers(0, 3))
    session = st.tuples(st.integers(0, 30), st.lists(gaps, min_size=1, max_size=6))
    grow = lambda drawn: [(drawn[0] + sum(gap for gap, _ in drawn[1][: i + 1]), aid) for i, (_, aid) in enumerate(drawn[1])]  # noqa: E731
    return st.lists(session.map(grow), min_size=10, max_size=30)


@settings(deadline=None)
@given(short_sessions(), st.integers(8, 20), st.integers(8, 20))
def test_agrees_with_the_official_procedure_session_by_session(drawn, one, two):
    log = log_of(dict(enumerate(drawn)))
    starts = sorted({one, two})
    if len(starts) == 1:
        starts.append(31)
    whole = told(log)  # without the events that stood twice
    expected = {}
    expected["test"] = naive(whole, starts[1])
    expected["validation"] = naive(expected["test"][0], starts[0])
    config = SplitConfig(validation_start=day(starts[0]), test_start=day(starts[1]))
    if any(not part for parts in expected.values() for part in parts):
        with pytest.raises(UserError):
            split.split_log(log, config, OTTO)
        return
    for name, period in split.split_log(log, config, OTTO).items():
        train, full = expected[name]
        history = told(period.history)
        assert told(period.train) == train
        assert history.keys() == full.keys()
        for label, session in enumerate(sorted(full)):
            cut = len(history[session])
            assert 1 <= cut < len(full[session])
            assert history[session] == full[session][:cut]
            # all events are clicks: each session has one label, the item after the cut
            assert log.items[int(period.labels.aid[label])].as_py() == full[session][cut][1]
        assert len(period.labels) == len(full)


def test_the_real_sessions_come_through_unchanged_in_number(real_log):
    lines = [json.loads(line) for line in (real_log("otto_fixture") / "train.jsonl").open()]
    rows = [{"session": s["session"], **event} for s in lines for event in s["events"]]
    log = EventLog.from_frame(pd.DataFrame(rows))
    assert (len(log), log.n_sessions) == (862, 20)
    own = {log.sessions.index(s["session"]).as_py(): s["events"] for s in lines}
    config = SplitConfig(by="session", test_fraction=0.3, validation_fraction=0.2)
    test = split.split_log(log, config, OTTO)["test"]
    outside = set(test.train.session.tolist())
    assert len(outside) == 14 and len(test.train) == sum(len(own[s]) for s in outside)
    known = {event["aid"] for s in outside for event in own[s]}
    left = {s: [e for e in events if e["aid"] in known] for s, events in own.items() if s not in outside}
    left = {s: events for s, events in left.items() if len(events) >= 2}
    assert test.sessions.tolist() == sorted(left) != []
    for session, events in left.items():
        history = test.history.of_sessions(session, session + 1)
        assert 1 <= len(history) < len(events)
        assert log.items.take(history.aid).to_pylist() == [e["aid"] for e in events[: len(history)]]
        rest = {(e["aid"], e["type"]) for e in events[len(history) :] if e["type"] != "clicks"}
        mine = (test.labels.session == session) & (test.labels.type > 0)
        aids = log.items.take(test.labels.aid[mine]).to_pylist()
        assert {(a, log.types[t]) for a, t in zip(aids, test.labels.type[mine], strict=True)} == rest
    # given as the test file, they are the test period to the last event
    test = split.split_log(log, config, OTTO, np.arange(20) < 5)["test"]
    assert len(test.history) + len(test.train) == 862

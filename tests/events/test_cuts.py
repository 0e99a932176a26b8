"""The cuts last, every and time against a session-by-session procedure in plain Python; what follows a cut moves nothing."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from otto_gpu.errors import UserError
from otto_gpu.events.cuts import Prefixes
from otto_gpu.events.log import EventLog
from otto_gpu.events.settings import SplitConfig, TargetsConfig
from otto_gpu.events.split import split_log
from tests.events.test_split import DAY, day, log_of, told

CLICKS = TargetsConfig(types=["clicks", "carts", "orders"], weights={"clicks": 1}, next_only=["clicks"])


def answers(period) -> dict:
    """{own session id: its answers, by item}"""
    own = period.history.sessions.to_pylist()
    found = {}
    for s, aid in zip(period.labels.session.tolist(), period.history.items.take(period.labels.aid).to_pylist(), strict=True):
        found.setdefault(own[s], []).append(aid)
    return found


def users():
    """20 days, few items, ties in time, repeated items, sessions of one event."""
    gaps = st.tuples(st.sampled_from([0, 0, 1, 4]), st.integers(0, 5))
    user = st.tuples(st.integers(0, 16), st.lists(gaps, min_size=1, max_size=6))
    grow = lambda drawn: [(drawn[0] + sum(gap for gap, _ in drawn[1][: i + 1]), aid) for i, (_, aid) in enumerate(drawn[1])]  # noqa: E731
    return st.lists(user.map(grow), min_size=6, max_size=16).map(lambda drawn: told(log_of(dict(enumerate(drawn)))))


def naive_last(whole: dict, start: int | None, chosen: set) -> tuple[dict, dict, dict]:
    """(train, history, answers): by time if start is given, else chosen are those of the period."""
    mine = {s for s, events in whole.items() if len(events) >= 2 and (s in chosen if start is None else events[0][0] >= start)}
    train = {s: [e for e in events if start is None or e[0] < start] for s, events in whole.items() if s not in mine}
    return (
        {s: events for s, events in train.items() if events},
        {s: whole[s][:-1] for s in mine},
        {s: [whole[s][-1][1]] for s in mine},
    )


def naive_every(*given) -> tuple[dict, dict, dict]:
    train, history, truth = naive_last(*given)
    full = {s: [*events, (None, truth[s][0])] for s, events in history.items()}
    cut = {f"{s}#{n}": (events[:n], [events[n][1]]) for s, events in full.items() for n in range(1, len(events))}
    return {str(s): e for s, e in train.items()}, {s: h for s, (h, _) in cut.items()}, {s: a for s, (_, a) in cut.items()}


def naive_time(whole: dict, start: float, end: float) -> tuple[dict, dict, dict]:
    history = {s: [e for e in events if e[0] < start] for s, events in whole.items() if events[0][0] < start}
    later = {s: [aid for t, aid in whole[s] if start <= t < end] for s in history}
    return {}, history, {s: aids[:1] for s, aids in later.items() if aids}


def agrees(period, expected) -> None:
    train, history, truth = expected
    assert told(period.train) == train and told(period.history) == history
    assert answers(period) == truth
    assert told(period.known) == (train if period.prefixes else train | history)


@settings(deadline=None, max_examples=40)
@given(users(), st.sampled_from(["last", "every"]), st.sampled_from(["time", "session"]))
def test_last_and_every_agree_with_the_procedure_session_by_session(whole, cut, by):
    naive = {"last": naive_last, "every": naive_every}[cut]
    config = SplitConfig(
        cut=cut, by=by, test_start=day(12), validation_start=day(6), test_fraction=0.3, validation_fraction=0.3
    )
    log = log_of(whole)
    try:
        periods = split_log(log, config, CLICKS)
    except UserError as error:  # a period, or what lies before it, is empty
        assert "2 events lies in the" in str(error) or "no event lies before" in str(error)
        return
    # whom the draw chooses is the same for every cut
    order, n = np.random.default_rng(config.seed).permutation(len(whole)).tolist(), round(len(whole) * 0.3)
    parts = {"test": (12, set()), "validation": (6, set())}
    if by == "session":
        parts = {"test": (None, set(order[:n])), "validation": (None, set(order[n : 2 * n]))}
    agrees(periods["test"], naive(whole, *parts["test"]))
    before, _, _ = naive_last(whole, *parts["test"])
    agrees(periods["validation"], naive(before, *parts["validation"]))


@settings(deadline=None, max_examples=40)
@given(users(), st.integers(9, 15), st.integers(3, 8), st.integers(1, 9))
def test_time_agrees_with_the_procedure_session_by_session(whole, moment, earlier, days):
    config = SplitConfig(
        cut="time", test_start=day(moment), validation_start=day(earlier), test_days=days, validation_days=days
    )
    expected = {"test": naive_time(whole, moment, moment + days)}
    expected["validation"] = naive_time(expected["test"][1], earlier, min(earlier + days, moment))
    if any(not part[2] for part in expected.values()):
        with pytest.raises(UserError, match="the moment of the"):
            split_log(log_of(whole), config, CLICKS)
        return
    for name, period in split_log(log_of(whole), config, CLICKS).items():
        agrees(period, expected[name])


def test_time_reaches_the_end_of_the_log_and_takes_next_only_as_labels_do():
    log = log_of({1: [(0, 5), (6, 7), (10, 8)], 2: [(1, 5), (8, 6), (8, 7), (10, 9)], 3: [(9, 5)], 4: [(5, 6)]})
    all_later = CLICKS.model_copy(update={"next_only": []})
    periods = split_log(log, SplitConfig(cut="time", test_days=2, validation_days=4), all_later)
    assert told(periods["test"].history) == {1: [(0, 5), (6, 7)], 2: [(1, 5)], 4: [(5, 6)]}  # 4 never comes back: asked as well
    assert answers(periods["test"]) == {1: [8], 2: [6, 7, 9]}  # also the log's very last events, at day 10
    assert told(periods["validation"].history) == {1: [(0, 5)], 2: [(1, 5)]} and answers(periods["validation"]) == {1: [7]}
    some = split_log(log, SplitConfig(cut="time", test_days=2, validation_days=4, max_test_sessions=2), all_later)["test"]
    assert len(some.sessions) == 2 and told(some.known) == told(periods["test"].known)


@pytest.mark.parametrize("cut", ["last", "every"])
def test_by_session_whoever_is_not_asked_is_known_whole(cut):
    whole = {s: [(0, s), (1, 1000 + s), (1, s)][: 1 + s % 3] for s in range(90)}
    config = SplitConfig(
        cut=cut, by="session", test_fraction=0.5, validation_fraction=0.4, max_test_sessions=7, max_validation_sessions=5
    )
    periods = split_log(log_of(whole), config, CLICKS)
    for name, n in (("test", 7), ("validation", 5)):
        period = periods[name]
        asked = {int(str(s).split("#")[0]) for s in told(period.history)}
        rest = (
            set(whole)
            - asked
            - (set() if name == "test" else {int(str(s).split("#")[0]) for s in told(periods["test"].history)})
        )
        assert len(asked) == n and all(len(whole[s]) > 1 for s in asked)
        assert {int(s): events for s, events in told(period.train).items()} == {s: whole[s] for s in rest}
        # items that nobody else has are kept, in histories and as answers
        assert all(
            aid in {int(str(s).split("#")[0]), 1000 + int(str(s).split("#")[0])}
            for s, h in told(period.history).items()
            for _, aid in h
        )
    assert all(len(found) == 1 for found in answers(periods["test"]).values())


def test_ids_of_prefixes_must_be_free():
    whole = {name: [(s, 1), (s + 0.1, 2), (s + 0.2, 3)] for s, name in enumerate(["a", "b", "a#1", "c", "d"])}
    config = SplitConfig(cut="every", by="session", test_fraction=0.6, validation_fraction=0.2)
    with pytest.raises(UserError, match="session 'a#1' of the log is called like the beginning of another"):
        for seed in range(20):
            split_log(log_of(whole), config.model_copy(update={"seed": seed}), CLICKS)


@pytest.mark.parametrize("by", ["time", "session"])
@pytest.mark.parametrize("cut", ["last", "every", "time"])
def test_events_after_the_cuts_move_nothing_that_is_known(cut, by):
    """Every answer of the test period becomes another item, later, of another type: train, histories and all of validation are
    what they were. Where it is a moment that divides, people come and go after it, too."""
    if (cut, by) == ("time", "session"):
        with pytest.raises(ValueError, match="needs by: time"):
            SplitConfig(cut=cut, by=by)
        return
    rng = np.random.default_rng(5)
    frame = pd.DataFrame(
        {n: rng.integers(0, most, 600) for n, most in {"session": 60, "aid": 40, "type": 3, "step": 12}.items()}
    )
    frame["ts"] = ((frame["session"] % 10 + frame.pop("step") / 4) * DAY).astype(int)
    # so that the dictionaries stay: a session of all items, also of those that only changed events have
    everything = pd.DataFrame({"session": 60, "aid": np.tile(np.arange(80), 2), "type": 0, "ts": np.arange(160)})
    frame = pd.concat([everything, frame]).sort_values(["session", "ts"], kind="stable").drop_duplicates(ignore_index=True)
    config = SplitConfig(cut=cut, by=by, test_start=day(8), validation_start=day(4))
    before = split_log(EventLog.from_frame(frame), config, TargetsConfig())
    if cut == "time":
        frame = frame[(frame["ts"] < 8 * DAY) | (rng.random(len(frame)) < 0.7)].copy()  # some never come back
        after = frame["ts"] >= 8 * DAY
    else:
        asked = {int(str(s).split("#")[0]) for s in told(before["test"].history)}
        after = frame["session"].isin(asked) & ~frame["session"].duplicated(keep="last")
    frame.loc[after, "aid"] = rng.integers(40, 80, after.sum())
    frame.loc[after, "type"] = 0
    changed = split_log(EventLog.from_frame(frame), config, TargetsConfig())
    for name in ("validation", "test"):
        for part in ("train", "history", "known"):
            assert told(getattr(changed[name], part)) == told(getattr(before[name], part))
    assert answers(changed["validation"]) == answers(before["validation"])
    assert answers(changed["test"]) != answers(before["test"])


def test_of_a_long_session_the_last_places_are_asked_given_the_newest_events_before_them():
    log = EventLog.from_arrays([0] * 6 + [2] * 3, range(9), range(9), [0] * 9, n_sessions=3, n_items=9)
    whole, most = {0: list(range(6)), 2: [6, 7, 8]}, 3
    made = Prefixes.of(log, 3, most)
    named = made.named(pa.array(["a", "b", "c"])).to_pylist()
    rows = [made.log.aid[slice(*made.log.starts[s : s + 2])].tolist() for s in range(3, made.log.n_sessions)]
    expected = {
        f"{'abc'[s]}#{n}": [*events[max(0, n - most) : n], events[n]]
        for s, events in whole.items()
        for n in range(max(1, len(events) - most), len(events))
    }
    assert dict(zip(named, rows, strict=True)) == expected and len(named) == 5
    assert made.cuts.tolist() == [0, 0, 0, *(len(row) - 1 for row in expected.values())]

"""What a period leaves out, against a count event by event in plain Python."""

from collections import Counter

import numpy as np
import pandas as pd
import pytest

from otto_gpu.events.labels import Labels
from otto_gpu.events.left_out import answers, left_out
from otto_gpu.events.log import EventLog
from otto_gpu.events.settings import SplitConfig, TargetsConfig
from otto_gpu.events.split import DAY_MS as DAY
from otto_gpu.events.split import split_log
from tests.events.test_split import day

TYPES = ["clicks", "carts", "orders"]
TARGETS = TargetsConfig(weights={"clicks": 0.5, "orders": 0.5})
CUTS = ["random", "last", "every", "time"]


def log_of(events) -> EventLog:
    """Of (session, day, aid, type)."""
    frame = pd.DataFrame(events, columns=["session", "ts", "aid", "type"])
    return EventLog.from_frame(frame.assign(ts=(frame["ts"] * DAY).astype(int)))


def sessions_of(log: EventLog) -> dict:
    """{own id: [(day, aid, type)]}, in the order of the log."""
    found: dict = {}
    for s, a, ts, kind in log.to_frame().itertuples(index=False):
        found.setdefault(s, []).append((ts / DAY, a, TYPES[kind]))
    return found


def lengths(period) -> Counter:
    """{session: events of its history}; of beginnings the session's, whose shortest history has one event."""
    own = period.history.sessions.to_pylist()
    counts = Counter(own[s] for s in period.history.session.tolist())
    return Counter({int(s.split("#")[0]): 1 for s in counts}) if period.prefixes else counts


def counted(whole: dict, period, cut: str, belongs, earlier, before) -> dict:
    """belongs(session, day): whether an event there is of the period; earlier(session): whether the session began before it;
    before(session, day): whether an event there comes before it."""
    asked, fates, own, unknown = lengths(period), [], {}, set()
    learnt = {s: [e for e in events if before(s, e[0])] for s, events in whole.items()}
    items = {e[1] for events in learnt.values() if len(events) >= 2 for e in events}
    for session, events in whole.items():
        mine = [e for e in events if belongs(session, e[0])]
        told = {}
        if cut == "time":
            told = dict.fromkeys(range(len(mine)), "asked" if session in asked else "not_drawn")
            if not earlier(session):
                told = dict.fromkeys(told, "began_in_it")
        elif earlier(session):
            told = dict.fromkeys(range(len(mine)), "began_earlier")
        else:
            left = [i for i, e in enumerate(mine) if cut != "random" or e[1] in items]
            told = {i: "unknown_items" for i in range(len(mine)) if i not in left}
            unknown |= {mine[i][1] for i in told}
            for n, i in enumerate(left):
                told[i] = "histories" if n < asked[session] else "asked"
                if session not in asked:
                    told[i] = "not_drawn" if len(left) > 1 else "one_event"
        fates += [(told[i], kind) for i, (_, _, kind) in enumerate(mine)]
        if mine:
            own[session] = next(f for f in ("asked", "not_drawn", "one_event", *told.values()) if f in told.values())
    found = {
        "sessions": Counter(own.values()), "events": Counter(f for f, _ in fates),
        "targets": {t: Counter(f for f, kind in fates if kind == t) for t in TARGETS.names},
    }  # fmt: skip
    if cut == "random":
        found["items"] = {"unknown_items": len(unknown)}
        found["one_event_before"] = sum(len(events) == 1 for events in learnt.values())
    return found


def agrees(found: dict, expected: dict) -> None:
    for name in ("sessions", "events"):
        assert found[name]["all"] == sum(expected[name].values())
        assert {f: n for f, n in found[name].items() if n and f != "all"} == expected[name]
    for target in TARGETS.names:
        assert {f: n for f, n in found["targets"][target].items() if n and f != "all"} == expected["targets"][target]
    for name in ("items", "one_event_before"):
        assert found.get(name) == expected.get(name)


def answers_counted(period) -> dict:
    """By loops over the labels."""
    known = set(period.train.aid.tolist()) | (set() if period.prefixes else set(period.history.aid.tolist()))
    seen = set(zip(period.history.session.tolist(), period.history.aid.tolist(), strict=True))
    labels = list(zip(*(c.tolist() for c in (period.labels.session, period.labels.type, period.labels.aid)), strict=True))
    lost = Counter(TYPES[kind] for s, kind, a in labels if a not in known and (s, a) not in seen)
    return {
        "unknown_answers": {t: lost[t] for t in TARGETS.names},
        "unanswered": len(set(period.history.session.tolist()) - {s for s, *_ in labels}),
    }


def random_log(rng, days: int) -> EventLog:
    """80 sessions of up to so many days, whose items come up in the course of time."""
    begin, n = rng.uniform(0, 16, 80), rng.integers(1, 6, 80)
    session = np.repeat(np.arange(80), n)
    ts = (begin[session] + rng.uniform(0, days, len(session))).round(3)
    aid = (ts * rng.uniform(0, 1, len(session))).astype(int)
    kind = rng.choice(TYPES, len(session))
    return log_of(list(zip(session.tolist(), ts.tolist(), aid.tolist(), kind.tolist(), strict=True)))


@pytest.mark.parametrize("with_file", [False, True])
@pytest.mark.parametrize("most", [None, 8])
@pytest.mark.parametrize(("cut", "by"), [(c, by) for c in CUTS for by in ("time", "session") if (c, by) != ("time", "session")])
def test_every_event_is_counted_once_by_what_becomes_of_it(cut, by, most, with_file):
    told: set = set()
    for seed in range(4):
        told |= _told(random_log(np.random.default_rng(seed), 14 if cut == "time" else 4), cut, by, most, with_file)
    fates = {"random": {"unknown_items", "one_event"}, "time": {"began_in_it"}}.get(cut, {"one_event"})
    assert told >= fates | {"asked"} | ({"not_drawn"} if most else set()) | (
        {"began_earlier"} if by == "time" and cut != "time" else set()
    )


def _told(log: EventLog, cut: str, by: str, most: int | None, with_file: bool) -> set[str]:
    """The fates that there are."""
    whole = sessions_of(log)
    config = SplitConfig(
        cut=cut, by=by, test_start=day(12), validation_start=day(6), test_fraction=0.3, validation_fraction=0.3,
        test_days=5, validation_days=5, max_test_sessions=most, max_validation_sessions=most,
    )  # fmt: skip
    apart = np.arange(log.n_sessions) % 4 == 0 if with_file else None
    given = Labels.from_arrays([0], [0], [int(log.aid[-1])]) if with_file else None
    periods = split_log(log, config, TARGETS, apart, given)
    found = left_out(log, periods, config, TARGETS, apart)
    for period in periods.values():
        assert answers(period, TARGETS) == answers_counted(period)
    own = log.sessions.to_pylist()
    whole = {s: e for s, e in whole.items() if apart is None or not apart[own.index(s)]}
    # the draw is that of test_cuts.py
    order = np.random.default_rng(config.seed).permutation(len(own)).tolist()
    order = [i for i in order if apart is None or not apart[i]]
    n = 0 if with_file else round(len(own) * 0.3)
    m = round((len(order) if with_file else len(own)) * 0.3)
    parts = {"test": {own[i] for i in order[:n]}, "validation": {own[i] for i in order[n : n + m]}}
    last = max(t for e in whole.values() for t, *_ in e) if with_file else 12
    spans = {"test": (12, 17 if cut == "time" else 99), "validation": (6, min(11, last) if cut == "time" else 12)}
    if with_file:
        spans["validation"] = (6, 11 if cut == "time" else 99)
        assert found["test"] == {}
    for name in ["validation"] if with_file else ["validation", "test"]:
        start, end = spans[name]
        gone = parts["test"] | parts[name]
        expected = counted(
            whole, periods[name], cut,
            (lambda s, t, start=start, end=end: start <= t < end) if by == "time" else (lambda s, t, p=parts[name]: s in p),
            (lambda s, start=start: whole[s][0][0] < start) if by == "time" else (lambda s: False),
            (lambda s, t, start=start: t < start) if by == "time" else (lambda s, t, gone=gone: s not in gone),
        )  # fmt: skip
        agrees(found[name], expected)
    if cut == "time" and not with_file:
        assert found["test"]["after"] == sum(t >= 17 for e in whole.values() for t, *_ in e) > 0
    return {fate for part in found.values() for fate, n in part.get("events", {}).items() if n}


def test_by_hand():
    log = log_of(
        [
            *((1, t, a, "clicks") for t, a in ((0, 1), (1, 2), (5, 2))),  # began before the test period
            *((2, 1, 1, "clicks"), (2, 2, 3, "orders"), (3, 2.5, 1, "clicks"), (3, 2.7, 2, "clicks")),
            (4, 0, 9, "clicks"),  # one event: nothing is learnt from it, and 9 stays unknown
            *((5, 4, 1, "clicks"), (5, 4.1, 9, "orders"), (5, 4.2, 2, "clicks"), (5, 4.3, 3, "orders")),
            *((6, 4, 9, "orders"), (6, 5, 1, "orders")),  # one event of a known item
            *((7, 4, 8, "clicks"), (7, 4, 9, "clicks")),
        ]
    )
    config = SplitConfig(test_start=day(4), validation_start=day(2.2))
    periods = split_log(log, config, TARGETS)
    found = left_out(log, periods, config, TARGETS)["test"]
    assert found["sessions"] == {"all": 4, "began_earlier": 1, "unknown_items": 1, "one_event": 1, "not_drawn": 0, "asked": 1}
    n = lengths(periods["test"])[5]
    assert found["events"] == {
        "all": 9, "began_earlier": 1, "unknown_items": 4, "one_event": 1, "not_drawn": 0, "histories": n, "asked": 3 - n,
    }  # fmt: skip
    assert found["targets"]["orders"]["all"] == 4 and found["targets"]["orders"]["unknown_items"] == 2
    assert found["items"] == {"unknown_items": 2} and found["one_event_before"] == 1


def test_of_a_long_session_every_cut_asks_the_last_events():
    long = [(9, 3 + i / 2000, i % 5, "clicks") for i in range(1004)]
    log = log_of([*((s, t, 1, "clicks") for s in range(3) for t in (s, s + 0.5)), *long])
    config = SplitConfig(cut="every", test_start=day(3), validation_start=day(1))
    periods = split_log(log, config, TARGETS)
    found = left_out(log, periods, config, TARGETS)["test"]
    assert found["events"] == {
        "all": 1004, "began_earlier": 0, "one_event": 0, "not_drawn": 0, "histories": 4, "asked": len(periods["test"].sessions),
    }  # fmt: skip


@pytest.mark.parametrize("cut", CUTS)
def test_a_log_that_leaves_nothing_out(cut):
    """Everybody knows everything, and comes in every week."""
    events = [(s + 100 * week, 7 * week + i, i, "clicks") for week in range(3) for s in range(8) for i in range(4)]
    if cut == "time":
        events = [(s % 100, t, a, kind) for s, t, a, kind in events]
    log = log_of(events)
    config = SplitConfig(cut=cut, test_start=day(14), validation_start=day(7))
    periods = split_log(log, config, TARGETS)
    for name, found in left_out(log, periods, config, TARGETS).items():
        assert found["events"]["all"] == 32 == found["events"].get("histories", 0) + found["events"]["asked"]
        assert found["sessions"]["all"] == found["sessions"]["asked"] == 8
        assert answers(periods[name], TARGETS) == {"unknown_answers": {"clicks": 0, "orders": 0}, "unanswered": 0}

"""split: auto on logs of many kinds, and what it says to logs that no split fits."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from otto_gpu.config import load_config
from otto_gpu.errors import UserError
from otto_gpu.events.auto import Chosen, choose_split, thin_tail, told
from otto_gpu.events.log import EventLog
from otto_gpu.events.settings import SplitConfig, TargetsConfig
from otto_gpu.events.span import DAY_MS, HOUR_MS, MINUTE_MS
from otto_gpu.events.split import split_log

T0 = 1_767_225_600_000  # 2026-01-01
OTTO = TargetsConfig()
YEAR = 365 * DAY_MS


def log_of(sessions: int, span: int, lasts: int, events: int = 5, items: int = 60, seed: int = 0, step: int = 1) -> EventLog:
    """Sessions that begin anywhere in `span` and last up to `lasts` ms; times in whole `step`s. 5 % orders, 10 % carts."""
    rng = np.random.default_rng(seed)
    session = np.repeat(np.arange(sessions), 2 + rng.poisson(events - 2, sessions))
    begins = rng.random(sessions)[session] * (span - lasts)
    ts = T0 + (begins + rng.random(len(session)) * lasts).astype(np.int64) // step * step
    kind = rng.choice(3, len(session), p=[0.85, 0.1, 0.05])
    aid = (items * rng.random(len(session)) ** 2).astype(np.int64)
    return EventLog.from_frame(pd.DataFrame({"session": session, "aid": aid, "ts": ts, "type": kind}))


def with_times(log: EventLog, *ts: int) -> EventLog:
    more = pd.DataFrame({"session": 10**6 + np.arange(len(ts)) // 2, "aid": 1, "ts": ts, "type": 0})
    return EventLog.from_frame(pd.concat([log.to_frame(), more]))


def customers(**more) -> EventLog:
    return log_of(200, YEAR, YEAR - DAY_MS, events=60, **more)


LOGS = {
    # what it is: (log, cut, by, the test period's length in days at least, at most)
    "10 minutes": (log_of(2000, 10 * MINUTE_MS, MINUTE_MS), "random", "time", 1 / 1440, 3 / 1440),
    "3 hours": (log_of(2000, 3 * HOUR_MS, 10 * MINUTE_MS), "random", "time", 15 / 1440, 1 / 24),
    "3 hours of long visits": (log_of(500, 3 * HOUR_MS, 2 * HOUR_MS), "random", "session", 0, 0),
    "a day": (log_of(2000, DAY_MS, HOUR_MS), "random", "time", 2 / 24, 6 / 24),
    "a week": (log_of(2000, 7 * DAY_MS, HOUR_MS), "random", "time", 1, 2),
    "four weeks": (log_of(8000, 28 * DAY_MS, HOUR_MS), "random", "time", 7, 7),
    "seven months": (log_of(2000, 210 * DAY_MS, HOUR_MS), "random", "time", 21, 56),
    "days only": (log_of(3000, 20 * DAY_MS, HOUR_MS, step=DAY_MS), "random", "time", 2, 5),
    "a year of customers": (customers(), "time", "time", 21, 84),
    "20 sessions": (log_of(20, 10 * DAY_MS, HOUR_MS, items=9), "random", "time", 1, 4),
    "no clock": (log_of(1000, HOUR_MS, HOUR_MS, step=2 * HOUR_MS), "random", "session", 0, 0),
}


@pytest.mark.parametrize("name", LOGS)
def test_what_is_chosen_fits_the_log(name):
    log, cut, by, least, most = LOGS[name]
    chosen = choose_split(log, SplitConfig(auto=True), OTTO)
    assert (chosen.split.cut, chosen.split.by, chosen.split.auto, chosen.before) == (cut, by, False, None)
    if by == "time":
        assert least <= chosen.split.test_days <= most and chosen.split.validation_days <= 2 * most
    periods = split_log(log, chosen.split, OTTO)
    asked = {n: len(p.sessions) for n, p in periods.items()}
    if cut == "random":
        assert all(0.05 * log.n_sessions <= n <= 0.4 * log.n_sessions for n in asked.values())
        assert len(periods["validation"].train) > 0.3 * len(log)
    if len(log) > 5000:
        for period in periods.values():
            numbers = np.bincount(period.labels.type, minlength=3)
            assert numbers[0] >= 150 and (numbers[1:] >= 30).all()


def test_enough_answers_of_rare_targets_where_the_log_can_give_them():
    few, many = log_of(3000, 28 * DAY_MS, HOUR_MS), log_of(30_000, 60 * DAY_MS, HOUR_MS)
    for log, more in ((few, False), (many, True)):
        for period in split_log(log, choose_split(log, SplitConfig(auto=True), OTTO).split, OTTO).values():
            assert (np.bincount(period.labels.type, minlength=3).min() >= 200) == more
    # of what is not in the log nothing is asked for
    clicks = EventLog.from_frame(many.to_frame().assign(type=0))
    assert choose_split(clicks, SplitConfig(auto=True), OTTO).split.test_days == 7


def test_logs_of_positions_and_of_one_time_are_split_by_session():
    frame = log_of(1000, DAY_MS, HOUR_MS).to_frame()
    for ts in (1000 * frame.groupby("session").cumcount(), T0):
        chosen = choose_split(EventLog.from_frame(frame.assign(ts=ts)), SplitConfig(auto=True), OTTO)
        assert chosen.split.by == "session" and "nothing of before and after" in chosen.why


@pytest.mark.parametrize("n", [0, 1, 2])
def test_too_few_sessions_are_told(n):
    rows = [(s, i, T0 + i, 0) for s in range(n) for i in range(9)] + [(100 + s, 1, T0, 0) for s in range(50)]
    log = EventLog.from_frame(pd.DataFrame(rows, columns=["session", "aid", "ts", "type"]))
    word = "1 session" if n == 1 else f"{n} sessions"
    with pytest.raises(UserError, match=f"has {word} with 2 events or more.*3 at least.*events.columns.session"):
        choose_split(log, SplitConfig(auto=True), OTTO)


def test_a_thin_tail_is_left_out_and_told():
    body = log_of(4000, 28 * DAY_MS, HOUR_MS)
    tail = np.sort(np.random.default_rng(1).integers(T0 + 28 * DAY_MS, T0 + 60 * DAY_MS, 200))
    log = with_times(body, *tail.tolist())
    chosen = choose_split(log, SplitConfig(auto=True), OTTO)
    assert chosen.before == T0 + 28 * DAY_MS and chosen.tail == 200
    assert chosen.split == choose_split(body, SplitConfig(auto=True), OTTO).split
    assert chosen.settings["events"] == {"before": "2026-01-29T00:00:00Z"}
    assert "200 events of the thin tail from 2026-01-29 on left out" in told(chosen)[1]
    assert choose_split(log, SplitConfig(auto=True), OTTO, tail=False).before is None
    # a last day that is not a whole one is none, nor are weekends, a slow end, or a short log
    whole = T0 + np.arange(0, 30 * DAY_MS, MINUTE_MS * 10)
    assert thin_tail(whole) is None and thin_tail(np.append(whole, whole[-1] + 10 * MINUTE_MS)) is None
    weekdays = whole[(whole // DAY_MS) % 7 < 5]
    assert thin_tail(weekdays) is None and thin_tail(whole[: 6 * 144]) is None and thin_tail(whole[:0]) is None
    assert thin_tail(np.append(whole, whole[-1] + np.arange(1, 9) * DAY_MS)) == T0 + 30 * DAY_MS


def test_what_is_said_besides_stays():
    log = log_of(4000, 28 * DAY_MS, HOUR_MS)
    for more in ({"cut": "last"}, {"cut": "every"}, {"by": "session"}, {"cut": "time"}, {"seed": 7, "max_test_sessions": 9}):
        chosen = choose_split(log, SplitConfig(auto=True, **more), OTTO)
        assert chosen.split.model_dump().items() >= more.items()
    # customers of whom the last event is asked are drawn, not cut at a moment
    assert choose_split(customers(), SplitConfig(auto=True, cut="last"), OTTO).split.by == "session"


def test_with_a_test_file_the_validation_period_is_chosen_of_the_rest():
    log = with_times(log_of(8000, 28 * DAY_MS, HOUR_MS), *(T0 + 40 * DAY_MS + i for i in range(40)))
    marked = np.array([s >= 10**6 for s in log.sessions.to_pylist()])
    chosen = choose_split(log, SplitConfig(auto=True), OTTO, marked)
    assert chosen.settings == {"split": {"cut": "random", "by": "time", "validation_days": 7}} and chosen.before is None
    periods = split_log(log, chosen.split, OTTO, marked)
    assert 1500 < len(periods["validation"].sessions) < 2500 and len(periods["test"].sessions) == 20


def test_what_is_chosen_can_be_written_into_a_config():
    for name, (log, *_) in LOGS.items():
        chosen = choose_split(log, SplitConfig(auto=True), OTTO)
        assert load_config(chosen.settings).split == chosen.split, name
        assert load_config(yaml.safe_load(f"{{{chosen.as_text()}}}")).split == chosen.split, name


def test_the_word_in_the_sections_place():
    for given in ({"split": "auto"}, {"split": {"auto": True}}):
        assert load_config(given).split == SplitConfig(auto=True)
    config = load_config({"split": "auto"}, ["split.seed=3", "split.max_test_sessions=5"])
    assert config.split == SplitConfig(auto=True, seed=3, max_test_sessions=5)
    assert load_config({}, ["split=auto"]).split.auto and load_config({}, ["split.auto=true"]).split.auto
    assert load_config(config.model_dump(mode="json")).split == config.split
    with pytest.raises(UserError, match="split: auto chooses test_days: leave it out"):
        load_config({"split": {"auto": True, "test_days": 3}})
    with pytest.raises(UserError, match=r"split: .*'atuo'"):
        load_config({"split": "atuo"})


def test_a_large_log_is_looked_at_in_part(monkeypatch):
    log = log_of(8000, 28 * DAY_MS, HOUR_MS)
    whole = choose_split(log, SplitConfig(auto=True), OTTO)
    monkeypatch.setattr("otto_gpu.events.auto.SAMPLE", len(log) // 3)
    assert choose_split(log, SplitConfig(auto=True), OTTO).split == whole.split


def test_real_logs(real_log):
    chosen: dict[str, Chosen] = {}
    for name, types in {"taobao_visits": 3, "taobao_users": 3, "yoochoose_clicks": 1, "kuairand_k15": 3}.items():
        frame = pd.read_parquet(Path(real_log(name)) / "events.parquet", columns=["session", "aid", "ts", "type"])
        targets = OTTO if types == 3 else TargetsConfig(types=["clicks"], weights={"clicks": 1})
        log = EventLog.from_frame(frame, types=tuple(targets.types))
        chosen[name] = choose_split(log, SplitConfig(auto=True), targets)
        split_log(log, chosen[name].split, targets)
    kinds = {name: (c.split.cut, c.split.by, c.split.test_days) for name, c in chosen.items()}
    assert kinds == {
        "taobao_visits": ("random", "time", 2), "taobao_users": ("time", "time", 1), "yoochoose_clicks": ("random", "time", 1),
        "kuairand_k15": ("time", "time", 3),
    }  # fmt: skip
    json.dumps([c.settings for c in chosen.values()])

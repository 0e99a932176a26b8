"""Where a log's own days lie, and what a run does with the few events that lie far from them."""

import numpy as np
import pandas as pd
import pytest
import yaml

from otto_gpu.errors import UserError
from otto_gpu.events.log import EventLog
from otto_gpu.events.prepare import prepare, split_prepared
from otto_gpu.events.read import ReadResult, read_log
from otto_gpu.events.settings import EventsConfig, SplitConfig, TargetsConfig
from otto_gpu.events.span import DAY_MS, HOUR_MS, between, duration, number_of, own_days

T0 = 1_767_225_600_000  # 2026-01-01
Y2038, Y2060 = 2_145_916_800_000, 2_840_140_800_000
BODY = T0 + np.arange(0, 20 * DAY_MS, HOUR_MS)
OTTO = TargetsConfig()


@pytest.mark.parametrize(
    ("far", "early", "late"),
    [
        ([], 0, 0),
        ([Y2038], 0, 1),
        ([0], 1, 0),
        ([0, 1000, Y2038, Y2038, Y2060], 2, 3),
        ([T0 + 400 * DAY_MS], 0, 1),
        ([T0 - 400 * DAY_MS], 1, 0),
        ([T0 + 50 * DAY_MS], 0, 0),  # a gap of a month in a log of three weeks: that may be so
        ([T0 + 400 * DAY_MS + i for i in range(12)], 0, 0),  # more than a few: a part of the log
    ],
)
def test_what_lies_far_from_a_log(far, early, late):
    ts = np.random.default_rng(1).permutation(np.concatenate([BODY, np.array(far, np.int64)]))
    found = own_days(ts)
    assert (len(found.early), len(found.late)) == (early, late)
    near = sorted(t for t in ts.tolist() if t not in far[: early + late] or not early + late)
    assert (found.first, found.last) == (near[0], near[-1])
    assert [*found.early, *found.late] == sorted(far)[: early + late]


def test_logs_of_few_events_and_of_one_time():
    for ts in ([5], [5, 5], [0, DAY_MS], [0, 1, 300 * DAY_MS], [T0] * 50):
        found = own_days(np.array(ts, np.int64))
        assert (found.first, found.last, len(found.early), len(found.late)) == (min(ts), max(ts), 0, 0)
    found = own_days(np.array([T0] * 50 + [0, Y2038], np.int64))
    assert (found.first, found.last) == (T0, T0) and len(found.early) == len(found.late) == 1
    large = own_days(np.concatenate([np.repeat(BODY, 1000), np.full(900, Y2038)]))  # half a percent of them
    assert len(large.late) == 900 and large.last == BODY[-1]


def test_durations_and_moments_in_words():
    told = {0: "0 seconds", 1500: "1.5 seconds", 60_000: "1 minute", 80_000: "80 seconds", 4 * HOUR_MS: "4 hours"}
    told |= {DAY_MS: "1 day", 36 * HOUR_MS: "1.5 days", 40 * DAY_MS + 5: "40 days", 30 * HOUR_MS: "30 hours"}
    assert {ms: duration(ms) for ms in told} == told
    assert number_of(1, "row") == "1 row" and number_of(2000, "row") == "2,000 rows"
    assert between(T0, T0 + 3 * DAY_MS) == "2026-01-01 to 2026-01-04" and between(T0, T0) == "2026-01-01T00:00:00Z"
    assert between(T0, T0 + 1000) == "2026-01-01T00:00:00Z to 2026-01-01T00:00:01Z"


# ------------------------------------------------------------------------------------------------------ in a run
def frame(*far: int) -> pd.DataFrame:
    """20 days of sessions of three events, an hour apart; events of sessions and items of their own far from them."""
    rows = [(s, (s + i) % 7, T0 + s * HOUR_MS + i * 1000, i % 3) for s in range(480) for i in range(3)]
    return pd.DataFrame(rows + [(1000 + i, 99 + i, t, 0) for i, t in enumerate(far)], columns=["session", "aid", "ts", "type"])


def read(path, *far: int, **events) -> tuple[ReadResult, EventsConfig]:
    frame(*far).to_parquet(path)
    config = EventsConfig(format="parquet", **events)
    return read_log(path, config, OTTO), config


def split(result: ReadResult, config: EventsConfig, **settings) -> tuple[dict, ReadResult, list[str]]:
    lines: list[str] = []
    prepared = prepare(result, config, SplitConfig(**settings), OTTO, lines.append)
    periods, prepared = split_prepared(prepared, prepared.result.log, OTTO, None, lines.append)
    return periods, prepared.result, lines


def same(one: EventLog, two: EventLog) -> bool:
    columns = all(np.array_equal(getattr(one, c), getattr(two, c)) for c in ("session", "aid", "ts", "type"))
    return columns and one.items.equals(two.items) and one.sessions.equals(two.sessions)


@pytest.mark.parametrize("far", [(Y2038,), (Y2038, Y2060), (0,), (0, Y2038)])
def test_few_events_far_away_do_not_move_the_periods(tmp_path, far):
    days = {"test_days": 2, "validation_days": 2}
    plain, _, silent = split(*read(tmp_path / "plain.parquet"), **days)
    assert silent == []
    periods, result, lines = split(*read(tmp_path / "log.parquet", *far), **days)
    for name, period in periods.items():
        assert same(period.train, plain[name].train) and same(period.history, plain[name].history)
        assert np.array_equal(period.labels.aid, plain[name].labels.aid)
    assert result.counts["far"] == len(far) and result.counts["events"] == 1440
    assert sum(result.counts["types"].values()) == 1440
    told = " ".join(lines)
    for t, key in ((0, "after: 2026-01-01"), (Y2038, "before: 2026-01-21")):
        assert (f"events.{key}" in told) == (t in far)
    # and said in the config, it is the same without a word
    limits = {"before": "2026-01-21"} if max(far) > T0 else {}
    limits |= {"after": "2026-01-01"} if min(far) == 0 else {}
    fixed, _, lines = split(*read(tmp_path / "log.parquet", *far, **limits), **days)
    assert lines == [] and all(same(fixed[n].train, plain[n].train) for n in plain)


def test_where_no_days_are_counted_they_stay_and_are_told(tmp_path):
    told = r"  warning: 1 event of 1,441 lies in 2038-01-01, 4,363 days after all others (2026-01-01 to 2026-01-20)"
    for settings in ({"by": "session"}, {"test_start": "2026-01-18", "validation_start": "2026-01-16"}):
        _, result, lines = split(*read(tmp_path / "log.parquet", Y2038), **settings)
        assert len(result.log) == 1441 and "far" not in result.counts
        assert lines[0].startswith(told) and "set events.before: 2026-01-21" in lines[0]


def test_auto_fixed_in_a_config_is_the_same_split(tmp_path):
    tail = [T0 + 25 * DAY_MS, T0 + 30 * DAY_MS, Y2038]
    periods, result, lines = split(*read(tmp_path / "log.parquet", *tail), auto=True)
    chosen = next(line for line in lines if "split: auto chose" in line)
    assert "events: {before: 2026-01-21T00:00:00Z}" in chosen and result.counts["tail"] == 2 and result.counts["far"] == 1
    settings = yaml.safe_load(f"{{{chosen.partition('chose ')[2]}}}")
    fixed, _, _ = split(*read(tmp_path / "log.parquet", *tail, **settings["events"]), **settings["split"])
    for name, period in periods.items():
        assert same(period.train, fixed[name].train) and same(period.history, fixed[name].history)


def test_auto_draws_sessions_where_by_time_every_item_is_new():
    rows = [(s, s // 24, T0 + s * HOUR_MS + i, 0) for s in range(480) for i in range(3)]  # an item a day
    log = EventLog.from_frame(pd.DataFrame(rows, columns=["session", "aid", "ts", "type"]))
    periods, _, lines = split(ReadResult(log, None, {"events": len(log), "types": {}}, None), EventsConfig(), auto=True)
    assert "by: session" in lines[-3] and "by time there is nobody" in lines[-2]
    assert all(90 < len(period.sessions) < 100 for period in periods.values())


def test_a_log_of_a_few_sessions_is_told(tmp_path):
    rows = [(s, 10 * s + i, T0 + s * DAY_MS + i, 0) for s in range(9) for i in range(3)]
    log = EventLog.from_frame(pd.DataFrame(rows, columns=["session", "aid", "ts", "type"]))
    result = ReadResult(log, None, {"events": len(log), "types": {}}, None)
    with pytest.raises(UserError, match=r"split: auto finds no split for this log of 9 sessions .*of known items.*longer log"):
        split(result, EventsConfig(), auto=True)
    with pytest.raises(UserError, match=r"of known items.*no more than 9 sessions with 2 events$") as error:
        split(result, EventsConfig(), test_days=2, validation_days=2)
    assert "auto" not in str(error.value)


def test_many_times_of_1970_are_doubtful(tmp_path):
    _, result, lines = split(*read(tmp_path / "log.parquet", *range(100)), test_days=2, validation_days=2)
    assert len(result.log) == 1540
    assert lines == ["  warning: 100 events of 1,540 lie in 1970, as where a time was not known; events.after leaves them out"]


def test_part_of_a_log_after_today_is_doubtful(tmp_path, monkeypatch):
    result, config = read(tmp_path / "log.parquet")
    for now, told in ((T0 + 10 * DAY_MS, True), (T0 + 30 * DAY_MS, False), (T0 - DAY_MS, False)):
        monkeypatch.setattr("otto_gpu.events.prepare.time.time", lambda now=now: now / 1000)
        _, _, lines = split(result, config, test_days=2, validation_days=2)
        assert [("lie after today" in line and "events.before" in line) for line in lines] == [True] * told


# ------------------------------------------------------------------------------------------------ what finds nobody
def test_customers_are_told_from_visits():
    rng = np.random.default_rng(0)
    rows = [
        (s, int(a), int(T0 + d * DAY_MS), 0)
        for s in range(60)
        for a, d in zip(rng.integers(0, 9, 20), rng.random(20) * 120, strict=True)
    ]
    log = EventLog.from_frame(pd.DataFrame(rows, columns=["session", "aid", "ts", "type"]))
    result = ReadResult(log, None, {"events": len(log), "types": {}}, None)
    with pytest.raises(UserError, match="sessions with events in it began before it") as error:
        split(result, EventsConfig())
    for setting in (
        "split.cut: time",
        "split.by: session",
        "events.visit_minutes: 30",
        "split: auto would take split: {cut: time",
    ):
        assert setting in str(error.value)
    # where a few do begin in it, the run goes on, and says it
    more = [(1000 + s, s % 9, int(T0 + (116 + s % 4) * DAY_MS + i), 0) for s in range(8) for i in range(3)]
    more += [(2000 + s, s % 9, int(T0 + (106 + s % 4) * DAY_MS + i), 0) for s in range(8) for i in range(3)]
    log = EventLog.from_frame(pd.concat([log.to_frame(), pd.DataFrame(more, columns=["session", "aid", "ts", "type"])]))
    _, _, lines = split(ReadResult(log, None, result.counts, None), EventsConfig())
    assert len(lines) == 1 and "began before it, and are not asked" in lines[0] and "split.by: session" in lines[0]


def test_one_event_a_month_later_is_named_with_the_gap():
    rows = frame(T0 + 50 * DAY_MS)
    log = EventLog.from_frame(rows)
    with pytest.raises(UserError, match=r"last 1 event lies 30 days after all others .*set events.before: 2026-01-21") as error:
        split(ReadResult(log, None, {"events": len(log), "types": {}}, None), EventsConfig(), test_days=2, validation_days=2)
    assert "split: auto would take" in str(error.value) and "\n" not in str(error.value)


def test_a_short_log_is_told_which_days_fit():
    log = EventLog.from_frame(frame().assign(ts=lambda f: T0 + (f.ts - T0) // 160))  # three hours
    with pytest.raises(
        Exception, match=r"lower split.test_days.*split: auto would take split: {cut: random, by: time, test_days: 0.0"
    ):
        split(ReadResult(log, None, {"events": len(log), "types": {}}, None), EventsConfig())

"""Times in the spellings, kinds and zones that logs have, compared to datetime and zoneinfo."""

import re
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from otto_gpu.config import load_config
from otto_gpu.errors import UserError
from otto_gpu.events.times import Clock
from tests.events.logs import T0, read, rows, write_csv, write_parquet

MOMENT = datetime(2022, 7, 31, 22, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "more"),
    [
        ("2022-07-31 22:00:00 UTC", 0),
        ("2022-07-31 22:00:00.250 UTC", 250),
        ("2022-07-31 22:00:00 utc", 0),
        ("2022-07-31 22:00:00 GMT", 0),
        ("2022-07-31 22:00:00 Z", 0),
        ("2022-07-31 22:00:00,250", 250),
        ("2022-07-31T22:00:00,250Z", 250),
        ("2022-07-31t22:00:00z", 0),
        (" 2022-07-31  22:00:00 ", 0),
        ("2022-07-31 22:00:00+00", 0),
        ("2022-08-01 00:00:00 +0200", 0),
        ("2022-08-01T00:00:00+02:00[Europe/Berlin]", 0),
        ("2022-07-31T22:00:00Z[UTC]", 0),
        ("2022-08-01 00:00:00.250 Europe/Berlin", 250),
        ("20220731T220000Z", 0),
        ("20220731220000", 0),
        ("20220731220000250", 250),
        ("2022/07/31 22:00:00", 0),
    ],
)
@pytest.mark.parametrize("place", [0, 1])  # the first time is that from which the spelling is guessed
def test_spellings_of_iso(text, more, place):
    values = ["2022-07-31T22:00:00Z"]
    values.insert(place, text)
    ts, valid = Clock("iso").milliseconds(pa.array(values))
    assert valid.all()
    assert sorted(ts.tolist()) == [T0, T0 + more]


@pytest.mark.parametrize("text", ["now", "today", "01.08.2022 00:00:00", "1659304800", "soon", "2022-07-31 22:00:00 Foo/Bar"])
def test_what_is_no_time_of_iso(text):
    assert not Clock("iso").milliseconds(pa.array([text, None]))[1].any()


@pytest.mark.parametrize(
    ("unit", "column", "ms"),
    [
        ("s", pa.array([Decimal("1659304800.025")]), T0 + 25),
        ("ms", pa.array([Decimal(T0)], pa.decimal128(38, 0)), T0),
        ("ns", pa.array([Decimal(T0 * 1_000_000)], pa.decimal128(38, 9)), T0),
        ("s", pa.array(["1659304800.025"]), T0 + 25),
        ("s", pa.array(["1659304800,025"]), T0 + 25),
        ("ms", pa.array([f" {T0} "]), T0),
        ("ms", pa.array([f"{T0}.0"]), T0),
        ("iso", pa.array([MOMENT.date()]), T0 - 22 * 3_600_000),
    ],
)
def test_kinds_of_numbers(unit, column, ms):
    ts, valid = Clock(unit).milliseconds(column)
    assert (ts.tolist(), valid.tolist()) == ([ms], [True])


@pytest.mark.parametrize(
    ("form", "text"),
    [
        ("%d.%m.%Y %H:%M:%S", "31.07.2022 22:00:00"),
        ("%m/%d/%Y %I:%M %p", "07/31/2022 10:00 PM"),
        ("%d/%b/%Y:%H:%M:%S %z", "01/Aug/2022:00:00:00 +0200"),
    ],
)
def test_a_format_of_ones_own(tmp_path, form, text):
    path = write_csv(tmp_path / "log.csv", [(1, 2, text, "clicks")])
    assert rows(read(path, ts_format=form, max_rejected=0)) == [(1, 2, T0, "clicks")]


def test_a_format_for_days_that_are_integers(tmp_path):
    path = write_parquet(tmp_path / "log.parquet", [(1, 2, 20220731, "clicks")])
    assert rows(read(path, ts_format="%Y%m%d", max_rejected=0)) == [(1, 2, T0 - 22 * 3_600_000, "clicks")]


NAIVE = st.datetimes(datetime(1995, 1, 1), datetime(2035, 1, 1))
CHANGES = st.builds(
    lambda year, month, minutes: datetime(year, *month) + timedelta(minutes=minutes),
    st.sampled_from([2022]),
    st.sampled_from([(3, 27), (10, 30)]),
    st.integers(0, 300),
)


@given(st.lists(st.one_of(NAIVE, CHANGES), min_size=1, max_size=20), st.sampled_from(["Europe/Berlin", "America/New_York"]))
@settings(max_examples=40, deadline=None)
def test_times_without_a_zone_are_those_of_the_clocks(naive, zone):
    naive = [moment.replace(microsecond=0) for moment in naive]
    expected = [int(moment.replace(tzinfo=ZoneInfo(zone)).timestamp()) * 1000 for moment in naive]
    clock = Clock("iso", zone=zone)
    assert clock.milliseconds(pa.array([str(moment) for moment in naive]))[0].tolist() == expected
    assert clock.milliseconds(pa.array(naive, pa.timestamp("us")))[0].tolist() == expected
    assert Clock("s", "%d.%m.%Y %H:%M:%S", zone).milliseconds(
        pa.array([moment.strftime("%d.%m.%Y %H:%M:%S") for moment in naive])
    )[0].tolist() == expected  # fmt: skip


def test_zones_that_are_there_go_before_the_logs(tmp_path):
    path = write_csv(tmp_path / "log.csv", [(1, 2, "2022-08-01 00:00", "clicks"), (2, 2, "2022-07-31T22:00Z", "clicks")])
    assert [row[2] for row in rows(read(path, ts_unit="iso", timezone="Europe/Berlin"))] == [T0, T0]
    assert [row[2] for row in rows(read(path, ts_unit="iso", timezone="+02:00"))] == [T0, T0]


def test_hours_that_clocks_show_twice_or_leave_out_are_told(tmp_path):
    path = write_csv(tmp_path / "log.csv", [(1, i, f"2022-{day} 02:30", "clicks") for i, day in enumerate(["03-27", "10-30"])])
    result = read(path, ts_unit="iso", timezone="Europe/Berlin")
    assert [datetime.fromtimestamp(row[2] / 1000, UTC).hour for row in rows(result)] == [1, 0]
    assert result.notes == [
        "2 times lie in an hour that clocks of Europe/Berlin show twice or leave out: read as before the change"
    ]


ISO, S, FORM = {"ts_unit": "iso"}, {"ts_unit": "s"}, {"ts_format": "%d.%m.%Y"}


@pytest.mark.parametrize(
    ("config", "value", "said"),
    [
        (ISO, "01.08.2022 00:00:00", "'01.08.2022 00:00:00'; events.ts_unit: iso asks for text such as 2026-01-31T09:30:00Z; "),
        (ISO, "01.08.2022 00:00:00", "set events.ts_format: '%d.%m.%Y %H:%M:%S'"),
        (ISO, "1659304800", "this looks like seconds: set events.ts_unit: s"),
        (ISO, "1659304800000", "this looks like milliseconds: set events.ts_unit: ms"),
        ({}, "2022-08-01 00:00:00 UTC", "set events.ts_unit: iso"),
        (S, "05/06/2022", "set events.ts_format: '%d/%m/%Y' or '%m/%d/%Y'"),
        (FORM, "2022-08-01", "ts_format: '%d.%m.%Y' asks for times such as '31.01.2026'; set events.ts_unit: iso"),
        (S, "1659304800000", "'1659304800000'; this looks like a time in ms: set events.ts_unit: ms"),
    ],
)
def test_times_that_are_none_are_told_with_a_way_out(tmp_path, config, value, said):
    path = write_csv(tmp_path / "log.csv", [(1, 2, value, "clicks")])
    with pytest.raises(UserError, match=re.escape(said)):
        read(path, max_rejected=0, **config)


@pytest.mark.parametrize(
    ("events", "said"),
    [
        ({"timezone": "Europe/Nowhere"}, "events.timezone: not a time zone"),
        ({"ts_format": "%H:%M"}, "events.ts_format: a format needs a year"),
        ({"ts_format": "%Y-%Q"}, "events.ts_format: not a format"),
    ],
)
def test_settings_of_times_that_cannot_be(events, said):
    with pytest.raises(UserError, match=said):
        load_config({"events": events})

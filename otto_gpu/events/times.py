"""Times of any kind as milliseconds since 1970 (UTC), and what a value that is no time seems to be."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from itertools import product

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from otto_gpu.events.typed import NUMBER, decoded, is_text
from otto_gpu.events.zones import is_zone

UNITS = ("s", "ms", "us", "ns")
NAMES = {"s": "seconds", "ms": "milliseconds", "us": "microseconds", "ns": "nanoseconds"}
YEAR_1990_MS, YEAR_2100_MS = 631_152_000_000, 4_102_444_800_000
YEAR_2200_MS = 7_258_118_400_000
PER_MS = {"us": 1_000, "ns": 1_000_000}
INT64 = np.iinfo(np.int64)
WORDS = pa.array(["now", "today"])  # which pandas takes for times
ZONED = r"[T ]\d[\d:.]* ?([zZ]|[+-]\d{2}(:?\d{2})?)$"  # a time of day with its zone
NAMED_ZONE = r"^(?P<time>.*\d) ?\[?(?P<zone>[A-Z][A-Za-z_]+/[A-Za-z_/+-]+\d*)\]?$"
# how databases and tools write what is ISO 8601 otherwise, and what pandas understands
SPELLINGS = [
    (r"\s{2,}|[\t\xa0]", " "),
    (r"(Z|[+-]\d{2}:?\d{2})\[[^\]]*\]$", r"\1"),  # Java names the zone besides
    (r"([+-]\d{2}:?\d{2}) [A-Z]{3,4}$", r"\1"),  # Go does so too: +0000 UTC
    (r" ?(?i:utc|gmt)$|z$", "Z"),
    (r"^(\d{4}-?\d{2}-?\d{2})t", r"\1T"),
    (r"(:\d{2}),(\d+)", r"\1.\2"),
    (r"^(\d{8})(\d{4}|\d{6})(Z?)$", r"\1T\2\3"),
    (r"^(\d{8})(\d{6})[.,]?(\d{3})(Z?)$", r"\1T\2.\3\4"),
]
DATES = [
    *("%d.%m.%Y", "%d.%m.%y", "%d/%m/%Y", "%m/%d/%Y", "%d/%m/%y", "%m/%d/%y", "%d-%m-%Y", "%m-%d-%Y", "%Y.%m.%d", "%Y/%m/%d"),
    *("%d-%b-%Y", "%d-%b-%y", "%d %b %Y", "%d %B %Y", "%b %d, %Y", "%B %d, %Y", "%b %d %Y", "%d/%b/%Y", "%a, %d %b %Y"),
    *("%a %b %d %Y", "%Y-%m-%d", "%Y%m%d"),
]
HOURS = ["%H:%M:%S", "%H:%M", "%H:%M:%S.%f", "%I:%M:%S %p", "%I:%M %p", "%H.%M.%S", "%H.%M.%S.%f", "%H"]
FORMS = [
    *DATES,
    "%a %b %d %H:%M:%S %Y",
    "%a %b %d %H:%M:%S %z %Y",
    *(date + between + hour for date, between, hour in product(DATES, (" ", ", ", "T", ":", "-"), HOURS)),
]
DAY = datetime(2026, 1, 31, 9, 30, tzinfo=UTC)


class Clock:
    """Reads times as events.ts_unit, ts_format and timezone say. unclear: how many times without a zone it has met that an hour
    of a change of clocks holds twice, or not at all."""

    def __init__(self, unit: str, form: str | None = None, zone: str = "UTC"):
        self.unit, self.form, self.zone = unit, form, zone
        self.unclear = 0

    def milliseconds(self, column: pa.Array) -> tuple[np.ndarray, np.ndarray]:
        """(ts int64 [n] in ms, valid bool [n]) of integers, floats, decimals, text, or timestamps and dates, which carry their
        own unit. Seconds are rounded to ms; what is finer than a millisecond is cut off. Times without a zone are those of
        the clock's zone."""
        column = _plain(column)
        kind = column.type
        if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
            return self._timestamps(column)
        if self.form is not None and (is_text(kind) or pa.types.is_integer(kind)):
            return self._by_form(column.cast(pa.string()))
        if is_text(kind):
            return self._iso(column) if self.unit == "iso" else _scaled(_numbers(column, self.unit == "s"), self.unit)
        if self.unit == "iso" or not (pa.types.is_integer(kind) or pa.types.is_floating(kind)):
            return np.zeros(len(column), np.int64), np.zeros(len(column), bool)
        return _scaled(column, self.unit)

    def _timestamps(self, column: pa.Array) -> tuple[np.ndarray, np.ndarray]:
        zone = getattr(column.type, "tz", None)
        if column.type == pa.timestamp("s", zone):  # as milliseconds they might not fit, and turn into others
            ts, valid = _scaled(column.cast(pa.int64()), "s")
        else:
            ts, valid = _scaled(column.cast(pa.timestamp("ms", zone), safe=False).cast(pa.int64()), "ms")
        return (ts if zone is not None else self._of_zone(ts, valid)), valid

    def _by_form(self, text: pa.Array) -> tuple[np.ndarray, np.ndarray]:
        times = pd.to_datetime(pc.utf8_trim_whitespace(text).to_pandas(), format=self.form, utc=True, errors="coerce")
        ts, valid = _of_pandas(times)
        return (ts if re.search("%[zZ]", self.form.replace("%%", "")) else self._of_zone(ts, valid)), valid

    def _iso(self, text: pa.Array) -> tuple[np.ndarray, np.ndarray]:
        # a spelling that the first time has is hardly its own: to find them one by one takes ten times as long
        text = _spelt(text, [spelling for spelling in SPELLINGS if re.search(spelling[0], _first(text))])
        ts, valid = self._iso_of(text)
        odd = np.flatnonzero(~valid & text.is_valid().to_numpy(zero_copy_only=False))
        if len(odd):
            rest = _spelt(pc.utf8_trim_whitespace(text.take(pa.array(odd))), SPELLINGS)
            ts[odd], valid[odd] = self._iso_of(rest)
            self._in_named_zones(ts, valid, odd, rest)
        return ts, valid

    def _iso_of(self, text: pa.Array) -> tuple[np.ndarray, np.ndarray]:
        ts, valid = _of_pandas(pd.to_datetime(text.to_pandas(), format="ISO8601", utc=True, errors="coerce"))
        words = pc.is_in(text, value_set=WORDS).to_numpy(zero_copy_only=False)
        if words.any():
            valid &= ~words
        if self.zone != "UTC":
            zoned = pc.fill_null(pc.match_substring_regex(text, ZONED), False).to_numpy(zero_copy_only=False)
            ts = np.where(zoned, ts, self._of_zone(ts, valid & ~zoned))
        return ts, valid

    def _in_named_zones(self, ts: np.ndarray, valid: np.ndarray, rows: np.ndarray, text: pa.Array) -> None:
        """Sets those of these rows that end in the name of a zone (Europe/Berlin)."""
        left = np.flatnonzero(~valid[rows])
        parts = pc.extract_regex(text.take(pa.array(left)), NAMED_ZONE)
        named = parts.is_valid().to_numpy(zero_copy_only=False)
        if not named.any():
            return
        times, zones = parts.field("time"), parts.field("zone")
        for zone in pc.unique(zones.filter(pa.array(named))).to_pylist():
            if not is_zone(zone):
                continue
            mine = np.flatnonzero(named & pc.equal(zones, zone).to_numpy(zero_copy_only=False))
            clock = Clock("iso", zone=zone)
            where = rows[left[mine]]
            ts[where], valid[where] = clock._iso_of(times.take(pa.array(mine)))
            self.unclear += clock.unclear

    def _of_zone(self, ts: np.ndarray, valid: np.ndarray) -> np.ndarray:
        """From what the clocks of the zone show (int64 [n], ms) to UTC. Of an hour that they show twice it is the first; in one
        that they leave out they are taken as not put forward yet."""
        if self.zone == "UTC" or not valid.any():
            return ts
        local = pa.array(np.clip(ts, -YEAR_2200_MS, 2 * YEAR_2200_MS)).cast(pa.timestamp("ms"))
        first = pc.assume_timezone(local, self.zone, ambiguous="earliest", nonexistent="earliest")
        second = pc.assume_timezone(local, self.zone, ambiguous="latest", nonexistent="latest")
        shown = pc.local_timestamp(first).cast(pa.int64()).to_numpy()
        first, second = (times.cast(pa.int64()).to_numpy() for times in (first, second))
        self.unclear += int(((first != second) & valid).sum())
        # what the clocks show is what was given, but where they leave the hour out: there the zone's time before it goes on
        return first + (local.cast(pa.int64()).to_numpy() - shown)

    def why_none(self, value) -> str:
        """What a value that is no time seems to be, what was expected, and the setting to change."""
        said = str(value).strip()
        expected = EXPECTED.get(self.unit) or f"a number of {NAMES[self.unit]} since 1970"
        told = f"events.ts_unit: {self.unit} asks for {expected}"
        if self.form is not None:
            told = f"events.ts_format: {self.form!r} asks for times such as {DAY.strftime(self.form)!r}"
        unit = None if not re.fullmatch(NUMBER, said) else unit_of(float(said))
        if unit is not None and (unit != self.unit or self.form):
            return f"{told}; this looks like {NAMES[unit]}: set events.ts_unit: {unit}" + (" alone" if self.form else "")
        if (self.unit != "iso" or self.form) and Clock("iso").milliseconds(pa.array([said]))[1][0] and not said.isdigit():
            return f"{told}; set events.ts_unit: iso" + (" alone" if self.form else "")
        forms = [] if said.isdigit() and len(said) != 8 else list(_forms_of(said))[:2]
        return f"{told}; set events.ts_format: {' or '.join(map(repr, forms))}" if forms else told


EXPECTED = {"iso": "text such as 2026-01-31T09:30:00Z"}


def to_milliseconds(column: pa.Array, unit: str) -> tuple[np.ndarray, np.ndarray]:
    """As Clock.milliseconds: (ts int64 [n] in ms, valid bool [n]), times without a zone in UTC."""
    return Clock(unit).milliseconds(column)


def unit_of(number: float) -> str | None:
    """In which unit since 1970 a number would be a time between 1990 and 2100."""
    for unit, per_ms in {"s": 1e-3, "ms": 1, "us": 1e3, "ns": 1e6}.items():
        if YEAR_1990_MS <= number / per_ms < YEAR_2100_MS:
            return unit
    return None


def suspicious_unit(ts: np.ndarray, unit: str) -> str | None:
    """A warning where times (int64 [n], ms) lie about 1970 and would lie in our days if they were in a larger unit than
    `unit`, or are days written as numbers; None where they may be right. A clock that begins at 0 is nobody's mistake."""
    if not len(ts) or unit not in UNITS:
        return None
    first, last = int(ts.min()), int(ts.max())
    written = [time // 1000 if unit == "s" else time for time in (first, last)]
    if unit in ("s", "ms") and all(_is_day(number) for number in written):
        return f"times are from {written[0]} to {written[1]}: if these are days, set events.ts_format to '%Y%m%d'"
    for larger in UNITS[: UNITS.index(unit)]:
        factor = 1000 ** (UNITS.index(unit) - UNITS.index(larger))
        if first * factor >= YEAR_1990_MS and last * factor < YEAR_2100_MS:
            days = " to ".join(dict.fromkeys(str(datetime.fromtimestamp(t / 1000, UTC).date()) for t in (first, last)))
            return f"all times lie in {days}: if ts is in {larger} and not in {unit}, set events.ts_unit to {larger!r}"
    return None


def _is_day(number: int) -> bool:
    """Whether it is one of 1990 to 2100 as 20260131 says it."""
    with suppress(ValueError):
        return 1990 <= datetime.strptime(str(number), "%Y%m%d").year <= 2100 and number > 19_900_000
    return False


def moment_ms(moment: datetime) -> int:
    """The first millisecond at or after the moment; without a zone it is UTC."""
    moment = moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
    return -((datetime(1970, 1, 1, tzinfo=UTC) - moment) // timedelta(milliseconds=1))


def _plain(column: pa.Array) -> pa.Array:
    """Views, dictionaries and decimals as what they stand for."""
    column = decoded(column)
    kind = column.type
    if is_text(kind):
        return column if pa.types.is_string(kind) else column.cast(pa.string())
    if pa.types.is_decimal(kind):
        with suppress(pa.ArrowInvalid):  # a fraction, or more than int64 holds
            return column.cast(pa.decimal128(38, max(kind.scale, 0))).cast(pa.int64())
        return column.cast(pa.float64())
    return column


def _of_pandas(times: pd.Series) -> tuple[np.ndarray, np.ndarray]:
    valid = times.notna().to_numpy()
    return times.dt.as_unit("ms").astype("int64").to_numpy() * valid, valid.copy()


def _scaled(column: pa.Array, unit: str) -> tuple[np.ndarray, np.ndarray]:
    """Of integers and floats."""
    valid = column.is_valid().to_numpy(zero_copy_only=False)
    if pa.types.is_integer(column.type):
        if pa.types.is_uint64(column.type):
            column = pc.min_element_wise(column, pa.scalar(INT64.max, pa.uint64()), skip_nulls=False)
        values = pc.fill_null(column.cast(pa.int64()), 0).to_numpy()
        if unit == "s":  # whole seconds beyond the year 2200 are rejected anyway: keep them from overflowing
            return np.clip(values, -YEAR_2200_MS, YEAR_2200_MS) * 1000, valid
        return values // PER_MS.get(unit, 1), valid
    values = pc.fill_null(column.cast(pa.float64()), np.nan).to_numpy(zero_copy_only=False)
    valid = valid & np.isfinite(values)
    scaled = np.where(valid, values, 0) * (1000 if unit == "s" else 1 / PER_MS.get(unit, 1))
    # clipped: beyond int64 a cast would be undefined, and both ends are rejected in any case
    return np.rint(np.clip(scaled, -2.0 * YEAR_2200_MS, 2.0 * YEAR_2200_MS)).astype(np.int64), valid


def _numbers(text: pa.Array, prefer_float: bool) -> pa.Array:
    """Text to int64 or, where there are fractions, float64; null where it is no number. A decimal comma is a point."""
    if not prefer_float and not pc.any(pc.match_substring(text, "x", ignore_case=True)).as_py():  # a cast would take 0x1f
        with suppress(pa.ArrowInvalid):
            return text.cast(pa.int64())
    number = pc.match_substring_regex(text, NUMBER)
    if not pc.all(number).as_py():
        text = pc.replace_substring_regex(pc.utf8_trim_whitespace(text), r"^([+-]?\d+),(\d+)$", r"\1.\2")
        number = pc.match_substring_regex(text, NUMBER)
    numbers = pc.if_else(number, text, pa.scalar(None, pa.string()))
    if not prefer_float:
        with suppress(pa.ArrowInvalid):
            return numbers.cast(pa.int64())
    return numbers.cast(pa.float64())


def _first(text: pa.Array) -> str:
    """The first value that there is, '' where there is none."""
    there = pc.index(text.is_valid(), True).as_py()
    return text[there].as_py() if there >= 0 else ""


def _spelt(text: pa.Array, spellings: list[tuple[str, str]]) -> pa.Array:
    for pattern, written in spellings:
        text = pc.replace_substring_regex(text, pattern, written)
    return text


def _forms_of(said: str) -> Iterator[str]:
    """The formats (strptime) that fit, the likeliest first."""
    said = re.sub(r"\s+", " ", said)
    for form in FORMS:
        for zone in ("", " %z", "%z", " %Z") if _shape(said).startswith(_shape(DAY.strftime(form))) else ():
            with suppress(ValueError):
                datetime.strptime(said, form + zone)
                yield form + zone
                break


def _shape(said: str) -> str:
    return re.sub(r"[^\W\d]+", "a", re.sub(r"\d+", "0", said))

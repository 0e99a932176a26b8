"""Numbers as people read them."""

from __future__ import annotations

import json
from datetime import datetime

NO_BREAK = "\N{NO-BREAK SPACE}"
DASH = "–"


def share(value: float | None) -> str:
    """A recall or a coverage: 0.397; a dash where there is none."""
    return DASH if value is None else f"{value:.3f}"


def ends(interval) -> str:
    return f"[{interval[0]:.3f},{NO_BREAK}{interval[1]:.3f}]" if interval else ""


def signed(value: float | None, interval=None) -> str:
    """A difference: +0.012 [−0.003, +0.021]"""
    if value is None:
        return DASH
    return f"{_signed(value)} {signed_ends(interval)}".rstrip()


def signed_ends(interval) -> str:
    return f"[{_signed(interval[0])},{NO_BREAK}{_signed(interval[1])}]" if interval else ""


def _signed(value: float) -> str:
    return f"{value:+.3f}".replace("-", "−")


def percent(value: float | None) -> str:
    if value is None:
        return DASH
    points = 100 * value
    return f"{points:.3g}{NO_BREAK}%" if 0 < points < 1 else f"{points:.1f}{NO_BREAK}%"


def rate(value: float) -> str:
    """A share that may be a small one, in percent: 0.49 %, 12.3 %"""
    return f"{100 * value:.2g}{NO_BREAK}%" if value < 0.1 else f"{100 * value:.1f}{NO_BREAK}%"


def count(value: float | None) -> str:
    return DASH if value is None else f"{value:,.0f}"


def seconds(value: float) -> str:
    if value < 60:
        return f"{value:.1f}{NO_BREAK}s"
    minutes, rest = divmod(round(value), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {rest:02} s"


def megabytes(value: float) -> str:
    return f"{value / 1024:.1f}{NO_BREAK}GB" if value >= 1024 else f"{value:,.0f}{NO_BREAK}MB"


def day(time: datetime) -> str:
    return f"{time.day} {time:%b %Y}"


def moment(time: datetime) -> str:
    return f"{time.day} {time:%b %Y, %H:%M} UTC"


def between(span: tuple[datetime, datetime] | None) -> str:
    """From the first to the last event, to the day; to the minute within a day."""
    if span is None:
        return "no dates"
    first, last = span
    if first.date() == last.date():
        return f"{day(first)}, {first:%H:%M} to {last:%H:%M} UTC"
    return f"{day(first)} to {day(last)}"


def better_or_worse(difference: float | None, interval) -> str:
    """better, worse or no difference: what an interval allows to say."""
    if difference is None or not interval:
        return "unknown"
    if interval[0] > 0:
        return "better"
    return "worse" if interval[1] < 0 else "no difference"


def listed(names) -> str:
    """a, b and c"""
    *most, last = [str(n) for n in names]
    return f"{', '.join(most)} and {last}" if most else last


def setting(value) -> str:
    """A value of the configuration on one line."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)

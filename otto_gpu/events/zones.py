"""Names of time zones."""

from __future__ import annotations

import re
from datetime import datetime, tzinfo
from zoneinfo import ZoneInfo


def zone_of(name: str) -> tzinfo:
    """Of a name for which is_zone holds."""
    return datetime.strptime(name, "%z").tzinfo if name[0] in "+-" else ZoneInfo(name)


def is_zone(name: str) -> bool:
    """A name of the IANA's that this machine knows, or an offset such as +02:00."""
    if re.fullmatch(r"[+-]([01]\d|2[0-3]):[0-5]\d", name):
        return True
    try:
        return bool(ZoneInfo(name)) and name not in ("localtime", "posixrules")
    except Exception:  # of what is no zone, zoneinfo says so in many ways
        return False

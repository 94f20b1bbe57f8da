"""ISO 8601 date-times, as their generators write them and as we do (docs/decisions.md, "Date-times")."""

from __future__ import annotations

import re
from datetime import datetime, timezone

_DATE_TIME = re.compile(
    r"(\d{4}-\d\d-\d\d)[Tt](\d\d:\d\d)(:\d\d)?(?:[.,](\d{1,9}))?(?:[Zz]|([+-]\d\d):?([0-5]\d))?", re.ASCII
)


def parse(text: str) -> datetime:
    """Return the time that a text names: naive, in UTC, cut to microseconds. Without an offset it is in UTC.

    `datetime.fromisoformat` alone takes neither `Z` nor other than three or six digits of a fraction in Python 3.10.

    Raises:
        ValueError: it is no date-time, or one that does not exist.
    """
    match = _DATE_TIME.fullmatch(text)
    if match is None or (match[4] and not match[3]):
        raise ValueError("no ISO 8601 date-time")
    date, minutes, seconds, fraction, hours, offset_minutes = match.groups()
    offset = f"{hours}:{offset_minutes}" if hours else "+00:00"
    plain = f"{date}T{minutes}{seconds or ':00'}.{(fraction or '')[:6]:0<6}{offset}"
    try:
        return datetime.fromisoformat(plain).astimezone(timezone.utc).replace(tzinfo=None)
    except OverflowError:
        raise ValueError("out of range") from None


def iso(moment: datetime) -> str:
    """Write a date-time in UTC with `Z`; a naive one is in UTC."""
    if moment.tzinfo is not None:
        moment = moment.astimezone(timezone.utc).replace(tzinfo=None)
    return moment.isoformat() + "Z"

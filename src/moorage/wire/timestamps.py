"""Timestamps in AWS's three spellings. Inside Moorage a time is epoch seconds as a float; datetimes are understood too."""

from __future__ import annotations

import calendar
import re
from datetime import UTC, datetime, timedelta
from email.utils import formatdate, parsedate_to_datetime
from typing import Any

from moorage.wire.errors import Malformed

_ISO = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)(?:[Tt ](\d\d):(\d\d)(?::(\d\d)([.,]\d+)?)?)?\s*([Zz]|[+-]\d\d:?\d\d)?\Z", re.ASCII
)


def epoch(value: Any) -> float | int:
    """Seconds since the epoch of what a provider returned: a number, or a datetime (UTC when it names no zone)."""
    if isinstance(value, datetime):
        return (value if value.tzinfo else value.replace(tzinfo=UTC)).timestamp()
    return value  # type: ignore[no-any-return]


def to_unix(value: Any) -> float | int:
    """As JSON carries it: a whole number of seconds stays whole, fractions keep milliseconds."""
    if value.__class__ is int:
        return value
    seconds = round(epoch(value), 3)
    whole = int(seconds)
    return whole if whole == seconds else seconds


def to_iso(value: Any) -> str:
    """`2015-01-25T08:00:00Z`, with milliseconds when there are any."""
    milliseconds = round(epoch(value) * 1000)
    seconds, rest = divmod(milliseconds, 1000)
    moment = datetime(1970, 1, 1) + timedelta(seconds=seconds)
    text = moment.isoformat()
    return f"{text}.{rest:03d}Z" if rest else f"{text}Z"


def to_rfc822(value: Any) -> str:
    """`Sun, 25 Jan 2015 08:00:00 GMT`"""
    return formatdate(int(epoch(value)), usegmt=True)


FORMATTERS = {"iso8601": to_iso, "rfc822": to_rfc822, "unixTimestamp": to_unix, "unixtimestamp": to_unix}


def formatter(shape_format: str | None, default: str) -> Any:
    return FORMATTERS[shape_format or default]


def parse(value: Any) -> float:
    """Epoch seconds from any spelling a client may send: a number, a numeric string, ISO 8601 or RFC 822."""
    if isinstance(value, bool):
        raise Malformed("TRUE_VALUE can not be converted to a Timestamp")
    if isinstance(value, int | float):
        return _finite(float(value))
    if isinstance(value, datetime):
        return float(epoch(value))
    if not isinstance(value, str):
        raise Malformed("Expected a timestamp")
    text = value.strip()
    match = _ISO.match(text)
    if match:
        return _from_iso(match)
    try:
        return _finite(float(text))
    except ValueError:
        pass
    try:
        moment = parsedate_to_datetime(text)
    except (ValueError, TypeError, IndexError, OverflowError):
        raise Malformed(f"Unable to parse timestamp: {text[:64]}") from None
    return float(epoch(moment))


def _finite(value: float) -> float:
    if value != value or value in (float("inf"), float("-inf")):
        raise Malformed("Unable to parse timestamp")
    return value


def _from_iso(match: re.Match[str]) -> float:
    year, month, day, hour, minute, second, fraction, zone = match.groups()
    try:
        moment = datetime(int(year), int(month), int(day), int(hour or 0), int(minute or 0), min(int(second or 0), 59))
    except ValueError:
        raise Malformed(f"Unable to parse timestamp: {match.string[:64]}") from None
    seconds = float(calendar.timegm(moment.timetuple()))
    if fraction:
        seconds += float("0." + fraction[1:])
    if zone and zone not in "Zz":
        sign = -1 if zone[0] == "-" else 1
        seconds -= sign * (int(zone[1:3]) * 3600 + int(zone[-2:]) * 60)
    return seconds

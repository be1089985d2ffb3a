"""How long a registry asks to be left alone: in its text, or in a header. In seconds, pure."""

from __future__ import annotations

import datetime as dt
import email.utils
import re
from collections.abc import Mapping

LONGEST_RETRY_AFTER_SECONDS = 6 * 3600.0
"""Docker Hub's window. Nobody is to silence a device for longer, by mistake or by malice."""

_RETRY_AFTER = re.compile(
    r"retry[- ]after\W{1,3}(?P<duration>(?:[0-9.]{1,20}(?:ns|[uµμ]s|ms|s|m|h))+|[0-9.]{1,20})",
    re.IGNORECASE | re.ASCII,
)
_DURATION_PART = re.compile(r"(?P<number>[0-9]+(?:\.[0-9]+)?)(?P<unit>[a-zµμ]*)", re.IGNORECASE)
_SECONDS_PER_UNIT = {
    "ns": 1e-9, "us": 1e-6, "ms": 1e-3, "": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0,
}  # fmt: skip


def retry_after_seconds(text: str) -> float | None:
    """The wait that a text such as `toomanyrequests: retry-after: 718µs` asks for, in seconds.

    Go's durations (`1m30s`, with either of the two letters µ), or a bare number of seconds.
    """
    found = _RETRY_AFTER.search(text)
    if found is None:
        return None
    seconds = sum(
        float(part["number"]) * _SECONDS_PER_UNIT[re.sub("[µμ]", "u", part["unit"].lower())]
        for part in _DURATION_PART.finditer(found["duration"])
    )
    return _sensible(seconds)


def header_seconds(headers: Mapping[str, str]) -> float | None:
    """The wait that `Retry-After` asks for (RFC 9110, 10.2.3); None for none, or one in no known form."""
    asked = headers.get("Retry-After") or ""
    if asked.isdecimal() and asked.isascii():
        return _sensible(float(asked[:20]))
    until = _date(asked)
    # The server's own clock counts: a device's may be off by years.
    now = _date(headers.get("Date") or "") or dt.datetime.now(dt.timezone.utc)
    return _sensible((until - now).total_seconds()) if until else None


def _date(text: str) -> dt.datetime | None:
    try:
        found = email.utils.parsedate_to_datetime(text)
    except (ValueError, TypeError, OverflowError):
        return None
    return found if found.tzinfo else found.replace(tzinfo=dt.timezone.utc)


def _sensible(asked_seconds: float) -> float:
    """Not less than none, and not longer than anybody may ask for."""
    return min(max(0.0, asked_seconds), LONGEST_RETRY_AFTER_SECONDS)

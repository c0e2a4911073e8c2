"""Dates as the emulated management APIs write and read them."""

from __future__ import annotations

import re
from datetime import UTC, datetime

# The documented forms, and that of the documentation's own sample, without seconds.
_FORM = re.compile(
    r"(\d{4}-\d\d-\d\d)(?:T(\d\d)(?::(\d\d)(?::(\d\d)(\.\d{1,6})?)?)?)?(Z|[+-]\d\d:\d\d)?",
)


def stamp(seconds: float, *, milliseconds: bool = False) -> str:
    """Return a moment as answers have it."""
    moment = datetime.fromtimestamp(seconds, UTC)
    fraction = f".{moment.microsecond // 1000:03}" if milliseconds else ""
    return f"{moment:%Y-%m-%dT%H:%M:%S}{fraction}Z"


def minute(seconds: float) -> str:
    """Return a moment as the interval of a report has it."""
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%MZ}"


def moment(text: object) -> float | None:
    """Return the seconds since the epoch that *text* names, as UTC where it names no zone; None if it is no date."""
    found = _FORM.fullmatch(text) if isinstance(text, str) else None
    if found is None:
        return None
    day, hour, minutes, second, fraction, zone = found.groups()
    clock = f"{hour or '00'}:{minutes or '00'}:{second or '00'}{(fraction or '').ljust(4, '0') if fraction else ''}"
    try:
        return datetime.fromisoformat(f"{day}T{clock}{'+00:00' if zone in (None, 'Z') else zone}").timestamp()
    except ValueError:
        return None

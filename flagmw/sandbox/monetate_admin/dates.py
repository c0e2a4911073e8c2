"""Dates as Monetate's emulated management APIs write and read them."""

from __future__ import annotations

import re
from datetime import UTC, datetime

_FORM = re.compile(r"\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d(?::\d\d(?:\.\d{1,6})?)?(?:Z|[+-]\d\d:?\d\d)?)?")


def stamp(seconds: float) -> str:
    """Return a moment as answers have it."""
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S.%fZ}"


def is_date(text: object) -> bool:
    """Say whether *text* is a date of ISO 8601, with or without a time."""
    if not isinstance(text, str) or not _FORM.fullmatch(text):
        return False
    try:
        datetime.fromisoformat(text)
    except ValueError:
        return False
    return True

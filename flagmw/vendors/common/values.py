"""Checks of single values from JSON, cookies and options."""

from __future__ import annotations

import math
from typing import Any

from flagmw.vendors.common.json import BROKEN


def object_or_empty(value: Any) -> dict[str, Any]:
    """Return *value* if it is a JSON object, else an empty one."""
    return value if isinstance(value, dict) else {}


def objects_in(value: Any) -> list[dict[str, Any]]:
    """Return the objects in a JSON list; nothing if *value* is no list."""
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def text_or_number(value: Any) -> str | None:
    """Return a text that is not empty, or a whole number as text; None for anything else."""
    if isinstance(value, str):
        return value or None
    return str(value) if type(value) is int else None


def is_json_scalar(value: Any) -> bool:
    """Say whether JSON can carry *value*: whole Unicode, booleans, finite numbers, integers of 64 bits."""
    if isinstance(value, str):
        return not BROKEN.search(value)
    if isinstance(value, float):
        return math.isfinite(value)
    return isinstance(value, int) and abs(value) < 1 << 63


def unquoted(value: str) -> str:
    """Return a cookie's *value* without the pair of quotes that some clients add."""
    return value[1:-1] if len(value) > 1 and value[0] == value[-1] == '"' else value

"""JSON bodies of requests."""

from __future__ import annotations

import math
from typing import Any

import orjson

from flagmw.admin.errors import InvalidError


def encoded(body: Any) -> bytes:
    """Return *body* as JSON.

    Raises:
        InvalidError: it holds something that JSON cannot.
    """
    if _has_no_number(body):
        raise InvalidError("the body holds NaN or infinity, which JSON cannot write; use a number or None")
    try:
        return orjson.dumps(body)
    except TypeError as error:
        raise InvalidError(
            f"the body cannot be written as JSON: {error}; use texts, numbers, lists and dicts"
        ) from None


def _has_no_number(value: Any) -> bool:
    if isinstance(value, float):
        return not math.isfinite(value)
    if isinstance(value, dict):
        return any(_has_no_number(inner) for inner in value.values())
    return isinstance(value, list | tuple) and any(_has_no_number(inner) for inner in value)

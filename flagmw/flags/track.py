"""Checks of the arguments of `track()`.

Limits: 50 data keys of 64 characters, values of 256, 8 KiB in all. `flags.fit` changes what is beyond them.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Any
from uuid import UUID

from flagmw._support.ids import uuid7
from flagmw.types import EMPTY, Scalar, Track

DATA_KEYS = 50
KEY_CHARS = 64
# Adobe Target takes order ids of 250 characters, and no other vendor has a lower limit.
ORDER_KEY_CHARS = 250
VALUE_CHARS = 256
DATA_BYTES = 8 * 1024
ITEMS = 100
METRIC_CHARS = 128
ID_CHARS = 256

# No control characters, no lone surrogates: neither a log line nor a store must be the place that finds out.
_UNSAFE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_CURRENCY = re.compile(r"[A-Z]{3}")


def make_track(
    metric: str,
    *,
    data: Mapping[str, Any] | None,
    aliases: Iterable[str] | None,
    vendors: Iterable[str] | None,
    key: str | None,
    value: float | None,
    currency: str | None,
    items: Sequence[Mapping[str, Any]] | None,
    now: float,
) -> Track:
    """Return the checked track.

    Raises:
        ValueError: something cannot be sent; the text names the argument, never its content.
    """
    return Track(
        id=uuid7(now),
        metric=checked_text("metric", metric, METRIC_CHARS),
        data=checked_data("data", data),
        aliases=None if aliases is None else _names("aliases", aliases),
        vendors=None if vendors is None else _names("vendors", vendors),
        key=None if key is None else checked_text("key", key if isinstance(key, str) else str(key), ORDER_KEY_CHARS),
        value=None if value is None else checked_number("value", value),
        currency=None if currency is None else _currency(currency),
        items=() if items is None else _items(items),
        occurred_at=now,
    )


def checked_data(field: str, data: Mapping[str, Any] | None) -> Mapping[str, Scalar]:
    """Return a copy of *data* with checked keys and values; entries that are None are left out."""
    if not data:
        return EMPTY
    if not isinstance(data, Mapping):
        raise ValueError(f"{field} must be a mapping of names to values, got {type(data).__name__}")
    if len(data) > DATA_KEYS:
        raise ValueError(f"{field} has {len(data)} keys; at most {DATA_KEYS} can be sent")
    checked: dict[str, Scalar] = {}
    size = 0
    for name, value in data.items():
        if not isinstance(name, str):
            raise ValueError(f"{field} has a key that is {type(name).__name__}; keys must be str")
        checked_text(f"a key of {field}", name, KEY_CHARS)
        if value is None:
            continue
        checked[name] = checked_scalar(f"{field}[{name!r}]", value)
        size += len(name.encode()) + len(str(value).encode())
    if size > DATA_BYTES:
        raise ValueError(f"{field} has {size} bytes; at most {DATA_BYTES} can be sent")
    return checked


def checked_id(field: str, value: Any) -> str | None:
    """Return a visitor's id as text; None for None and for an empty text, as which frameworks show nobody."""
    if value is None or value == "":
        return None
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(int(value)) if abs(value) < 1 << 256 else ""
    elif isinstance(value, UUID):
        value = str(value)
    return checked_text(field, value, ID_CHARS)


def checked_scalar(field: str, value: Any) -> Scalar:
    """Return *value* as text, number or boolean; a decimal number as its text."""
    if isinstance(value, bool):
        return value
    if isinstance(value, str):
        return checked_text(field, value, VALUE_CHARS, empty=True)
    if isinstance(value, int):
        if abs(value) >= 1 << 63:
            raise ValueError(f"{field} is an integer beyond 64 bits")
        return int(value)
    if isinstance(value, float):
        return checked_number(field, value)
    if isinstance(value, Decimal):
        if not value.is_finite():
            raise ValueError(f"{field} must be a finite number")
        return checked_text(field, str(value), VALUE_CHARS)  # as a number it could lose digits
    raise ValueError(f"{field} is {type(value).__name__}; send str, int, float or bool")


def checked_text(field: str, value: Any, limit: int, *, empty: bool = False) -> str:
    """Return *value*, a text of up to *limit* characters without controls and broken Unicode."""
    if not isinstance(value, str):
        raise ValueError(f"{field} must be str, got {type(value).__name__}")
    if not value and not empty:
        raise ValueError(f"{field} is empty")
    if len(value) > limit:
        raise ValueError(f"{field} has {len(value)} characters; at most {limit} can be sent")
    if _UNSAFE.search(value):
        raise ValueError(f"{field} has control characters or broken Unicode")
    return str.__str__(value)  # the text itself, also of an enumeration's member


def checked_number(field: str, value: Any) -> float:
    """Return *value* as a finite number."""
    if not isinstance(value, int | float | Decimal) or isinstance(value, bool):
        raise ValueError(f"{field} must be a finite number")
    try:
        number = float(value)
    except (OverflowError, ValueError):
        number = math.inf
    if not math.isfinite(number):
        raise ValueError(f"{field} must be a finite number")
    return number


def _currency(value: str) -> str:
    if not isinstance(value, str) or not _CURRENCY.fullmatch(value):
        raise ValueError('currency must be a three-letter ISO 4217 code such as "EUR"')
    return value


def _names(field: str, names: Iterable[str]) -> tuple[str, ...]:
    if isinstance(names, str | bytes) or not isinstance(names, Iterable):
        raise ValueError(f"{field} must be a list of names, got one {type(names).__name__}")
    return tuple(dict.fromkeys(checked_text(f"a name in {field}", name, 250) for name in names))


def _items(items: Sequence[Mapping[str, Any]]) -> tuple[Mapping[str, Scalar], ...]:
    if isinstance(items, str | bytes) or not isinstance(items, Sequence):
        raise ValueError(f"items must be a list of cart lines, got {type(items).__name__}")
    if len(items) > ITEMS:
        raise ValueError(f"items has {len(items)} lines; at most {ITEMS} can be sent")
    return tuple(checked_data(f"items[{n}]", item) for n, item in enumerate(items))

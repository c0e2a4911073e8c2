"""Single values and ids, made fit to be sent."""

from __future__ import annotations

import datetime
import enum
import hashlib
import ipaddress
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Set
from decimal import Decimal
from itertools import islice
from pathlib import PurePath
from typing import Any
from uuid import UUID

from flagmw._support.list_text import ListText
from flagmw.codes import ErrorCode
from flagmw.flags import track as checks
from flagmw.types import Scalar

LIST_ENTRIES = 50

_UNSAFE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+")
_SURROGATE = re.compile(r"[\ud800-\udfff]")
_AS_TEXT = (UUID, ipaddress.IPv4Address, ipaddress.IPv6Address, ipaddress.IPv4Network, ipaddress.IPv6Network, PurePath)


class Changes(Counter[tuple[ErrorCode, str]]):
    """What was changed: how often, by code and by the argument's name."""

    def note(self, code: ErrorCode, field: str) -> None:
        self[code, field] += 1


def fit_id(field: str, value: Any, limit: int, changes: Changes) -> str | None:
    """Return an id as text of up to *limit* characters, equal for equal ids; None where there is none.

    An id that is too long, or that has characters that cannot be sent, ends in a digest of all of it: two such ids
    stay two.
    """
    if value is None or value == "":
        if value == "" and field == "key":
            changes.note(ErrorCode.KEY_DROPPED, field)
        return None
    text = id_text(value)
    if not text:
        changes.note(ErrorCode.KEY_DROPPED, field)
        return None
    clean = cleaned(text)
    if clean == text and len(text) <= limit:
        if not isinstance(value, str | int | UUID | Decimal):
            changes.note(ErrorCode.DETAIL_CONVERTED, field)
        return text
    changes.note(ErrorCode.KEY_DIGEST, field)
    digest = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()
    return f"{clean[: limit - len(digest) - 1]}-{digest}"


def fit_scalar(field: str, value: Any, changes: Changes) -> Scalar | None:
    """Return *value* as something that can be sent, None if there is no such form."""
    try:
        return checks.checked_scalar(field, value)
    except ValueError:
        pass
    if isinstance(value, list | tuple | Set) and not isinstance(value, str):
        return _joined(field, value, changes)
    text = as_text(value)
    if text is None:
        changes.note(ErrorCode.DETAIL_DROPPED, field)
        return None
    if not isinstance(value, str):
        changes.note(ErrorCode.DETAIL_CONVERTED, field)
    return fit_text(field, text, checks.VALUE_CHARS, changes)


def fit_text(field: str, text: str, limit: int, changes: Changes) -> str:
    text = str.__str__(text)
    clean = cleaned(text)
    if clean != text:
        changes.note(ErrorCode.DETAIL_CLEANED, field)
    if len(clean) > limit:
        changes.note(ErrorCode.DETAIL_CUT, field)
        clean = clean[:limit]
    return clean


def cleaned(text: str) -> str:
    """Return *text* with spaces for control characters, and without broken Unicode."""
    clean = _UNSAFE.sub(" ", _SURROGATE.sub("\ufffd", text))
    return clean if clean == text else clean.strip()


def as_text(value: Any) -> str | None:
    """Return the text of a value of a common type, None for others: what an object's `str` says may be personal."""
    if isinstance(value, enum.Enum):
        return as_text(value.value) if isinstance(value.value, str | int | float | Decimal | UUID) else value.name
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, datetime.datetime | datetime.date | datetime.time):
        return value.isoformat()
    if isinstance(value, datetime.timedelta):
        return str(value.total_seconds())
    if isinstance(value, bytes | bytearray):
        return _decoded(bytes(value))
    if isinstance(value, int):
        return str(int(value)) if abs(value) < 1 << 256 else None
    if isinstance(value, float):
        return str(value) if value - value == 0 else None
    if isinstance(value, Decimal):
        return str(value) if value.is_finite() else None
    if isinstance(value, _AS_TEXT) or type(value).__module__ == "django.utils.functional":  # a text translated later
        return str(value)
    return None


def id_text(value: Any) -> str | None:
    """Return *value* as the text of an id: what stays the same from one call to the next."""
    if isinstance(value, bool):
        return None
    return as_text(value)


def _decoded(value: bytes) -> str | None:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return None


def _joined(field: str, values: Iterable[Any], changes: Changes) -> ListText | None:
    """Return a list as one text, without what cannot be sent; None for an empty one."""
    parts: list[str] = []
    length = -1
    entries = sorted(values, key=str) if isinstance(values, Set) else values  # a set has no order of its own
    for entry in islice(entries, LIST_ENTRIES + 1):
        text = None
        if not isinstance(entry, list | tuple | Set | Mapping):
            text = ("true" if entry else "false") if isinstance(entry, bool) else as_text(entry)
        text = text and cleaned(text)
        if not text:
            continue
        if len(parts) == LIST_ENTRIES or length + 1 + len(text) > checks.VALUE_CHARS:
            changes.note(ErrorCode.DETAIL_CUT, field)
            break
        length += 1 + len(text)
        parts.append(text)
    if not parts:
        changes.note(ErrorCode.DETAIL_DROPPED, field)
        return None
    changes.note(ErrorCode.DETAIL_JOINED, field)
    return ListText(parts)

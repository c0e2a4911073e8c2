"""Dates as the Admin API takes them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, TypeVar, cast

from flagmw.admin.errors import InvalidError

B = TypeVar("B", bound=Mapping[str, Any])

# The six documented forms, and that of the documentation's own sample, without seconds.
_FORM = re.compile(
    r"(?P<date>\d{4}-\d{2}-\d{2})"
    r"(?:T(?P<hour>\d{2})(?::(?P<minute>\d{2})(?::(?P<second>\d{2})(?P<fraction>\.\d{3})?)?(?P<zone>Z|[+-]\d{2}:\d{2})?)?)?"
)
EXAMPLES = '"2017-05-01", "2017-05-01T08", "2017-05-01T08:00:00", "2017-05-01T08:00:00.000+02:00", "2017-05-01T08:00Z"'


def checked_date(value: object, field: str) -> str:
    """Return *value* as text for the wire.

    Args:
        value: a text in one of the documented forms, or a datetime that knows its zone.

    Raises:
        InvalidError: it is neither, or no such day or hour exists.
    """
    if isinstance(value, datetime):
        if value.tzinfo is None:
            raise InvalidError("the datetime has no time zone; add one: datetime(..., tzinfo=UTC)", field=field)
        moment = value.astimezone(UTC)
        return moment.strftime("%Y-%m-%dT%H:%M:%S") + (
            f".{moment.microsecond // 1000:03}Z" if moment.microsecond else "Z"
        )
    if not isinstance(value, str):
        raise InvalidError(f"must be a text or a datetime, got {type(value).__name__}", field=field)
    if moment_of(value) is None:
        raise InvalidError(f"is no date that Adobe Target accepts; write it as {EXAMPLES}", field=field)
    return value


def moment_of(text: str) -> datetime | None:
    """Return the moment that *text* names, without a zone where it has none; None if it is no date."""
    found = _FORM.fullmatch(text)
    if found is None:
        return None
    clock = f"{found['hour'] or '00'}:{found['minute'] or '00'}:{found['second'] or '00'}{found['fraction'] or ''}"
    try:
        return datetime.fromisoformat(f"{found['date']}T{clock}{(found['zone'] or '').replace('Z', '+00:00')}")
    except ValueError:
        return None


def check_order(starts_at: str, ends_at: str) -> None:
    """Refuse a schedule that ends before it begins.

    Raises:
        InvalidError: it does. Two times of which only one has a zone are not compared.
    """
    begin, end = moment_of(starts_at), moment_of(ends_at)
    if begin is None or end is None or (begin.tzinfo is None) != (end.tzinfo is None):
        return
    if end <= begin:
        raise InvalidError("must be later than startsAt", field="endsAt")


def with_text_dates(body: B) -> B:
    """Return an activity's *body* with its dates as text, where they are datetimes.

    Raises:
        InvalidError: a datetime has no zone.
    """
    dates = {name: body[name] for name in ("startsAt", "endsAt") if isinstance(body.get(name), datetime)}
    if not dates:
        return body
    texts = {name: checked_date(value, name) for name, value in dates.items()}
    return cast(B, {**body, **texts})

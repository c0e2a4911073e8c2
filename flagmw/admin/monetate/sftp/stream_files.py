"""Names of Session Stream files: a quarter of an hour each."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

from flagmw.admin.errors import InvalidError

# 20170501T034500.000Z_PT15M-1477542463784.json.gz
_NAME = re.compile(r"(\d{8}T\d{6})(?:\.(\d{3}))?Z_PT(\d+)M-[A-Za-z0-9_.-]*\.json(?:\.gz)?")


@dataclass(frozen=True, slots=True)
class StreamFile:
    """A file of Session Stream.

    Attributes:
        begin: of its time, in UTC.
    """

    name: str
    begin: datetime


def stream_file(name: str) -> StreamFile | None:
    """Return what the name of a file says, None for one that is not Session Stream's."""
    found = _NAME.fullmatch(name)
    if found is None:
        return None
    try:
        begin = datetime.strptime(found[1], "%Y%m%dT%H%M%S").replace(tzinfo=UTC)
    except ValueError:
        return None
    return StreamFile(name, begin + timedelta(milliseconds=int(found[2] or 0)))


def days_between(begin: datetime, end: datetime) -> Iterator[date]:
    """Yield the days from *begin* to *end*, both in UTC and both included."""
    day = begin.date()
    while day <= end.date():
        yield day
        day += timedelta(days=1)


def time_range(text: str) -> tuple[datetime, datetime]:
    """Return the times of "FROM..TO": dates or times of ISO 8601, in UTC where they name no zone.

    A date as the end means until the end of that day.

    Raises:
        InvalidError: it is no such text, or the end comes first.
    """
    first, dots, last = text.partition("..")
    begin, end = _moment(first, later=False), _moment(last, later=True)
    if not dots or begin is None or end is None:
        raise InvalidError(
            'must be two times with two dots between, "2026-01-31T10:00..2026-01-31T12:00" or "2026-01-30..2026-01-31"',
            field="fetch",
        )
    if begin >= end:
        raise InvalidError("the first time must come before the second", field="fetch")
    return begin, end


def _moment(text: str, *, later: bool) -> datetime | None:
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        return None
    if later and len(text) <= 10:
        at += timedelta(days=1)
    return at if at.tzinfo is not None else at.replace(tzinfo=UTC)

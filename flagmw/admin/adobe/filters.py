"""Filters and orders of lists, as the Admin API takes them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TypeAlias

from flagmw.admin.adobe.checks.dates import checked_date
from flagmw.admin.errors import InvalidError

Value: TypeAlias = str | int | bool


@dataclass(frozen=True, slots=True)
class Not:
    """Everything but *value*: `priority=Not(4)` is sent as `priority=!4`."""

    value: Value


@dataclass(frozen=True, slots=True)
class Between:
    """A range of times, both ends included: sent as `startsAt=from/to`. Texts or aware datetimes."""

    begin: str | datetime
    end: str | datetime


Filter: TypeAlias = Value | Not | Between
"""What one field is compared with."""

Filters: TypeAlias = Filter | Sequence[Filter]
"""One or several; a row matches when it matches one of several."""


def query_of(
    filters: dict[str, Filters | None],
    *,
    sort_by: Iterable[str] = (),
    limit: int | None = None,
    offset: int | None = None,
) -> list[tuple[str, str]]:
    """Return the query of a list.

    Several values of one field are repeated (`id=3&id=4`), those of `workspace` are joined by commas.

    Args:
        filters: by the vendor's name of the field; None where it is not filtered.
        sort_by: fields in order of weight, "-name" for descending.

    Raises:
        InvalidError: a value cannot be sent as a filter, or a number is out of range.
    """
    query: list[tuple[str, str]] = []
    for name, given in filters.items():
        if given is None:
            continue
        values = [given] if isinstance(given, str | int | Not | Between) else list(given)
        if not values:
            raise InvalidError("an empty list of values matches nothing; leave the filter out", field=name)
        texts = [_text(name, value) for value in values]
        query += [(name, ",".join(texts))] if name == "workspace" else [(name, text) for text in texts]
    for field in (sort_by,) if isinstance(sort_by, str) else sort_by:
        if not field.removeprefix("-").isidentifier():
            raise InvalidError(f'"{field}" is no field; write "id" or "-id"', field="sort_by")
        query.append(("sortBy", field))
    for name, number in (("limit", limit), ("offset", offset)):
        if number is not None:
            if isinstance(number, bool) or not 0 <= number <= 2147483647:
                raise InvalidError("must be from 0 to 2147483647", field=name)
            query.append((name, str(number)))
    return query


def _text(name: str, value: Filter) -> str:
    if isinstance(value, Between):
        return f"{_moment(name, value.begin)}/{_moment(name, value.end)}"
    if isinstance(value, Not):
        return f"!{_plain(name, value.value)}"
    return _plain(name, value)


def _plain(name: str, value: Value) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    text = str(value)
    if text.startswith("!"):
        raise InvalidError('a value that begins with "!" means "not"; write Not("...") for that', field=name)
    if name == "workspace" and "," in text:
        raise InvalidError("a workspace's id holds no comma; pass several as a list", field=name)
    return text


def _moment(name: str, value: str | datetime) -> str:
    return checked_date(value, name)

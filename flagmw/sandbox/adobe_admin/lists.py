"""Lists of the emulated Admin API: filters, orders, pages."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from flagmw.sandbox.adobe_admin.dates import moment
from flagmw.sandbox.adobe_admin.errors import ApiError, invalid

ALL = 2147483647
Row = Mapping[str, Any]
Query = Sequence[tuple[str, str]]


def page(rows: Iterable[Row], query: Query, collection: str, fields: Sequence[str]) -> dict[str, Any]:
    """Return a page of *rows*, filtered and sorted as *query* says.

    Args:
        collection: the key of the rows in the answer.
        fields: that may be filtered and sorted by; parameters of other names are ignored.

    Raises:
        ApiError: a number, a range or a field to sort by is wrong.
    """
    found = [row for row in rows if _matches(row, query, fields)]
    # The last key is the least important one: sorting is stable.
    for key in reversed([value for name, value in query if name == "sortBy"]):
        field = key.removeprefix("-")
        if field not in fields:
            raise invalid("sortBy", f"{field} is no field of {collection}")
        found.sort(key=lambda row: _place(row.get(field)), reverse=key.startswith("-"))
    offset, limit = _number(query, "offset", 0), _number(query, "limit", ALL)
    return {
        "total": len(found),
        "offset": offset,
        "limit": limit,
        collection: [dict(row) for row in found[offset : offset + limit]],
    }


def limit_of(query: Query) -> int:
    """Return the limit of the request."""
    return _number(query, "limit", ALL)


def _matches(row: Row, query: Query, fields: Sequence[str]) -> bool:
    for field in {name for name, _ in query}.intersection(fields):
        texts = [text for name, text in query if name == field]
        if field == "workspace":
            texts = [part for text in texts for part in text.split(",")]
        negative = [text[1:] for text in texts if text.startswith("!")]
        positive = [text for text in texts if not text.startswith("!")]
        if any(_fits(field, row.get(field), text) for text in negative):
            return False
        if positive and not any(_fits(field, row.get(field), text) for text in positive):
            return False
    return True


def _fits(field: str, value: Any, text: str) -> bool:
    if field.endswith("At") and "/" in text:
        begin, _, end = text.partition("/")
        first, last, at = moment(begin), moment(end), moment(value)
        if first is None or last is None:
            raise ApiError(400, "Invalid.Value", f"{field}: {text} is no range of dates", field)
        return at is not None and first <= at <= last
    if isinstance(value, list):
        return text in [str(part) for part in value]
    if isinstance(value, bool):
        return text == str(value).lower()
    return value is not None and text == str(value)


def _place(value: Any) -> tuple[int, Any]:
    """Return a key that sorts numbers, then texts, then what is missing."""
    if isinstance(value, int | float):
        return (0, value)
    return (1, value) if isinstance(value, str) else (2, "")


def _number(query: Query, name: str, otherwise: int) -> int:
    text = next((value for key, value in query if key == name), None)
    if text is None:
        return otherwise
    if not (text.isascii() and text.isdigit()) or int(text) > ALL:
        raise invalid(name, f"must be a whole number up to {ALL}")
    return int(text)

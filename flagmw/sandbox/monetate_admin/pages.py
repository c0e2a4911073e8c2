"""Pages of lists, as Monetate's emulated management APIs have them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from urllib.parse import urlencode

from flagmw.sandbox.monetate_admin.call import ManagementCall
from flagmw.sandbox.monetate_admin.errors import Refusal, envelope

USUAL_SIZE, LARGEST_SIZE = 10, 1000


def page(call: ManagementCall, rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return a page of *rows*; a size above the largest is lowered, a page behind the end is not there.

    Raises:
        Refusal: a number is none, or the page does not exist.
    """
    size = min(_number(call, "page_size", USUAL_SIZE), LARGEST_SIZE)
    number = _number(call, "page", 1)
    begin = (number - 1) * size
    if begin >= len(rows) and number > 1:
        raise Refusal(404, "There is no such page.")
    found = list(rows[begin : begin + size])
    following = _address(call, number + 1, size) if begin + size < len(rows) else None
    previous = _address(call, number - 1, size) if number > 1 else None
    # Of this page, not of the whole list.
    return envelope(found, count=len(found), next=following, previous=previous)


def _address(call: ManagementCall, number: int, size: int) -> str:
    query = {**call.query, "page": str(number), "page_size": str(size)}
    return f"{call.url}?{urlencode(query)}"


def _number(call: ManagementCall, name: str, otherwise: int) -> int:
    text = call.query.get(name)
    if text is None:
        return otherwise
    if not (text.isascii() and text.isdigit() and len(text) < 10) or int(text) < 1:
        raise Refusal(400, "must be a whole number above 0", name)
    return int(text)

"""Removal of the override token from addresses."""

from __future__ import annotations

import re
from urllib.parse import unquote

OVERRIDE = "flagmw_override"
# An address may stand inside another's query, encoded once more at each step.
_TIMES = 6
_ENDS_A_NAME = re.compile(r"[;?&]|%(?:25)*(?:3b|3f|26)", re.I)


def without_token(address: str) -> str:
    """Return *address*, a URL or a path, without the parts that name the override token, however they are encoded."""
    if not _names_it(address):
        return address
    address, hash_, fragment = address.partition("#")
    address, mark, query = address.partition("?")
    path = "/".join(_segment(segment) for segment in address.split("/"))
    query = without_token_in_query(query)
    if not query:
        mark = ""
    if _names_it(fragment):
        hash_ = fragment = ""
    return f"{path}{mark}{query}{hash_}{fragment}"


def without_token_in_query(query: str) -> str:
    """Return *query* without the pairs that name the override token; the others stay as they are."""
    return "&".join(pair for pair in query.split("&") if not _names_it(pair)) if _names_it(query) else query


def _segment(segment: str) -> str:
    if not _names_it(segment):
        return segment
    head = _ENDS_A_NAME.split(segment, maxsplit=1)[0]
    return "" if _names_it(head) else head


def _names_it(text: str) -> bool:
    for _ in range(_TIMES):
        if OVERRIDE in text.lower():
            return True
        if "%" not in text:
            return False
        decoded = unquote(text)
        if decoded == text:
            return False
        text = decoded
    # An address that is encoded so often can only hide something.
    return True

"""Answers of the emulated Edge API, and the faults in them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from flagmw.sandbox.contentstack.request import USER_UID
from flagmw.sandbox.faults import Rule

# Pages on any site ask the edge directly.
ANY_ORIGIN = {
    "access-control-allow-origin": "*",
    "access-control-allow-headers": "*",
    "access-control-allow-methods": "GET, POST, PATCH",
    "access-control-expose-headers": USER_UID,
}


def named_uid(uid: str, fault: Rule | None) -> str:
    """Return the uid in the answer's header; the fault "bad_cookie" replaces it, by "null" without a value."""
    if fault is None or fault.kind != "bad_cookie":
        return uid
    return "null" if fault.value is None else fault.value


def render(document: Mapping[str, Any], fault: Rule | None) -> bytes:
    """Return the bytes of a manifest, spoilt by *fault*."""
    kind = "" if fault is None else fault.kind
    if fault is not None and kind == "huge_cookie":
        document = {**document, "padding": "x" * fault.size()}
    body = orjson.dumps(document)
    if kind == "comments":
        return b"/* manifest */ " + body
    return body[:-1] + b",}" if kind == "trailing_comma" else body

"""Checked requests of the Personalize Edge API.

Its reference asks for JSON; the official client sends it as text, so the content type is not looked at here. What a
careful client would not have sent is noted by `lint`, not refused.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl

import orjson

MAX_BODY = 1024 * 1024
MAX_TAGS = 10
USER_UID = "x-cs-personalize-user-uid"
LIVE_ATTRIBUTES = "x-live-attributes"

_ROBOT = re.compile("bot|crawl|spider|slurp", re.I)
_UID = re.compile(r"[A-Za-z0-9._-]{1,128}")
_LIBRARY = re.compile(r"^(python|httpx|aiohttp|requests|urllib|curl|wget|node|undici|axios|flagmw)", re.I)


class Refused(Exception):
    """A request that is refused; `code` is the vendor's dotted one."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status, self.code = status, code


def is_robot(headers: Mapping[str, str]) -> bool:
    """True when the content delivery network in front of the edge takes the caller for a robot."""
    return _ROBOT.search(headers.get("user-agent", "")) is not None


def user_uid(headers: Mapping[str, str], *, required: bool) -> str | None:
    """Return the visitor's uid; None when there is none and none is required."""
    uid = headers.get(USER_UID, "").strip()
    if uid and len(uid) <= 128:
        return uid
    if uid:
        raise Refused(400, "personalize.USER_UID_INVALID", "The user uid is too long.")
    if required:
        raise Refused(400, "personalize.USER_UID_REQUIRED", f"The header {USER_UID} is required.")
    return None


def tags(query: bytes) -> list[str]:
    """Return the `tags[]` of a query."""
    tags = [value for name, value in parse_qsl(query.decode("latin-1")) if name == "tags[]"]
    if len(tags) > MAX_TAGS:
        raise Refused(400, "personalize.MANIFEST.TOO_MANY_TAGS", f"At most {MAX_TAGS} tags can be given.")
    return tags


def live_attributes(headers: Mapping[str, str]) -> dict[str, Any]:
    """Return the attributes that hold for this request only."""
    text = headers.get(LIVE_ATTRIBUTES)
    return {} if text is None else _scalars(_parsed(text.encode("latin-1", "replace")), LIVE_ATTRIBUTES)


def items(body: bytes) -> list[dict[str, str]]:
    """Return the impressions and events in a body."""
    document = _parsed(body)
    if not isinstance(document, list):
        raise _bad("The body must be an array.")
    for item in document:
        kind = item.get("type") if isinstance(item, dict) else None
        fields = {"IMPRESSION": ("experienceShortUid", "variantShortUid"), "EVENT": ("eventKey",)}.get(str(kind))
        if fields is None:
            raise _bad("An item's type must be IMPRESSION or EVENT.")
        if not all(isinstance(item.get(field), str) and item[field] for field in fields):
            raise _bad(f"An item of type {kind} needs {' and '.join(fields)}.")
    return document


def attributes(body: bytes) -> dict[str, Any]:
    """Return the attributes to store."""
    return _scalars(_parsed(body), "The body")


def merged(body: bytes) -> tuple[str, str]:
    """Return the uids of source and target."""
    document = _parsed(body)
    pair = [document.get(name) for name in ("sourceUserUid", "targetUserUid")] if isinstance(document, dict) else []
    if len(pair) != 2 or not all(isinstance(uid, str) and uid for uid in pair):
        raise _bad("sourceUserUid and targetUserUid are required.")
    return str(pair[0]), str(pair[1])


def lint(action: str, query: bytes, headers: Mapping[str, str], body: bytes) -> list[str]:
    """Return the faults of a request that a careful client would not send; none for a documented one."""
    notes = [f"{name}: must not be sent to the vendor" for name in ("cookie", "authorization") if name in headers]
    uid = headers.get(USER_UID)
    if uid is not None and (not _UID.fullmatch(uid) or uid in ("null", "undefined")):
        notes.append(f"{USER_UID}: names nobody, or has characters that do not survive a cookie")
    if action == "manifest":
        if body:
            notes.append("body: a manifest is asked for without one")
        if query and b"tags[]=" not in query:
            notes.append("query: only tags[] is known")
        if _LIBRARY.match(headers.get("user-agent", "")):
            notes.append("user-agent: a library's own; relay the visitor's or send none")
        if len(headers.get(LIVE_ATTRIBUTES, "")) > 8192:
            notes.append(f"{LIVE_ATTRIBUTES}: more than 8 KiB")
        if not headers.get("x-forwarded-for"):
            notes.append("x-forwarded-for: without it the visitor is located where the caller is")
        elif not _is_address(headers["x-forwarded-for"]):
            notes.append("x-forwarded-for: must be the one address of the visitor")
        return notes
    if headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        notes.append("content-type: must be application/json")
    if action == "events" and body.strip() == b"[]":
        notes.append("body: an empty list says nothing")
    if action == "merge" and uid is not None:
        notes.append(f"{USER_UID}: is not sent with a merge")
    return notes


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text.strip())
    except ValueError:
        return False
    return True


def _parsed(body: bytes) -> Any:
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        raise _bad("This is not JSON.") from None


def _scalars(document: Any, where: str) -> dict[str, Any]:
    if not isinstance(document, dict):
        raise _bad(f"{where} must be an object.")
    for key, value in document.items():
        if not isinstance(value, str | int | float | bool):
            raise _bad(f"{where}: {key[:64]!r} must be a text, a number or a boolean.")
    return document


def _bad(message: str) -> Refused:
    return Refused(400, "personalize.BAD_REQUEST", message)

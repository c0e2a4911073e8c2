"""Notes on accepted requests that a careful client would not send.

The notes go into the ledger, so that a client's tests can assert that there are none. Source of the types:
Webtrends OTS REST API guide, "Configuration & Variables".
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from typing import Any

from flagmw.sandbox.webtrends.request import RequestTarget, illegal_path_octets

_LIBRARY = re.compile(
    r"^(python|httpx|aiohttp|requests|urllib|curl|wget|go-http|okhttp|java/|axios|node|undici|libwww|flagmw)", re.I
)
_KNOWN = {
    "keyToken", "url", "_wt.encrypted", "_wt.track", "s_mode", "cookies", "data", "debug", "conversionPoint",
    "preprocessed", "testGroup", "_wm_TimeOffset", "_wm_referer",
}  # fmt: skip
_DATA_SOFT_LIMIT = 8192
_COOKIE_ATOM = re.compile(r"[A-Za-z0-9_~-]+")


def lint(
    target: RequestTarget, raw_path: bytes, query: bytes, headers: Mapping[str, str], fields: Mapping[str, Any]
) -> list[str]:
    """Return the notes on one request; an empty list for what the documentation asks for."""
    notes: list[str] = []
    if illegal_path_octets(raw_path):
        notes.append("path: percent-encode all but A-Z a-z 0-9 - . _ ~ and the commas between aliases")
    if query:
        notes.append("query: parameters belong in the body")
    notes += _headers(headers)
    notes += _fields(target, fields)
    notes += _cookies(target, fields.get("cookies"))
    notes += _data(fields.get("data"))
    return notes


def _headers(headers: Mapping[str, str]) -> list[str]:
    notes = []
    content_type = headers.get("content-type", "")
    if content_type.partition(";")[0].strip().lower() != "application/json":
        notes.append(f"content-type: must be application/json, is {content_type!r}")
    if _LIBRARY.match(headers.get("user-agent", "")):
        notes.append("user-agent: a library's own; relay the visitor's or send none")
    address = headers.get("x-forwarded-for")
    if address is not None:
        try:
            ipaddress.ip_address(address.strip())
        except ValueError:
            notes.append("x-forwarded-for: must be the one address of the visitor")
    notes += [f"{name}: must not be sent to the vendor" for name in ("cookie", "authorization") if name in headers]
    return notes


def _fields(target: RequestTarget, fields: Mapping[str, Any]) -> list[str]:
    notes = []
    for name in ("keyToken", "url"):
        if not isinstance(fields.get(name), str) or not fields[name]:
            notes.append(f"{name}: required, a string")
    if not isinstance(fields.get("_wt.encrypted"), bool):
        notes.append("_wt.encrypted: required, a JSON boolean")
    view = fields.get("_wt.track")
    if view not in ("true", "false") and (target.action == "control" or view is not None):
        notes.append('_wt.track: must be the string "true" or "false"')
    if "s_mode" in fields and fields["s_mode"] not in ("normal", "staging"):
        notes.append('s_mode: must be "normal" or "staging"')
    if "debug" in fields and not (isinstance(fields["debug"], str) and len(fields["debug"]) >= 3):
        notes.append("debug: must be a string of 3 or more characters")
    if "conversionPoint" in fields and target.action == "control":
        notes.append("conversionPoint: belongs to track only")
    for name in fields:
        if name not in _KNOWN and not name.startswith("_wm_"):
            notes.append(f"{name}: unknown field")
    return notes


def _cookies(target: RequestTarget, cookies: object) -> list[str]:
    if cookies is None:
        return []
    if not isinstance(cookies, Mapping):
        return ["cookies: must be an object"]
    notes = []
    known = {f"_wt.user-{target.domain}", f"_wt.mode-{target.domain}"}
    prefix = f"_wt.control-{target.domain}-"
    for name, holder in cookies.items():
        value = holder.get("value") if isinstance(holder, Mapping) else None
        if not isinstance(value, str):
            notes.append(f'cookies: {name} must be {{"value": "..."}}')
        elif value.startswith("%") or value[:1] == '"':
            notes.append(f"cookies: the value of {name} is still encoded or quoted")
        elif value.startswith("WT3") and not _COOKIE_ATOM.fullmatch(value):
            notes.append(f"cookies: the value of {name} holds characters that none of the vendor's does")
        if name.startswith(f"_wt.conversion-{target.domain}-"):
            notes.append(f"cookies: {name} blocks repeats; do not send it")
        elif name not in known and not name.startswith(prefix):
            notes.append(f"cookies: {name} is none of this domain's user, mode and control cookies")
        elif target.action == "track" and name.startswith(prefix) and name[len(prefix) :] not in (target.aliases or ()):
            notes.append(f"cookies: {name} belongs to no alias of this call")
    return notes


def _data(data: object) -> list[str]:
    if data is None:
        return []
    if not isinstance(data, Mapping):
        return ["data: must be an object"]
    notes = []
    for key, value in data.items():
        if isinstance(value, bool) or not isinstance(value, (str, int, float)):
            notes.append(f"data: {key} must be a string or a number, is {type(value).__name__}")
    if len(str(dict(data))) > _DATA_SOFT_LIMIT:
        notes.append(f"data: more than {_DATA_SOFT_LIMIT} characters")
    return notes

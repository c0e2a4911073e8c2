"""Requests of the OTS REST API, parsed as tolerantly as the service.

Source: Webtrends OTS REST API guide. Parameters are merged from query and body (the body wins), JSON or form;
booleans may be texts. What a client should rather not have sent is noted by `webtrends_lint`, not refused here.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, unquote, unquote_to_bytes

import orjson

from flagmw.sandbox.segments import Scalar

VENDOR = "webtrends"
BASE = "/ots/api/rest-1.2"
MAX_BODY = 1024 * 1024


class BadTransfer(Exception):
    """A request that is refused before the API sees it; `status` is the HTTP status."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


class Malformed(Exception):
    """A request that the API itself refuses; `code` is the vendor's error code."""

    def __init__(self, code: int) -> None:
        super().__init__(str(code))
        self.code = code


@dataclass(frozen=True, slots=True)
class RequestTarget:
    """What a path names: `control/2490593-ta_A` is action, domain and one alias.

    `guid` is the decoded text after the action; `aliases` is None when there is no "-" at all.
    """

    action: str
    guid: str
    domain: str
    aliases: tuple[str, ...] | None


@dataclass(frozen=True, slots=True)
class Params:
    """The parameters of a request, with the vendor's tolerance already applied.

    `malformed` tells that `cookies` or `data` had another shape than documented; both are then empty.
    """

    url: str
    encrypted: bool
    track: bool
    s_mode: str | None
    cookies: Mapping[str, str]
    data: Mapping[str, Scalar]
    debug: bool
    metric: str | None
    referer: str | None
    malformed: bool


def read_target(raw_path: bytes) -> RequestTarget:
    """Read action, domain id and aliases from an undecoded path below the base."""
    action, _, tail = raw_path[len(BASE) + 1 :].decode("latin-1").partition("/")
    guid = unquote(tail)
    # The first "-" ends the domain id; aliases may hold more of them.
    domain, dash, rest = guid.partition("-")
    if not dash:
        return RequestTarget(unquote(action), guid, domain, None)
    # Only track takes a list; in a control path a comma is part of the alias.
    names = rest.split(",") if action == "track" else [rest]
    return RequestTarget(unquote(action), guid, domain, tuple(dict.fromkeys(name for name in names if name)))


def decode_body(body: bytes, encoding: str) -> bytes:
    """Undo the Content-Encoding.

    Raises:
        BadTransfer: 400 for a body that is no gzip, 413 for one past 1 MiB, 415 for another encoding.
    """
    if encoding in ("", "identity"):
        return body
    if encoding != "gzip":
        raise BadTransfer(415, "unsupported Content-Encoding")
    unpack = zlib.decompressobj(31)
    try:
        plain = unpack.decompress(body, MAX_BODY + 1)
    except zlib.error:
        raise BadTransfer(400, "the body is not gzip") from None
    if len(plain) > MAX_BODY:
        raise BadTransfer(413, "the body is too large")
    if not unpack.eof:
        raise BadTransfer(400, "the body is not gzip")
    return plain


def read_fields(query: bytes, content_type: str, body: bytes) -> dict[str, Any]:
    """Merge query and body into one mapping of raw fields.

    Raises:
        Malformed: 200 when the body is not what its type says.
    """
    fields: dict[str, Any] = dict(parse_qsl(query.decode("latin-1"), keep_blank_values=True))
    try:
        if content_type == "application/x-www-form-urlencoded":
            form: dict[str, Any] = dict(parse_qsl(body.decode(), keep_blank_values=True))
            for name in ("cookies", "data"):
                if form.get(name):
                    form[name] = orjson.loads(form[name])
            return {**fields, **form}
        parsed = orjson.loads(body) if body.strip() else {}
    except ValueError:
        raise Malformed(200) from None
    if not isinstance(parsed, dict):
        raise Malformed(200)
    return {**fields, **parsed}


def read_params(fields: Mapping[str, Any], headers: Mapping[str, str]) -> Params:
    """Turn raw fields into parameters."""
    s_mode = fields.get("s_mode")
    referer = fields.get("_wm_referer") or headers.get("referer")
    metric = fields.get("conversionPoint")
    cookies, data = _cookies(fields.get("cookies")), _data(fields.get("data"))
    malformed = cookies is None or data is None
    if malformed:
        cookies = data = None
    return Params(
        url=_text(fields.get("url")),
        encrypted=_truth(fields.get("_wt.encrypted"), otherwise=True),
        track=_truth(fields.get("_wt.track"), otherwise=False),
        s_mode=s_mode if s_mode in ("normal", "staging") else None,
        cookies=cookies or {},
        data=data or {},
        debug=len(_text(fields.get("debug"))) >= 3,
        metric=metric if isinstance(metric, str) else None,
        referer=_text(referer) or None,
        malformed=malformed,
    )


def illegal_path_octets(raw_path: bytes) -> bool:
    """True when a path holds anything that should have been percent-encoded, or an encoded comma."""
    tail = raw_path[len(BASE) :]
    bare = bytes(b for b in tail if not (chr(b).isascii() and (chr(b).isalnum() or b in b"-._~,/%")))
    return bool(bare) or b"%2c" in tail.lower() or b"\xff" in unquote_to_bytes(tail)


def _cookies(raw: object) -> dict[str, str] | None:
    if raw is None or raw == "":
        return {}
    if not isinstance(raw, Mapping):
        return None
    cookies = {}
    for name, holder in raw.items():
        if not isinstance(holder, Mapping) or not isinstance(holder.get("value"), str):
            return None
        cookies[name] = holder["value"]
    return cookies


def _data(raw: object) -> dict[str, Scalar] | None:
    if raw is None or raw == "":
        return {}
    if not isinstance(raw, Mapping):
        return None
    # The vendor's own tag sends numbers and strings and drops every other type; so does this.
    return {k: v for k, v in raw.items() if isinstance(v, (str, int, float)) and not isinstance(v, bool)}


def _truth(value: object, *, otherwise: bool) -> bool:
    if isinstance(value, bool):
        return value
    return value.strip().lower() == "true" if isinstance(value, str) else otherwise


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""

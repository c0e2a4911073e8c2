"""Monetate's management APIs on the wire: addresses, bodies, errors."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

import orjson

from flagmw.admin.errors import InvalidError
from flagmw.admin.http.fault import Fault
from flagmw.admin.http.request import ApiRequest
from flagmw.admin.monetate.endpoints import ENDPOINTS
from flagmw.exceptions import ConfigError, ProtocolError
from flagmw.types import Call, Reply
from flagmw.vendors.common.json import loads
from flagmw.vendors.common.options import checked_base_url, leaves_machine_unencrypted

BASE_URL = "https://api.monetate.net"
REFUSED_CURE = (
    "Monetate does not accept the token; check that the API user belongs to this retailer, and that the clock of this "
    "machine is right"
)
REVOKED_CURE = (
    "the token has been revoked: its key was deactivated. Ask an administrator for a new key under Sites, API Keys"
)


def checked_root(owner: str, base_url: str) -> str:
    """Return the address of the API host.

    Raises:
        ConfigError: it is no address, or would carry credentials over a network in the clear.
    """
    url = checked_base_url(owner, base_url)
    if leaves_machine_unencrypted(url):
        raise ConfigError(f"{owner}: base_url must be https: credentials must not cross a network in the clear")
    return url


def request_of(
    name: str,
    root: str,
    retailer: str,
    *,
    values: Mapping[str, object] | None = None,
    query: Sequence[tuple[str, str]] = (),
    body: Any = None,
    template: str | None = None,
    repeat_throttled: bool = True,
) -> ApiRequest:
    """Return the request for an endpoint.

    Args:
        name: of the endpoint, "variants.get".
        root: the API host.
        values: for the names in braces of the path.
        query: pairs in order.
        body: JSON, or its bytes; None for no body.
        template: the whole path, where it is not the endpoint's usual one.
    """
    endpoint = ENDPOINTS[name]
    named = {**(values or {}), "retailer": retailer}
    template = template or endpoint.template
    path = re.sub(r"\{(\w+)\}", lambda found: segment(named[found[1]], found[1]), template)
    pairs = "&".join(f"{quote(key, safe='')}={quoted(value, key)}" for key, value in query)
    headers = {"Accept": "application/json"}
    if body is not None:
        headers["Content-Type"] = "application/json"
    call = Call(
        method=endpoint.method,
        url=f"{root}{path}{'?' if pairs else ''}{pairs}",
        headers=headers,
        body=b"" if body is None else body if isinstance(body, bytes) else orjson.dumps(body),
        replay_safe=endpoint.method == "GET",
    )
    return ApiRequest(
        operation=name,
        template=template,
        call=call,
        changes=endpoint.method != "GET",
        repeat_throttled=repeat_throttled,
    )


def segment(value: object, field: str) -> str:
    """Return *value* as one segment of a path.

    Raises:
        InvalidError: it is empty, would mean another path, or is no id where one is needed.
    """
    if field == "id":
        if isinstance(value, bool) or not isinstance(value, int) or value < 0:
            raise InvalidError("must be an id of Monetate, a whole number", field=field)
        return str(value)
    if not isinstance(value, str) or not value or value in (".", ".."):
        raise InvalidError("must be a text that is not empty", field=field)
    return quoted(value, field)


def quoted(text: str, field: str) -> str:
    """Return *text* percent-encoded.

    Raises:
        InvalidError: it is no text, or has no UTF-8 form.
    """
    if not isinstance(text, str):
        raise InvalidError(f"must be a text, got {type(text).__name__}", field=field)
    try:
        return quote(text, safe="")
    except UnicodeEncodeError:
        raise InvalidError("has characters that are no Unicode", field=field) from None


def fault_of(reply: Reply) -> Fault:
    """Return what Monetate says of a failure, in `meta.errors`, whose entries have no published shape."""
    cure = {401: REFUSED_CURE, 403: REVOKED_CURE}.get(reply.status)
    if 200 <= reply.status < 300:
        return Fault()
    errors = envelope_errors(reply)
    texts = [text for text in map(error_text, errors) if text]
    first: Mapping[str, Any] = errors[0] if errors and isinstance(errors[0], Mapping) else {}
    code, field = first.get("code"), first.get("field")
    return Fault(
        "; ".join(texts) or None,
        str(code) if isinstance(code, str | int) and not isinstance(code, bool) else None,
        reply.headers.get("x-request-id"),
        field if isinstance(field, str) and field else None,
        cure,
    )


def envelope_errors(reply: Reply) -> list[Any]:
    """Return the entries of `meta.errors`; none when the answer is of another shape."""
    try:
        document = loads(reply.body)
    except ProtocolError:
        return []
    meta = document.get("meta") if isinstance(document, dict) else None
    errors = meta.get("errors") if isinstance(meta, dict) else None
    return errors if isinstance(errors, list) else []


def error_text(error: Any) -> str:
    """Return what one entry of errors or warnings says."""
    if isinstance(error, str):
        return error
    if not isinstance(error, Mapping):
        return ""
    for name in ("message", "detail", "description", "error", "title"):
        text = error.get(name)
        if isinstance(text, str) and text:
            field = error.get("field")
            return f"{field}: {text}" if isinstance(field, str) and field else text
    return orjson.dumps(error).decode() if error else ""

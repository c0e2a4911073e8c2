"""Adobe Target's Admin API on the wire: paths, versions, queries, errors."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

from flagmw.admin.adobe.checks.values import checked_id
from flagmw.admin.adobe.endpoints import Endpoint
from flagmw.admin.errors import InvalidError
from flagmw.admin.http.encoding import encoded
from flagmw.admin.http.fault import Fault
from flagmw.admin.http.request import ApiRequest
from flagmw.exceptions import ProtocolError
from flagmw.types import Call, Reply
from flagmw.vendors.common.json import loads

GATEWAY_CURE = (
    "Adobe's gateway refuses the call before Adobe Target sees it: check api_key, and that the Adobe Target API is "
    "added to the credential's project"
)
# What the documentation's own samples leave as it is in a query ("priority=!4", "startsAt=a/b").
QUERY_SAFE = "!/:,{}@-._~"


def request_of(
    endpoint: Endpoint,
    root: str,
    api_key: str,
    *,
    values: Mapping[str, object] | None = None,
    query: Sequence[tuple[str, str]] = (),
    body: Any = None,
    cost: int = 1,
) -> ApiRequest:
    """Return the request for *endpoint*.

    Args:
        root: "https://mc.adobe.io/tenant/target".
        values: for the names in braces of the path; percent-encoded here.
        body: JSON; None for no body.
    """
    path = re.sub(r"\{(\w+)\}", lambda found: segment((values or {})[found[1]], found[1]), endpoint.path)
    headers = {"Cache-Control": "no-cache", "X-Api-Key": api_key}
    # The version stands in Content-Type where there may be a body, in Accept elsewhere.
    headers["Accept" if endpoint.method in ("GET", "DELETE") else "Content-Type"] = endpoint.media_type
    call = Call(
        method=endpoint.method,
        url=f"{root}{path}{query_text(query)}",
        headers=headers,
        body=b"" if body is None else encoded(body),
        replay_safe=endpoint.method == "GET",
    )
    return ApiRequest(
        operation=endpoint.name,
        template=f"/{{tenant}}/target{endpoint.path}",
        call=call,
        right=endpoint.right,
        cost=cost,
        changes=endpoint.method != "GET",
    )


def quoted(text: str, field: str, safe: str = "") -> str:
    """Return *text* percent-encoded.

    Raises:
        InvalidError: it has no UTF-8 form.
    """
    try:
        return quote(text, safe=safe)
    except UnicodeEncodeError:
        raise InvalidError("has characters that are no Unicode", field=field) from None


def query_text(pairs: Sequence[tuple[str, str]]) -> str:
    """Return *pairs* as the query of a URL, "" for none."""
    text = "&".join(f"{quoted(name, name)}={quoted(value, name, QUERY_SAFE)}" for name, value in pairs)
    return f"?{text}" if text else ""


def segment(value: object, field: str) -> str:
    """Return *value* as one segment of a path.

    Raises:
        InvalidError: it is empty, or would mean another path.
    """
    if field == "id":
        value = checked_id(value, "id")
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise InvalidError(f"must be a number or a text, got {type(value).__name__}", field=field)
    text = str(value)
    if not text or text in (".", ".."):
        raise InvalidError("must not be empty", field=field)
    return quoted(text, field)


def fault_of(reply: Reply) -> Fault:
    """Return the fault in Adobe's answer: in the API's own shape, or the gateway's.

    The API answers `{"httpStatus", "requestId", "errors": [{"errorCode", "message", "meta"}]}`, the gateway
    `{"error_code", "message"}`, the token service `{"error", "error_description"}`.
    """
    request_id = reply.headers.get("x-request-id")
    if 200 <= reply.status < 300:
        return Fault(request_id=request_id)
    try:
        document = loads(reply.body)
    except ProtocolError:
        return Fault(request_id=request_id)
    if not isinstance(document, dict):
        return Fault(request_id=request_id)
    request_id = _text(document.get("requestId")) or request_id
    errors = document.get("errors")
    if isinstance(errors, list) and errors and isinstance(errors[0], dict):
        first = errors[0]
        messages = "; ".join(filter(None, (_text(error.get("message")) for error in errors if isinstance(error, dict))))
        return Fault(messages or None, _text(first.get("errorCode")), request_id, _field(first))
    message = _text(document.get("message")) or _text(document.get("error_description"))
    code = _text(document.get("error_code")) or _text(document.get("error"))
    return Fault(message, code, request_id, cure=GATEWAY_CURE if "error_code" in document else None)


def _field(error: Mapping[str, Any]) -> str | None:
    meta = error.get("meta")
    if isinstance(meta, dict):
        named = meta.get("field") or meta.get("path") or meta.get("fieldName")
        if isinstance(named, str):
            return named[:200]
    return None


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else str(value) if isinstance(value, int) else None

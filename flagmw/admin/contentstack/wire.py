"""The Personalize Management API on the wire: requests and errors."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

from flagmw.admin.contentstack.checks import checked_uid
from flagmw.admin.contentstack.endpoints import Endpoint
from flagmw.admin.errors import InvalidError
from flagmw.admin.http.encoding import encoded
from flagmw.admin.http.fault import Fault
from flagmw.admin.http.request import ApiRequest
from flagmw.exceptions import ProtocolError
from flagmw.types import Call, Reply
from flagmw.vendors.common.json import loads

MANY_FIELDS = 5


def request_of(
    endpoint: Endpoint,
    root: str,
    project: str,
    *,
    values: Mapping[str, object] | None = None,
    query: Sequence[tuple[str, str]] = (),
    body: Any = None,
) -> ApiRequest:
    """Return the request for *endpoint*.

    Args:
        values: uids for the names in braces of the path.
        body: JSON; None for no body.
    """
    given = values or {}
    path = re.sub(r"\{(\w+)\}", lambda found: checked_uid(given[found[1]], found[1]), endpoint.path)
    text = "&".join(f"{quote(name, safe='')}={_quoted(name, value)}" for name, value in query)
    headers = {"Accept": "application/json"}
    if endpoint.project:
        headers["x-project-uid"] = project
    if body is not None:
        headers["Content-Type"] = "application/json"
    call = Call(
        method=endpoint.method,
        url=f"{root}{path}{'?' if text else ''}{text}",
        headers=headers,
        body=b"" if body is None else encoded(body),
        replay_safe=endpoint.method == "GET",
    )
    return ApiRequest(
        operation=endpoint.name,
        template=endpoint.path,
        call=call,
        right=endpoint.right,
        changes=endpoint.method != "GET",
    )


def _quoted(name: str, value: str) -> str:
    try:
        return quote(value, safe=":,-._~")
    except UnicodeEncodeError:
        raise InvalidError("has characters that are no Unicode", field=name) from None


def fault_of(reply: Reply, refused: str) -> Fault:
    """Return what Contentstack says of a failure.

    It answers `{"errors": {field: [{"code", "message"}]}}` or `{"error", "message"}`, and reads them in that order
    itself: `errors`, `error`, `error_message`, `message`.

    Args:
        refused: what to do when it does not accept the credentials.
    """
    request_id = reply.headers.get("x-request-id")
    if 200 <= reply.status < 300:
        return Fault(request_id=request_id)
    cure = refused if reply.status == 401 else None
    try:
        document = loads(reply.body)
    except ProtocolError:
        document = None
    if not isinstance(document, dict):
        return Fault(request_id=request_id, cure=cure)
    errors = document.get("errors")
    if isinstance(errors, dict) and errors:
        texts, code = [], None
        for field, found in list(errors.items())[:MANY_FIELDS]:
            for one in found if isinstance(found, list) else [found]:
                text, inner = _said(one)
                code = code or inner
                texts.append(f"{field}: {text}" if text else str(field))
        return Fault("; ".join(texts), code, request_id, str(next(iter(errors)))[:200], cure)
    error, message = document.get("error"), document.get("error_message") or document.get("message")
    code = error if isinstance(error, str) and "." in error else None
    said = message if isinstance(message, str) and message else error if isinstance(error, str) else None
    return Fault(said, code, request_id, cure=cure)


def _said(one: object) -> tuple[str, str | None]:
    if isinstance(one, dict):
        code, message = one.get("code"), one.get("message")
        text = message if isinstance(message, str) and message else code
        return (text if isinstance(text, str) else "", code if isinstance(code, str) else None)
    return (one, None) if isinstance(one, str) else ("", None)

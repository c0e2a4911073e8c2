"""Statuses of management APIs, and the errors that they become."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from http.client import responses
from typing import Any, TypeAlias

from flagmw._support.log import one_line
from flagmw.admin.errors import (
    AdminError,
    AmbiguousError,
    AnswerError,
    AuthError,
    ConflictError,
    InvalidError,
    NotFoundError,
    PermissionDeniedError,
    ServerError,
    ThrottledError,
    UnreachableError,
    VersionError,
)
from flagmw.admin.http.request import ApiRequest
from flagmw.codes import ErrorCode
from flagmw.exceptions import TransportError
from flagmw.types import Reply

MAX_MESSAGE = 300


@dataclass(frozen=True, slots=True)
class Fault:
    """What the vendor itself says of a failed call; each None where it says nothing.

    Attributes:
        cure: what to do, where the vendor's reader knows better than the status says.
    """

    message: str | None = None
    code: str | None = None
    request_id: str | None = None
    field: str | None = None
    cure: str | None = None


FaultReader: TypeAlias = Callable[[Reply], Fault]
"""Reads a vendor's error answer. Never raises: an answer that it cannot read is an empty fault."""


def cleaned(fault: Fault, secret: str = "") -> Fault:
    """Return *fault* with its texts on one line, cut, and without *secret*, should the vendor repeat it."""
    message, code, request_id, field = (
        text and clean(text, secret) for text in (fault.message, fault.code, fault.request_id, fault.field)
    )
    return Fault(message, code, request_id, field, fault.cure)


def error_of(
    request: ApiRequest, reply: Reply, fault: Fault, seconds: float, limit_statuses: Collection[int] = (429,)
) -> AdminError:
    """Return the error that *reply* is for the caller of *request*.

    Args:
        fault: cleaned.
        seconds: how long to wait when the vendor throttles.
        limit_statuses: with which the vendor says that there were too many calls. With any but 429 it may also mean
            an outage, so that a write may have been done.
    """
    status = reply.status
    details: dict[str, Any] = {
        "operation": request.operation,
        "status": status,
        "code": fault.code,
        "request_id": fault.request_id,
    }
    says = f'; the vendor says: "{fault.message}"' if fault.message else ""
    if status == 401:
        cure = (
            fault.cure or "the vendor does not accept the credentials; check them, and that they are for this account"
        )
        return AuthError(f"{cure}{says}", **details)
    if status == 403 and fault.cure:
        return AuthError(f"{fault.cure}{says}", **details)
    if status == 403:
        needed = f"the right {request.right} for it" if request.right else "the right for it"
        text = f"the credentials may not do this; ask an administrator for {needed}{says}"
        return PermissionDeniedError(text, right=request.right, **details)
    if status in (404, 410):
        return NotFoundError(f"there is nothing at {request.path}; check the id and the account{says}", **details)
    if status in (409, 412):
        return ConflictError(f"it exists already or was changed meanwhile; read it again, then decide{says}", **details)
    if status in (406, 415):
        text = f"the vendor does not serve this version here; check base_url and the version{says}"
        return VersionError(text, field=fault.field, **details)
    if status == 429 or (status in limit_statuses and not request.changes):
        text = f"too many calls; come again in {seconds:.0f} s{says}"
        return ThrottledError(text, seconds=seconds, **details)
    if 400 <= status < 500:
        reason = responses.get(status, "an error")
        text = f"the vendor refuses the request ({reason}); correct it and send it again{says}"
        return InvalidError(text, field=fault.field, **details)
    if 300 <= status < 400:
        return AnswerError(
            f"the vendor answers with a redirect, which is not followed; check base_url{says}", **details
        )
    if request.changes:
        why = "its limit or an outage" if status in limit_statuses else "a failure in the middle"
        return AmbiguousError(f"this may be {why}: {_look(request)}{says}", **details)
    return ServerError(f"the vendor fails; try again later{says}", **details)


def unanswered(request: ApiRequest, failure: TransportError) -> AdminError:
    """Return the error for a call that brought no whole answer."""
    reason = _REASONS.get(failure.code, "the connection failed")
    if failure.sent and request.changes:
        return AmbiguousError(f"{reason} after it was sent: {_look(request)}", operation=request.operation)
    if failure.code in (ErrorCode.TOO_LARGE, ErrorCode.ENCODING):
        return AnswerError(f"{reason}; ask for less, or raise max_answer_bytes", operation=request.operation)
    return UnreachableError(f"{reason}; check the network and base_url, then try again", operation=request.operation)


def unreadable(request: ApiRequest, reply: Reply, reason: str) -> AdminError:
    """Return the error for a success whose body cannot be read."""
    if request.changes:
        text = f"it was accepted, but {reason}: {_look(request)}"
        return AmbiguousError(text, operation=request.operation, status=reply.status)
    text = f"{reason}; something between here and the vendor may have answered in its place: check base_url and proxies"
    return AnswerError(text, operation=request.operation, status=reply.status)


def clean(text: str, secret: str = "") -> str:
    """Return the vendor's *text* on one line, cut, and without *secret*."""
    if secret:
        text = text.replace(secret, "***")
    text = one_line(text)
    return text if len(text) <= MAX_MESSAGE else f"{text[:MAX_MESSAGE]}..."


def _look(request: ApiRequest) -> str:
    return f"it may have been done or not; read {request.path} before you send it again"


_REASONS = {
    ErrorCode.DEADLINE: "no whole answer came in time",
    ErrorCode.CONNECT: "no connection to the vendor could be made",
    ErrorCode.DNS: "the vendor's host name cannot be resolved",
    ErrorCode.TLS: "the vendor's certificate is not accepted, or no TLS connection can be made (verify=)",
    ErrorCode.SHED: "no connection became free in time",
    ErrorCode.TRUNCATED: "the answer ended too early",
    ErrorCode.RESET: "the connection broke",
    ErrorCode.ENCODING: "the answer cannot be decompressed",
    ErrorCode.TOO_LARGE: "the answer is too large",
}

"""Outcomes of deliveries by transport error and HTTP status."""

from __future__ import annotations

from flagmw.codes import ErrorCode
from flagmw.exceptions import TransportError
from flagmw.types import Ambiguous, Dead, Outcome, Reply, Retry, Suspend
from flagmw.vendors.common.http_status import status_fault


def unanswered(error: TransportError) -> Outcome:
    """Return the outcome of an event whose call ended with *error*."""
    if error.code is ErrorCode.TLS and not error.sent:
        return Suspend(error.code)
    return Ambiguous(error.code) if error.sent else Retry(error.code)


def by_status(reply: Reply, fault: ErrorCode, *, at_most_once: bool) -> Outcome:
    """Return the outcome by the status of *reply*; *fault* is the error in its body."""
    # A success without a usable body: it may or may not have been counted.
    return refused(reply, at_most_once=at_most_once) or Ambiguous(fault)


def refused(reply: Reply, *, at_most_once: bool) -> Outcome | None:
    """Return the outcome by the status of *reply* alone; None for a success."""
    code, rest_s = status_fault(reply)
    if code is None:
        return None
    if code is ErrorCode.UNAUTHORIZED:
        return Suspend(code)
    if reply.status >= 500 and reply.status != 503 and at_most_once:
        return Ambiguous(code)  # the server failed after it took the request: perhaps counted
    if reply.status >= 500 or reply.status in (408, 425, 429):
        return Retry(code, rest_s)
    return Dead(code, verdict=False)

"""What the end of a call means for an event where the vendor's own envelope says nothing."""

from __future__ import annotations

from flagmw.codes import ErrorCode
from flagmw.exceptions import TransportError
from flagmw.types import Ambiguous, Dead, Outcome, Reply, Retry, Suspend
from flagmw.vendors.common.http_status import status_fault


def unanswered(error: TransportError) -> Outcome:
    """Return what it means for an event that its call ended with *error*."""
    if error.code is ErrorCode.TLS and not error.sent:
        return Suspend(error.code)
    return Ambiguous(error.code) if error.sent else Retry(error.code)


def by_status(reply: Reply, fault: ErrorCode, *, at_most_once: bool) -> Outcome:
    """Return what the status of *reply* means for an event; *fault* is what is wrong with the body."""
    # A success that says nothing: perhaps counted, perhaps not.
    return refused(reply, at_most_once=at_most_once) or Ambiguous(fault)


def refused(reply: Reply, *, at_most_once: bool) -> Outcome | None:
    """Return what *reply*'s status alone means for an event, None where it is a success."""
    code, rest_s = status_fault(reply)
    if code is None:
        return None
    if code is ErrorCode.UNAUTHORIZED:
        return Suspend(code)
    if reply.status >= 500 and reply.status != 503 and at_most_once:
        return Ambiguous(code)  # it broke somewhere behind the door: perhaps counted
    if reply.status >= 500 or reply.status in (408, 425, 429):
        return Retry(code, rest_s)
    return Dead(code, verdict=False)

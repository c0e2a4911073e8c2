"""Error codes of HTTP statuses, for answers without an envelope."""

from __future__ import annotations

from flagmw.codes import ErrorCode
from flagmw.types import Reply

RETRY_AFTER_MAX_S = 3600.0


def status_fault(reply: Reply) -> tuple[ErrorCode | None, float | None]:
    """Return the fault in *reply*'s status and the seconds it asks to wait; (None, None) for a success."""
    status = reply.status
    if 200 <= status < 300:
        return None, None
    if 300 <= status < 400:
        return ErrorCode.REDIRECT, None
    if status in (401, 403):
        return ErrorCode.UNAUTHORIZED, None
    rest = retry_after(reply) if status in (429, 503) else None
    return ErrorCode.RATE_LIMITED if status == 429 else ErrorCode.HTTP_STATUS, rest


def refuses_request(reply: Reply) -> bool:
    """Say whether the status blames the request and not the vendor's health: it does not count for the breaker."""
    return 400 <= reply.status < 500 and reply.status not in (408, 425, 429)


def retry_after(reply: Reply) -> float | None:
    """Return the seconds of a Retry-After header (RFC 9110 section 10.2.3), clamped to an hour.

    A date is read against the vendor's own Date header, so no local clock is needed.
    None if there is none or it cannot be read.
    """
    text = reply.headers.get("retry-after", "").strip()
    if text.isascii() and text.isdigit():
        return min(float(text[:9]), RETRY_AFTER_MAX_S)
    if not text:
        return None
    from email.utils import parsedate_to_datetime  # rarely needed, and slow to import

    try:
        wait = parsedate_to_datetime(text) - parsedate_to_datetime(reply.headers.get("date", ""))
        seconds = wait.total_seconds()
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    return min(seconds, RETRY_AFTER_MAX_S) if seconds > 0 else None

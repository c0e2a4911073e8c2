"""What a status means where the envelope says nothing, and how long a vendor wants to be left alone."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flagmw.codes import ErrorCode
from flagmw.types import Reply
from flagmw.vendors.common.http_status import RETRY_AFTER_MAX_S, retry_after, status_fault

DATE = "Sun, 06 Nov 1994 08:49:37 GMT"


def answer(status: int = 503, **headers: str) -> Reply:
    return Reply(status=status, headers={name.replace("_", "-"): text for name, text in headers.items()})


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0.0),
        ("1", 1.0),
        (" 120 ", 120.0),
        ("3599", 3599.0),
        ("3600", 3600.0),
        ("3601", 3600.0),
        ("315360000", 3600.0),
        ("9" * 400, 3600.0),
        ("Sun, 06 Nov 1994 08:50:37 GMT", 60.0),
        ("Sunday, 06-Nov-94 08:50:37 GMT", 60.0),
        ("Mon, 06 Nov 2034 08:49:37 GMT", 3600.0),
        (DATE, None),
        ("Sun, 06 Nov 1994 08:48:37 GMT", None),
        ("-5", None),
        ("1.5", None),
        ("1e3", None),
        ("", None),
        ("soon", None),
        ("\uff11\uff12", None),
        ("²", None),
        ("Mon, 01 Jan 99999999999999999999 00:00:00 GMT", None),
        ("Mon, 01 Jan 2030 00:00:99999999999999999999 GMT", None),
        ("Mon, 01 Jan 2030 00:00:00 +9999999999999999", None),
        ("Mon, 99 Xyz 2030 00:00:00 GMT", None),
        ("Sun, 06 Nov 1994 08:50:37 -0000", None),
    ],
)
def test_U10_retry_after(text: str, seconds: float | None) -> None:
    """Seconds and dates are read, clamped to an hour; a date is read against the vendor's own clock; junk is none."""
    assert retry_after(answer(retry_after=text, date=DATE)) == seconds


def test_U10_a_date_needs_the_vendors_clock() -> None:
    """Without a Date header a date says nothing, since no clock of ours is asked."""
    for headers in ({}, {"date": "junk"}, {"date": "Sun, 06 Nov 1994 08:49:37"}):
        assert retry_after(answer(retry_after="Sun, 06 Nov 1994 08:50:37 GMT", **headers)) is None
    assert retry_after(answer()) is None


@given(
    st.text(max_size=40) | st.from_regex(r"\A[A-Z][a-z]{2}, \d+ (Jan|Dec) \d+ \d+:\d+:\d+ [+-]?\w+\Z"),
    st.text(max_size=30),
)
def test_U10_nothing_raises(text: str, date: str) -> None:
    """Any header is a bounded number of seconds or none."""
    for told in (date, DATE, text):
        seconds = retry_after(answer(retry_after=text, date=told))
        assert seconds is None or 0 <= seconds <= RETRY_AFTER_MAX_S


@pytest.mark.parametrize(
    ("status", "code", "rest"),
    [
        (200, None, None),
        (204, None, None),
        (299, None, None),
        (300, ErrorCode.REDIRECT, None),
        (302, ErrorCode.REDIRECT, None),
        (304, ErrorCode.REDIRECT, None),
        (400, ErrorCode.HTTP_STATUS, None),
        (401, ErrorCode.UNAUTHORIZED, None),
        (403, ErrorCode.UNAUTHORIZED, None),
        (404, ErrorCode.HTTP_STATUS, None),
        (429, ErrorCode.RATE_LIMITED, 7.0),
        (500, ErrorCode.HTTP_STATUS, None),
        (502, ErrorCode.HTTP_STATUS, None),
        (503, ErrorCode.HTTP_STATUS, 7.0),
        (103, ErrorCode.HTTP_STATUS, None),
        (600, ErrorCode.HTTP_STATUS, None),
    ],
)
def test_status(status: int, code: ErrorCode | None, rest: float | None) -> None:
    """Each status is a success or a fault; only 429 and 503 may ask for a rest."""
    assert status_fault(answer(status, retry_after="7")) == (code, rest)

"""What becomes of an event that was sent to Webtrends Optimize."""

from __future__ import annotations

from typing import Any

import pytest

from flagmw.codes import ErrorCode
from flagmw.exceptions import TransportError
from flagmw.types import Ambiguous, Dead, Delivered, Dropped, Outcome, Retry, Suspend
from flagmw.vendors.webtrends import Webtrends
from tests.unit.vendors.webtrends.codec import (
    TOKEN,
    URL,
    body_of,
    converted,
    deliver,
    error,
    event,
    reply,
    run,
    sample,
    success,
    webtrends,
)

AB = ("ta_A", "ta_B")


def outcome(answer: Any, *aliases: str, at_most_once: bool = False) -> Outcome:
    """Return what *answer* means for an event of *aliases*."""
    given = answer if hasattr(answer, "status") or isinstance(answer, Exception) else reply(answer)
    return deliver(webtrends(), event(*aliases, at_most_once=at_most_once), given)[0]


def ok(alias: str | None = None) -> Any:
    return converted() if alias is None else converted(testAlias=alias)


def no(code: int, alias: str | None = None) -> Any:
    return error(code) if alias is None else error(code, testAlias=alias)


# Samples

OTHER = {"domain_id": 2392083, "key_token": TOKEN, "url": URL}
DOCUMENTED = ("ta_Project 1", "ta_Project2")


@pytest.mark.parametrize(
    ("case", "expected"),
    [
        ("track", Delivered()),
        ("track_partial", Delivered()),
        ("track_named_in_messages", Dropped(ErrorCode.NOT_IN_TEST)),
        ("track_unnamed_success", Delivered()),
        ("track_general_error", Ambiguous(ErrorCode.VENDOR_316)),
        ("track_already", Retry(ErrorCode.SHAPE, aliases=("ta_Project2",))),
    ],
)
def test_documented_track_answers(case: str, expected: Outcome) -> None:
    """Documented answers to a track of two projects, one by one."""
    outcomes, calls = run(Webtrends(**OTHER).deliver([event(*DOCUMENTED)]), sample(case).reply)
    assert outcomes == [expected]
    assert len(calls) == 1


# Several aliases


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        # One object speaks for all.
        (ok(), Delivered()),
        ([ok()], Delivered()),
        (no(303), Dropped(ErrorCode.NOT_IN_TEST)),
        (no(0), Retry(ErrorCode.VENDOR_0)),
        (no(105), Suspend(ErrorCode.VENDOR_105)),
        # One each, by name in any order, or by place.
        ([ok("ta_B"), ok("ta_A")], Delivered()),
        ([ok(), ok()], Delivered()),
        ([no(312), no(312)], Delivered(duplicate=True)),
        ([ok(), no(312)], Delivered()),
        ([no(303), ok()], Delivered()),
        ([no(303, "ta_B"), no(314, "ta_A")], Dropped(ErrorCode.NOT_IN_TEST)),
        ([no(601), no(303)], Dead(ErrorCode.VENDOR_601)),
        ([no(303), no(601)], Dead(ErrorCode.VENDOR_601)),
        # What is open stays, what is settled leaves.
        ([ok("ta_A"), no(0, "ta_B")], Retry(ErrorCode.VENDOR_0, aliases=("ta_B",))),
        ([no(0), ok()], Retry(ErrorCode.VENDOR_0, aliases=("ta_A",))),
        ([no(303), no(100)], Retry(ErrorCode.VENDOR_100, aliases=("ta_B",))),
        ([ok(), no(316)], Retry(ErrorCode.VENDOR_316, aliases=("ta_B",))),
        ([no(0), no(316)], Retry(ErrorCode.VENDOR_0)),
        ([no(316), no(0)], Ambiguous(ErrorCode.VENDOR_316)),
        # The account's trouble: all wait, but not for what is settled.
        ([no(105), no(105)], Suspend(ErrorCode.VENDOR_105)),
        ([no(0), no(207)], Suspend(ErrorCode.VENDOR_207)),
        ([ok("ta_A"), no(105, "ta_B")], Retry(ErrorCode.VENDOR_105, aliases=("ta_B",))),
        # Some are named and some are not.
        ([ok(), no(303, "ta_B")], Delivered()),
        ([ok(), no(0, "ta_B")], Retry(ErrorCode.VENDOR_0, aliases=("ta_B",))),
        ([no(0, "ta_A"), ok()], Retry(ErrorCode.VENDOR_0, aliases=("ta_A",))),
        # Some are missing, or others are there.
        ([ok("ta_A")], Retry(ErrorCode.SHAPE, aliases=("ta_B",))),
        ([ok("ta_X"), ok("ta_Y")], Ambiguous(ErrorCode.SHAPE)),
        ([ok("ta_X"), ok("ta_A")], Retry(ErrorCode.SHAPE, aliases=("ta_B",))),
        ([ok(), ok(), ok()], Ambiguous(ErrorCode.SHAPE)),
        ([ok("ta_A"), ok("ta_A")], Retry(ErrorCode.SHAPE, aliases=("ta_B",))),
        ([no(0, "ta_A"), ok("ta_A"), ok("ta_B")], Delivered()),
        # Among others that are no answer to a track.
        ([ok(), success("ta_B")], Delivered()),
        ([ok(), "text", None], Delivered()),
    ],
)
def test_each_alias_is_judged_on_its_own(answer: Any, expected: Outcome) -> None:
    """Each alias gets its own verdict; together they say what is left to do."""
    assert outcome(answer, *AB) == expected


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (ok(), Delivered()),
        (no(0), Ambiguous(ErrorCode.VENDOR_0)),
        (no(316), Ambiguous(ErrorCode.VENDOR_316)),
        ([ok(), no(316)], Delivered()),
        ([ok("ta_A")], Delivered()),
        ([ok(), no(105)], Retry(ErrorCode.VENDOR_105, aliases=("ta_B",))),
        (b"<html>", Ambiguous(ErrorCode.NOT_JSON)),
        (reply(b"", 500), Ambiguous(ErrorCode.HTTP_STATUS)),
        (reply(b"", 502), Ambiguous(ErrorCode.HTTP_STATUS)),
        (reply(b"", 504), Ambiguous(ErrorCode.HTTP_STATUS)),
        (reply(b"", 503, retry_after="9"), Retry(ErrorCode.HTTP_STATUS, 9.0)),
        (reply(b"", 429), Retry(ErrorCode.RATE_LIMITED)),
        (TransportError(ErrorCode.RESET), Ambiguous(ErrorCode.RESET)),
        (TransportError(ErrorCode.CONNECT, sent=False), Retry(ErrorCode.CONNECT)),
    ],
)
def test_at_most_once(answer: Any, expected: Outcome) -> None:
    """Where nothing may be counted twice, only what surely did not arrive stays open."""
    assert outcome(answer, *AB, at_most_once=True) == expected


# No envelope


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (b"", Ambiguous(ErrorCode.EMPTY)),
        (b"[]", Ambiguous(ErrorCode.EMPTY)),
        (b"null", Ambiguous(ErrorCode.EMPTY)),
        (b"<html>", Ambiguous(ErrorCode.NOT_JSON)),
        (b'"OK"', Ambiguous(ErrorCode.SHAPE)),
        (b"{}", Ambiguous(ErrorCode.SHAPE)),
        (success(), Ambiguous(ErrorCode.SHAPE)),
        (reply(b"", 204), Ambiguous(ErrorCode.EMPTY)),
        (reply(b"", 401), Suspend(ErrorCode.UNAUTHORIZED)),
        (reply(b"<html>", 403), Suspend(ErrorCode.UNAUTHORIZED)),
        (reply(b"", 404), Dead(ErrorCode.HTTP_STATUS, verdict=False)),
        (reply(b"", 400), Dead(ErrorCode.HTTP_STATUS, verdict=False)),
        (reply(b"", 302), Dead(ErrorCode.REDIRECT, verdict=False)),
        (reply(b"", 408), Retry(ErrorCode.HTTP_STATUS)),
        (reply(b"", 425), Retry(ErrorCode.HTTP_STATUS)),
        (reply(b"", 429), Retry(ErrorCode.RATE_LIMITED)),
        (reply(b"", 429, retry_after="30"), Retry(ErrorCode.RATE_LIMITED, 30.0)),
        (reply(b"", 429, retry_after="junk"), Retry(ErrorCode.RATE_LIMITED)),
        (reply(b"", 429, retry_after="99999999"), Retry(ErrorCode.RATE_LIMITED, 3600.0)),
        (reply(b"", 500), Retry(ErrorCode.HTTP_STATUS)),
        (reply(b"", 500, retry_after="30"), Retry(ErrorCode.HTTP_STATUS)),
        (reply(b"<html>", 502), Retry(ErrorCode.HTTP_STATUS)),
        (reply(b"", 503, retry_after="30"), Retry(ErrorCode.HTTP_STATUS, 30.0)),
    ],
)
def test_U10_U11_U12_U13_answers_without_envelope(answer: Any, expected: Outcome) -> None:
    """Without an envelope the status decides; a success that says nothing leaves doubt."""
    assert outcome(answer) == expected


@pytest.mark.parametrize("status", [200, 400, 401, 404, 429, 500])
def test_the_envelope_counts(status: int) -> None:
    """Where there is an envelope it counts, whatever the status."""
    assert outcome(reply(ok(), status)) == Delivered()
    assert outcome(reply(no(314), status)) == Dropped(ErrorCode.NOT_IN_TEST)


@pytest.mark.parametrize(
    ("failure", "expected"),
    [
        (TransportError(ErrorCode.CONNECT, sent=False), Retry(ErrorCode.CONNECT)),
        (TransportError(ErrorCode.DNS, sent=False), Retry(ErrorCode.DNS)),
        (TransportError(ErrorCode.RESET), Ambiguous(ErrorCode.RESET)),
        (TransportError(ErrorCode.DEADLINE), Ambiguous(ErrorCode.DEADLINE)),
        (TransportError(ErrorCode.TLS, sent=False), Suspend(ErrorCode.TLS)),
    ],
)
def test_transport_failures(failure: TransportError, expected: Outcome) -> None:
    """What surely did not arrive is tried again; what may have is in doubt; bad certificates stop the lane."""
    assert outcome(failure) == expected


def test_a_batch() -> None:
    """Events go out one by one, and each has its own outcome, whatever the one before met."""
    vendor = webtrends()
    batch = [event("ta_A"), event("ta_B"), event("ta_C")]
    outcomes, calls = run(vendor.deliver(batch), TransportError(ErrorCode.RESET), reply(no(312)), reply(ok()))
    assert outcomes == [Ambiguous(ErrorCode.RESET), Delivered(duplicate=True), Delivered()]
    assert [call.url.rpartition("-")[2] for call in calls] == ["ta_A", "ta_B", "ta_C"]


def test_an_empty_batch() -> None:
    """No events, no calls."""
    assert run(webtrends().deliver([])) == ([], [])


def test_conversion_cookies_are_not_sent() -> None:
    """Only the cookies of the event go along; what the answer sets is nobody's."""
    _, (call,) = deliver(webtrends(), event("ta_A"), sample("track").reply)
    assert set(body_of(call)["cookies"]) == {"_wt.user-2490593", "_wt.mode-2490593", "_wt.control-2490593-ta_A"}

"""What each documented error code asks of us, when deciding and when delivering."""

from __future__ import annotations

import pytest

from flagmw.codes import ErrorCode, vendor_code
from flagmw.types import Ambiguous, Dead, Delivered, Dropped, Outcome, Retry, Suspend
from flagmw.vendors.webtrends.codes import Kind, kind_of
from tests.unit.vendors.webtrends.codec import MODE, USER, control, decide, deliver, error, event, reply, webtrends

# The vendor's own list ("Error codes" in its OTS REST API guide), by what they ask of a client.
INFORMATIONAL = [302, 303, 308, 310, 311, 312, 314, 317, 318, 417, 418, 501, 502, 1005]
COOKIES = [102, 104, 300, 305, 309, 315]
CONFIGURATION = [101, 103, 105, 201, 202, 203, 204, 205, 206, 207, 301, 306, 307, 313, 403, 601, 602, 603, 604, 701]
CONFIGURATION += [801, 802, 803, 804, 805, 806, 1001, 1002, 1003, 1004]
SERVER = [0, 100, 200, 304, 316, 400, 401, 402, 404, 420, 421, 500, 901]
DOCUMENTED = {
    **dict.fromkeys(INFORMATIONAL, Kind.INFORMATIONAL),
    **dict.fromkeys(COOKIES, Kind.COOKIES),
    **dict.fromkeys(CONFIGURATION, Kind.CONFIGURATION),
    **dict.fromkeys(SERVER, Kind.SERVER),
}
ADVISED = {101, 102, 103, 104, 105, 207, 303, 501, 604}
SENT = {USER: "WT3u~", MODE: "WT3m~", control("ta_Project1"): "WT3c~"}
COOKIE = {USER: {"timeout": 1000, "type": "persisted", "value": "WT3fromerror"}}
ALIAS = {"testAlias": "ta_Project1"}


def test_the_list_is_whole() -> None:
    """Every documented code has a class, and a member of the closed set of codes."""
    members = {code for code in ErrorCode if code.startswith("VENDOR_")}
    assert {vendor_code(code) for code in DOCUMENTED} == members - {ErrorCode.VENDOR_OTHER}
    assert len(DOCUMENTED) == len(members) - 1 == 63


@pytest.mark.parametrize("code", DOCUMENTED)
def test_kind(code: int) -> None:
    """Each code has the class that its documented text calls for."""
    assert kind_of(code) is DOCUMENTED[code]


@pytest.mark.parametrize("code", [1, 99, 319, 999, 10_000, -1])
def test_unknown_codes(code: int) -> None:
    """A code that is not documented is the server's trouble, and has no label of its own."""
    assert kind_of(code) is Kind.SERVER
    assert vendor_code(code) is ErrorCode.VENDOR_OTHER


def test_300_without_cookies() -> None:
    """Code 300 blames cookies only where some were sent."""
    assert kind_of(300, sent_cookies=False) is Kind.SERVER
    assert {code for code in DOCUMENTED if kind_of(code, sent_cookies=False) is not DOCUMENTED[code]} == {300}


@pytest.mark.parametrize("code", DOCUMENTED)
def test_deciding_without_cookies(code: int) -> None:
    """A visitor without cookies: one call; "no" is a notice, all else an error; only the server's trouble trips."""
    kind = kind_of(code, sent_cookies=False)
    decision, calls = decide(webtrends(), reply(error(code, cookies=COOKIE, **ALIAS)))
    assert len(calls) == 1
    assert decision.variants == {}
    assert decision.misses == {"ta_Project1": vendor_code(code)}
    informational = kind is Kind.INFORMATIONAL
    assert (decision.notice, decision.error) == (
        (vendor_code(code), None) if informational else (None, vendor_code(code))
    )
    assert decision.trips is (kind is Kind.SERVER or code == 207)
    assert (USER in {change.name for change in decision.cookies}) is informational
    assert (decision.advice is not None) is (code in ADVISED)


@pytest.mark.parametrize("code", [code for code, kind in DOCUMENTED.items() if kind is not Kind.COOKIES])
def test_deciding_with_cookies(code: int) -> None:
    """A code that does not blame cookies neither repeats the call nor takes a cookie from the visitor."""
    decision, calls = decide(webtrends(), reply(error(code, **ALIAS)), cookies=SENT)
    assert len(calls) == 1
    assert decision.cookies == ()


def test_an_untrusted_account_rests_for_long() -> None:
    """A blocked account is left alone for half a minute."""
    decision, _ = decide(webtrends(), reply(error(207)))
    assert (decision.trips, decision.retry_after_s) == (True, 30.0)


@pytest.mark.parametrize(
    ("raw", "code"),
    [
        (303, ErrorCode.VENDOR_303),
        ("303", ErrorCode.VENDOR_303),
        (999, ErrorCode.VENDOR_OTHER),
        ("999999", ErrorCode.VENDOR_OTHER),
        ("9999999", ErrorCode.VENDOR_0),
        (303.5, ErrorCode.VENDOR_0),
        (True, ErrorCode.VENDOR_0),
        (None, ErrorCode.VENDOR_0),
        ([303], ErrorCode.VENDOR_0),
        ("three", ErrorCode.VENDOR_0),
        (-303, ErrorCode.VENDOR_OTHER),
        (2**63, ErrorCode.VENDOR_OTHER),
    ],
)
def test_V4_odd_codes(raw: object, code: ErrorCode) -> None:
    """A code may be text; anything else is an error of no known kind, and never a decision."""
    decision, _ = decide(webtrends(), reply(error(raw)))
    assert (decision.error or decision.notice) is code


@pytest.mark.parametrize("message", ["No test found", 303, [], True, ["errorCode"]])
def test_V4_odd_messages(message: object) -> None:
    """A message of any shape makes an element an error; only null is none."""
    element = {"body": {"message": message, "factors": [{"value": "x"}]}, "opcode": "process", "params": ALIAS}
    decision, _ = decide(webtrends(), reply(element))
    assert decision.variants == {} and decision.error is ErrorCode.VENDOR_0
    decision, _ = decide(webtrends(), reply({**element, "body": {**element["body"], "message": None}}))  # type: ignore[dict-item]
    assert list(decision.variants) == ["ta_Project1"]


@pytest.mark.parametrize(
    ("text", "alias"),
    [
        ("No test found for guid 2490593-ta_Project1", "ta_Project1"),
        ("No test was found that matched any segments for guid 2490593-ta_Project 1", "ta_Project 1"),
        ("No control cookie found for conversion on guid: 2490593-ta-b-c", "ta-b-c"),
        ("Test with guid 2490593-ta_x, is not a valid test any more.", "ta_x"),
        ("does not match current test group set [guid: 2490593-$ta_x, test group: a], will not", "ta_x"),
        ("Current path does not contain [guid: 2490593-ta_x, test group: a], will not convert", "ta_x"),
        ("User has been previously throttled out, no conversion for guid: 2490593-ta_x can occur", "ta_x"),
        ("Unable to add control cookie with guid 2490593-ta_x", "ta_x"),
        ("General tracking error.", None),
        ("guid NULL", None),
        ("No test found for guid 2490593-", None),
        ("No test found for guid 2490593-a;b", None),
        ("No test found for guid 2490593-" + "a" * 129, None),
        ("No test found for guid 2490593-ü", None),
        ("guid1-" * 80_000, None),
    ],
)
def test_aliases_in_messages(text: str, alias: str | None) -> None:
    """An error tells its project in its text, where that is a name that a project can have."""
    decision, _ = decide(webtrends(), reply(error(303, text)))
    assert list(decision.misses) == ([] if alias is None else [alias])


# Delivering

NOT_IN_TEST = [302, 303, 310, 311, 314, 315, 317, 318, 418]


def expected(code: int) -> Outcome:
    if code == 312:
        return Delivered(duplicate=True)
    if code in NOT_IN_TEST:
        return Dropped(ErrorCode.NOT_IN_TEST)
    if code in (101, 103, 105, 207):
        return Suspend(vendor_code(code))
    if code == 316:
        return Ambiguous(ErrorCode.VENDOR_316)
    if DOCUMENTED[code] is Kind.SERVER:
        return Retry(vendor_code(code))
    return Dead(vendor_code(code), verdict=code not in (102, 104))


@pytest.mark.parametrize("code", DOCUMENTED)
def test_V16_delivering(code: int) -> None:
    """Each code is final, open, or the account's trouble; what is final for the visitor is never tried again."""
    outcome, calls = deliver(webtrends(), event(), reply(error(code)))
    assert outcome == expected(code)
    assert len(calls) == 1


@pytest.mark.parametrize("code", DOCUMENTED)
def test_delivering_at_most_once(code: int) -> None:
    """What may have been counted before the server broke is in doubt, not to be repeated."""
    outcome, _ = deliver(webtrends(at_most_once=True), event(at_most_once=True), reply(error(code)))
    if DOCUMENTED[code] is Kind.SERVER:
        assert outcome == Ambiguous(vendor_code(code))
    else:
        assert outcome == expected(code)


def test_104_does_not_stop_the_others() -> None:
    """One visitor's cookies from before a change of the token do not hold up everybody's events, nor are they lost."""
    outcome, _ = deliver(webtrends(), event(), reply(error(104)))
    assert outcome == Dead(ErrorCode.VENDOR_104, verdict=False)

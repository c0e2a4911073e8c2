"""The flow of a decision: what is asked again, and what becomes of cookies that the vendor cannot use."""

from __future__ import annotations

from typing import Any

import pytest

from flagmw.codes import ErrorCode, vendor_code
from flagmw.exceptions import TransportError
from flagmw.types import Call, CookieChange, Decision, Track, VisitorState
from flagmw.vendors.webtrends import BAD_COOKIES_S, Webtrends
from tests.unit.vendors.webtrends.codec import (
    MODE,
    USER,
    body_of,
    control,
    decide,
    error,
    reply,
    success,
    visit,
    webtrends,
)

A, B = control("ta_A"), control("ta_B")
SENT = {USER: "WT3u~", MODE: "WT3m~", A: "WT3a~", B: "WT3b~"}
ALL_COOKIES = [102, 104, 300]
ONE_PROJECT = [305, 309, 315]
FRESH = {USER: {"timeout": 1000, "type": "persisted", "value": "WT3new~"}}


def sent(call: Call) -> set[str]:
    return set(body_of(call).get("cookies", {}))


def deleted(decision: Decision) -> set[str]:
    return {change.name for change in decision.cookies if change.max_age_s == 0}


def written(decision: Decision) -> set[str]:
    return {change.name for change in decision.cookies if change.max_age_s != 0}


def stale(code: int, alias: str | None = "ta_A", **more: Any) -> Any:
    """Return an answer that blames cookies."""
    return reply(error(code, **({} if alias is None else {"testAlias": alias}), **more))


def test_an_ordinary_visitor() -> None:
    """A decision is one call with all cookies of the visitor's, and deletes none."""
    decision, (call,) = decide(webtrends(), reply([success("ta_A"), success("ta_B")]), cookies=SENT)
    assert sent(call) == set(SENT)
    assert deleted(decision) == set()


# Class C: asked once more without


@pytest.mark.parametrize("code", ALL_COOKIES)
def test_unreadable_cookies(code: int) -> None:
    """When the vendor cannot read the cookies it is asked once more without any, and the old ones are deleted."""
    decision, (first, second) = decide(webtrends(), stale(code), reply(success("ta_A")), cookies=SENT)
    assert (sent(first), sent(second)) == (set(SENT), set())
    assert list(decision.variants) == ["ta_A"]
    assert (decision.error, decision.trips) == (None, False)
    # What came new is not deleted.
    assert deleted(decision) == {MODE, B}
    assert written(decision) == {USER, A}
    assert {change.domain for change in decision.cookies} == {".mysite.com"}


@pytest.mark.parametrize("code", ONE_PROJECT)
def test_a_stale_decision(code: int) -> None:
    """When one project's decision is stale it is asked once more without that cookie alone."""
    decision, (_, second) = decide(webtrends(), stale(code), reply(success("ta_B")), cookies=SENT)
    assert sent(second) == {USER, MODE, B}
    assert deleted(decision) == {A}
    assert list(decision.variants) == ["ta_B"]


@pytest.mark.parametrize("code", ONE_PROJECT)
def test_a_stale_decision_of_a_project_that_is_not_named(code: int) -> None:
    """Where the vendor does not say which decision is stale, all are dropped, and the visitor stays known."""
    decision, (_, second) = decide(webtrends(), stale(code, None), reply(success("ta_A")), cookies=SENT)
    assert sent(second) == {USER, MODE}
    assert deleted(decision) == {B} and A in written(decision)


def test_a_stale_decision_named_in_the_text() -> None:
    """The project may be named in the message."""
    text = "Test with guid 2490593-ta_B, is not a valid test any more."
    _, (_, second) = decide(webtrends(), reply(error(315, text)), reply(success("ta_A")), cookies=SENT)
    assert sent(second) == {USER, MODE, A}


def test_several_stale_decisions() -> None:
    """All that an answer blames is dropped at once."""
    answer = reply([error(315, testAlias="ta_A"), error(305, testAlias="ta_B"), error(302, testAlias="ta_C")])
    _, (_, second) = decide(webtrends(), answer, reply([]), cookies=SENT)
    assert sent(second) == {USER, MODE}


@pytest.mark.parametrize("code", ONE_PROJECT)
def test_a_stale_decision_that_was_not_sent(code: int) -> None:
    """A project that the visitor has no cookie of gives no reason to ask again; the error stands."""
    decision, (_,) = decide(webtrends(), stale(code, "ta_X"), cookies=SENT)
    assert (decision.error, decision.trips) == (vendor_code(code), False)
    assert deleted(decision) == {control("ta_X")}


@pytest.mark.parametrize("code", ALL_COOKIES + ONE_PROJECT)
def test_nothing_to_drop(code: int) -> None:
    """A visitor without cookies is not asked about twice."""
    decision, calls = decide(webtrends(), stale(code))
    assert len(calls) == 1
    assert decision.error is vendor_code(code)
    assert decision.trips is (code == 300)


@pytest.mark.parametrize("code", ALL_COOKIES + ONE_PROJECT)
def test_one_stale_project_among_good_ones(code: int) -> None:
    """An answer that decides something is used as it is; only the one stale decision is deleted."""
    answer = reply([success("ta_B"), error(code, testAlias="ta_A")])
    decision, calls = decide(webtrends(), answer, cookies=SENT)
    assert len(calls) == 1
    assert list(decision.variants) == ["ta_B"]
    assert decision.misses == {"ta_A": vendor_code(code)}
    assert deleted(decision) == ({A} if code in ONE_PROJECT else set())


def test_a_deletion_names_the_domain() -> None:
    """A stale decision is deleted on the domain that the answer names."""
    answer = reply([success("ta_B"), error(315, testAlias="ta_A")])
    decision, _ = decide(webtrends(), answer, cookies=SENT)
    (deletion,) = [change for change in decision.cookies if change.max_age_s == 0]
    assert deletion == CookieChange(name=A, value="", max_age_s=0, domain=".mysite.com")


# What the second answer may be


@pytest.mark.parametrize("code", [302, 303, 417, 501])
def test_no_test_the_second_time(code: int) -> None:
    """A "no" is a sound answer: the old cookies are deleted, the new ones set."""
    decision, _ = decide(webtrends(), stale(102), reply(error(code, cookies=FRESH)), cookies=SENT)
    assert (decision.notice, decision.error) == (vendor_code(code), None)
    assert deleted(decision) == {MODE, A, B}
    assert written(decision) == {USER}


@pytest.mark.parametrize("first", [102, 104, 300])
@pytest.mark.parametrize("second", [0, 100, 105, 207, 300, 500, 304])
def test_an_error_the_second_time(first: int, second: int) -> None:
    """An error that does not blame cookies proves nothing against them: the visitor keeps them all."""
    vendor = webtrends()
    decision, calls = decide(vendor, stale(first), stale(second), cookies=SENT)
    assert len(calls) == 2
    assert decision.error is vendor_code(second)
    assert decision.trips is (second != 105)
    assert decision.cookies == ()
    _, (again,) = decide(vendor, reply(success("ta_A")), cookies=SENT)
    assert sent(again) == set(SENT)


@pytest.mark.parametrize(
    ("failure", "code", "trips"),
    [
        (TransportError(ErrorCode.RESET), ErrorCode.RESET, True),
        (TransportError(ErrorCode.CONNECT, sent=False), ErrorCode.CONNECT, True),
        (reply(b"<html>"), ErrorCode.NOT_JSON, True),
        (reply(b"", 503), ErrorCode.HTTP_STATUS, True),
        (reply(b"", 403), ErrorCode.UNAUTHORIZED, False),
    ],
)
def test_no_answer_the_second_time(failure: Any, code: ErrorCode, trips: bool) -> None:
    """A second call that fails leaves the cookies as they are."""
    decision, calls = decide(webtrends(), stale(102), failure, cookies=SENT)
    assert len(calls) == 2
    assert (decision.error, decision.trips, decision.cookies) == (code, trips, ())


def test_nothing_the_second_time() -> None:
    """An empty second answer is none: the cookies stay."""
    decision, _ = decide(webtrends(), stale(102), reply([]), cookies=SENT)
    assert (decision.notice, decision.cookies) == (ErrorCode.EMPTY, ())


# Twice refused


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (102, 102),
        (102, 104),
        (104, 104),
        (104, 102),
        (300, 102),
        (300, 104),
        (305, 102),
        (305, 300),
        (315, 315),
        (309, 104),
    ],
)
def test_twice_refused(first: int, second: int) -> None:
    """When the vendor blames cookies again, all of the account's are deleted, and the visitor gets defaults."""
    decision, calls = decide(webtrends(), stale(first), stale(second, cookieDomain=".mysite.com"), cookies=SENT)
    assert len(calls) == 2
    assert (decision.error, decision.trips, decision.variants) == (vendor_code(second), False, {})
    assert deleted(decision) == set(SENT) and written(decision) == set()
    assert {change.domain for change in decision.cookies} == {".mysite.com"}
    assert decision.advice is not None


def test_twice_refused_is_remembered() -> None:
    """For a minute the same visitor is asked about once, without those cookies, and has them deleted again."""
    vendor = webtrends()
    decide(vendor, stale(102), stale(102), cookies=SENT, now=1000.0)
    decision, (call,) = decide(vendor, reply(success("ta_A")), cookies=SENT, now=1000.0 + BAD_COOKIES_S - 1)
    assert sent(call) == set()
    assert list(decision.variants) == ["ta_A"]
    assert deleted(decision) == {MODE, B}
    decision, calls = decide(vendor, stale(102), cookies=SENT, now=1001.0)
    assert len(calls) == 1 and decision.error is ErrorCode.VENDOR_102


def test_the_memory_ends() -> None:
    """After that minute the cookies are tried again."""
    vendor = webtrends()
    decide(vendor, stale(102), stale(102), cookies=SENT, now=1000.0)
    _, (call,) = decide(vendor, reply(success("ta_A")), cookies=SENT, now=1000.0 + BAD_COOKIES_S)
    assert sent(call) == set(SENT)


def test_the_memory_is_of_these_cookies() -> None:
    """Another visitor, or the same one with new cookies, is not meant."""
    vendor = webtrends()
    decide(vendor, stale(102), stale(102), cookies=SENT)
    for other in ({**SENT, USER: "WT3other~"}, {USER: SENT[USER]}):
        _, (call,) = decide(vendor, reply(success("ta_A")), cookies=other)
        assert sent(call) == set(other)


def test_at_most_two_calls() -> None:
    """No chain of refusals makes a third call."""
    for codes in ((305, 102), (102, 305), (305, 305), (315, 300)):
        assert len(decide(webtrends(), stale(codes[0]), stale(codes[1], "ta_B"), cookies=SENT)[1]) == 2


# Transport


@pytest.mark.parametrize("sent_bytes", [True, False])
@pytest.mark.parametrize(
    "code", [ErrorCode.RESET, ErrorCode.TLS, ErrorCode.DNS, ErrorCode.TOO_LARGE, ErrorCode.DEADLINE]
)
def test_U1_U3_U4_transport_failures(code: ErrorCode, sent_bytes: bool) -> None:
    """A call without a reply is a failure of the vendor's health, and is not repeated."""
    decision, calls = decide(webtrends(), TransportError(code, sent=sent_bytes), cookies=SENT)
    assert len(calls) == 1
    assert decision == Decision(vendor="webtrends", error=code, trips=True)


def test_the_flow_ends_when_it_is_closed() -> None:
    """At the deadline the driver closes the flow, which does not hold on."""
    flow = webtrends().decide(visit(), VisitorState(SENT))
    next(flow)
    flow.close()
    with pytest.raises(StopIteration):
        next(flow)


# Who takes part in a track


def track(metric: str = "purchase", aliases: tuple[str, ...] | None = None) -> Track:
    return Track(id="t", metric=metric, aliases=aliases)


@pytest.mark.parametrize(
    ("aliases", "taken", "cookies"),
    [
        (None, ("ta_A", "ta_B"), {USER, MODE, A, B}),
        (("ta_B",), ("ta_B",), {USER, MODE, B}),
        (("ta_B", "ta_X", "ta_A"), ("ta_B", "ta_A"), {USER, MODE, A, B}),
        (("ta_X",), (), set()),
        ((), (), set()),
    ],
)
def test_participation(aliases: tuple[str, ...] | None, taken: tuple[str, ...], cookies: set[str]) -> None:
    """A track counts for the projects that the visitor has a control cookie of, and takes along what proves it."""
    part = webtrends().participation(track(aliases=aliases), VisitorState({**SENT, "other": "x"}))
    assert (part.aliases, set(part.cookies)) == (taken, cookies)


def test_participation_without_a_user_cookie() -> None:
    """A control cookie is enough."""
    part = webtrends().participation(track(), VisitorState({A: "WT3a~"}))
    assert (part.aliases, dict(part.cookies)) == (("ta_A",), {A: "WT3a~"})


@pytest.mark.parametrize(
    ("metric", "good"),
    [
        ("purchase", True),
        ("Page_Checkout Step1", True),
        ("a" * 128, True),
        ("a" * 129, False),
        ("", False),
        ("shop.purchase", False),
        ("a\n", False),
        ("ä", False),
    ],
)
def test_metrics(metric: str, good: bool) -> None:
    """A metric has letters, digits, spaces and underscores, and its refusal does not repeat it."""
    if good:
        webtrends().participation(track(metric), VisitorState(SENT))
    else:
        with pytest.raises(ValueError, match="metric must match") as caught:
            webtrends().participation(track(metric), VisitorState(SENT))
        assert metric == "" or metric not in str(caught.value)


def test_another_pattern_for_metrics() -> None:
    """An account may have metrics of another form."""
    vendor: Webtrends = webtrends(metric_pattern=r"[a-z.]+")
    assert vendor.participation(track("shop.purchase"), VisitorState(SENT)).aliases
    with pytest.raises(ValueError, match="metric"):
        vendor.participation(track("Purchase"), VisitorState(SENT))

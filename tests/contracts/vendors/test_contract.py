"""Every vendor keeps the contract, and the checks notice a vendor that does not."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import httpx2
import pytest

from flagmw._cookies.rule import CookieRule
from flagmw.codes import ErrorCode
from flagmw.exceptions import TransportError
from flagmw.sandbox import SandboxServer
from flagmw.testing import check_vendor
from flagmw.types import (
    Ambiguous,
    Call,
    CookieChange,
    Decision,
    Delivered,
    Event,
    Flow,
    Outcome,
    Reply,
    Retry,
    Track,
    Variant,
    Visit,
    VisitorState,
)
from flagmw.vendors.adobe import AdobeTarget
from flagmw.vendors.base import Participation, Vendor
from flagmw.vendors.contentstack import Contentstack
from flagmw.vendors.monetate import Monetate
from flagmw.vendors.static import Static
from flagmw.vendors.webtrends import Webtrends

TOKEN = "7a32f9364bd1ea68668a0e50bd815e79109a03720951"
PAGE = Visit(url="https://www.mysite.com/checkout", user_agent="Mozilla/5.0 Firefox/140.0")
NAMES = ("webtrends", "adobe", "monetate", "contentstack", "static")


def vendor_of(name: str, server: SandboxServer, *, at_most_once: bool) -> Vendor:
    """Return the shop's account at the vendor *name*."""
    if name == "webtrends":
        url = server.webtrends_url
        return Webtrends(2490593, TOKEN, "https://www.mysite.com", base_url=url, at_most_once=at_most_once)
    if name == "adobe":
        return AdobeTarget("demo", ["ta_Checkout"], base_url=server.adobe_url, at_most_once=at_most_once)
    if name == "monetate":
        url = server.monetate_url
        return Monetate("acme", "a-701b337c/p/www.mysite.com", base_url=url, at_most_once=at_most_once)
    if name == "contentstack":
        return Contentstack("64c7787b333555469a861224", base_url=server.contentstack_url, at_most_once=at_most_once)
    return Static(flags={"ta_Checkout": {"split": {"control": 1, "variation": 1}}})


@pytest.fixture
def client() -> Iterator[httpx2.Client]:
    with httpx2.Client(timeout=10) as client:
        yield client


@pytest.mark.parametrize("at_most_once", [False, True], ids=["at-least-once", "at-most-once"])
@pytest.mark.parametrize("name", NAMES)
def test_vendor_keeps_the_contract(
    name: str, at_most_once: bool, flagmw_sandbox: SandboxServer, client: httpx2.Client
) -> None:
    """Good replies come from the sandbox, failures from the checks."""

    def answer(call: Call) -> Reply:
        got = client.request(call.method, call.url, headers=dict(call.headers), content=call.body)
        return Reply(status=got.status_code, headers=dict(got.headers), body=got.content)

    vendor = vendor_of(name, flagmw_sandbox, at_most_once=at_most_once)
    decision = check_vendor(vendor, answer=answer, visit=PAGE)
    assert decision.variants


class Minimal:
    """A vendor with one call for each flow, correct in all that the checks look at."""

    name, prefix, exposure, base_url = "minimal", "", "off", "http://127.0.0.1:1"
    at_most_once = True
    cookies = CookieRule(
        prefixes=("m_",),
        reads=lambda name: name == "m_id",
        writes=lambda name: name == "m_id",
        value_ok=str.isalnum,
    )

    def identity(self, state: VisitorState) -> str:
        return state.cookies.get("m_id", "")

    def decide(self, visit: Visit, state: VisitorState) -> Flow[Decision]:
        try:
            reply = yield Call(method="GET", url=self.base_url, headers={})
        except TransportError as error:
            return self.failed(error.code)
        if reply.status != 200 or reply.body != b"good":
            return self.failed(ErrorCode.SHAPE)
        return self.decided()

    def failed(self, code: ErrorCode) -> Decision:
        return Decision(vendor=self.name, error=code)

    def decided(self) -> Decision:
        variant = Variant(alias="a", key="b", vendor=self.name)
        return Decision(vendor=self.name, variants={"a": variant}, cookies=(CookieChange("m_id", "x"),))

    def participation(self, track: Track, state: VisitorState) -> Participation:
        return Participation(("a",), state.cookies)

    def exposes(self, variants: Sequence[Variant], state: VisitorState) -> Participation:
        return Participation()

    def deliver(self, batch: Sequence[Event]) -> Flow[Sequence[Outcome]]:
        try:
            reply = yield Call(method="POST", url=self.base_url, headers={})
        except TransportError as error:
            return [self.unanswered(error) for _ in batch]
        return [Delivered() if reply.status == 200 else Retry(ErrorCode.HTTP_STATUS) for _ in batch]

    def unanswered(self, error: TransportError) -> Outcome:
        return Ambiguous(error.code) if error.sent else Retry(error.code)


def good(call: Call) -> Reply:
    return Reply(status=200, headers={}, body=b"good")


class RaisesOnFailure(Minimal):
    def failed(self, code: ErrorCode) -> Decision:
        raise ValueError("no")


class HidesFailure(Minimal):
    def failed(self, code: ErrorCode) -> Decision:
        return Decision(vendor=self.name)


class ForeignCookie(Minimal):
    def decided(self) -> Decision:
        variant = Variant(alias="a", key="b", vendor=self.name)
        return Decision(vendor=self.name, variants={"a": variant}, cookies=(CookieChange("session", "x"),))


class SiteCookies(Minimal):
    cookies = CookieRule(prefixes=("",), reads=lambda name: True, writes=lambda name: True, value_ok=lambda value: True)


class RepeatsWhatArrived(Minimal):
    def unanswered(self, error: TransportError) -> Outcome:
        return Retry(error.code)


class LosesWhatWasNotSent(Minimal):
    def unanswered(self, error: TransportError) -> Outcome:
        return Ambiguous(error.code)


class ForgetsAnEvent(Minimal):
    def deliver(self, batch: Sequence[Event]) -> Flow[Sequence[Outcome]]:
        yield Call(method="POST", url=self.base_url, headers={})
        return []


class NeverEnds(Minimal):
    def decide(self, visit: Visit, state: VisitorState) -> Flow[Decision]:
        while True:
            try:
                reply = yield Call(method="GET", url=self.base_url, headers={})
            except TransportError:
                continue
            if reply.body == b"good":
                return self.decided()


class OtherName(Minimal):
    def decided(self) -> Decision:
        return Decision(vendor="other", variants={"a": Variant(alias="a", key="b", vendor="other")})


BROKEN: dict[Callable[[], Minimal], str] = {
    RaisesOnFailure: "decide raised ValueError",
    HidesFailure: "decide reports no error and no notice",
    ForeignCookie: "decide sets the cookie 'session'",
    SiteCookies: "must leave the site's own cookies alone",
    RepeatsWhatArrived: "must be Ambiguous",
    LosesWhatWasNotSent: "reached nobody",
    ForgetsAnEvent: "0 outcomes for 1 events",
    NeverEnds: "without an end",
    OtherName: "Decision.vendor must be 'minimal'",
}


def test_a_correct_vendor_passes() -> None:
    """The vendor that the broken ones below are made from keeps the contract."""
    assert check_vendor(Minimal(), answer=good).variants["a"].key == "b"


@pytest.mark.parametrize(("make", "message"), BROKEN.items(), ids=lambda value: getattr(value, "__name__", ""))
def test_a_broken_vendor_is_named(make: Callable[[], Minimal], message: str) -> None:
    """Each break of the contract fails, with a text that says which rule it is."""
    with pytest.raises(AssertionError, match=message):
        check_vendor(make(), answer=good)

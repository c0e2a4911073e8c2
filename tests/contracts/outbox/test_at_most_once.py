"""Deliveries of events that must not arrive twice: what a vendor counts when it reads a request and hangs up."""

from __future__ import annotations

import logging
import time
from collections.abc import Generator, Sequence
from typing import Any

import httpx
import httpx2
import pytest

from flagmw import AdobeTarget, Contentstack, Monetate, Webtrends
from flagmw._drivers.blocking import BlockingDriver
from flagmw._support.deadline import Deadline
from flagmw._support.log import Throttle
from flagmw.codes import ErrorCode
from flagmw.exceptions import TransportError
from flagmw.outbox.base import Leased
from flagmw.outbox.policy import Policy
from flagmw.outbox.worker.lanes import Lanes
from flagmw.types import Ambiguous, Call, Delivered, Event, Outcome, Reply, Retry, Suspend, Track, Variant, Visit
from tests.support.raw_vendor import RawVendor, always, answer, close, read_request, reset

NOW = 1_800_000_000
COOKIES = {
    "mbox": f"session#s1#{NOW + 1000}|PC#dev1.35_0#{NOW + 100_000}",
    "mt.v": "2.1.1",
    "cs-personalize-user-uid": "abcdef0123456789",
    "_wt.user-1234567": "u",
    "_wt.mode-1234567": "m",
    "_wt.control-1234567-hero": "c",
}
SHOWN = Variant(
    alias="hero",
    key="B",
    ids={"impression": "3.a", "experience": "1", "variant": "0", "tokens": "t"},
)


def vendor(name: str, url: str) -> Any:
    key = "0123456789abcdef0123456789abcdef"
    return {
        "adobe_target": lambda: AdobeTarget("acme", ["hero"], base_url=url, at_most_once=True),
        "webtrends": lambda: Webtrends(1234567, key, "https://shop.example", base_url=url, at_most_once=True),
        "monetate": lambda: Monetate("acme", "a-1/p/shop.example", base_url=url),
        "contentstack": lambda: Contentstack("5f3e9c1b2a4d6e8f0a1b2c3d", base_url=url, at_most_once=True),
    }[name]()


def event(name: str, number: int, kind: Any = "track") -> Event:
    return Event(
        id=f"e{number}",
        vendor=name,
        kind=kind,
        track=Track(id=f"t{number}", metric="purchase", occurred_at=float(NOW)),
        aliases=("hero",),
        visit=Visit(url="https://shop.example/", cookies=COOKIES, now=float(NOW)),
        visitor_key="v",
        exposed=(SHOWN,) if kind == "exposure" else (),
        at_most_once=True,
    )


def attempts(codec: Any, driver: BlockingDriver, events: Sequence[Event]) -> list[Outcome]:
    """Deliver *events* one after the other, each in an attempt of its own."""

    def run(_: str, flow: Any, deadline: Deadline) -> Sequence[Outcome]:
        return driver.run(flow, deadline)

    lanes = Lanes(
        {"any": codec},
        run,
        Policy(),
        Throttle(logging.getLogger("flagmw.outbox")),
        attempt_timeout_s=5.0,
        monotonic=time.monotonic,
    )
    return [outcome for one in events for outcome in lanes.attempt("any", [Leased(event=one)])[0]]


TRANSPORTS = {
    "httptools": lambda: "httptools",
    "httpx2": lambda: "httpx2",
    "own httpx": lambda: httpx.HTTPTransport(retries=3),
    "own httpx2": lambda: httpx2.HTTPTransport(retries=3),
}


@pytest.mark.parametrize("hangs_up", [close, reset])
@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("name", ["adobe_target", "webtrends", "monetate", "contentstack"])
def test_nothing_is_sent_again_on_a_new_connection(name: str, transport: str, hangs_up: Any) -> None:
    """A vendor that reads an event on a kept connection and hangs up has it once; the event is in doubt."""
    with RawVendor([answer(b"{}"), read_request, hangs_up], always(b"{}")) as raw:
        driver = BlockingDriver(transport=TRANSPORTS[transport](), hedge_s=0.001)
        outcomes = attempts(vendor(name, raw.url), driver, [event(name, 1), event(name, 2)])
        driver.close()
        assert [each.connection for each in raw.requests] == [0, 0]
        assert isinstance(outcomes[1], Ambiguous)


@pytest.mark.parametrize("name", ["adobe_target", "webtrends", "monetate", "contentstack"])
def test_nor_is_what_visitors_saw(name: str) -> None:
    with RawVendor([answer(b"{}"), read_request, close], always(b"{}")) as raw:
        driver = BlockingDriver()
        attempts(vendor(name, raw.url), driver, [event(name, 1, "exposure"), event(name, 2, "exposure")])
        driver.close()
        assert [each.connection for each in raw.requests] in ([0, 0], [])


class Greedy:
    """A codec from elsewhere, which calls everything repeatable and never learns of doubt."""

    def __init__(self, url: str, verdict: Outcome) -> None:
        self._url, self._verdict = url, verdict

    def deliver(self, batch: Sequence[Event]) -> Generator[Call, Reply, list[Outcome]]:
        try:
            yield Call(method="POST", url=self._url, headers={}, body=b"x", replay_safe=True, hedge_safe=True)
        except TransportError:
            return [self._verdict]
        return [Delivered()]


@pytest.mark.parametrize("verdict", [Retry(ErrorCode.RESET), Suspend(ErrorCode.TLS)])
def test_a_codec_cannot_ask_for_a_repeat(verdict: Outcome) -> None:
    """What a codec says of its calls, and of an event that was sent without an answer, does not make it go twice."""
    with RawVendor([answer(b"{}"), read_request, close], always(b"{}")) as raw:
        driver = BlockingDriver(hedge_s=0.001)
        outcomes = attempts(Greedy(raw.url, verdict), driver, [event("any", 1), event("any", 2)])
        driver.close()
        assert len(raw.requests) == 2
        assert outcomes == [Delivered(), Ambiguous(ErrorCode.RESET)]


def test_what_was_not_sent_waits() -> None:
    """A call that surely did not arrive leaves the codec's word as it is."""
    with RawVendor(always(b"{}")) as raw:
        url = raw.url
    driver = BlockingDriver()
    assert attempts(Greedy(url, Retry(ErrorCode.CONNECT)), driver, [event("any", 1)]) == [Retry(ErrorCode.CONNECT)]
    driver.close()

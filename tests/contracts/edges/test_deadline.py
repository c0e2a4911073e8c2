"""A vendor in trouble costs a page its deadline at most, and after a few pages nothing."""

from __future__ import annotations

import time
from typing import Any

import pytest

from flagmw.sandbox import SandboxServer
from tests.contracts.edges.driver import Answer, Edge, Make, Page, Seen, Sent, webtrends
from tests.support.busy import HELD_UP_S, best
from tests.support.raw_vendor import RawVendor, drip, forever, hang, http, read_request

# What the tests themselves may add to the 50 ms that are allowed beyond the deadline.
SLACK_S = 0.25
DECISION = (b'{"opcode": "process", "params": {"testAlias": "ta_Project1"},' + b" " * 400) + b"}"

TROUBLES = {
    "hanging": forever(read_request, hang),
    "dripping": forever(read_request, drip(http(DECISION), 0.02)),
    "dripping head": forever(read_request, drip(b"HTTP/1.1 200 OK\r\nx-" + b"a" * 500, 0.02)),
}


def show(seen: Seen) -> Answer:
    return Answer(f"{seen.flags['ta_Project1']} {seen.flags.error_code}".encode())


def timed(edge: Edge, app: Any, sent: Sent | None = None) -> tuple[Page, float]:
    started = time.monotonic()
    page = edge.call(app, sent or Sent())
    return page, time.monotonic() - started


@pytest.mark.parametrize("trouble", TROUBLES)
def test_page_comes_within_the_deadline(edge: Edge, make: Make, trouble: str) -> None:
    """With a vendor that never answers, or byte by byte, the page has its defaults within deadline and 50 ms."""

    def two_pages() -> float:
        # 300 ms are the default.
        fm = make(vendors=[webtrends(vendor.url)], defaults={"ta_Project1": "calm"}, deadline_ms=300)
        fm.start()
        app = edge.mount(show, fm)
        times = []
        for _ in range(2):
            page, elapsed = timed(edge, app)
            times.append(elapsed)
            assert (page.status, page.body) == (200, b"calm DEADLINE")
        return max(times)

    with RawVendor(TROUBLES[trouble]) as vendor:
        took = best(two_pages, 0.35 + SLACK_S)
    print(f"{edge.name}, {trouble}: {took * 1000:.0f} ms of 350 ms")
    assert took < 0.35 + SLACK_S


def test_two_vendors_in_trouble_share_one_deadline(edge: Edge, make: Make) -> None:
    """The deadline is the page's: a second silent vendor does not add to it."""
    with RawVendor(TROUBLES["hanging"]) as one, RawVendor(TROUBLES["dripping"]) as two:
        vendors = [webtrends(one.url, name="one"), webtrends(two.url, name="two", prefix="two:")]

        def a_page() -> float:
            page, elapsed = timed(edge, edge.mount(show, make(vendors=vendors, deadline_ms=300)))
            assert page.body == b"control DEADLINE"
            return elapsed

        elapsed = best(a_page, 0.35 + SLACK_S)
    print(f"{edge.name}: two vendors in trouble took {elapsed * 1000:.0f} ms")
    assert elapsed < 0.35 + SLACK_S


def test_hanging_vendor_does_not_hold_up_visitors_at_once(edge: Edge, make: Make) -> None:
    """Forty pages at the same time, more than there are threads for, all come within the deadline."""

    def forty_pages() -> float:
        fm = make(vendors=[webtrends(vendor.url)], deadline_ms=300)
        app = edge.mount(show, fm)
        started = time.monotonic()
        pages = edge.at_once(app, [Sent() for _ in range(40)])
        elapsed = time.monotonic() - started
        assert {page.body for page in pages} <= {b"control DEADLINE", b"control SHED", b"control BREAKER_OPEN"}
        assert fm.counts()[("undecided", "wt", "DEADLINE")] >= 5
        return elapsed

    with RawVendor(TROUBLES["hanging"]) as vendor:
        elapsed = best(forty_pages, 0.35 + 2 * SLACK_S)
    print(f"{edge.name}: 40 pages at once took {elapsed * 1000:.0f} ms")
    assert elapsed < 0.35 + 2 * SLACK_S


def test_breaker_opens_and_closes_again(edge: Edge, make: Make, vendor: SandboxServer) -> None:
    """After five late answers pages are fast without asking; a vendor that is back is asked again by itself."""
    fm = make(vendors=[webtrends(vendor.webtrends_url)], deadline_ms=150)
    fm.start()
    app = edge.mount(show, fm)
    vendor.faults([{"kind": "hang", "route": "control"}])
    for _ in range(5):
        assert timed(edge, app)[0].body == b"control DEADLINE"
    asked = len(vendor.ledger()["requests"])
    fast = []
    for _ in range(10):  # the breaker is open for two seconds
        page, elapsed = timed(edge, app)
        assert page.body == b"control BREAKER_OPEN"
        fast.append(elapsed)
    print(f"{edge.name}: 10 pages with the breaker open took {max(fast) * 1000:.1f} ms at most")
    assert min(fast) < 0.05
    assert len(vendor.ledger()["requests"]) == asked
    vendor.clear_faults()
    end = time.monotonic() + HELD_UP_S
    while (page := timed(edge, app)[0]).body not in (b"control None", b"variation None"):
        assert time.monotonic() < end, page.body
        time.sleep(0.05)
    assert fm.health()["vendors"]["wt"]["breaker"] == "closed"

"""Crawlers, and pages that are fetched before anybody asked for them, are nobody that a vendor should hear of."""

from __future__ import annotations

from typing import Any

import pytest

from flagmw.codes import ErrorCode
from flagmw.sandbox import SandboxServer
from tests.contracts.edges.driver import Answer, Edge, Make, Seen, Sent, Visitor, webtrends
from tests.contracts.edges.test_both import total
from tests.contracts.edges.test_reuse import K1, asked
from tests.unit._web.test_consent import GOOGLEBOT

ALIAS = "ta_Project1"
PREFETCH = [("sec-purpose", "prefetch;prerender")]


def buy(seen: Seen) -> Answer:
    track = seen.flags.track("purchase") if seen.path == "/buy" else None
    variant = seen.flags.variant(ALIAS)
    return Answer(f"{variant.key} {variant.error_code} {track is not None}".encode())


def options(vendor: SandboxServer, **more: Any) -> dict[str, Any]:
    return {
        "vendors": [webtrends(vendor.webtrends_url, exposure="read")],
        "defaults": {ALIAS: "calm"},
        "signing_keys": [K1],
        **more,
    }


class Crawler(Visitor):
    """A visitor whose user agent is a crawler's."""

    def get(self, path: str = "/", **sent: Any) -> Any:
        replaced = Sent(path, **{"cookies": dict(self.cookies), **sent})

        class AsCrawler(Sent):
            def all_headers(self) -> Any:
                return [(n, GOOGLEBOT if n == "user-agent" else v) for n, v in super().all_headers()]

        return self.edge.call(self.app, AsCrawler(**vars(replaced)))


@pytest.mark.parametrize("mode", ["eager", "lazy"])
def test_crawler(edge: Edge, make: Make, vendor: SandboxServer, mode: str) -> None:
    """A crawler gets the default variant: no call, no cookie, no exposure, no conversion."""
    fm = make(**options(vendor, mode=mode))
    page = Crawler(edge, edge.mount(buy, fm)).get("/buy")
    assert (page.status, page.body) == (200, b"calm BOT False")
    assert page.values("set-cookie") == []
    assert fm.flush(5)
    assert vendor.ledger()["requests"] == []
    assert fm.outbox_stats().accepted == 0
    assert total(fm, "undecided", ErrorCode.BOT) == 1
    assert total(fm, "track_dropped", ErrorCode.BOT) == 1


def test_crawler_with_cookies(edge: Edge, make: Make, vendor: SandboxServer) -> None:
    """Even with a visitor's cookies it gets no remembered decision: every crawler sees the same page."""
    fm = make(**options(vendor, reuse_s=300))
    visitor = Visitor(edge, edge.mount(buy, fm))
    visitor.get()
    assert Crawler(edge, visitor.app, visitor.cookies).get().body == b"calm BOT False"


def test_prefetch_of_a_newcomer(edge: Edge, make: Make, vendor: SandboxServer) -> None:
    """A page that a browser fetches ahead for a newcomer: default, no call, no cookie, no exposure; it is counted."""
    fm = make(**options(vendor, reuse_s=300))
    visitor = Visitor(edge, edge.mount(buy, fm))
    page = visitor.get(headers=PREFETCH)
    assert (page.body, page.values("set-cookie")) == (b"calm PREFETCH False", [])
    assert vendor.ledger()["requests"] == []
    assert total(fm, "undecided", ErrorCode.PREFETCH) == 1
    # When the visitor comes for real they are decided for.
    assert visitor.get().body in (b"control None False", b"variation None False")


def test_prefetch_of_a_known_visitor(edge: Edge, make: Make, vendor: SandboxServer) -> None:
    """Who is remembered has their own variant in the page fetched ahead; that is no exposure yet."""
    fm = make(**options(vendor, reuse_s=300))
    visitor = Visitor(edge, edge.mount(lambda seen: Answer(), fm))
    visitor.get()
    app = edge.mount(buy, fm)
    page = Visitor(edge, app, visitor.cookies).get(headers=PREFETCH)
    assert page.body in (b"control None False", b"variation None False")
    assert fm.flush(5)
    assert asked(vendor) == 1
    assert vendor.ledger()["views"] == []
    Visitor(edge, app, visitor.cookies).get()
    assert fm.flush(5)
    assert len(vendor.ledger()["views"]) == 1


def test_bots_off(edge: Edge, make: Make, vendor: SandboxServer) -> None:
    """A site may want its crawlers in the test."""
    fm = make(**options(vendor, bots=False))
    assert Crawler(edge, edge.mount(buy, fm)).get().body in (b"control None False", b"variation None False")
    assert edge.get(edge.mount(buy, fm), headers=PREFETCH).body.split()[1] == b"None"


def test_the_sites_own_list(edge: Edge, make: Make, vendor: SandboxServer) -> None:
    """A function of the request says who is a bot, in place of the list."""
    fm = make(**options(vendor, bots=lambda inbound: bool(inbound.headers("x-monitor"))))
    app = edge.mount(buy, fm)
    assert edge.get(app, headers=[("x-monitor", "1")]).body == b"calm BOT False"
    assert Crawler(edge, app).get().body.split()[1] == b"None"

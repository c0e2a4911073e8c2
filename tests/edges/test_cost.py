"""What a visitor can make a site's owner pay: calls for newcomers, and conversions."""

from __future__ import annotations

import pytest

from flagmw import ErrorCode, Flagmw
from flagmw.sandbox import SandboxServer
from flagmw.testing import FakeVendor
from tests.edges.driver import Answer, Edge, Make, Seen, Sent, Visitor, webtrends


def show(seen: Seen) -> Answer:
    variant = seen.flags.variant("ta_Project1")
    return Answer(f"{variant.key} {variant.error_code}".encode())


def test_I25_flood_of_newcomers(edge: Edge, make: Make, vendor: SandboxServer) -> None:
    """Newcomers beyond the limit get defaults and no cookie, and no call is made; who has cookies is served."""
    fm = make(vendors=[webtrends(vendor.webtrends_url)], defaults={"ta_Project1": "calm"}, new_visitors_per_s=5)
    app = edge.mount(show, fm)
    visitor = Visitor(edge, app)
    assert visitor.get().body.endswith(b" None")
    pages = edge.at_once(app, [Sent() for _ in range(60)])
    shed = [page for page in pages if page.body == b"calm NEW_VISITORS"]
    assert len(shed) >= 40, "a second's worth may pass, and what the test's own time adds"
    assert all(page.status == 200 and not page.values("set-cookie") for page in shed)
    asked = len(vendor.ledger()["requests"])
    assert asked == 61 - len(shed) and fm.counts()[("undecided", "", ErrorCode.NEW_VISITORS)] == len(shed)
    assert visitor.get().body.endswith(b" None")


def test_I26_track_flood_of_one_visitor(edge: Edge, make: Make, vendor: SandboxServer) -> None:
    """Tracks beyond the cap are dropped and counted; another visitor's are taken."""
    taken: list[str | None] = []

    def track(seen: Seen) -> Answer:
        taken.append(seen.flags.track("purchase", aliases=["ta_Project1"]))
        return Answer()

    fm = make(vendors=[webtrends(vendor.webtrends_url)], tracks_per_visitor=3, max_rate=1000)
    app = edge.mount(track, fm)
    first, second = edge.get(app).cookies, edge.get(app).cookies
    taken.clear()
    for _ in range(8):
        edge.get(app, cookies=first)
    assert [track is not None for track in taken] == [True] * 3 + [False] * 5
    assert fm.counts()[("track_dropped", "", ErrorCode.TRACK_CAP)] == 5
    edge.get(app, cookies=second)
    assert taken[-1] is not None
    assert fm.flush(10) and fm.outbox_stats().balanced()


@pytest.mark.parametrize("pages", [40])
def test_amplification_is_one_call_a_page(edge: Edge, make: Make, vendor: SandboxServer, pages: int) -> None:
    """A page costs one decision call, and one more only where the vendor cannot use the visitor's cookies."""
    app = edge.mount(show, make(vendors=[webtrends(vendor.webtrends_url)], pool_size=pages))
    edge.at_once(app, [Sent() for _ in range(pages)])
    assert len(vendor.ledger()["requests"]) == pages
    stale = edge.get(app).cookies
    vendor.clear_ledger()
    vendor.rotate_keys()
    edge.get(app, cookies=stale)
    assert len(vendor.ledger()["requests"]) == 2


def test_cap_holds_for_a_known_user() -> None:
    """A user id counts as identity, wherever the cookies went."""
    from flagmw import Visit

    fm = Flagmw(vendors=[FakeVendor({"ta_A": "b"})], tracks_per_visitor=2)
    visit = Visit(url="https://www.mysite.com/", user_id="u-1")
    assert [fm.track("purchase", visitor=visit) is not None for _ in range(3)] == [True, True, False]
    fm.close()

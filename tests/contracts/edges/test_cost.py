"""What a visitor can make a site's owner pay: calls for newcomers, and conversions."""

from __future__ import annotations

from typing import Any

import pytest

from flagmw import ErrorCode, Flagmw, Identity, Webtrends
from flagmw.sandbox import SandboxServer
from flagmw.testing import FakeVendor
from tests.contracts.edges.driver import DOMAIN, TOKEN, Answer, Edge, Make, Seen, Sent, Visitor, webtrends

KEYS = ["a-signing-key-of-the-tests-0123456789"]


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


MADE_UP = {
    "user": lambda n: {f"_wt.user-{DOMAIN}": f"made-up-{n}"},
    "control": lambda n: {f"_wt.control-{DOMAIN}-ta_Project1": f"made-up-{n}"},
    "both": lambda n: {f"_wt.user-{DOMAIN}": f"u{n}", f"_wt.control-{DOMAIN}-ta_Project1": f"c{n}"},
    "token": lambda n: {"flagmw": f"a.b.{n}", f"_wt.user-{DOMAIN}": f"u{n}"},
    "visitor": lambda n: {"flagmw_visitor": f"a.b.{n}", f"_wt.user-{DOMAIN}": f"u{n}"},
}


@pytest.mark.parametrize("kind", MADE_UP)
@pytest.mark.parametrize("options", [{}, {"signing_keys": KEYS}, {"reuse_s": 300, "signing_keys": KEYS}])
def test_made_up_cookies_make_nobody_known(
    edge: Edge, make: Make, vendor: SandboxServer, kind: str, options: dict[str, Any]
) -> None:
    """A cookie that no vendor gave out is a newcomer's; who has a vendor's is served meanwhile, on any page."""
    fm = make(vendors=[webtrends(vendor.webtrends_url)], new_visitors_per_s=1, **options)
    app = edge.mount(show, fm)
    visitor = Visitor(edge, app)
    assert visitor.get().body.endswith(b" None")
    pages = [edge.get(app, cookies=MADE_UP[kind](n)) for n in range(12)]
    assert sum(page.body.endswith(b" NEW_VISITORS") for page in pages) >= 8
    assert visitor.get("/another").body.endswith(b" None")


def test_a_known_visitor_is_known_to_every_process(edge: Edge, make: Make, vendor: SandboxServer) -> None:
    """What the signed token says of who the visitor is counts where their cookies were never seen, for these alone."""
    options: dict[str, Any] = {"reuse_s": 300, "signing_keys": KEYS, "new_visitors_per_s": 1}
    account = Webtrends(DOMAIN, TOKEN, "https://www.mysite.com{path}", name="wt", base_url=vendor.webtrends_url)
    visitor = Visitor(edge, edge.mount(show, make(vendors=[account], **options)))
    assert visitor.get("/a").body.endswith(b" None")
    other = edge.mount(show, make(vendors=[account], **options))
    assert edge.get(other, "/b").body.endswith(b" None")  # the one newcomer of this second
    stolen = {"flagmw": visitor.cookies["flagmw"], f"_wt.user-{DOMAIN}": "made-up"}
    assert edge.get(other, "/c", cookies=stolen).body.endswith(b" NEW_VISITORS")
    assert edge.get(other, "/d", cookies=visitor.cookies).body.endswith(b" None")


def test_who_the_site_knows_is_no_newcomer(edge: Edge, make: Make, vendor: SandboxServer) -> None:
    """A user id of the site's own, or a visitor's id that was signed here, is enough."""
    known = make(
        vendors=[webtrends(vendor.webtrends_url)],
        new_visitors_per_s=1,
        identify=lambda inbound: Identity(user_id=inbound.header("x-user")),
    )
    app = edge.mount(show, known)
    pages = [edge.get(app, headers=[("x-user", f"user-{n}")]) for n in range(6)]
    assert all(page.body.endswith(b" None") for page in pages)


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

"""With exposure="read" the vendor hears of what a view has read: once, later if need be, and of nothing else."""

from __future__ import annotations

import time
from typing import Any

import pytest

from flagmw import Flagmw, Identity, wsgi
from flagmw.sandbox import SandboxServer
from flagmw.testing import FakeVendor
from tests.contracts.edges.driver import Answer, Edge, Make, Seen, Sent, Visitor, webtrends, wsgi_call
from tests.contracts.edges.driver import environ as wsgi_environ
from tests.contracts.edges.test_both import wait_for
from tests.contracts.edges.test_qa_overrides import token
from tests.contracts.edges.test_reuse import K1, Clock

ALIASES = {"1": "ta_Project1", "2": "ta_Project2", "h": "ta_Hero"}


def read(seen: Seen) -> Answer:
    """Read the flags that the path names, one letter each: "/1h" reads two."""
    return Answer(" ".join(seen.flags[ALIASES[letter]] for letter in seen.path[1:] if letter in ALIASES).encode())


def account(vendor: SandboxServer, **options: Any) -> Any:
    return webtrends(vendor.webtrends_url, exposure="read", **options)


@pytest.fixture
def fm(make: Make, vendor: SandboxServer) -> Flagmw:
    return make(vendors=[account(vendor)], reuse_s=300, max_rate=1000)


@pytest.fixture
def visitor(edge: Edge, fm: Flagmw) -> Visitor:
    return Visitor(edge, edge.mount(read, fm))


def views(vendor: SandboxServer) -> list[str]:
    return sorted(view["alias"] for view in vendor.ledger()["views"])


def reports(vendor: SandboxServer) -> list[str]:
    """Return the aliases for which a view was reported, one request each."""
    return [request["aliases"][0] for request in vendor.ledger()["requests"] if request["track"]]


def test_only_what_was_read(visitor: Visitor, fm: Flagmw, vendor: SandboxServer) -> None:
    """A decision counts nothing; a view of the one flag that was read arrives, of the variant that was shown."""
    page = visitor.get("/1")
    assert fm.flush(5)
    first, second = vendor.ledger()["requests"]
    assert (first["action"], first["track"], first["aliases"]) == ("control", False, [])
    assert (second["action"], second["track"], second["aliases"]) == ("control", True, ["ta_Project1"])
    assert first["lint"] == second["lint"] == []
    (view,) = vendor.ledger()["views"]
    assert (view["alias"], view["variation"]) == ("ta_Project1", page.body.decode())
    assert view["system_uid"] == first["system_uid"]


def test_nothing_read_nothing_reported(edge: Edge, fm: Flagmw, vendor: SandboxServer) -> None:
    """Asking whether a flag is decided, and copying the flags for a log, is no view."""

    def look(seen: Seen) -> Answer:
        return Answer(f"{'ta_Project1' in seen.flags} {len(dict(seen.flags))} {list(seen.flags.items())[:0]}".encode())

    assert edge.get(edge.mount(look, fm)).body == b"True 4 []"
    assert fm.flush(5)
    assert views(vendor) == []
    assert fm.outbox_stats().accepted == 0


def test_once_within_the_time(visitor: Visitor, fm: Flagmw, vendor: SandboxServer) -> None:
    """Page after page of one visitor makes one view of each flag, until exposure_ttl_s is over."""
    clock = Clock(fm)
    for path in ("/1", "/1", "/12", "/21", "/h12"):
        visitor.get(path)
    assert fm.flush(5)
    assert sorted(reports(vendor)) == ["ta_Hero", "ta_Project1", "ta_Project2"]
    assert views(vendor) == ["ta_Hero", "ta_Project1", "ta_Project2"]
    clock.ahead_s = 1801
    visitor.get("/1")
    assert fm.flush(5)
    assert sorted(reports(vendor)) == ["ta_Hero", "ta_Project1", "ta_Project1", "ta_Project2"]


def test_each_visitor_has_their_own(edge: Edge, visitor: Visitor, fm: Flagmw, vendor: SandboxServer) -> None:
    """Three visitors make three views."""
    for browser in (visitor, Visitor(edge, visitor.app), Visitor(edge, visitor.app)):
        browser.get("/1")
        browser.get("/1")
    assert fm.flush(5)
    assert views(vendor) == ["ta_Project1"] * 3
    assert len({view["system_uid"] for view in vendor.ledger()["views"]}) == 3


def test_read_in_a_stream(edge: Edge, fm: Flagmw, vendor: SandboxServer) -> None:
    """What a stream reads after its start is a view too."""

    def stream(seen: Seen) -> Answer:
        def pieces() -> Any:
            yield seen.flags["ta_Project1"].encode()
            yield seen.flags["ta_Project2"].encode()

        return Answer(pieces())

    edge.get(edge.mount(stream, fm))
    assert fm.flush(5)
    assert views(vendor) == ["ta_Project1", "ta_Project2"]


def test_prefix(edge: Edge, make: Make, vendor: SandboxServer) -> None:
    """The vendor hears its own alias, without what flagmw puts before it."""
    fm = make(vendors=[account(vendor, prefix="wt:")])
    edge.get(edge.mount(lambda seen: Answer(seen.flags["wt:ta_Project1"].encode()), fm))
    assert fm.flush(5)
    assert views(vendor) == ["ta_Project1"]


def test_remembered_by_cookie(edge: Edge, make: Make, vendor: SandboxServer) -> None:
    """A decision that comes with the visitor's token is reported as any other: with the vendor's identifiers."""
    jar: dict[str, str] = {}
    fms = [make(vendors=[account(vendor)], reuse_s=300, signing_keys=[K1], max_rate=1000) for _ in range(2)]
    shown = [
        Visitor(edge, edge.mount(read, fm), jar).get(path).body for fm, path in zip(fms, ("/2", "/1"), strict=True)
    ]
    assert all(fm.flush(5) for fm in fms)
    assert views(vendor) == ["ta_Project1", "ta_Project2"]
    assert {view["variation"].encode() for view in vendor.ledger()["views"]} == set(shown)


@pytest.mark.parametrize("mode", ["eager", "lazy"])
def test_lazy(edge: Edge, make: Make, vendor: SandboxServer, mode: str) -> None:
    """In lazy mode as in eager: nothing for a read that decided nothing, a view for one that did."""
    fm = make(vendors=[account(vendor)], mode=mode, reuse_s=300, signing_keys=[K1])
    jar = edge.get(edge.mount(read, make(vendors=[account(vendor)], signing_keys=[K1]))).cookies
    Visitor(edge, edge.mount(read, fm), jar).get("/1")
    assert fm.flush(5)
    assert views(vendor) == ["ta_Project1"]


# Who makes no views


def consented(inbound: Any) -> str:
    return str((inbound.headers("x-consent") or ["full"])[0])


@pytest.mark.parametrize("level", ["none", "functional"])
def test_none_below_full_consent(edge: Edge, make: Make, vendor: SandboxServer, level: str) -> None:
    """Who has not agreed to be counted is not; once they have, the next page's view is."""
    fm = make(vendors=[account(vendor)], consent=consented, reuse_s=300)
    visitor = Visitor(edge, edge.mount(read, fm))
    visitor.get("/1", headers=[("x-consent", level)])
    assert fm.flush(5)
    assert views(vendor) == []
    assert fm.outbox_stats().accepted == 0
    visitor.get("/1")
    assert fm.flush(5)
    assert views(vendor) == ["ta_Project1"]


@pytest.mark.parametrize("chosen", [{}, {"variants": {}, "staging": True}], ids=["variants", "staging"])
def test_none_for_testers(edge: Edge, make: Make, vendor: SandboxServer, chosen: dict[str, Any]) -> None:
    """Neither the variant that was chosen nor those beside it are views."""
    fm = make(vendors=[account(vendor)], overrides=True, signing_keys=[K1])
    edge.get(edge.mount(read, fm), "/12h", query=f"flagmw_override={token(**chosen)}")
    assert fm.flush(5)
    assert views(vendor) == []
    assert fm.outbox_stats().accepted == 0


def test_none_when_nothing_was_decided(edge: Edge, make: Make, vendor: SandboxServer) -> None:
    """A default, whatever the reason, is nothing that a vendor could count."""
    fm = make(vendors=[account(vendor)], deadline_ms=1000)
    app = edge.mount(read, fm)
    vendor.stop()
    try:
        assert edge.get(app, "/12h").body == b"control control control"
    finally:
        vendor.start()
    edge.get(app, "/12h", method="HEAD")
    assert fm.flush(5)
    assert views(vendor) == []


def test_off(edge: Edge, make: Make, vendor: SandboxServer) -> None:
    """With exposure="off" neither decisions nor reads count."""
    fm = make(vendors=[webtrends(vendor.webtrends_url, exposure="off")])
    edge.get(edge.mount(read, fm), "/12h")
    assert fm.flush(5)
    assert views(vendor) == []


# The vendor is down


def test_views_made_while_the_vendor_is_down_arrive_later(
    edge: Edge, visitor: Visitor, fm: Flagmw, vendor: SandboxServer
) -> None:
    """A returning visitor sees a stale variant: that is a view, and it arrives when the vendor is back."""
    clock = Clock(fm)
    visitor.get("/")
    clock.ahead_s = 301
    vendor.stop()
    try:
        shown = visitor.get("/1").body
        assert not fm.flush(0.2)
    finally:
        vendor.start()
    wait_for(lambda: views(vendor) == ["ta_Project1"], 15)
    assert vendor.ledger()["views"][0]["variation"].encode() == shown


def test_views_of_a_user(edge: Edge, make: Make, vendor: SandboxServer) -> None:
    """One user on two devices without cookies makes one view, by the site's own id."""
    fm = make(vendors=[account(vendor)], reuse_s=300, identify=lambda inbound: Identity("ada"))
    app = edge.mount(read, fm)
    for _ in range(3):
        edge.get(app, "/1")
    assert fm.flush(5)
    assert reports(vendor) == ["ta_Project1"]


def test_request_that_began_first_and_reads_last(wmake: Make) -> None:
    """A view is reported once, also where another page of the visitor, begun later, has reported it already."""
    vendor = FakeVendor({"ta_A": "b"}, exposure="read")
    fm = wmake(vendors=[vendor], identify=lambda inbound: Identity(user_id="4711"))

    def view(environ: Any, start_response: Any) -> list[bytes]:
        if environ["PATH_INFO"] == "/slow":
            time.sleep(0.01)
            wsgi_call(app, wsgi_environ(Sent("/quick")))
        start_response("200 OK", [])
        return [wsgi.flags_from(environ)["ta_A"].encode()]

    app = wsgi.FlagsMiddleware(view, flagmw=fm)
    assert wsgi_call(app, wsgi_environ(Sent("/slow"))).body == b"b"
    assert fm.flush(5)
    assert [event.kind for event in vendor.delivered] == ["exposure"]

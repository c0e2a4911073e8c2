"""Nothing happens before the visitor has agreed to it."""

from __future__ import annotations

from typing import Any

import pytest

from flagmw import Flagmw, Identity
from flagmw.codes import ErrorCode
from flagmw.sandbox import SandboxServer
from tests.contracts.edges.driver import Answer, Edge, Make, Seen, Visitor, webtrends
from tests.contracts.edges.test_both import total
from tests.contracts.edges.test_many_vendors import four
from tests.contracts.edges.test_reuse import K1, asked
from tests.support.browser import Browser

ALIAS = "ta_Project1"


def by_header(inbound: Any) -> str:
    """Return what the page says it is; sites read a cookie of theirs."""
    return str((inbound.headers("x-consent") or ["none"])[0])


def level(said: str) -> dict[str, Any]:
    return {"headers": [("x-consent", said)]}


saved: list[bytes] = []


def buy(seen: Seen) -> Answer:
    """Read a flag, convert, and keep the visitor for a job."""
    flags = seen.flags
    key, code = flags[ALIAS], flags.variant(ALIAS).error_code
    track = flags.track("purchase", key=None)
    saved.append(flags.save())
    return Answer(f"{key} {code} {track is not None}".encode())


@pytest.fixture
def fm(make: Make, vendor: SandboxServer) -> Flagmw:
    saved.clear()
    return make(
        vendors=[webtrends(vendor.webtrends_url)],
        consent=by_header,
        defaults={ALIAS: "calm"},
        reuse_s=300,
        signing_keys=[K1],
        max_rate=1000,
    )


@pytest.mark.parametrize("mode", ["eager", "lazy"])
def test_none(edge: Edge, make: Make, vendor: SandboxServer, mode: str) -> None:
    """Without consent there is no call, no cookie and no event, and the page has its defaults."""
    named: list[Any] = []

    def identify(inbound: Any) -> Identity:
        named.append(inbound)
        return Identity("ada")

    fm = make(
        vendors=[webtrends(vendor.webtrends_url)], consent=by_header, mode=mode, identify=identify, signing_keys=[K1]
    )
    visitor = Visitor(edge, edge.mount(lambda seen: Answer(seen.flags[ALIAS].encode()), fm))
    for _ in range(3):
        page = visitor.get(**level("none"))
        assert (page.body, page.values("set-cookie")) == (b"control", [])
    assert named == [], "who it is concerns nobody"
    assert fm.flush(5)
    assert vendor.ledger()["requests"] == []
    assert total(fm, "undecided", ErrorCode.NO_CONSENT) == 3


def test_none_with_tracks(edge: Edge, fm: Flagmw, vendor: SandboxServer) -> None:
    """A track is dropped and counted, also for a visitor who has the vendor's cookies from before."""
    visitor = Visitor(edge, edge.mount(buy, fm))
    visitor.get(**level("full"))
    assert fm.flush(5)
    before = len(vendor.ledger()["requests"])
    page = visitor.get(**level("none"))
    assert page.body == b"calm NO_CONSENT False"
    assert page.cookies == {}
    assert fm.flush(5)
    assert len(vendor.ledger()["requests"]) == before
    assert total(fm, "track_dropped", ErrorCode.NO_CONSENT) == 1


def test_functional(edge: Edge, fm: Flagmw, vendor: SandboxServer) -> None:
    """Flags are decided and cookies set; no view is counted and no event sent."""
    visitor = Visitor(edge, edge.mount(buy, fm))
    page = visitor.get(**level("functional"))
    assert page.body in (b"control None False", b"variation None False")
    assert visitor.cookies.keys() >= {"_wt.user-2490593", "flagmw"}
    assert fm.flush(5)
    (request,) = vendor.ledger()["requests"]
    assert (request["action"], request["track"], request["lint"]) == ("control", False, [])
    assert vendor.ledger()["views"] == vendor.ledger()["conversions"] == []
    assert visitor.get(**level("functional")).body == page.body
    assert asked(vendor) == 1, "what was decided is remembered as ever"


def test_deferred_grant(edge: Edge, fm: Flagmw, vendor: SandboxServer) -> None:
    """The visitor clicks the banner: from the very next request on they are decided for, viewed and converted."""
    visitor = Visitor(edge, edge.mount(buy, fm))
    assert visitor.get(**level("none")).body == b"calm NO_CONSENT False"
    assert visitor.get(**level("full")).body.endswith(b" None True")
    assert fm.flush(5)
    ledger = vendor.ledger()
    assert (len(ledger["views"]), len(ledger["conversions"])) == (4, 4)


def test_grant_after_functional(edge: Edge, fm: Flagmw, vendor: SandboxServer) -> None:
    """Who goes from functional to full keeps the variant and is counted: a decision made uncounted is not reused."""
    visitor = Visitor(edge, edge.mount(buy, fm))
    first = visitor.get(**level("functional")).body.split()[0]
    second = visitor.get(**level("full")).body.split()
    assert (second[0], second[2]) == (first, b"True")
    assert fm.flush(5)
    assert [request["track"] for request in vendor.ledger()["requests"] if request["action"] == "control"] == [
        False,
        True,
    ]
    assert len(vendor.ledger()["views"]) == 4
    visitor.get(**level("full"))
    assert asked(vendor) == 2


@pytest.mark.parametrize("said", ["none", "functional"])
def test_a_saved_visitor_keeps_what_they_said(edge: Edge, fm: Flagmw, vendor: SandboxServer, said: str) -> None:
    """A payment webhook cannot report for who had not agreed when the visitor was saved."""
    visitor = Visitor(edge, edge.mount(buy, fm))
    visitor.get(**level("full"))
    visitor.get(**level(said))
    with_consent, without = saved
    assert fm.flush(5)
    conversions = len(vendor.ledger()["conversions"])
    assert fm.track("paid", visitor=without) is None
    assert fm.track("paid", visitor=with_consent) is not None
    assert fm.flush(5)
    assert len(vendor.ledger(metric="paid")["conversions"]) == 4
    assert len(vendor.ledger()["conversions"]) == conversions + 4
    assert total(fm, "track_dropped", ErrorCode.NO_CONSENT) == 2


def fails(inbound: Any) -> Any:
    raise LookupError("the consent manager is down")


@pytest.mark.parametrize("consent", [fails, lambda inbound: "sure", lambda inbound: 1], ids=["fails", "word", "one"])
def test_no_clear_answer_means_none(edge: Edge, make: Make, vendor: SandboxServer, consent: Any) -> None:
    """A consent function that raises, or says what is no answer, means none; the page is served, and it is counted."""
    fm = make(vendors=[webtrends(vendor.webtrends_url)], consent=consent, defaults={ALIAS: "calm"})
    page = edge.get(edge.mount(lambda seen: Answer(seen.flags[ALIAS].encode()), fm))
    assert (page.status, page.body, page.values("set-cookie")) == (200, b"calm", [])
    assert vendor.ledger()["requests"] == []
    assert total(fm, "gate_failed") == 1


def test_consent_reads_a_cookie_of_the_sites(edge: Edge, make: Make, vendor: SandboxServer) -> None:
    """The function is given the request, whose cookies and headers it can read."""

    def by_cookie(inbound: Any) -> bool:
        return any("cookie_banner=accepted" in line for line in inbound.headers("cookie"))

    fm = make(vendors=[webtrends(vendor.webtrends_url)], consent=by_cookie)
    visitor = Visitor(edge, edge.mount(lambda seen: Answer(str(seen.flags.error_code).encode()), fm))
    assert visitor.get().body == b"NO_CONSENT"
    visitor.cookies["cookie_banner"] = "accepted"
    assert visitor.get().body == b"None"


def test_override_does_not_go_round_consent(edge: Edge, make: Make, vendor: SandboxServer) -> None:
    """A tester without consent is a visitor without consent: no cookie of ours either."""
    fm = make(vendors=[webtrends(vendor.webtrends_url)], consent=by_header, overrides=True, debug=True)
    page = edge.get(
        edge.mount(lambda seen: Answer(seen.flags[ALIAS].encode()), fm), query=f"flagmw_override={ALIAS}:red"
    )
    assert (page.body, page.values("set-cookie")) == (b"control", [])
    assert vendor.ledger()["requests"] == []


@pytest.mark.parametrize("mode", ["eager", "lazy"])
@pytest.mark.parametrize("keep", [False, True])
def test_B3_withdrawal(edge: Edge, make: Make, vendor: SandboxServer, keep: bool, mode: str) -> None:
    """Who takes their consent back loses all cookies with the next page, read or not; unless they are to be kept."""
    fm = make(vendors=four(vendor), consent=by_header, signing_keys=[K1], reuse_s=300, keep_cookies=keep, mode=mode)
    app = edge.mount(lambda seen: Answer(seen.flags[ALIAS].encode() if seen.path == "/read" else b""), fm)
    browser, site = Browser(), "site=1"

    def get(path: str, said: str) -> None:
        browser.take(
            edge.get(app, path, headers=[("x-consent", said), ("cookie", browser.sends(path))]).values("set-cookie")
        )

    browser.put("site", "1")
    if edge.name == "asgi" and mode == "lazy":
        browser.take(edge.get(edge.mount(lambda seen: Answer(), make(vendors=four(vendor)))).values("set-cookie"))
    else:
        get("/read", "full")
    assert len(browser.cookies) > 8
    before = browser.sends("/")
    get("/", "none")
    assert browser.sends("/") == (before if keep else site)


def test_B3_a_failure_is_no_withdrawal(edge: Edge, make: Make, vendor: SandboxServer) -> None:
    """A bug in the site's function must not cost visitors their variants."""
    fm = make(vendors=[webtrends(vendor.webtrends_url)], consent=lambda inbound: 1 / 0)
    app = edge.mount(buy, fm)
    assert edge.get(app, cookies={"_wt.user-2490593": "WT3a~"}).values("set-cookie") == []

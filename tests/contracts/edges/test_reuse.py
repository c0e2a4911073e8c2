"""A vendor is asked once for a visitor: by memory, by the visitor's own token, and when it fails or is late."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from flagmw import Flagmw, Identity, Reason, Variant, Visit, Webtrends
from flagmw.codes import ErrorCode
from flagmw.sandbox import SandboxServer
from flagmw.types import Call, CookieChange, Decision, Flow, VisitorState
from tests.contracts.edges.driver import (
    DOMAIN,
    TOKEN,
    Answer,
    Edge,
    Make,
    Page,
    Probe,
    Seen,
    Sent,
    Visitor,
    asgi_app,
    asgi_call,
    http_scope,
    webtrends,
)
from tests.contracts.edges.test_both import total, wait_for
from tests.support.raw_vendor import RawVendor, always, forever, hang, http, read_request, sleep
from tests.support.raw_vendor import send as send_raw

K1, K2 = "k1-3f9a0c7be24d581690abcdef1234567890", "k2-90fe1d2c3b4a596877a8b9c0d1e2f3a4b5"
ALIAS = "ta_Project1"


def show(seen: Seen) -> Answer:
    """Say which variant it is, why, and what stood in the way; the shared pages do not look."""
    if seen.path.startswith("/shared"):
        return Answer(b"for all", headers=[("Cache-Control", "public, max-age=60")])
    variant = seen.flags.variant(ALIAS)
    return Answer(f"{variant.key} {variant.reason} {variant.error_code}".encode())


def said(page: Page) -> tuple[str, str, str]:
    key, reason, code = page.body.decode().split()
    return key, reason, code


def asked(vendor: SandboxServer) -> int:
    return sum(request["action"] == "control" for request in vendor.ledger()["requests"])


def lines(page: Page, name: str = "flagmw") -> list[str]:
    return [line for line in page.values("set-cookie") if line.startswith(f"{name}=")]


class Clock:
    """The time of day as one `Flagmw` sees it."""

    def __init__(self, *fms: Flagmw) -> None:
        self.ahead_s = 0.0
        for fm in fms:
            fm._context.clock = self

    def __call__(self) -> float:
        return time.time() + self.ahead_s


# Fifty pages


def fifty(visitors: list[Visitor]) -> set[str]:
    """Make 50 page views on 50 URLs, by each of *visitors* in turn; they share one cookie jar."""
    seen = set()
    for n in range(50):
        page = visitors[n % len(visitors)].get(f"/shop/{n}", query=f"page={n}")
        assert page.status == 200
        seen.add(said(page)[0])
    return seen


def test_fifty_pages_cost_one_call_by_memory(edge: Edge, make: Make, vendor: SandboxServer) -> None:
    """A browser looks at 50 pages within five minutes: one call, one variant."""
    fm = make(vendors=[webtrends(vendor.webtrends_url)], reuse_s=300)
    visitor = Visitor(edge, edge.mount(show, fm))
    assert len(fifty([visitor])) == 1
    assert "flagmw" not in visitor.cookies
    assert asked(vendor) == 1
    assert total(fm, "reused") == 49


def test_fifty_pages_cost_one_call_by_cookie(edge: Edge, make: Make, vendor: SandboxServer) -> None:
    """Behind a balancer the pages come from three processes with the same keys, which share nothing: one call."""
    jar: dict[str, str] = {}
    fms = [make(vendors=[webtrends(vendor.webtrends_url)], reuse_s=300, signing_keys=[K1]) for _ in range(3)]
    assert len(fifty([Visitor(edge, edge.mount(show, fm), jar) for fm in fms])) == 1
    assert asked(vendor) == 1
    assert [total(fm, "reused") for fm in fms] == [16, 17, 16]


def test_fifty_pages_cost_fifty_calls_without_reuse(edge: Edge, make: Make, vendor: SandboxServer) -> None:
    """With reuse_s=0 every page asks, with keys and without."""
    fm = make(vendors=[webtrends(vendor.webtrends_url)], reuse_s=0, signing_keys=[K1])
    assert len(fifty([Visitor(edge, edge.mount(show, fm))])) == 1
    assert asked(vendor) == 50
    assert total(fm, "reused") == 0


def test_reused_decision_is_the_same(edge: Edge, make: Make, vendor: SandboxServer) -> None:
    """But for the reason, a reused variant is what it was: ids, factors, payload; and nothing is set again."""
    seen: list[list[Variant]] = []

    def note(request: Seen) -> Answer:
        seen.append([request.flags.variant(alias) for alias in request.flags])
        return Answer()

    one, two = (make(vendors=[webtrends(vendor.webtrends_url)], reuse_s=300, signing_keys=[K1]) for _ in range(2))
    jar: dict[str, str] = {}
    Visitor(edge, edge.mount(note, one), jar).get()
    for fm in (one, two):
        page = Visitor(edge, edge.mount(note, fm), jar).get()
        assert page.values("set-cookie") == []
    first, *again = [[(v.alias, v.key, v.vendor, v.experiment_id, v.factors) for v in variants] for variants in seen]
    assert again == [first, first]
    assert {v.reason for variants in seen[1:] for v in variants} == {Reason.CACHED}
    assert len(first) == 4


# Whose token it is


@dataclass
class Case:
    """A visitor with a token, and another process to show it to."""

    edge: Edge
    make: Make
    vendor: SandboxServer
    jar: dict[str, str] = field(default_factory=dict)

    def page(self, sent: dict[str, Any] | None = None, **options: Any) -> Page:
        account = {"url": "https://www.mysite.com", "name": "wt", **options.pop("account", {})}
        vendor = Webtrends(DOMAIN, TOKEN, base_url=self.vendor.webtrends_url, **account)
        fm = self.make(vendors=[vendor], reuse_s=300, **{"signing_keys": [K1], **options})
        return Visitor(self.edge, self.edge.mount(show, fm), self.jar).get(**(sent or {}))


@pytest.fixture
def case(edge: Edge, make: Make, vendor: SandboxServer) -> Case:
    made = Case(edge, make, vendor)
    assert said(made.page())[1] == "SPLIT"
    assert said(made.page())[1] == "CACHED"
    assert asked(vendor) == 1
    return made


def tampered(token: str) -> str:
    return token[:100] + ("A" if token[100] != "A" else "B") + token[101:]


BAD: dict[str, Callable[[str], str]] = {
    "tampered": tampered,
    "truncated": lambda token: token[:-30],
    "oversized": lambda token: token + "A" * 4000,
    "rubbish": lambda token: "%00%ff,;"[:6],
    "empty": lambda token: "",
    "unsigned": lambda token: token.rpartition(".")[0] + ".",
}


@pytest.mark.parametrize("kind", BAD)
def test_bad_tokens_are_absent(case: Case, kind: str) -> None:
    """A token that is not as it was is as none: the vendor is asked, the page is well, and a new one is set."""
    case.jar["flagmw"] = BAD[kind](case.jar["flagmw"])
    page = case.page()
    assert (page.status, said(page)[1]) == (200, "SPLIT")
    assert asked(case.vendor) == 2
    assert len(lines(page)) == 1


def test_I9_ten_kilobytes_of_token(case: Case) -> None:
    """A cookie that is longer than any browser keeps makes no error; there is no room for vendors' cookies then."""
    case.jar["flagmw"] = "A" * 10_240
    page = case.page()
    assert (page.status, said(page)) == (200, ("control", "DEFAULT", "COOKIE_BUDGET"))


def by_header(inbound: Any) -> Identity:
    return Identity(user_id=None, data={"tier": (inbound.headers("x-tier") or ["none"])[0]})


@pytest.mark.parametrize(
    ("sent", "options"),
    [
        ({"host": "other.mysite.com"}, {}),
        ({}, {"signing_keys": [K2]}),
        ({"headers": [("x-tier", "gold")]}, {"identify": by_header}),
        ({}, {"account": {"url": "https://www.mysite.com/other"}}),
        ({}, {"account": {"serve_paused": True}}),
        ({}, {"account": {"name": "other"}}),
    ],
    ids=["another host", "another key", "an attribute", "another url", "another option", "another name"],
)
def test_token_is_bound(case: Case, sent: dict[str, Any], options: dict[str, Any]) -> None:
    """A token shown at another host, under another key, attribute or configuration is as none."""
    assert said(case.page(sent, **options))[1] == "SPLIT"
    assert asked(case.vendor) == 2
    assert said(case.page(sent, **options))[1] == "CACHED"


def test_keys_rotate_without_a_call(case: Case) -> None:
    """With the new key in front of the old one, who has a token of the old one keeps it."""
    assert said(case.page(signing_keys=[K2, K1]))[1] == "CACHED"
    assert said(case.page(signing_keys=[K2]))[1] == "SPLIT"


def test_token_is_bound_to_the_vendors_cookies(case: Case) -> None:
    """Who deletes the vendor's cookies, or gets others from the vendor's own tag, is asked for anew."""
    kept = dict(case.jar)
    for name in [name for name in case.jar if name.startswith("_wt.control") and name.endswith(ALIAS)]:
        del case.jar[name]
    assert said(case.page())[1] == "SPLIT"
    assert asked(case.vendor) == 2
    case.jar.clear()
    case.jar["flagmw"] = kept["flagmw"]
    assert said(case.page())[1] == "SPLIT"
    assert asked(case.vendor) == 3


def test_somebody_elses_token_says_nothing(case: Case) -> None:
    """A token copied into another visitor's browser does not fit the cookies there."""
    stranger = Case(case.edge, case.make, case.vendor)
    stranger.page()
    stranger.jar["flagmw"] = case.jar["flagmw"]
    assert said(stranger.page())[1] == "SPLIT"


def test_expiry(edge: Edge, make: Make, vendor: SandboxServer) -> None:
    """After reuse_s the vendor is asked once more, and the new decision holds as long again."""
    fm = make(vendors=[webtrends(vendor.webtrends_url)], reuse_s=300, signing_keys=[K1])
    clock = Clock(fm)
    visitor = Visitor(edge, edge.mount(show, fm))
    for ahead_s, calls in [(0, 1), (299, 1), (301, 2), (600, 2), (602, 3)]:
        clock.ahead_s = ahead_s
        visitor.get()
        assert asked(vendor) == calls


# When the vendor fails


def test_outage(edge: Edge, make: Make, vendor: SandboxServer) -> None:
    """The vendor dies: a returning visitor keeps the variant as STALE, a newcomer gets the default and keeps it for
    hold_s although the vendor is back; neither flips, and after that the newcomer is in a test too.
    """
    fm = make(
        vendors=[webtrends(vendor.webtrends_url)],
        reuse_s=300,
        hold_s=600,
        signing_keys=[K1],
        defaults={ALIAS: "calm"},
        deadline_ms=2000,
    )
    clock = Clock(fm)
    app = edge.mount(show, fm)
    returning, newcomer = Visitor(edge, app), Visitor(edge, app)
    variant = said(returning.get())[0]
    clock.ahead_s = 301
    vendor.stop()
    try:
        for _ in range(2):
            assert said(returning.get()) == (variant, "STALE", "CONNECT")
            assert said(newcomer.get()) == ("calm", "ERROR", "CONNECT")
    finally:
        vendor.start()
    for _ in range(3):
        # Asked again with the visitor's cookies, which the vendor honours.
        assert said(returning.get())[::2] == (variant, "None")
        assert said(newcomer.get()) == ("calm", "ERROR", "CONNECT")
    clock.ahead_s = 301 + 601
    assert said(returning.get())[::2] == (variant, "None")
    assert said(newcomer.get())[1] == "SPLIT"
    assert total(fm, "stale") == 2


def test_outage_seen_by_another_process(edge: Edge, make: Make, vendor: SandboxServer) -> None:
    """What is served while the vendor is down comes with the visitor, so any process serves the same."""
    fms = [make(vendors=[webtrends(vendor.webtrends_url)], reuse_s=300, hold_s=60, signing_keys=[K1]) for _ in range(3)]
    clock = Clock(*fms)
    returning, newcomer = dict[str, str](), dict[str, str]()
    variant = said(Visitor(edge, edge.mount(show, fms[0]), returning).get())[0]
    clock.ahead_s = 301
    vendor.stop()
    try:
        for fm in fms:
            assert said(Visitor(edge, edge.mount(show, fm), returning).get())[:2] == (variant, "STALE")
            assert said(Visitor(edge, edge.mount(show, fm), newcomer).get())[:2] == ("control", "ERROR")
    finally:
        vendor.start()
    # Nobody asks for the newcomer, not even a process that has never seen the outage.
    fresh = make(vendors=[webtrends(vendor.webtrends_url)], reuse_s=300, hold_s=60, signing_keys=[K1])
    Clock(fresh).ahead_s = 301
    calls = asked(vendor)
    assert said(Visitor(edge, edge.mount(show, fresh), newcomer).get())[:2] == ("control", "ERROR")
    assert asked(vendor) == calls


def test_a_long_hold_holds(edge: Edge, make: Make, vendor: SandboxServer) -> None:
    """A hold that is longer than anything else is remembered for holds to its end."""
    fm = make(vendors=[webtrends(vendor.webtrends_url)], reuse_s=0, stale_s=0, hold_s=3600, signing_keys=[K1])
    clock = Clock(fm)
    newcomer = Visitor(edge, edge.mount(show, fm))
    vendor.stop()
    try:
        assert said(newcomer.get())[1] == "ERROR"
    finally:
        vendor.start()
    for ahead_s in (600, 3500):
        clock.ahead_s = ahead_s
        # In a process that has not seen the page before, so that the token is verified now.
        other = make(vendors=[webtrends(vendor.webtrends_url)], reuse_s=0, stale_s=0, hold_s=3600, signing_keys=[K1])
        Clock(other).ahead_s = ahead_s
        assert said(Visitor(edge, edge.mount(show, other), dict(newcomer.cookies)).get())[1] == "ERROR"
    clock.ahead_s = 3700
    assert said(newcomer.get())[1] == "SPLIT"


def test_without_hold_the_newcomer_is_decided_as_soon_as_the_vendor_is_back(
    edge: Edge, make: Make, vendor: SandboxServer
) -> None:
    """hold_s is off by default: the next page asks again."""
    fm = make(vendors=[webtrends(vendor.webtrends_url)], reuse_s=300, signing_keys=[K1])
    newcomer = Visitor(edge, edge.mount(show, fm))
    vendor.stop()
    try:
        page = newcomer.get()
        assert said(page)[1] == "ERROR"
        assert lines(page) == [], "there is nothing to remember"
    finally:
        vendor.start()
    assert said(newcomer.get())[1] == "SPLIT"


def test_stale_ends(edge: Edge, make: Make, vendor: SandboxServer) -> None:
    """A decision of the day before yesterday is not served any more."""
    fm = make(vendors=[webtrends(vendor.webtrends_url)], reuse_s=300, stale_s=3600, signing_keys=[K1])
    clock = Clock(fm)
    visitor = Visitor(edge, edge.mount(show, fm))
    visitor.get()
    vendor.stop()
    try:
        clock.ahead_s = 3599
        assert said(visitor.get())[1] == "STALE"
        clock.ahead_s = 3601
        assert said(visitor.get())[1] == "ERROR"
    finally:
        vendor.start()


# Who shares what with whom


def test_visitors_without_identity_never_share(edge: Edge, make: Make, vendor: SandboxServer) -> None:
    """Newcomers who come at once and one after the other are asked for one by one, and are as many visitors."""
    fm = make(vendors=[webtrends(vendor.webtrends_url)], reuse_s=300, pool_size=16)
    app = edge.mount(show, fm)
    pages = edge.at_once(app, [Sent() for _ in range(10)]) + [edge.get(app) for _ in range(5)]
    assert asked(vendor) == 15
    users = {page.cookies["_wt.user-2490593"] for page in pages}
    assert len(users) == 15
    assert total(fm, "joined") == 0


def by_user(inbound: Any) -> Identity | None:
    users = inbound.headers("x-user")
    return Identity(user_id=users[0]) if users else None


def test_callers_with_a_user_id_share_by_it(edge: Edge, make: Make, vendor: SandboxServer) -> None:
    """An app that keeps no cookies but names its user is decided for once, and another user on their own."""
    fm = make(vendors=[webtrends(vendor.webtrends_url)], reuse_s=300, identify=by_user)
    app = edge.mount(show, fm)
    ada = [edge.get(app, headers=[("x-user", "ada")]) for _ in range(5)]
    assert asked(vendor) == 1
    assert len({said(page)[0] for page in ada}) == 1
    # Each answer sets the same cookies: whichever device asked is the same visitor to the vendor.
    assert len({page.cookies["_wt.user-2490593"] for page in ada}) == 1
    bob = edge.get(app, headers=[("x-user", "bob")])
    assert asked(vendor) == 2
    assert bob.cookies["_wt.user-2490593"] != ada[0].cookies["_wt.user-2490593"]
    visits = [Visit(url="https://www.mysite.com/", user_id="ada") for _ in range(2)]
    assert [fm.decide(visit)[ALIAS] for visit in visits] == [said(ada[0])[0]] * 2
    assert asked(vendor) == 2


def test_odd_visits_made_by_hand(make: Make, vendor: SandboxServer) -> None:
    """`decide` raises nothing, whatever a job puts into a visit."""
    fm = make(vendors=[webtrends(vendor.webtrends_url)], reuse_s=300)
    for more in ({"data": {"when": object()}}, {"user_id": "\udc80"}, {"data": {"n": 1 << 90}, "user_id": "ada"}):
        flags = fm.decide(Visit(url="https://www.mysite.com/", **more))  # type: ignore[arg-type]
        assert flags.variant(ALIAS).reason is Reason.SPLIT


def test_ten_pages_at_once_make_one_call(edge: Edge, make: Make, vendor: SandboxServer) -> None:
    """A page and its nine fragments ask at the same moment: one call, and ten pages with the same variant."""
    fm = make(vendors=[webtrends(vendor.webtrends_url)], reuse_s=300, pool_size=16)
    clock = Clock(fm)
    visitor = Visitor(edge, edge.mount(show, fm))
    visitor.get()
    clock.ahead_s = 301
    vendor.faults([{"kind": "delay", "ms": 300, "route": "control"}])
    pages = edge.at_once(visitor.app, [Sent(f"/{n}", cookies=visitor.cookies) for n in range(10)])
    assert asked(vendor) == 2
    assert len({page.body for page in pages}) == 1
    assert len({page.cookies["_wt.user-2490593"] for page in pages}) == 1
    assert total(fm, "joined") == 9


# Answers that come late


def slow(body: bytes, seconds: float) -> Any:
    return forever(read_request, sleep(seconds), send_raw(http(body)))


def decided(vendor: SandboxServer, edge: Edge, make: Make) -> dict[str, str]:
    """Return the cookies of a visitor for whom the sandbox has decided."""
    visitor = Visitor(edge, edge.mount(show, make(vendors=[webtrends(vendor.webtrends_url)])))
    visitor.get()
    return visitor.cookies


def test_late_answer_serves_the_next_page(edge: Edge, make: Make, vendor: SandboxServer) -> None:
    """An answer that misses the deadline of a known visitor's page is there for their next one."""
    jar = decided(vendor, edge, make)
    fm = make(vendors=[webtrends(vendor.webtrends_url)], reuse_s=300, deadline_ms=400)
    fm.start()
    visitor = Visitor(edge, edge.mount(show, fm), jar)
    vendor.faults([{"kind": "delay", "ms": 800, "route": "control", "times": 1}])
    calls = asked(vendor)

    def pages() -> bytes:
        """Look at pages, on a loop as well, which has to run for the answer to come in."""
        return visitor.get("/static", method="HEAD").body

    assert said(visitor.get())[1:] == ("ERROR", "DEADLINE")
    wait_for(lambda: pages() is not None and total(fm, "late_kept") == 1)
    assert said(visitor.get())[1] == "CACHED"
    assert asked(vendor) == calls + 1


def test_late_answer_sets_its_cookies_with_the_next_page(edge: Edge, make: Make, vendor: SandboxServer) -> None:
    """The cookies of an answer that came late come with the page that it serves."""
    jar = decided(vendor, edge, make)
    before = dict(jar)
    fm = make(vendors=[webtrends(vendor.webtrends_url)], reuse_s=300, deadline_ms=400)
    fm.start()
    visitor = Visitor(edge, edge.mount(show, fm), jar)
    vendor.faults([{"kind": "delay", "ms": 800, "route": "control", "times": 1}])
    assert visitor.get().values("set-cookie") == []
    wait_for(lambda: visitor.get("/x", method="HEAD").status and total(fm, "late_kept") == 1)
    assert visitor.get().cookies.keys() >= {"_wt.user-2490593"}
    assert visitor.cookies["_wt.user-2490593"] != before["_wt.user-2490593"]
    # And only once: the visitor has them now.
    assert visitor.get().values("set-cookie") == []


def test_newcomers_call_ends_at_the_deadline(edge: Edge, make: Make) -> None:
    """Nobody could find a newcomer's late answer again, so its connection is closed and the thread is free."""
    with RawVendor(forever(read_request, hang)) as raw:
        fm = make(vendors=[webtrends(raw.url)], reuse_s=300, deadline_ms=400, late_ms=30_000)
        fm.start()
        assert said(edge.get(edge.mount(show, fm)))[1:] == ("ERROR", "DEADLINE")
        assert raw.wait_open(0, 10)
        assert total(fm, "late_kept") == 0


def test_late_calls_leave_room_for_others(edge: Edge, make: Make, vendor: SandboxServer) -> None:
    """Known visitors whose calls outlast the deadline take a quarter of the room at most; the rest is free again."""
    jar = decided(vendor, edge, make)
    with RawVendor(forever(read_request, hang)) as raw:
        # Ten seconds to be late in: those calls are there as long as this test.
        fm = make(vendors=[webtrends(raw.url)], deadline_ms=400, late_ms=10_000, pool_size=8, max_in_flight=8)
        fm.start()
        app = edge.mount(show, fm)
        # Eight different visitors, as far as flagmw can tell.
        sents = [Sent(cookies={**jar, f"_wt.control-2490593-x{n}": "WT3x~"}) for n in range(8)]
        edge.at_once(app, sents)
        wait_for(lambda: edge.get(app, method="HEAD").status and fm.health()["vendors"]["wt"]["in_flight"] <= 2, 8)


def test_late_answer_does_not_break_a_hold(edge: Edge, make: Make, vendor: SandboxServer) -> None:
    """Who was shown the default keeps it for hold_s, also when the answer comes a moment later."""
    jar = decided(vendor, edge, make)
    fm = make(vendors=[webtrends(vendor.webtrends_url)], reuse_s=300, hold_s=60, deadline_ms=400, signing_keys=[K1])
    fm.start()
    visitor = Visitor(edge, edge.mount(show, fm), jar)
    vendor.faults([{"kind": "delay", "ms": 800, "route": "control", "times": 1}])
    assert said(visitor.get())[1:] == ("ERROR", "DEADLINE")
    end = time.monotonic() + 1.5
    while time.monotonic() < end:
        assert said(visitor.get())[1:] == ("ERROR", "DEADLINE")
        time.sleep(0.02)


async def test_cancelled_leader_leaves_the_others_their_answer(amake: Make, vendor: SandboxServer) -> None:
    """The page that made the call is given up by its visitor; those who had joined it get the answer."""
    fm = amake(vendors=[webtrends(vendor.webtrends_url)], reuse_s=300)
    clock = Clock(fm)
    from flagmw.asgi import FlagsMiddleware

    app = FlagsMiddleware(asgi_app(show), flagmw=fm)
    cookies = (await asgi_call(app, http_scope(Sent()))).cookies
    clock.ahead_s = 301
    vendor.faults([{"kind": "delay", "ms": 1200, "route": "control"}])
    tasks = [asyncio.create_task(asgi_call(app, http_scope(Sent(cookies=cookies)))) for _ in range(4)]
    await asyncio.sleep(0.1)
    tasks[0].cancel()
    pages = await asyncio.gather(*tasks, return_exceptions=True)
    assert isinstance(pages[0], asyncio.CancelledError)
    assert [said(page)[1] for page in pages[1:] if isinstance(page, Page)] == ["SPLIT"] * 3
    assert asked(vendor) == 2


async def test_everybody_gone_ends_the_call(amake: Make, vendor: SandboxServer) -> None:
    """When the last who waits is given up too, nothing is left under way, and the next page asks anew."""
    fm = amake(vendors=[webtrends(vendor.webtrends_url)], reuse_s=300)
    clock = Clock(fm)
    from flagmw.asgi import FlagsMiddleware

    app = FlagsMiddleware(asgi_app(show), flagmw=fm)
    cookies = (await asgi_call(app, http_scope(Sent()))).cookies
    clock.ahead_s = 301
    vendor.faults([{"kind": "hang", "route": "control"}])
    tasks = [asyncio.create_task(asgi_call(app, http_scope(Sent(cookies=cookies)))) for _ in range(3)]
    await asyncio.sleep(0.1)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    async with asyncio.timeout(3):
        while fm.health()["vendors"]["wt"]["in_flight"]:
            await asyncio.sleep(0.01)
    vendor.clear_faults()
    assert said(await asgi_call(app, http_scope(Sent(cookies=cookies))))[1] == "SPLIT"


# What is set, and what it costs


class Asked(Probe):
    """A vendor that is asked over the network, in the runtime's eyes, and knows its visitors by `probeid`.

    It gives everyone a new `probesession` with each answer, and *more* bytes of cookies.
    """

    exposure = "decide"
    error: ErrorCode | None = None

    def __init__(self, name: str = "probe", more: int = 0, decides_by: str = "url") -> None:
        super().__init__(name=name, base_url="http://127.0.0.1:9")
        self.decides_by, self.more = decides_by, more

    def identity(self, state: VisitorState) -> str:
        return state.cookies.get("probeid", "")

    def decide(self, visit: Visit, state: VisitorState) -> Flow[Decision]:
        self.visits.append(visit)
        if self.error is not None:
            return Decision(vendor=self.name, error=self.error)
        return Decision(
            vendor=self.name,
            variants={f"ta_{self.name}": Variant(alias=f"ta_{self.name}", key="p", vendor=self.name)},
            cookies=(
                CookieChange(name="probeid", value=state.cookies.get("probeid", "p1")),
                CookieChange(name="probesession", value=f"s{len(self.visits)}"),
                *(CookieChange(name=f"probe{n}", value="x" * 1000) for n in range(self.more)),
            ),
        )
        yield Call(method="GET", url="", headers={})


def test_cookies_come_when_they_could_not_come_before(edge: Edge, make: Make) -> None:
    """A page for shared caches comes first and can carry no cookie: the next page that can does, without a call."""
    probe = Asked(decides_by="site")
    visitor = Visitor(edge, edge.mount(show, make(vendors=[probe], reuse_s=300)), {"probeid": "p1"})
    assert visitor.get("/shared").values("set-cookie") == []
    assert visitor.get("/own").cookies["probesession"] == "s1"
    assert visitor.get("/own").values("set-cookie") == []
    assert visitor.get("/shared").values("set-cookie") == []
    assert visitor.get("/own").values("set-cookie") == []
    assert len(probe.visits) == 1


def test_cookies_that_never_arrive_come_with_each_page(edge: Edge, make: Make) -> None:
    """Whoever comes with the old cookies again gets the new ones again, without a call; tracks carry the new ones."""
    probe, saved = Asked(decides_by="site"), list[bytes]()

    def save(request: Seen) -> Answer:
        saved.append(request.flags.save())
        return Answer(request.flags["ta_probe"].encode())

    app = edge.mount(save, make(vendors=[probe], reuse_s=300))
    for _ in range(5):
        page = edge.call(app, Sent(cookies={"probeid": "p1"}))
        assert (page.body, page.cookies) == (b"p", {"probesession": "s1"})
    assert len(probe.visits) == 1
    assert all(b'"probesession":"s1"' in each for each in saved)
    # Over http the same cookies come without "Secure", though the answer is as well remembered.
    plain = edge.call(app, Sent(cookies={"probeid": "p1"}, scheme="http"))
    assert "Secure" in page.values("set-cookie")[0] and "Secure" not in plain.values("set-cookie")[0]


def test_undelivered_cookies_of_a_user(edge: Edge, make: Make, vendor: SandboxServer) -> None:
    """The same for a visitor who is known by the site's own id."""
    fm = make(vendors=[webtrends(vendor.webtrends_url)], reuse_s=300, identify=by_user, signing_keys=[K1])
    visitor = Visitor(edge, edge.mount(show, fm))
    user = [("x-user", "ada")]
    assert visitor.get("/shared", headers=user).values("set-cookie") == []
    assert visitor.get("/own", headers=user).cookies.keys() >= {"_wt.user-2490593", "flagmw"}
    assert asked(vendor) == 1


def test_two_vendors_one_remembered_and_one_asked(edge: Edge, make: Make, vendor: SandboxServer) -> None:
    """Only the vendor that decides by the page is asked for another page; both make the flags together."""
    probe = Asked(decides_by="path")
    seen: list[dict[str, str]] = []

    def note(request: Seen) -> Answer:
        seen.append(dict(request.flags))
        return Answer()

    fms = [make(vendors=[webtrends(vendor.webtrends_url), probe], reuse_s=300, signing_keys=[K1]) for _ in range(2)]
    jar: dict[str, str] = {}
    for fm, path, pages, calls in [(0, "/a", 1, 1), (1, "/b", 2, 1), (1, "/b", 2, 1), (0, "/b", 2, 1), (1, "/c", 3, 1)]:
        Visitor(edge, edge.mount(note, fms[fm]), jar).get(path)
        assert (len(probe.visits), asked(vendor)) == (pages, calls), path
    assert all(flags.keys() == {ALIAS, "ta_Project2", "ta_Hero", "ta_Layout", "ta_probe"} for flags in seen)
    assert len({flags[ALIAS] for flags in seen}) == 1


def test_no_cookie_is_set_where_nothing_is_new(edge: Edge, make: Make, vendor: SandboxServer, everyone_b: Any) -> None:
    """A vendor that costs nothing to ask, and one that fails, are no reason to sign a token with every page."""
    probe = Asked("down")
    probe.error = ErrorCode.HTTP_STATUS
    fm = make(vendors=[everyone_b, webtrends(vendor.webtrends_url), probe], reuse_s=300, signing_keys=[K1])
    visitor = Visitor(edge, edge.mount(show, fm))
    assert len(lines(visitor.get())) == 1
    for n in range(5):
        time.sleep(0.3)  # so that the second in which a token is made would differ
        assert visitor.get(f"/{n}").values("set-cookie") == []


def cookie_header(jar: dict[str, str]) -> int:
    return len("; ".join(f"{name}={value}" for name, value in jar.items()))


def test_token_keeps_to_the_budget(edge: Edge, make: Make) -> None:
    """As vendors' cookies grow, the token is what gives way: the header never gets past what servers take."""
    probe = Asked(decides_by="url")
    fm = make(vendors=[probe], reuse_s=300, signing_keys=[K1])
    visitor = Visitor(edge, edge.mount(show, fm), {"site": "s" * 2500})
    for more in (0, 2, 4, 5, 6, 0):
        probe.more = more
        visitor.get(f"/{more}/{len(probe.visits)}")
        assert cookie_header(visitor.cookies) <= 7800, more
    visitor.cookies["site"] = "s" * 7500
    visitor.get("/site")
    assert cookie_header(visitor.cookies) <= 7800


def test_old_token_goes_when_there_is_no_room_for_a_new_one(edge: Edge, make: Make) -> None:
    """A token that fits no more is of no use to anybody, and is deleted."""
    probe = Asked(decides_by="url")
    visitor = Visitor(edge, edge.mount(show, make(vendors=[probe], reuse_s=300, signing_keys=[K1], cookie_budget=2200)))
    visitor.get("/a")
    assert "flagmw" in visitor.cookies
    probe.more = 2
    visitor.get("/b")
    assert "flagmw" not in visitor.cookies
    assert cookie_header(visitor.cookies) <= 2200


def test_newcomers_are_counted_once(edge: Edge, make: Make, vendor: SandboxServer) -> None:
    """A limit of so many newcomers a second lets as many through, over either edge."""
    fm = make(vendors=[webtrends(vendor.webtrends_url)], reuse_s=300, new_visitors_per_s=4)
    app = edge.mount(show, fm)
    fm.start()
    assert [said(edge.get(app))[1] for _ in range(4)] == ["SPLIT"] * 4


def test_no_decision_for_a_while_is_remembered_too(edge: Edge, make: Make) -> None:
    """That there is no test is an answer, and need not be asked for with every page."""
    with RawVendor(always(b"[]")) as raw:
        fm = make(vendors=[webtrends(raw.url)], reuse_s=300, signing_keys=[K1])
        visitor = Visitor(edge, edge.mount(show, fm))
        assert [said(visitor.get()) for _ in range(3)] == [("control", "DEFAULT", "EMPTY")] * 3
        assert len(raw.requests) == 1


def test_reuse_has_no_part_in_pages_that_nobody_decides_for(edge: Edge, make: Make, vendor: SandboxServer) -> None:
    """On a path outside of `paths`, and for HEAD, a remembered decision is not served either."""
    fm = make(vendors=[webtrends(vendor.webtrends_url)], reuse_s=300, paths=["/shop/*"])
    visitor = Visitor(edge, edge.mount(show, fm))
    visitor.get("/shop/1")
    assert said(visitor.get("/about"))[2] == "EXCLUDED"
    assert said(visitor.get("/shop/2"))[1] == "CACHED"

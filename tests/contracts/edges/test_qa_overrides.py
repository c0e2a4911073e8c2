"""Testers choose variants by a signed token; nobody else can, and what testers do is not counted."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from html.parser import HTMLParser
from typing import Any
from urllib.parse import quote, unquote, urlencode, urlsplit

import pytest

from flagmw import Flagmw, Reason
from flagmw._exchange.remembered import memory
from flagmw._support.tokens import Keys
from flagmw._web.overrides import Override, mint
from flagmw.codes import ErrorCode
from flagmw.exceptions import ConfigError
from flagmw.sandbox import SandboxServer
from flagmw.sandbox.scenario import Scenario
from flagmw.testing import FakeVendor
from flagmw.types import Decision, Flow, Visit, VisitorState
from tests.contracts.edges.driver import DOMAIN, TOKEN, Answer, Edge, Make, Page, Seen, Visitor, webtrends
from tests.contracts.edges.test_both import total
from tests.contracts.edges.test_reuse import K1, K2, asked, tampered

ALIAS = "ta_Project1"
HOST = "www.mysite.com"


def token(key: str = K1, *, host: str = HOST, life_s: float = 3600, ago_s: float = 0, **chosen: Any) -> str:
    now = time.time() - ago_s
    override = Override(**{"variants": {ALIAS: "red", "ta_New": "on"}, **chosen}, until=now + life_s)
    return mint(Keys([key]), override, host, now)


def show(seen: Seen) -> Answer:
    """Show the flag; tracks on /buy; does not look on /shared and /plain."""
    if seen.path == "/shared":
        return Answer(b"for all", headers=[("Cache-Control", "public, s-maxage=600"), ("ETag", '"x"')])
    if seen.path == "/plain":
        return Answer()
    if seen.path == "/moved":
        return Answer(b"", 302, [("Location", "/")])
    if seen.path == "/buy":
        return Answer(f"{seen.flags.track('purchase', aliases=[ALIAS]) is not None}".encode())
    return Answer(f"{seen.flags[ALIAS]} {seen.flags['ta_New']}".encode())


@pytest.fixture
def fm(make: Make, vendor: SandboxServer) -> Flagmw:
    return make(vendors=[webtrends(vendor.webtrends_url)], overrides=True, signing_keys=[K1], reuse_s=300)


@pytest.fixture
def visitor(edge: Edge, fm: Flagmw) -> Visitor:
    return Visitor(edge, edge.mount(show, fm))


BY: dict[str, Callable[[str], dict[str, Any]]] = {
    "query": lambda token: {"query": f"utm=1&flagmw_override={token}"},
    "cookie": lambda token: {},
    "header": lambda token: {"headers": [("flagmw-override", token)]},
}


@pytest.mark.parametrize("by", BY)
@pytest.mark.parametrize("mode", ["eager", "lazy"])
def test_override(edge: Edge, make: Make, vendor: SandboxServer, by: str, mode: str) -> None:
    """By query, cookie or header the tester gets the chosen variants, and the page is for nobody else."""
    made = token()
    fm = make(vendors=[webtrends(vendor.webtrends_url)], overrides=True, signing_keys=[K1], mode=mode, reuse_s=300)
    variants: list[Any] = []

    def view(seen: Seen) -> Answer:
        variants.append(seen.flags.variant("ta_New"))
        return Answer(seen.flags["ta_New"].encode())

    visitor = Visitor(edge, edge.mount(view, fm))
    if by == "cookie":
        visitor.cookies["flagmw_override"] = made
    if mode == "lazy" and edge.name == "asgi":
        # Remembered for the visitor, so that a read on the loop needs no call.
        visitor.cookies |= edge.get(edge.mount(show, make(**_eager(vendor)))).cookies
    page = visitor.get(**BY[by](made))
    assert page.body == b"on"
    assert (variants[0].reason, variants[0].error_code) == (Reason.STATIC, ErrorCode.OVERRIDDEN)
    assert page.values("cache-control") == ["private, no-store"]
    kept = [line for line in page.values("set-cookie") if line.startswith("flagmw_override=")]
    assert kept == [], "a link is kept only after a yes"
    assert "flagmw" not in page.cookies, "what was decided for a tester is not remembered"


def _eager(vendor: SandboxServer) -> dict[str, Any]:
    return {"vendors": [webtrends(vendor.webtrends_url)], "signing_keys": [K1], "reuse_s": 300}


BROWSER = [("accept", "text/html,application/xhtml+xml,*/*;q=0.8")]


@dataclass
class Question(HTMLParser):
    """What a browser makes of the page that asks: the fields that its button sends, and the way out."""

    page: Page

    def __post_init__(self) -> None:
        super().__init__()
        self.fields: list[tuple[str, str]] = []
        self.links: list[str] = []
        self.text = ""
        self.feed(self.page.body.decode())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        if tag in ("input", "button"):
            self.fields.append((found["name"] or "", found["value"] or ""))
        elif tag == "a":
            self.links.append(found["href"] or "")
        else:
            assert tag not in ("script", "img", "iframe", "base")

    def handle_data(self, data: str) -> None:
        self.text += data

    @property
    def yes(self) -> str:
        return urlencode(self.fields)


def opened(visitor: Visitor, token: str, path: str = "/", query: str = "", **sent: Any) -> Question:
    """Open a link as a browser does, and return the question."""
    page = visitor.get(path, query=f"{query}&flagmw_override={quote(token)}".lstrip("&"), headers=BROWSER, **sent)
    assert page.status == 200 and b"<form" in page.body
    return Question(page)


def keep(visitor: Visitor, token: str, path: str = "/") -> Page:
    """Open a link and say yes; return the answer to that."""
    return visitor.get(path, query=opened(visitor, token, path).yes, headers=BROWSER)


def test_it_lasts(visitor: Visitor) -> None:
    """A token that came by a link is kept in a cookie, HttpOnly and Secure, until it runs out or is taken away."""
    page = keep(visitor, token())
    (line,) = [line for line in page.values("set-cookie") if line.startswith("flagmw_override=")]
    assert "; HttpOnly" in line
    assert "; Secure" in line
    life_s = int(line.partition("Max-Age=")[2].partition(";")[0])
    assert 3590 <= life_s <= 3600
    assert visitor.get().body == b"red on"
    assert visitor.get("/other").values("cache-control") == ["private, no-store"]
    page = visitor.get(query="flagmw_override=off")
    assert page.body in (b"control control", b"variation control")
    assert "flagmw_override" not in visitor.cookies
    assert visitor.get().body == page.body


@pytest.mark.parametrize("path", ["/shared", "/plain", "/moved", "/buy"])
def test_it_is_kept_on_any_response(visitor: Visitor, path: str) -> None:
    """Also where the page is for shared caches, reads no flag, or redirects; and no cache may keep that response."""
    page = keep(visitor, token(), path)
    assert (page.status, page.values("location")) == (303, [path])
    assert page.values("cache-control") == ["private, no-store"]
    assert "flagmw_override" in visitor.cookies
    assert visitor.get(path).values("cache-control") == ["private, no-store"]
    page = visitor.get(path, query="flagmw_override=off")
    assert page.values("cache-control") == ["private, no-store"]
    assert "flagmw_override" not in visitor.cookies
    assert visitor.get("/shared").values("cache-control") == ["public, s-maxage=600"]


def test_paths_that_nobody_decides_for(edge: Edge, make: Make, vendor: SandboxServer) -> None:
    """On a path outside of `paths`, and for HEAD, the override holds too."""
    fm = make(**_eager(vendor), overrides=True, paths=["/shop/*"])
    visitor = Visitor(edge, edge.mount(show, fm), {"flagmw_override": token()})
    assert visitor.get("/about").body == b"red on"
    assert vendor.ledger()["requests"] == []


def test_nothing_of_a_tester_is_counted(visitor: Visitor, fm: Flagmw, vendor: SandboxServer) -> None:
    """Vendors are asked so that nothing is counted, and tracks are dropped and counted here."""
    visitor.cookies["flagmw_override"] = token()
    visitor.get()
    assert visitor.get("/buy").body == b"False"
    assert fm.flush(5)
    requests = vendor.ledger()["requests"]
    assert {(request["action"], request["track"]) for request in requests} == {("control", False)}
    assert vendor.ledger()["views"] == []
    assert total(fm, "track_dropped", ErrorCode.OVERRIDDEN) == 1
    # Without the override the same visitor counts, beginning with this very page.
    del visitor.cookies["flagmw_override"]
    visitor.get()
    assert len(vendor.ledger()["views"]) == 4


def test_saved_tester_is_not_counted(edge: Edge, fm: Flagmw, vendor: SandboxServer) -> None:
    """A webhook that tracks for a tester's order reports nothing."""
    saved: list[bytes] = []

    def view(seen: Seen) -> Answer:
        saved.append(seen.flags.save())
        return Answer()

    visitor = Visitor(edge, edge.mount(view, fm), {"flagmw_override": token()})
    visitor.get()
    assert fm.track("purchase", visitor=saved[0]) is None


BAD: dict[str, Callable[[], str]] = {
    "I8 unsigned": lambda: f"{ALIAS}:red",
    "I9 expired": lambda: token(ago_s=7200),
    "I9 another environment's key": lambda: token(K2),
    "I9 another host": lambda: token(host="staging.mysite.com"),
    "I9 tampered": lambda: tampered(token()),
    "I9 truncated": lambda: token()[:-10],
    "I9 10 KB": lambda: "A" * 10_240,
    "a decision token": lambda: Keys([K1]).sign("decision", {"host": HOST, "flags": {ALIAS: "red"}}, time.time(), 60),
    "rubbish": lambda: "%00%0d%0aSet-Cookie:x=y;<script>",
}


@pytest.mark.parametrize("kind", BAD)
@pytest.mark.parametrize("by", ["query", "header", "cookie"])
def test_tokens_that_are_not_accepted(visitor: Visitor, fm: Flagmw, vendor: SandboxServer, kind: str, by: str) -> None:
    """They are ignored and counted: the page is as for everybody, and the cookie is not set."""
    bad = BAD[kind]()
    if by == "cookie":
        visitor.cookies["flagmw_override"] = quote(bad, safe=":")
    page = visitor.get(**BY[by](quote(bad) if by == "query" else quote(bad, safe=":")))
    assert page.status == 200
    assert page.body in (
        (b"control control",) if "10 KB" in kind and by == "cookie" else (b"control control", b"variation control")
    )
    assert page.values("cache-control") == ["private"]
    assert "flagmw_override" not in page.cookies
    rejected = total(fm, "override_rejected") + total(fm, "visitor_cookie_rejected")
    # Of a query no more than 8 KB are looked at.
    assert rejected == (0 if "10 KB" in kind and by == "query" else 1)
    assert all("flagmw_override" not in name for name in page.cookies)


def test_a_bad_token_does_not_take_away_a_good_one(visitor: Visitor) -> None:
    """What somebody puts into a link does not end a tester's session."""
    keep(visitor, token())
    visitor.get(query="flagmw_override=rubbish", headers=BROWSER)
    assert visitor.get().body == b"red on"


# Links


def test_link_asks_before_it_is_kept(visitor: Visitor, fm: Flagmw, vendor: SandboxServer) -> None:
    """The first opening shows what was chosen and sets no override; a no leads to the page as it is for everybody."""
    made = token(variants={ALIAS: "red", "<b>x</b>": '"><script>'}, staging=True)
    question = opened(visitor, made, "/page", "utm=1&x=%22%3E")
    assert "flagmw_override" not in visitor.cookies
    assert vendor.ledger()["requests"] == []
    assert all(part in question.text for part in (HOST, f"{ALIAS}: red", '<b>x</b>: "><script>', "tests in staging"))
    assert question.links == ["/page?utm=1&x=%22%3E"]
    page = question.page
    assert page.values("cache-control") == ["private, no-store"]
    assert page.values("referrer-policy") == ["no-referrer"]
    assert page.values("x-frame-options") == ["DENY"]
    assert "frame-ancestors 'none'" in page.values("content-security-policy")[0]
    assert visitor.get("/page", query="utm=1&x=%22%3E", headers=BROWSER).body in (
        b"control control",
        b"variation control",
    )


def test_yes_leads_to_the_page_without_the_token(visitor: Visitor) -> None:
    """The address has the rest of its query, and the same link opened again leads there at once."""
    made = token()
    question = opened(visitor, made, "/page", "utm=1&empty=&x=%C3%BC")
    page = visitor.get("/page", query=question.yes, headers=BROWSER)
    assert (page.status, page.values("location")) == (303, ["/page?utm=1&empty=&x=%C3%BC"])
    assert page.values("referrer-policy") == ["no-referrer"]
    assert "flagmw_override_asked" not in visitor.cookies
    again = visitor.get("/page", query=f"flagmw_override={made}&y=1", headers=BROWSER)
    assert (again.status, again.values("location")) == (303, ["/page?y=1"])
    assert visitor.get("/page").body == b"red on"


def test_nobody_can_say_yes_for_somebody_else(edge: Edge, fm: Flagmw) -> None:
    """A yes belongs to the browser that was asked, and to the token that it was asked about."""
    app = edge.mount(show, fm)
    attacker, victim = Visitor(edge, app), Visitor(edge, app)
    made, other = token(), token(variants={ALIAS: "blue"})
    yes = opened(attacker, made).yes
    assert Question(victim.get(query=yes, headers=BROWSER)).fields
    assert Question(victim.get(query=yes, headers=BROWSER)).fields
    mixed = yes.replace(quote(made), quote(other))
    assert Question(attacker.get(query=mixed, headers=BROWSER)).fields
    assert Question(victim.get(query=yes.partition("flagmw_override_ok")[0] + "flagmw_override_ok=", headers=BROWSER))
    for visitor in (attacker, victim):
        assert "flagmw_override" not in visitor.cookies
    # Nor does one count that another site's page sends off.
    from_elsewhere = [*BROWSER, ("sec-fetch-site", "cross-site"), ("sec-fetch-dest", "document")]
    attacker.get(query=opened(attacker, made).yes, headers=from_elsewhere)
    assert "flagmw_override" not in attacker.cookies


@pytest.mark.parametrize(
    "sent",
    [
        {"headers": [("sec-fetch-dest", "image"), ("accept", "text/html")]},
        {"headers": [("sec-fetch-dest", "iframe"), ("accept", "text/html")]},
        {"headers": [("sec-fetch-dest", "empty"), ("accept", "*/*")]},
        {"headers": [("accept", "application/json")]},
        {"headers": BROWSER, "method": "POST"},
        {"headers": [*BROWSER, ("sec-purpose", "prefetch")]},
        {},
    ],
    ids=["image", "frame", "fetch", "api", "post", "prefetch", "test client"],
)
def test_what_nobody_opens_is_not_asked_about_and_not_kept(visitor: Visitor, sent: dict[str, Any]) -> None:
    """The token counts for that one request."""
    page = visitor.get(query=f"flagmw_override={token()}", **sent)
    assert page.body == b"red on"
    assert not any(name.startswith("flagmw_override") for name in visitor.cookies)


@pytest.mark.parametrize(
    "path", ["//evil.example/x", "/%5C%5Cevil.example", "/a%0d%0aX-Evil:1", "/p%C3%A4th", "/a;flagmw_override=1"]
)
def test_the_way_back_stays_on_the_site(visitor: Visitor, path: str) -> None:
    """Whatever the path holds, the redirect has one host, one line, and no token."""
    (location,) = keep(visitor, token(), path).values("location")
    assert location.startswith("/") and not location.startswith(("//", "/\\"))
    assert location.isascii() and location.isprintable() and "flagmw_override" not in location.partition("?")[2]


TOKEN_PLACES = [
    "https://www.mysite.com/page?a=1&flagmw_override={}&b=2",
    "https://www.mysite.com/page?FLAGMW_OVERRIDE={}",
    "https://www.mysite.com/page?a=1;flagmw%5Foverride={}",
    "https://www.mysite.com/page?flagmw%255Foverride={}",
    "https://www.mysite.com/page#flagmw_override={}",
    "https://login.mysite.com/?next=https%3A%2F%2Fwww.mysite.com%2F%3Fflagmw_override%3D{}",
    "https://login.mysite.com/?next=https%253A%252F%252Fwww.mysite.com%252F%253Fflagmw%25255Foverride%253D{}",
    "https://www.mysite.com/page;flagmw_override={}/more",
    "https://www.mysite.com/page%3Fflagmw_override={}",
    "https://www.mysite.com/flagmw_override={}",
]


class Told(FakeVendor):
    """Keeps every visit that it is asked about."""

    def __init__(self) -> None:
        super().__init__({ALIAS: "b"})
        self.visits: list[Visit] = []

    def decide(self, visit: Visit, state: VisitorState) -> Flow[Decision]:
        self.visits.append(visit)
        return super().decide(visit, state)


@pytest.mark.parametrize("place", TOKEN_PLACES)
def test_vendors_are_not_told_of_tokens(edge: Edge, make: Make, place: str, caplog: pytest.LogCaptureFixture) -> None:
    """Not by the Referer, nor by path or query of the page, with every option set that tells vendors more."""
    vendor, made = Told(), token()
    fm = make(vendors=[vendor], overrides=True, signing_keys=[K1], referer="full", send_query=["flagmw_override", "a"])
    saved: list[bytes] = []

    def view(seen: Seen) -> Answer:
        saved.append(seen.flags.save())
        seen.flags.track("purchase", aliases=[ALIAS])
        return Answer(seen.flags[ALIAS].encode())

    url = place.format(made)
    parts = urlsplit(url)
    app = edge.mount(view, fm)
    edge.get(app, parts.path, query=parts.query, headers=[("referer", url)])
    edge.get(app, headers=[("referer", url)])
    fm.decide(Visit(url=url, referer=url))
    fm.track("later", visitor=Visit(url=url, referer=url), aliases=[ALIAS])
    assert fm.flush(5)
    visits = [*vendor.visits, *(event.visit for event in vendor.delivered)]
    assert len(visits) > 3
    for text in (*(f"{v.url} {v.path} {v.referer} {v!r}" for v in visits), *map(repr, saved), caplog.text):
        assert made not in unquote(unquote(text))
        assert made.rpartition(".")[2] not in text
    assert any(v.referer and v.referer.startswith("https://") for v in visits), "the rest of a Referer is told"


def test_address_without_a_token_is_told_as_it_is() -> None:
    """Whatever else is in it, however odd."""
    for url in ("https://x.example/a%2fb;c?d=%25&e&f=1;2#g", "https://x.example/?q=flagmw", "https://x.example/%"):
        assert (Visit(url=url, referer=url).url, Visit(url=url, referer=url).referer) == (url, url)


def test_off_by_default(edge: Edge, make: Make, vendor: SandboxServer) -> None:
    """Without `overrides=True` a token is nothing, however well signed."""
    fm = make(**_eager(vendor))
    page = edge.get(edge.mount(show, fm), query=f"flagmw_override={token()}")
    assert page.body in (b"control control", b"variation control")
    assert total(fm, "override_rejected") == 0


def test_overrides_need_keys() -> None:
    """They are refused at the start without signing keys, with the command that makes one."""
    with pytest.raises(ConfigError, match="overrides needs signing_keys; make one with: python -c"):
        Flagmw(overrides=True)


def test_page_that_is_fetched_ahead(visitor: Visitor, vendor: SandboxServer) -> None:
    """A tester's browser may fetch the next page ahead: it is the one that was chosen, and nobody is asked."""
    visitor.cookies["flagmw_override"] = token()
    page = visitor.get(headers=[("sec-purpose", "prefetch")])
    assert page.body == b"red on"
    assert (page.values("cache-control"), page.values("set-cookie")) == (["private, no-store"], [])
    assert vendor.ledger()["requests"] == []


# While debugging


@pytest.mark.parametrize("keys", [(), (K1,)])
def test_unsigned_with_debug(edge: Edge, make: Make, vendor: SandboxServer, keys: tuple[str, ...]) -> None:
    """With debug=True `alias:variant` will do, and is kept as a signed one is."""
    fm = make(vendors=[webtrends(vendor.webtrends_url)], overrides=True, debug=True, signing_keys=keys)
    visitor = Visitor(edge, edge.mount(show, fm))
    for _ in range(2):
        assert visitor.get(query=f"flagmw_override={ALIAS}:red,ta_New:on").body == b"red on"
        assert visitor.get().body == b"red on"


@pytest.mark.parametrize("text", [f"{ALIAS}:red;x", f"{ALIAS}:red, ta New:on", f"{ALIAS}:rot\xe9", f"{ALIAS}:'\"\\"])
def test_unsigned_that_no_cookie_can_hold(edge: Edge, make: Make, vendor: SandboxServer, text: str) -> None:
    """It holds for this page and is not kept; it is no error."""
    fm = make(vendors=[webtrends(vendor.webtrends_url)], overrides=True, debug=True)
    page = edge.get(edge.mount(show, fm), query=f"flagmw_override={quote(text)}")
    assert page.status == 200
    assert page.body.startswith(text.partition(":")[2].partition(",")[0].encode())
    assert "flagmw_override" not in page.cookies
    assert total(fm, "internal_error") == 0


# Vendors' own switches


def test_I10_vendors_switches_in_the_query_do_nothing(visitor: Visitor, vendor: SandboxServer) -> None:
    """`_wt.mode` and the like are for the vendor's tag in the page; the middleware does not pass them on."""
    visitor.get(query="_wt.mode=staging&_wt.debug=true&s_mode=staging&debug=true&staging=1&mboxDebug=1")
    (request,) = vendor.ledger()["requests"]
    assert (request["s_mode"], request["debug"]) == (None, False)


def staged() -> Scenario:
    """An account with one live test and one in staging."""
    projects = [
        {"alias": alias, "tests": [{"state": state, "variations": [{"key": key}, {"key": key + "2"}]}]}
        for alias, state, key in ((ALIAS, "live", "live"), ("ta_New", "staging", "staged"))
    ]
    account = {
        "domain_id": DOMAIN,
        "key_token": TOKEN,
        "cookie_domain": ".mysite.com",
        "locations": [{"match": "prefix", "url": "https://www.mysite.com"}],
        "projects": projects,
    }
    return Scenario.from_mapping({"webtrends": [account]})


def codes(page: Page) -> list[str]:
    return page.body.decode().split()


def test_staging(visitor: Visitor, vendor: SandboxServer) -> None:
    """A token with staging asks for the tests in staging, which live visitors do not see."""
    vendor.replace_scenario(staged())
    assert codes(visitor.get())[1] == "control"
    assert codes(visitor.get())[0].startswith("live")
    page = visitor.get(query=f"flagmw_override={token(variants={}, staging=True)}")
    assert codes(page)[1].startswith("staged")
    assert codes(page)[0] == "control", "live tests are not visible in staging"
    assert vendor.ledger()["requests"][-1]["s_mode"] == "staging"


def test_staging_does_not_stick(visitor: Visitor, fm: Flagmw, vendor: SandboxServer) -> None:
    """When the override is over the tester is a live visitor as before: no cookie keeps them in staging."""
    vendor.replace_scenario(staged())
    live = codes(visitor.get())[0]
    mode = visitor.cookies["_wt.mode-2490593"]
    for _ in range(2):
        page = visitor.get(query=f"flagmw_override={token(variants={}, staging=True)}")
        assert codes(page)[1].startswith("staged")
        assert "_wt.mode-2490593" not in page.cookies
    assert visitor.cookies["_wt.mode-2490593"] == mode
    visitor.get("/plain", query="flagmw_override=off")
    calls = asked(vendor)
    # A new process, which remembers nothing.
    assert codes(visitor.get()) == [live, "control"]
    fm._context.memory = memory(1 << 20)
    visitor.cookies.pop("flagmw", None)
    assert codes(visitor.get()) == [live, "control"]
    assert asked(vendor) == calls + 1


def test_newcomer_in_staging(visitor: Visitor, vendor: SandboxServer) -> None:
    """A tester whose first page is one in staging is no different afterwards either."""
    vendor.replace_scenario(staged())
    page = visitor.get(query=f"flagmw_override={token(variants={}, staging=True)}")
    assert codes(page)[1].startswith("staged")
    visitor.get("/plain", query="flagmw_override=off")
    live = codes(visitor.get())
    assert live[0].startswith("live")
    assert live[1] == "control"
    assert vendor.ledger()["requests"][-1]["lint"] == []


def test_staging_is_not_remembered(visitor: Visitor, vendor: SandboxServer) -> None:
    """What was decided in staging is reused neither for the tester later on nor for anybody else."""
    vendor.replace_scenario(staged())
    for n in (1, 2):
        visitor.get(query=f"flagmw_override={token(variants={}, staging=True)}")
        assert asked(vendor) == n
    assert "flagmw" not in visitor.cookies

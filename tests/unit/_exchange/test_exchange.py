"""One request's exchange: who has an alias, which cookies go out, and what becomes of a track."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flagmw._cookies.header import ParsedCookies
from flagmw._cookies.header import read as read_cookies
from flagmw._exchange import saved_visitor
from flagmw._exchange.context import REFRESH_S, Context
from flagmw._exchange.event_sink import EventSink
from flagmw._exchange.exchange import Exchange, failed
from flagmw._exchange.outgoing_cookies import COOKIE_HEADER_MAX, COOKIES_MAX
from flagmw._exchange.visitor import RequestVisitor
from flagmw._support.counters import Counters
from flagmw._support.log import Throttle
from flagmw.codes import ErrorCode, Reason
from flagmw.config import build
from flagmw.types import CookieChange, Decision, Event, Variant, Visit, VisitorState
from flagmw.vendors.base import Participation, Vendor
from flagmw.vendors.contentstack import Contentstack
from flagmw.vendors.webtrends import Webtrends

NOW = 1_800_000_000.0
LIFE = 90 * 86400


def account(number: int = 1, **options: Any) -> Webtrends:
    """Return an account whose cookies end in its number."""
    return Webtrends(number, "12345678", "https://www.mysite.com", **{"name": f"v{number}", **options})


def user(number: int = 1) -> str:
    return f"_wt.user-{number}"


def control(alias: str, number: int = 1) -> str:
    return f"_wt.control-{number}-{alias}"


def change(name: str, value: str = "WT3new~", max_age_s: int | None = LIFE, domain: str | None = ".mysite.com"):
    return CookieChange(name=name, value=value, max_age_s=max_age_s, domain=domain)


def decision(
    vendor: str = "v1", keys: Mapping[str, str] | None = None, *changes: CookieChange, **more: Any
) -> Decision:
    variants = {a: Variant(alias=a, key=k, vendor=vendor, reason=Reason.SPLIT) for a, k in (keys or {}).items()}
    return Decision(vendor=vendor, variants=variants, cookies=changes, **more)


class Bench:
    """A configuration, and exchanges of visitors with given cookies."""

    def __init__(self, *vendors: Vendor, **options: Any) -> None:
        self.counts = Counters()
        self.vendors = vendors or (account(),)
        self.now = NOW
        self.context = Context(
            build({"vendors": self.vendors, **options}),
            self.counts,
            Throttle(logging.getLogger("test")),
            lambda: self.now,
        )

    def visit(self, cookies: str = "", **more: Any) -> Exchange:
        inbound: ParsedCookies = read_cookies([cookies], [vendor.cookies for vendor in self.vendors])
        made = Visit(
            **{
                "url": "https://www.mysite.com/checkout",
                "host": "www.mysite.com",
                "site_cookie_bytes": inbound.site_bytes,
                "cookies": {name: value for own in inbound.own for name, value in own.items()},
                "now": self.now,
                **more,
            }
        )
        return Exchange(self.context, RequestVisitor(self.context, made, [VisitorState(own) for own in inbound.own]))

    def total(self, what: str, code: ErrorCode | None = None, vendor: str | None = None) -> int:
        return self.counts.total(what, vendor, code)


def names(exchange: Exchange) -> list[str]:
    return [line.partition("=")[0] for line in exchange.set_cookies]


def pairs(exchange: Exchange) -> list[str]:
    return [line.partition(";")[0] for line in exchange.set_cookies]


def track(exchange: Exchange, metric: str = "purchase", **more: Any) -> str | None:
    nothing = dict.fromkeys(("data", "aliases", "vendors", "key", "value", "currency", "items"))
    return exchange.recorder.track(metric, **{**nothing, **more})


# Who has an alias


def test_precedence() -> None:
    """The vendor that is named first has an alias that two decide, and its place among them does not matter."""
    bench = Bench(account(1), account(2))
    flags = bench.visit().resolve([decision("v1", {"b": "1"}), decision("v2", {"a": "2", "b": "2"})])
    assert dict(flags) == {"b": "1", "a": "2"}
    assert (flags.variant("b").vendor, flags.variant("a").vendor) == ("v1", "v2")


def test_a_failed_vendor_leaves_its_aliases_to_the_next() -> None:
    """Precedence is among those that answered."""
    bench = Bench(account(1), account(2))
    flags = bench.visit().resolve([failed("v1", ErrorCode.DEADLINE), decision("v2", {"b": "2"})])
    assert flags["b"] == "2"
    assert flags.error_code is ErrorCode.DEADLINE
    assert flags.variant("other").reason is Reason.ERROR


def test_prefixes() -> None:
    """A prefix stands before all that a vendor says, and tells two vendors' aliases apart."""
    bench = Bench(account(1), account(2, prefix="two:"))
    flags = bench.visit().resolve(
        [
            decision("v1", {"b": "1"}, misses={"x": ErrorCode.VENDOR_303}),
            decision("v2", {"b": "2"}, misses={"y": ErrorCode.VENDOR_417}),
        ]
    )
    assert dict(flags) == {"b": "1", "two:b": "2"}
    assert flags.variant("two:b").alias == "two:b"
    assert flags.missed == ("x", "two:y")


def test_misses() -> None:
    """The first vendor's "no" is the reason, and counts for nothing where another one decides."""
    bench = Bench(account(1), account(2))
    flags = bench.visit().resolve(
        [
            decision("v1", misses={"a": ErrorCode.VENDOR_303, "b": ErrorCode.VENDOR_302}),
            decision("v2", {"a": "2"}, misses={"b": ErrorCode.VENDOR_417}),
        ]
    )
    assert flags["a"] == "2"
    assert flags.variant("b").error_code is ErrorCode.VENDOR_302
    assert flags.variant("b").reason is Reason.DEFAULT


@pytest.mark.parametrize(
    ("first", "second", "code", "reason"),
    [
        ({"notice": ErrorCode.VENDOR_303}, {}, ErrorCode.VENDOR_303, Reason.DEFAULT),
        ({"notice": ErrorCode.EMPTY}, {}, ErrorCode.EMPTY, Reason.DEFAULT),
        ({"notice": ErrorCode.VENDOR_303}, {"error": ErrorCode.SHED}, ErrorCode.SHED, Reason.ERROR),
        ({"error": ErrorCode.VENDOR_105}, {"notice": ErrorCode.VENDOR_303}, ErrorCode.VENDOR_105, Reason.ERROR),
        ({"error": ErrorCode.SHED}, {"error": ErrorCode.DEADLINE}, ErrorCode.SHED, Reason.ERROR),
        ({}, {}, ErrorCode.FLAG_NOT_FOUND, Reason.DEFAULT),
    ],
)
def test_why_nothing_was_decided(first: Any, second: Any, code: ErrorCode, reason: Reason) -> None:
    """A failure goes before a notice, the first vendor's before the second's; a notice is no error."""
    bench = Bench(account(1), account(2), defaults={"x": "b"})
    flags = bench.visit().resolve([decision("v1", **first), decision("v2", **second)])
    assert (flags.variant("x").error_code, flags.variant("x").reason) == (code, reason)
    assert flags["x"] == "b"


def test_undecided() -> None:
    """A request that no vendor is asked about has defaults, a reason, no cookies, and can still convert."""
    bench = Bench(defaults={"a": "b"})
    exchange = bench.visit(f"{control('a')}=WT3c")
    flags = exchange.undecided(ErrorCode.EXCLUDED)
    assert (flags["a"], flags.variant("a").error_code) == ("b", ErrorCode.EXCLUDED)
    assert flags.set_cookies == ()
    assert flags.track("purchase") is not None
    assert exchange.recorder.pending


def test_rejected_parts_are_counted() -> None:
    """What was left out of an answer is counted by vendor and reason."""
    bench = Bench()
    bench.visit().resolve([decision(rejected=(ErrorCode.BAD_ALIAS, ErrorCode.BAD_ALIAS, ErrorCode.TOO_MANY))])
    assert bench.total("answer_rejected", ErrorCode.BAD_ALIAS, "v1") == 2
    assert bench.total("answer_rejected", ErrorCode.TOO_MANY, "v1") == 1


def test_options_reach_the_flags() -> None:
    """`on=` and `defaults=` count in settled flags, and failed reads are counted."""
    bench = Bench(on={"a": ["blue"]}, defaults={"z": "blue"})
    flags = bench.visit().resolve([decision("v1", {"a": "blue"})])
    assert flags.is_on("a")
    assert flags["z"] == "blue"
    flags.number("a", 1)
    assert bench.total("type_mismatch", ErrorCode.TYPE_MISMATCH) == 1


# Cookies


def test_cookies_are_set() -> None:
    """Cookies of an answer go out with their lifetime, on the domain that the vendor names."""
    exchange = Bench().visit()
    exchange.resolve([decision("v1", {}, change(user()), change(control("a"), "WT3c", None))])
    assert exchange.set_cookies == (
        f"{user()}=WT3new~; Max-Age={LIFE}; Path=/; Domain=mysite.com; Secure; SameSite=Lax",
        f"{control('a')}=WT3c; Path=/; Domain=mysite.com; Secure; SameSite=Lax",
    )


def test_last_of_a_name_wins() -> None:
    """Of several changes to one cookie the last is written, once."""
    exchange = Bench().visit()
    exchange.resolve([decision("v1", {}, change(user(), "WT3a"), change(control("a")), change(user(), "WT3b"))])
    assert pairs(exchange) == [f"{user()}=WT3b", f"{control('a')}=WT3new~"]


@pytest.mark.parametrize(
    ("name", "value", "code"),
    [
        ("sessionid", "x", ErrorCode.COOKIE_NAME),
        ("csrftoken", "x", ErrorCode.COOKIE_NAME),
        ("__Host-x", "x", ErrorCode.COOKIE_NAME),
        (user(2), "x", ErrorCode.COOKIE_NAME),
        (control("a") + "\r\nX: y", "x", ErrorCode.COOKIE_NAME),
        (user(), "a\r\nSet-Cookie: sessionid=1", ErrorCode.COOKIE_VALUE),
        (user(), "a; Domain=evil.example", ErrorCode.COOKIE_VALUE),
        (user(), "a" * 1025, ErrorCode.COOKIE_SIZE),
    ],
)
def test_V9_foreign_cookie_name_and_V10_bad_value(name: str, value: str, code: ErrorCode) -> None:
    """A cookie that the vendor may not set is left out and counted; the others are set."""
    bench = Bench()
    exchange = bench.visit()
    flags = exchange.resolve([decision("v1", {"a": "1"}, change(name, value), change(control("a")))])
    assert names(exchange) == [control("a")]
    assert bench.total("cookie_rejected", code, "v1") == 1
    assert flags["a"] == "1"


@pytest.mark.parametrize(
    ("host", "wish", "domain"),
    [
        ("www.mysite.com", ".mysite.com", "mysite.com"),
        ("www.mysite.com", None, None),
        ("www.mysite.com", ".webtrends-optimize.com", None),
        ("www.mysite.co.uk", ".co.uk", None),
        ("localhost", ".mysite.com", None),
        ("127.0.0.1", ".mysite.com", None),
        ("www.my_site.com", ".my_site.com", "my_site.com"),
    ],
)
def test_V12_V13_V14_domains(host: str, wish: str | None, domain: str | None) -> None:
    """A foreign or public domain gives a host-only cookie; only where a domain was possible is it counted."""
    bench = Bench()
    exchange = bench.visit(host=host, url=f"https://{host}/")
    exchange.resolve([decision("v1", {}, change(user(), domain=wish))])
    (line,) = exchange.set_cookies
    assert ("Domain" in line) == (domain is not None)
    assert domain is None or f"; Domain={domain};" in line
    foreign = wish is not None and domain is None and host.startswith("www")
    assert bench.total("cookie_rejected", ErrorCode.COOKIE_DOMAIN) == foreign


def test_configured_domain() -> None:
    """`cookie_domain=` goes before what the vendor names."""
    exchange = Bench(cookie_domain="shop.mysite.com").visit(host="www.shop.mysite.com")
    exchange.resolve([decision("v1", {}, change(user()))])
    assert "; Domain=shop.mysite.com;" in exchange.set_cookies[0]


@pytest.mark.parametrize(
    ("option", "visit_secure", "secure"),
    [("auto", True, True), ("auto", False, False), (True, False, True), (False, True, False)],
)
def test_secure(option: Any, visit_secure: bool, secure: bool) -> None:
    """`Secure` follows the visitor's connection unless the configuration says otherwise."""
    exchange = Bench(cookie_secure=option).visit(secure=visit_secure)
    exchange.resolve([decision("v1", {}, change(user()))])
    assert ("; Secure;" in exchange.set_cookies[0]) is secure


def test_http_only() -> None:
    """The page's tag can read the vendor's cookies in hybrid mode, and nothing of the page can without."""
    for hybrid in (True, False):
        exchange = Bench(hybrid=hybrid).visit()
        exchange.resolve([decision("v1", {}, change(user()))])
        assert ("; HttpOnly;" in exchange.set_cookies[0]) is not hybrid


# Set only when new, and once a day


def test_known_values_are_not_set_again() -> None:
    """A session cookie that the visitor has is not set again; a changed one is."""
    bench = Bench()
    exchange = bench.visit(f"{user()}=WT3same; {control('a')}=WT3old")
    exchange.resolve([decision("v1", {}, change(user(), "WT3same", None), change(control("a"), "WT3new", None))])
    assert pairs(exchange) == [f"{control('a')}=WT3new"]


def test_persisted_cookies_are_refreshed_once_a_day() -> None:
    """A persisted cookie is set when it is new, and then once a day, also right after it was new."""
    bench = Bench()
    sent = []
    for cookies, after in (("", 0), (1, 60), (1, REFRESH_S - 61), (1, 2), (1, 3600), (1, REFRESH_S)):
        bench.now += after
        exchange = bench.visit(f"{user()}=WT3same" if cookies else "")
        exchange.resolve([decision("v1", {}, change(user(), "WT3same"))])
        sent.append(len(exchange.set_cookies))
    assert sent == [1, 0, 0, 1, 0, 1]


def test_unknown_age_is_refreshed() -> None:
    """A persisted cookie that this process never set is set once, since nobody knows how old it is."""
    bench = Bench()
    for expected in (1, 0):
        exchange = bench.visit(f"{user()}=WT3same")
        exchange.resolve([decision("v1", {}, change(user(), "WT3same"))])
        assert len(exchange.set_cookies) == expected


def test_short_lives_are_refreshed_in_time() -> None:
    """A cookie that lives for minutes is set again before it ends."""
    bench = Bench()
    sent = []
    for after in (0, 149, 2):
        bench.now += after
        exchange = bench.visit(f"{user()}=WT3same")
        exchange.resolve([decision("v1", {}, change(user(), "WT3same", 300))])
        sent.append(len(exchange.set_cookies))
    assert sent == [1, 0, 1]


def test_a_clock_that_goes_back_refreshes() -> None:
    """After a jump of the clock backwards cookies are renewed as usual."""
    bench = Bench()
    for after, expected in ((0, 1), (-10 * REFRESH_S, 1), (1, 0)):
        bench.now += after
        exchange = bench.visit(f"{user()}=WT3same")
        exchange.resolve([decision("v1", {}, change(user(), "WT3same"))])
        assert len(exchange.set_cookies) == expected


# Deletions


def test_deletions_name_both_places() -> None:
    """A deletion goes to the host and to the domain, since nobody knows where the cookie lies."""
    exchange = Bench().visit(f"{user()}=WT3u")
    exchange.resolve([decision("v1", {}, change(user(), "", 0))])
    assert exchange.set_cookies == (
        f"{user()}=; Max-Age=0; Path=/; Secure; SameSite=Lax",
        f"{user()}=; Max-Age=0; Path=/; Domain=mysite.com; Secure; SameSite=Lax",
    )


def test_deletions_without_a_named_domain() -> None:
    """Where no domain is named, the widest possible one is meant: else the cookie would come back for ever."""
    exchange = Bench().visit(f"{user()}=WT3u", host="www.shop.mysite.co.uk")
    exchange.resolve([decision("v1", {}, change(user(), "", 0, domain=None))])
    assert [line.partition("Domain=")[2].partition(";")[0] for line in exchange.set_cookies] == ["", "mysite.co.uk"]


def test_deletions_on_hosts_without_domains() -> None:
    """On an address or a bare name there is only the host."""
    for host in ("127.0.0.1", "localhost", "::1"):
        exchange = Bench().visit(f"{user()}=WT3u", host=host)
        exchange.resolve([decision("v1", {}, change(user(), "", 0))])
        assert exchange.set_cookies == (f"{user()}=; Max-Age=0; Path=/; Secure; SameSite=Lax",)


def test_only_what_is_there_is_deleted() -> None:
    """A cookie that the visitor does not have is not deleted."""
    exchange = Bench().visit()
    exchange.resolve([decision("v1", {}, change(user(), "", 0))])
    assert exchange.set_cookies == ()


def test_an_empty_cookie_is_deleted_for_every_visitor() -> None:
    """A cookie without a value is deleted each time, whoever had one before."""
    bench = Bench()
    for _ in range(2):
        exchange = bench.visit(f"{user()}=")
        exchange.resolve([decision("v1", {}, change(user(), "", 0))])
        assert len(exchange.set_cookies) == 2


def test_negative_lifetimes_do_not_set() -> None:
    """A vendor that sends a value with no time to live deletes the cookie."""
    exchange = Bench().visit(f"{control('a')}=WT3c")
    exchange.resolve([decision("v1", {}, change(control("a"), "WT3c", 0))])
    assert all("; Max-Age=0;" in line for line in exchange.set_cookies)
    assert track(exchange) is None


# The budget


def size(name: str, value: str) -> int:
    return len(name) + len(value) + 3


@pytest.mark.parametrize(("slack", "kept"), [(1, True), (0, True), (-1, False)])
def test_V15_budget_to_the_byte(slack: int, kept: bool) -> None:
    """Cookies may fill the budget to the last byte; beyond it the least important one goes."""
    value = "w" * 500
    budget = size(user(), value) + size(control("a"), value) + slack
    bench = Bench(cookie_budget=budget)
    exchange = bench.visit()
    flags = exchange.resolve([decision("v1", {"a": "1"}, change(user(), value), change(control("a"), value))])
    assert names(exchange) == ([user(), control("a")] if kept else [user()])
    assert ("a" in flags) is kept
    assert bench.total("cookie_rejected", ErrorCode.COOKIE_BUDGET, "v1") == (not kept)


def test_V15_who_goes_first() -> None:
    """Control cookies go before the mode, the mode before the user; later ones before earlier ones."""
    value = "w" * 400
    order = [control("a"), control("b"), "_wt.mode-1", user()]
    for keep, expected in ((1, [user()]), (2, ["_wt.mode-1", user()]), (3, [control("a"), "_wt.mode-1", user()])):
        bench = Bench(cookie_budget=max(512, keep * (size(control("a"), value) + 2)))
        exchange = bench.visit()
        exchange.resolve([decision("v1", {}, *(change(name, value) for name in order))])
        assert names(exchange) == expected


def test_V15_an_alias_without_its_cookie_is_the_default() -> None:
    """A visitor who cannot be kept in a test is not put in it: the alias is its default, and says why."""
    bench = Bench(cookie_budget=600, defaults={"b": "old"})
    exchange = bench.visit()
    changes = [change(control(alias), "w" * 500) for alias in "ab"]
    flags = exchange.resolve([decision("v1", {"a": "1", "b": "1"}, *changes)])
    assert dict(flags) == {"a": "1"}
    assert (flags["b"], flags.variant("b").reason) == ("old", Reason.DEFAULT)
    assert flags.variant("b").error_code is ErrorCode.COOKIE_BUDGET
    assert track(exchange, aliases=["b"]) is None


def test_V15_with_a_prefix() -> None:
    """The alias that goes is the one that the site knows, with the vendor's prefix."""
    bench = Bench(account(1, prefix="p:"), cookie_budget=512)
    exchange = bench.visit()
    flags = exchange.resolve([decision("v1", {"a": "1"}, change(control("a"), "w" * 600))])
    assert flags.variant("p:a").error_code is ErrorCode.COOKIE_BUDGET


def test_V15_another_vendors_variant_stays() -> None:
    """A vendor whose cookie goes does not take the alias from the vendor that has it."""
    bench = Bench(account(1), account(2), cookie_budget=700)
    exchange = bench.visit()
    flags = exchange.resolve(
        [
            decision("v1", {"a": "one"}, change(control("a", 1), "w" * 400)),
            decision("v2", {"a": "two"}, change(control("a", 2), "w" * 400)),
        ]
    )
    assert names(exchange) == [control("a", 1)]
    assert flags["a"] == "one"


def test_V15_the_sites_own_cookies_count() -> None:
    """Where the site's own cookies fill the header, ours give way: the server would refuse the next request."""
    bench = Bench()
    site = "s=" + "x" * (COOKIE_HEADER_MAX - 102)
    exchange = bench.visit(site)
    exchange.resolve([decision("v1", {}, change(user(), "w" * 50), change(control("a"), "w" * 50))])
    assert names(exchange) == [user()]


def test_V15_what_a_vendor_only_reads_is_not_deleted() -> None:
    """Cookies of somebody else count for the room they take, and stay; the vendor's own give way to them."""
    project = Contentstack("64c7787b333555469a861224", lytics=True)
    bench = Bench(project, cookie_budget=600)
    exchange = bench.visit(f"seerid={'s' * 300}; cs-lytics-audiences={'a' * 300}; cs-personalize-user-uid=u1")
    exchange.resolve([decision("contentstack")])
    assert pairs(exchange) == ["cs-personalize-user-uid="] * 2
    assert {"seerid", "cs-lytics-audiences"} == set(exchange.visitor.cookies_after(0))
    assert bench.total("cookie_rejected", ErrorCode.COOKIE_BUDGET) == 1
    only_theirs = bench.visit(f"seerid={'s' * 300}; cs-lytics-audiences={'a' * 300}")
    only_theirs.resolve([decision("contentstack")])
    assert only_theirs.set_cookies == ()


def test_V15_inbound_cookies_are_given_up() -> None:
    """A cookie that the visitor has and that finds no room any more is deleted where it lies."""
    bench = Bench(cookie_budget=600)
    exchange = bench.visit(f"{control('old')}={'w' * 500}")
    exchange.resolve([decision("v1", {}, change(user(), "w" * 500))])
    assert pairs(exchange) == [f"{user()}={'w' * 500}", f"{control('old')}=", f"{control('old')}="]
    assert [("Domain=mysite.com" in line) for line in exchange.set_cookies] == [True, False, True]
    assert track(exchange) is None


def test_V15_inbound_cookies_are_given_up_without_an_answer() -> None:
    """Also when the vendor failed, what no longer fits is deleted, on the host and on its domain."""
    bench = Bench()
    exchange = bench.visit(f"s={'x' * 7700}; {control('old')}={'w' * 500}")
    exchange.resolve([failed("v1", ErrorCode.DEADLINE)])
    assert len(exchange.set_cookies) == 2
    assert "; Domain=mysite.com;" in exchange.set_cookies[1]


@pytest.mark.parametrize(("count", "kept"), [(COOKIES_MAX - 1, 39), (COOKIES_MAX, 40), (COOKIES_MAX + 1, 40)])
def test_V15_number_of_cookies(count: int, kept: int) -> None:
    """At most 40 cookies are kept in one browser."""
    exchange = Bench(cookie_budget=65_536).visit()
    exchange.resolve([decision("v1", {}, *(change(control(f"t{n}"), "w") for n in range(count)))])
    assert len(exchange.set_cookies) == kept


@given(
    st.lists(st.tuples(st.integers(0, 12), st.integers(0, 1024), st.sampled_from([None, 0, 60, LIFE]))),
    st.lists(st.tuples(st.integers(0, 12), st.integers(0, 700)), max_size=8),
    st.integers(512, 4000),
    st.integers(0, 9000),
)
def test_V15_the_budget_always_holds(changes: list[Any], inbound: list[Any], budget: int, site: int) -> None:
    """Whatever comes together, what the visitor has afterwards fits, and only allowed aliases are decided."""
    bench = Bench(cookie_budget=budget)
    exchange = bench.visit(
        "; ".join([*(f"{control(f't{n}')}={'i' * length}" for n, length in inbound), "s=" + "x" * site])
    )
    wanted = [change(control(f"t{n}"), "w" * length, age) for n, length, age in changes]
    decided = {f"t{n}": "1" for n, _, age in changes}
    flags = exchange.resolve([decision("v1", decided, *wanted)])
    jar = dict(exchange.visitor.states[0].cookies)
    for line in exchange.set_cookies:
        pair, _, attributes = line.partition("; ")
        name, _, value = pair.partition("=")
        if "Max-Age=0" in attributes:
            jar.pop(name, None)
        else:
            jar[name] = value
    room = max(0, min(budget, COOKIE_HEADER_MAX - exchange.visitor.visit.site_cookie_bytes))
    assert sum(size(name, value) for name, value in jar.items()) <= room
    deleted = {name for name, age in {c.name: c.max_age_s for c in wanted}.items() if age == 0}
    assert {control(alias) for alias in flags} <= jar.keys() | deleted


# Tracks


def test_a_track_becomes_an_event() -> None:
    """An event carries the track, the aliases, and only the cookies that this delivery needs."""
    bench = Bench()
    bench.now = NOW + 5.5
    exchange = bench.visit(f"{user()}=WT3u; {control('a')}=WT3a; {control('b')}=WT3b; site=1", user_id="u-1")
    flags = exchange.resolve([decision()])
    ident = flags.track("purchase", data={"revenue": 49.9}, aliases=["a", "zzz"], key="order-1", value=3)
    (event,) = exchange.recorder.drain()
    assert (event.vendor, event.kind, event.aliases, event.at_most_once) == ("v1", "track", ("a",), False)
    assert (event.track.id, event.track.metric, event.track.key) == (ident, "purchase", "order-1")
    assert event.track.occurred_at == NOW + 5.5
    assert dict(event.visit.cookies) == {user(): "WT3u", control("a"): "WT3a"}
    assert event.visit.url == exchange.visitor.visit.url
    assert event.id != ident
    assert not exchange.recorder.pending and exchange.recorder.drain() == []


def test_cookies_of_this_very_response_count() -> None:
    """A visitor who got into a test with this request converts in it, with the cookies that they are just given."""
    exchange = Bench().visit(f"{user()}=WT3old; {control('gone')}=WT3g")
    exchange.resolve(
        [decision("v1", {}, change(user(), "WT3new"), change(control("a"), "WT3a"), change(control("gone"), "", 0))]
    )
    assert track(exchange) is not None
    (event,) = exchange.recorder.drain()
    assert event.aliases == ("a",)
    assert dict(event.visit.cookies) == {user(): "WT3new", control("a"): "WT3a"}


def test_every_enrolled_alias_without_aliases() -> None:
    """Without `aliases` a track counts for every test that the visitor has a control cookie of."""
    exchange = Bench().visit(f"{control('b')}=1; {control('a')}=2")
    exchange.undecided(ErrorCode.EXCLUDED)
    track(exchange)
    assert exchange.recorder.drain()[0].aliases == ("b", "a")


def test_no_control_cookie_is_skipped() -> None:
    """A visitor who is in no test makes no row; that is counted."""
    bench = Bench()
    exchange = bench.visit(f"{user()}=WT3u")
    exchange.resolve([decision()])
    assert track(exchange) is None
    assert track(exchange, aliases=["a"]) is None
    assert track(exchange, vendors=["nobody"]) is None
    assert bench.total("track_skipped", ErrorCode.SKIPPED) == 3
    assert not exchange.recorder.pending


def test_one_row_per_vendor() -> None:
    """One track makes one row per vendor, with a shared track id and ids of their own."""
    bench = Bench(account(1), account(2, at_most_once=True))
    exchange = bench.visit(f"{control('a', 1)}=1; {control('b', 2)}=2")
    ident = track(exchange)
    first, second = exchange.recorder.drain()
    assert (first.vendor, first.aliases, second.vendor, second.aliases) == ("v1", ("a",), "v2", ("b",))
    assert first.track.id == second.track.id == ident
    assert first.id != second.id
    assert (first.at_most_once, second.at_most_once) == (False, True)
    assert track(exchange, vendors=["v2"]) is not None
    assert [event.vendor for event in exchange.recorder.drain()] == ["v2"]


def test_prefixes_in_aliases() -> None:
    """Aliases are named as the site knows them, and told to each vendor as it knows them."""
    bench = Bench(account(1, prefix="one:"), account(2))
    exchange = bench.visit(f"{control('a', 1)}=1; {control('a', 2)}=2; {control('one:a', 2)}=3")
    track(exchange, aliases=["one:a"])
    assert [(event.vendor, event.aliases) for event in exchange.recorder.drain()] == [
        ("v1", ("a",)),
        ("v2", ("one:a",)),
    ]
    track(exchange, aliases=["a"])
    assert [(event.vendor, event.aliases) for event in exchange.recorder.drain()] == [("v2", ("a",))]
    track(exchange)
    assert [event.vendor for event in exchange.recorder.drain()] == ["v1", "v2"]


def test_events_go_to_the_sink_at_once() -> None:
    """With a sink nothing waits to be drained."""
    bench = Bench()
    taken: list[Event] = []

    def sink(events: Sequence[Event]) -> None:
        taken.extend(events)

    exchange = bench.visit(f"{control('a')}=1")
    exchange.recorder.send_to(EventSink(sink))
    track(exchange)
    assert len(taken) == 1 and not exchange.recorder.pending


def test_events_of_a_visitor_share_a_key() -> None:
    """The key that keeps a visitor's events in order is the same for the same visitor and says nothing of them."""
    bench = Bench()
    keys = []
    for cookies, user_id in ((f"{user()}=a; {control('a')}=1", None), (f"{user()}=b; {control('a')}=1", None)):
        for _ in range(2):
            exchange = bench.visit(cookies, user_id=user_id)
            track(exchange)
            keys.append(exchange.recorder.drain()[0].visitor_key)
    assert keys[0] == keys[1] != keys[2] == keys[3]


NO_METRIC: list[dict[str, Any]] = [{"metric": ""}, {"metric": None}, {"metric": b"x"}, {"metric": "\n"}]
BAD: list[dict[str, Any]] = [
    {"metric": 5},
    {"data": {"a": [1]}},
    {"data": 5},
    {"aliases": "a"},
    {"aliases": 5},
    {"items": iter([{}])},
    {"items": [5]},
    {"value": 1 << 1100},
    {"key": ""},
    {"currency": "euro"},
]


@pytest.mark.parametrize("arguments", NO_METRIC)
def test_I20_no_metric_in_production(arguments: dict[str, Any]) -> None:
    """In production a track without a metric is dropped and counted; the page does not notice."""
    bench = Bench()
    exchange = bench.visit(f"{control('a')}=1")
    assert track(exchange, **arguments) is None
    assert bench.total("track_dropped", ErrorCode.BAD_DATA) == 1
    assert bench.total("track_skipped") == bench.total("track_fitted") == 0


@pytest.mark.parametrize("arguments", BAD)
def test_I20_one_bad_detail_in_production(arguments: dict[str, Any], caplog: pytest.LogCaptureFixture) -> None:
    """In production a track with a detail that cannot be sent is kept; the change is counted and logged."""
    bench = Bench()
    exchange = bench.visit(f"{control('a')}=1")
    assert track(exchange, **{"metric": "purchase", **arguments}) is not None
    (event,) = exchange.recorder.drain()
    assert event.aliases == ("a",)
    assert bench.total("track_fitted") == (0 if arguments == {"metric": 5} else 1)
    assert bench.total("track_dropped") == 0
    codes = [code for (what, _, code) in bench.context.counts.snapshot() if what == "track_fitted"]
    assert all(f"code={code} " in caplog.text for code in codes)


@pytest.mark.parametrize("arguments", NO_METRIC + BAD)
def test_I20_bad_data_in_debug(arguments: dict[str, Any]) -> None:
    """While debugging the same is a ValueError in the view."""
    exchange = Bench(debug=True).visit(f"{control('a')}=1")
    with pytest.raises(ValueError):
        track(exchange, **{"metric": "purchase", **arguments})


class Naughty:
    """An object that breaks wherever it is touched."""

    def __str__(self) -> str:
        raise RuntimeError("s3cr3t")

    __len__ = __iter__ = __bool__ = __str__  # type: ignore[assignment]


@pytest.mark.parametrize("field", ["data", "aliases", "vendors", "key", "items"])
def test_I20_objects_that_raise(field: str, caplog: pytest.LogCaptureFixture) -> None:
    """An argument whose own methods raise does not make the page fail, and its words are not logged."""
    bench = Bench()
    exchange = bench.visit(f"{control('a')}=1")
    assert track(exchange, **{field: Naughty()}) is not None
    assert bench.total("track_fitted") >= 1
    assert "s3cr3t" not in caplog.text


class Other(Webtrends):
    """A vendor with rules of its own for metrics."""

    def participation(self, track: Any, state: VisitorState) -> Participation:
        return Participation(("x",), {})


def test_a_metric_that_one_vendor_refuses() -> None:
    """A metric that one vendor does not take still reaches the others; in debug it is an error."""
    vendors = (account(1), Other(2, "12345678", "x", name="v2"))
    bench = Bench(*vendors)
    exchange = bench.visit(f"{control('a', 1)}=1")
    assert track(exchange, "shop.purchase!") is not None
    assert [event.vendor for event in exchange.recorder.drain()] == ["v2"]
    assert bench.total("track_dropped", ErrorCode.BAD_METRIC, "v1") == 1
    with pytest.raises(ValueError, match="metric"):
        track(Bench(*vendors, debug=True).visit(), "shop.purchase!")


# Saved visitors


def test_save_and_load() -> None:
    """A saved visitor comes back with all that a later conversion needs, and with the time of its use."""
    bench = Bench(account(1), account(2))
    exchange = bench.visit(
        f"{user()}=WT3u; {control('a', 2)}=WT3a",
        client_ip="203.0.113.0",
        user_agent="Browser/1.0",
        user_id="u-ü",
        data={"plan": "gold", "n": 2, "f": 0.5, "b": True},
        staging=True,
    )
    flags = exchange.resolve([decision("v1", {}, change(user(), "WT3new")), decision("v2")])
    visit = saved_visitor.load(flags.save(), NOW + 60)
    assert dict(visit.cookies) == {user(): "WT3new", control("a", 2): "WT3a"}
    assert visit.now == NOW + 60
    for name in ("url", "host", "path", "client_ip", "user_agent", "user_id", "staging", "secure", "method"):
        assert getattr(visit, name) == getattr(exchange.visitor.visit, name)
    assert dict(visit.data) == {"plan": "gold", "n": 2, "f": 0.5, "b": True}
    assert visit.fresh_id != exchange.visitor.visit.fresh_id


@pytest.mark.parametrize(
    "saved",
    [
        b"",
        b"{}",
        b"[]",
        b"null",
        b"5",
        b'{"v": 2}',
        b'{"v": 1}',
        b"\xff",
        b"[" * 10_000,
        "text",
        5,
        None,
    ],
)
def test_load_refuses_what_was_not_saved(saved: Any) -> None:
    """Anything else is a ValueError that does not repeat it."""
    with pytest.raises(ValueError, match=r"Flags\.save"):
        saved_visitor.load(saved, NOW)


SOUND = Bench().visit(f"{user()}=WT3u").recorder.save()


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b'"url":"https://www.mysite.com/checkout"', b'"url":5'),
        (b'"host":"www.mysite.com"', b'"host":null'),
        (b'"path":"/checkout"', b'"path":["/"]'),
        (b'"data":{}', b'"data":null'),
        (b'"data":{}', b'"data":[1]'),
        (b'"cookies":{"_wt.user-1":"WT3u"}', b'"cookies":null'),
        (b'"cookies":{"_wt.user-1":"WT3u"}', b'"cookies":["a"]'),
        (b'"cookies":{"_wt.user-1":"WT3u"}', b'"cookies":{"_wt.user-1":5}'),
        (b'"user_agent":null', b'"user_agent":5'),
        (b'"user_id":null', b'"user_id":[1]'),
        (b'"v":1', b'"v":"1"'),
    ],
)
def test_load_refuses_what_was_changed(old: bytes, new: bytes) -> None:
    """A saved visitor with a part of another type is refused, not met later."""
    assert old in SOUND
    assert saved_visitor.load(SOUND, NOW)
    with pytest.raises(ValueError, match=r"Flags\.save"):
        saved_visitor.load(SOUND.replace(old, new), NOW)

"""What of a request the vendors are told."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flagmw._cookies import header as cookie_header
from flagmw._web.inbound import LANGUAGE_CHARS, URL_CHARS, USER_AGENT_CHARS, clean_path, visit_of
from flagmw.codes import ErrorCode
from flagmw.config import Config, Identity, build
from flagmw.types import Visit, VisitorState
from tests.unit.vendors.webtrends.codec import MODE, USER, webtrends

NOW = 1_800_000_000.0


@dataclass
class Request:
    """A request as an edge shows it."""

    sent: dict[str, str | Sequence[str]] = field(default_factory=dict)
    raw_path: str = "/checkout"
    query: str = ""
    peer: str | None = "203.0.113.77"
    scheme: str = "http"
    method: str = "GET"
    path: str = "/checkout"

    def headers(self, name: str) -> Sequence[str]:
        values = self.sent.get(name, ())
        return [values] if isinstance(values, str) else list(values)

    def header(self, name: str) -> str | None:
        return next(iter(self.headers(name)), None)


def make_visit(
    request: Request, config: Config, failed: Callable[[Exception], None]
) -> tuple[Visit, list[VisitorState], list[ErrorCode]]:
    """Return the visit, the vendor's own cookies, and why cookies were left out."""
    found = cookie_header.read(request.headers("cookie"), [webtrends().cookies])
    states = [VisitorState(own) for own in found.own]
    return visit_of(request, config, states, found.site_bytes, NOW, failed), states, found.rejected


def visit(request: Request, **options: Any) -> Visit:
    return make_visit(request, build(options), failing)[0]


def failing(error: Exception) -> None:
    raise AssertionError("identify failed") from error


def test_an_ordinary_request() -> None:
    """Everything is where it belongs."""
    request = Request(
        {
            "host": "www.MySite.com:8443",
            "user-agent": "Browser/1.0",
            "accept-language": "de-DE,de;q=0.9",
            "referer": "https://search.example/find?q=secret",
            "cookie": f"session=abc; {USER}=WT3u~; {MODE}=WT3m",
        },
        scheme="https",
        query="token=secret",
        method="POST",
    )
    made, states, rejected = make_visit(request, build({}), failing)
    assert made == Visit(
        url="https://www.mysite.com/checkout",
        host="www.mysite.com",
        path="/checkout",
        secure=True,
        method="POST",
        client_ip="203.0.113.0",
        user_agent="Browser/1.0",
        referer="https://search.example/",
        language="de-DE,de;q=0.9",
        cookies={USER: "WT3u~", MODE: "WT3m"},
        site_cookie_bytes=len("session=abc"),
        now=NOW,
        fresh_id=made.fresh_id,
    )
    assert [dict(state.cookies) for state in states] == [{USER: "WT3u~", MODE: "WT3m"}]
    assert rejected == []


def test_an_empty_request() -> None:
    """A request without a single header still makes a visit."""
    made = visit(Request(peer=None, raw_path=""))
    assert (made.url, made.host, made.path) == ("http://localhost/", "localhost", "/")
    assert (made.client_ip, made.user_agent, made.referer, made.language) == (None, None, None, None)


def test_rejected_cookies_are_told() -> None:
    """Why cookies were left out is handed on to be counted."""
    request = Request({"cookie": [f"{USER}=a b", f"{MODE}=1; {MODE}=2"]})
    rejected = make_visit(request, build({}), failing)[2]
    assert rejected == [ErrorCode.COOKIE_VALUE, ErrorCode.COOKIE_DUPLICATE]


# The client's address

PROXIES = {"trusted_proxies": ["10.0.0.0/8", "192.168.1.1", "fd00::/8"], "client_ip": "full"}


@pytest.mark.parametrize(
    ("peer", "forwarded", "told"),
    [
        ("10.0.0.1", "198.51.100.7", "198.51.100.7"),
        ("10.0.0.1", "6.6.6.6, 198.51.100.7", "198.51.100.7"),
        ("10.0.0.1", "6.6.6.6, 198.51.100.7, 10.1.1.1, 192.168.1.1", "198.51.100.7"),
        ("10.0.0.1", ["6.6.6.6", "198.51.100.7"], "198.51.100.7"),
        ("10.0.0.1", ["198.51.100.7", "10.9.9.9"], "198.51.100.7"),
        ("10.0.0.1", "10.2.2.2, 10.3.3.3", "10.2.2.2"),
        ("10.0.0.1", "2001:db8::7", "2001:db8::7"),
        ("fd00::1", "2001:db8::7", "2001:db8::7"),
        ("::ffff:10.0.0.1", "198.51.100.7", "198.51.100.7"),
        ("10.0.0.1", "198.51.100.7, ::ffff:10.1.1.1", "198.51.100.7"),
        ("203.0.113.77", "198.51.100.7", "203.0.113.77"),
        ("192.168.1.2", "198.51.100.7", "192.168.1.2"),
        (None, "198.51.100.7", None),
        ("unix", "198.51.100.7", None),
    ],
)
def test_I11_forwarded_for(peer: str | None, forwarded: str | Sequence[str], told: str | None) -> None:
    """Only trusted proxies are believed, hop by hop from the right; the first that is none is the visitor."""
    assert visit(Request({"x-forwarded-for": forwarded}, peer=peer), **PROXIES).client_ip == told


@pytest.mark.parametrize("name", ["forwarded", "x-real-ip", "x_forwarded_for", "x-client-ip", "true-client-ip"])
def test_I11_other_headers_are_not_believed(name: str) -> None:
    """No other header can name the visitor's address."""
    assert visit(Request({name: "198.51.100.7"}, peer="10.0.0.1"), **PROXIES).client_ip == "10.0.0.1"


def test_I11_without_trusted_proxies() -> None:
    """Without trusted proxies the peer is the visitor, whatever headers say."""
    request = Request({"x-forwarded-for": "198.51.100.7", "x-forwarded-proto": "https"}, peer="10.0.0.1")
    made = visit(request, client_ip="full")
    assert (made.client_ip, made.secure) == ("10.0.0.1", False)


@pytest.mark.parametrize(
    "forwarded",
    [
        "",
        ",",
        ", ,",
        "unknown",
        "_hidden",
        "198.51.100.7:",
        "198.51.100.7:443000",
        "[2001:db8::7",
        "[2001:db8::7]x",
        "198.51.100",
        "198.51.100.256",
        "0x7f.1",
        "1" * 4096,
        "a," * 2048,
        "198.51.100.7, unknown",
        "\x00",
        "\uff11\uff19\uff18.51.100.7",
    ],
)
def test_I12_malformed_forwarded_for(forwarded: str) -> None:
    """A hop that is no address ends the walk: what is left of it is not believed, and nothing is raised."""
    assert visit(Request({"x-forwarded-for": forwarded}, peer="10.0.0.1"), **PROXIES).client_ip == "10.0.0.1"


@pytest.mark.parametrize(
    ("forwarded", "told"),
    [
        ("198.51.100.7:443", "198.51.100.7"),
        ("[2001:db8::7]", "2001:db8::7"),
        ("[2001:db8::7]:443", "2001:db8::7"),
        ("6.6.6.6, 198.51.100.7:50123, 10.1.1.1:80", "198.51.100.7"),
    ],
)
def test_forwarded_for_with_ports(forwarded: str, told: str) -> None:
    """Some proxies write the port behind the address, and IPv6 in brackets."""
    assert visit(Request({"x-forwarded-for": forwarded}, peer="10.0.0.1"), **PROXIES).client_ip == told


@pytest.mark.parametrize(
    ("header", "value", "told"),
    [
        ("Forwarded", "for=198.51.100.7", "198.51.100.7"),
        ("forwarded", 'For="[2001:db8::7]:4711";proto=https;by=10.0.0.1', "2001:db8::7"),
        ("forwarded", 'for=6.6.6.6, proto=http;for="198.51.100.7:80", for=10.1.1.1', "198.51.100.7"),
        ("forwarded", "for=6.6.6.6, for=_hidden", "10.0.0.1"),
        ("forwarded", "for=6.6.6.6, for=unknown, for=10.1.1.1", "10.1.1.1"),
        ("forwarded", 'for="6.6.6.6, for=198.51.100.7', "198.51.100.7"),
        ("forwarded", "proto=https", "10.0.0.1"),
        ("CF-Connecting-IP", "198.51.100.7", "198.51.100.7"),
        ("True-Client-IP", "2001:db8::7", "2001:db8::7"),
        ("Fly-Client-IP", "nonsense", "10.0.0.1"),
    ],
)
def test_D2_client_ip_header(header: str, value: str, told: str) -> None:
    """The header that the option names counts, from a trusted proxy alone, and X-Forwarded-For no more."""
    options = {**PROXIES, "client_ip_header": header}
    sent = {header.lower(): value, "x-forwarded-for": "7.7.7.7"}
    assert visit(Request(sent, peer="10.0.0.1"), **options).client_ip == told
    assert visit(Request(sent, peer="203.0.113.9"), **options).client_ip == "203.0.113.9"


def test_I12_very_long_forwarded_for() -> None:
    """Of a header without end only the last 4,096 characters are looked at."""
    forwarded = "6.6.6.6," * 100_000 + "198.51.100.7, 10.1.1.1"
    assert visit(Request({"x-forwarded-for": forwarded}, peer="10.0.0.1"), **PROXIES).client_ip == "198.51.100.7"


@pytest.mark.parametrize(
    ("address", "anonymised", "full"),
    [
        ("203.0.113.77", "203.0.113.0", "203.0.113.77"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1::", "2001:db8:1:2:3:4:5:6"),
        ("2001:DB8::1", "2001:db8::", "2001:db8::1"),
        ("::ffff:203.0.113.77", "203.0.113.0", "203.0.113.77"),
        ("fe80::1%eth0", "fe80::", "fe80::1"),
        ("::1", "::", "::1"),
        ("0.0.0.0", "0.0.0.0", "0.0.0.0"),
        ("256.1.1.1", None, None),
        ("/run/app.sock", None, None),
        ("testclient", None, None),
        ("", None, None),
    ],
)
def test_addresses_told(address: str, anonymised: str | None, full: str | None) -> None:
    """By default a vendor learns the network (/24, /48); the whole address only where that is wanted; or nothing."""
    assert visit(Request(peer=address)).client_ip == anonymised
    assert visit(Request(peer=address), client_ip="full").client_ip == full
    assert visit(Request(peer=address), client_ip="off").client_ip is None


@pytest.mark.parametrize(
    ("peer", "proto", "scheme", "secure"),
    [
        ("10.0.0.1", "https", "http", True),
        ("10.0.0.1", "http", "https", False),
        ("10.0.0.1", "http, https", "http", True),
        ("10.0.0.1", ["http", "HTTPS "], "http", True),
        ("10.0.0.1", "gopher", "https", True),
        ("10.0.0.1", "", "http", False),
        ("10.0.0.1", "wss", "ws", True),
        ("203.0.113.77", "https", "http", False),
        ("203.0.113.77", "http", "https", True),
    ],
)
def test_scheme(peer: str, proto: str | Sequence[str], scheme: str, secure: bool) -> None:
    """Whether the visitor's connection is secure is the nearest trusted proxy's word, else the server's."""
    made = visit(Request({"x-forwarded-proto": proto}, peer=peer, scheme=scheme), **PROXIES)
    assert made.secure is secure
    assert made.url.startswith("https://" if secure else "http://")


# Host, path and query


@pytest.mark.parametrize(
    ("host", "kept"),
    [
        ("evil.example", "evil.example"),
        ("a/?x=", "localhost"),
        ("a#b", "localhost"),
        ("user@evil.example", "localhost"),
        ("evil.example\r\nX: y", "localhost"),
        ("[a/?x=]", "localhost"),
        ("", "localhost"),
        ("ÿ.example", "localhost"),
    ],
)
def test_I14_host_attacks(host: str, kept: str) -> None:
    """A Host header that is no host name does not get into the URL."""
    made = visit(Request({"host": host}))
    assert (made.host, made.url) == (kept, f"http://{kept}/checkout")


def test_I14_host_of_an_ipv6_server() -> None:
    """An IPv6 address keeps its brackets in the URL, and has none as a host."""
    made = visit(Request({"host": "[::1]:8000"}))
    assert (made.host, made.url) == ("::1", "http://[::1]/checkout")


@pytest.mark.parametrize(
    ("raw", "path"),
    [
        ("/", "/"),
        ("", "/"),
        ("/a/b-c_d.e~f", "/a/b-c_d.e~f"),
        ("/a%20b/%C3%A9", "/a%20b/%C3%A9"),
        ("/a b", "/a%20b"),
        ("/Ã©", "/%C3%A9"),
        ("/\xe9", "/%E9"),
        ("/a?token=secret", "/a%3Ftoken=secret"),
        ("/a#b", "/a%23b"),
        ('/a"<>\\^`{|}', "/a%22%3C%3E%5C%5E%60%7B%7C%7D"),
        ("a/b", "/a/b"),
        ("*", "/*"),
        ("http://evil.example/x", "/http://evil.example/x"),
        ("//evil.example/x", "//evil.example/x"),
        ("/a\r\nb\x00", "/a%0D%0Ab%00"),
        ("/../..", "/../.."),
        ("/a;b=c,d/[1]/(2)!$&'*+:@", "/a;b=c,d/[1]/(2)!$&'*+:@"),
    ],
)
def test_I14_raw_paths(raw: str, path: str) -> None:
    """A path keeps the bytes that were sent; what cannot stand in a URL's path is percent-encoded."""
    assert clean_path(raw) == path


@pytest.mark.parametrize("length", [URL_CHARS - 1, URL_CHARS, URL_CHARS + 1, 100_000])
def test_long_paths(length: int) -> None:
    """A path is cut to 2,048 characters, and never within an escape."""
    for raw in ("/" + "a" * (length - 1), "/" + " " * (length - 1), "/a" + "é" * (length - 2)):
        path = clean_path(raw)
        assert len(path) <= URL_CHARS
        assert not re.search(r"%[0-9A-Fa-f]?\Z", path)
    assert len(visit(Request({"host": "h.example"}, raw_path="/" + "a" * length)).url) <= URL_CHARS


@pytest.mark.parametrize(
    ("query", "kept"),
    [
        ("page=2", "?page=2"),
        ("token=secret&page=2&email=a%40b.c", "?page=2"),
        ("page=2&page=3", "?page=2&page=3"),
        ("page=a%20b%26c", "?page=a+b%26c"),
        ("page", "?page="),
        ("page=Ã©", "?page=%C3%A9"),
        ("page=%C3%A9", "?page=%C3%A9"),
        ("Page=2", ""),
        ("pages=2", ""),
        ("token=secret", ""),
        ("", ""),
        ("&&&=", ""),
        ("token=" + "x" * 2038 + "&page=12345", ""),
    ],
)
def test_I16_query(query: str, kept: str) -> None:
    """Only allowed parameters are sent on, whole; without an allow-list the query is not."""
    request = Request({"host": "h.example"}, query=query)
    assert visit(request, send_query=["page"]).url == f"http://h.example/checkout{kept}"
    assert visit(request).url == "http://h.example/checkout"


def test_I16_a_query_that_does_not_fit_is_dropped() -> None:
    """A URL is not cut within a parameter."""
    request = Request({"host": "h.example"}, raw_path="/" + "a" * 2000, query="page=" + "b" * 100)
    assert visit(request, send_query=["page"]).url == "http://h.example/" + "a" * 2000


# Headers


@pytest.mark.parametrize(
    ("sent", "origin", "full"),
    [
        ("https://search.example/find?q=secret#x", "https://search.example/", "https://search.example/find?q=secret#x"),
        ("http://a.example:8080/x", "http://a.example/", "http://a.example:8080/x"),
        ("https://user:pw@a.example/x", "https://a.example/", "https://user:pw@a.example/x"),
        ("https://[2001:db8::1]/x", "https://[2001:db8::1]/", "https://[2001:db8::1]/x"),
        ("android-app://com.example/", None, "android-app://com.example/"),
        ("https:///x", None, "https:///x"),
        ("https://[::1/x", None, "https://[::1/x"),
        ("/relative", None, "/relative"),
        ("", None, None),
    ],
)
def test_referer(sent: str, origin: str | None, full: str | None) -> None:
    """By default a vendor learns which site the visitor comes from and no more."""
    request = Request({"referer": sent})
    assert visit(request).referer == origin
    assert visit(request, referer="full").referer == full
    assert visit(request, referer="off").referer is None


@pytest.mark.parametrize(
    ("name", "attribute", "limit"),
    [("user-agent", "user_agent", USER_AGENT_CHARS), ("accept-language", "language", LANGUAGE_CHARS)],
)
def test_I15_lengths(name: str, attribute: str, limit: int) -> None:
    """Headers that are sent on are cut at their limits."""
    for length in (limit - 1, limit, limit + 1, 100_000):
        assert getattr(visit(Request({name: "x" * length})), attribute) == "x" * min(length, limit)


def test_I15_control_bytes() -> None:
    """Control bytes do not get through, and what is not ASCII is replaced."""
    request = Request({"user-agent": "a\r\nX: y\x00\x1b[31m\x7f\x85é", "accept-language": "\n"})
    made = visit(request)
    assert made.user_agent == "aX: y[31m?"
    assert not made.language


def test_first_header_counts() -> None:
    """Of a repeated header the first value counts."""
    assert Request({"a": ["1", "2"]}).header("a") == "1"
    assert Request().header("a") is None


# Identity


def test_identity() -> None:
    """What `identify` returns becomes the visit's; it may read any header."""
    options = {"identify": lambda inbound: Identity(user_id=inbound.header("x-user"), data={"plan": "gold"})}
    made = visit(Request({"x-user": "u-1"}), **options)
    assert (made.user_id, made.data) == ("u-1", {"plan": "gold"})


def test_no_identity() -> None:
    """`identify` may know nobody."""
    made = visit(Request(), identify=lambda inbound: None)
    assert (made.user_id, made.data) == (None, {})


@pytest.mark.parametrize(
    "identify",
    [
        lambda inbound: 1 / 0,
        lambda inbound: "u-1",
        lambda inbound: {"user_id": "u-1"},
        lambda inbound: Identity(datum={"a": [1]}),  # type: ignore[call-arg]
    ],
)
def test_a_failing_identify(identify: Any) -> None:
    """An `identify` that raises, or returns something else, is told of and leaves the visitor without identity."""
    told: list[Exception] = []
    config = build({"identify": identify})
    made = make_visit(Request(), config, told.append)[0]
    assert (made.user_id, made.data) == (None, {})
    assert len(told) == 1


# All at once

HEADERS = ("host", "cookie", "user-agent", "accept-language", "referer", "x-forwarded-for", "x-forwarded-proto")
BYTES = st.binary(max_size=80).map(lambda raw: raw.decode("latin-1")) | st.sampled_from(
    ["[", "[::1", "https://[", "%", "1.2.3.4", "::ffff:1.2.3.4", "a=b;" * 30, "é", "%ed%a0%80", "\ud800", "\uff11"]
)
EAGER = {**PROXIES, "send_query": ["a", "é"], "referer": "origin"}


@given(
    st.dictionaries(st.sampled_from(HEADERS), BYTES | st.lists(BYTES, max_size=3)),
    BYTES,
    BYTES,
    BYTES | st.sampled_from(["10.0.0.1", None]),
)
def test_visit_of_never_raises(sent: Any, raw_path: str, query: str, peer: str | None) -> None:
    """Whatever a request holds, it makes a visit that can be sent: ASCII, within the limits, one host."""
    made = visit(Request(sent, raw_path=raw_path, query=query, peer=peer), **EAGER)
    for text in (made.url, made.path, made.host, made.user_agent, made.language, made.referer, made.client_ip):
        assert text is None or (text.isascii() and not re.search(r"[\x00-\x1f\x7f]", text))
    assert len(made.url) <= URL_CHARS
    parts = urlsplit(made.url)
    assert (parts.hostname, parts.fragment) == (made.host, "")
    assert made.path.startswith("/")
    assert set(parts.query.partition("=")[0].split("&")) <= {"", "a", "%C3%A9"}

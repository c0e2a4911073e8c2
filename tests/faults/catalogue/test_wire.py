"""What only a real server can show: headers on the wire, its own limits, many visitors at once."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import pytest

from tests.contracts.edges.driver import DOMAIN
from tests.faults.catalogue.rows import DAY_S, USER, control, decided, eventually, persisted
from tests.faults.catalogue.shops import Got, exchange, serving
from tests.faults.catalogue.test_visitors import told
from tests.faults.load.cookies import HEADER_BYTES, PAGES, overfill
from tests.support.busy import HELD_UP_S
from tests.support.raw_vendor import Connection, RawVendor, forever, http, read_request

SERVERS = ("uvicorn", "gunicorn")
DECIDED = http(orjson.dumps(decided()))


@dataclass
class Shop:
    """A server with flagmw in it, and its vendor.

    Attributes:
        answer: what the vendor says, from now on.
    """

    server: str
    port: int
    vendor: RawVendor
    answer: bytes = DECIDED

    def get(self, path: str = "/", *headers: tuple[str, str], host: str = "www.mysite.com") -> Got:
        return exchange(self.port, f"GET {path} HTTP/1.1", list(headers), host)

    def counted(self) -> dict[str, Any]:
        """Return the application's own counters, and whether its outbox adds up."""
        counted: dict[str, Any] = json.loads(self.get("/counted").body)
        return counted


@pytest.fixture(scope="module", params=SERVERS)
def running(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    shops: list[Shop] = []

    def act(connection: Connection) -> None:
        while True:
            connection.read_request()
            connection.send(shops[0].answer)

    folder = tmp_path_factory.mktemp("wire")
    options = {"trusted_proxies": ["127.0.0.0/8"], "client_ip": "full", "deadline_ms": 5000}
    with RawVendor(act) as vendor, serving(request.param, folder, vendor.url, **options) as port:
        shops.append(Shop(request.param, port, vendor))
        yield shops[0]


@pytest.fixture
def shop(running: Shop) -> Iterator[Shop]:
    """The shop, its vendor as new; at the end the application's own account adds up."""
    running.answer = DECIDED
    running.vendor.requests.clear()
    yield running
    assert running.counted()["balanced"]


@pytest.mark.parametrize("size", [1_000, 7_500])
def test_I5_cookie_headers_of_usual_sizes(shop: Shop, size: int) -> None:
    """Under every server a page with as many cookies as that takes is served, and our cookie in it is read."""
    got = shop.get("/", ("Cookie", f"{USER}=WT3u~; a={'x' * size}"))
    assert (got.status, got.body.split(b" ")[:3]) == (200, [b"b", b"SPLIT", b"-"])
    assert told(shop.vendor.requests[0])["cookies"] == {USER: "WT3u~"}


@pytest.mark.parametrize("size", [16_384, 60_000, 140_000])
def test_I5_cookie_headers_that_are_too_long(shop: Shop, size: int) -> None:
    """What the server lets through is served; what it refuses it refuses by itself, and goes on serving."""
    got = shop.get("/", ("Cookie", f"{USER}=WT3u~; a={'x' * size}"))
    # One that refuses a request before it has read it all may cut the connection before its answer is read.
    assert got.status in ([200] if shop.server == "uvicorn" else [431, 400, 0])
    assert len(shop.vendor.requests) == (got.status == 200)
    assert shop.get().status == 200


def test_I13_underscore_twin_headers(shop: Shop) -> None:
    """X_Forwarded_For is not X-Forwarded-For, neither alone nor beside it, whatever its order."""
    for headers, address in (
        ([("X_Forwarded_For", "6.6.6.6")], "127.0.0.1"),
        ([("X-Forwarded-For", "203.0.113.9"), ("X_Forwarded_For", "6.6.6.6")], "203.0.113.9"),
        ([("X_Forwarded_For", "6.6.6.6"), ("X-Forwarded-For", "203.0.113.9")], "203.0.113.9"),
        ([("X-Forwarded_For", "6.6.6.6"), ("X_FORWARDED-FOR", "6.6.6.6")], "127.0.0.1"),
    ):
        shop.vendor.requests.clear()
        assert shop.get("/", *headers).status == 200
        assert told(shop.vendor.requests[0])["address"] == address


def test_I13_repeated_headers(shop: Shop) -> None:
    """A header that comes many times is one list, read from its end in time that does not matter."""
    hops = [("X-Forwarded-For", "6.6.6.6")] * 60 + [("X-Forwarded-For", "203.0.113.9")]
    assert shop.get("/", *hops).status == 200
    assert told(shop.vendor.requests[0])["address"] == "203.0.113.9"


@pytest.mark.parametrize("host", ["evil.test", "a/?x=", "www.mysite.com@evil.test", "evil.test:80:90", "[::1", "a b"])
def test_I14_host(shop: Shop, host: str) -> None:
    """The Host that a visitor claims chooses nothing that is called or told; a server may refuse it by itself."""
    got = shop.get("/", host=host)
    assert got.status in (200, 400)
    for request in shop.vendor.requests:
        assert request.head.startswith(f"POST /control/{DOMAIN} HTTP/1.1\r\n")
        assert request.headers["host"] == f"127.0.0.1:{shop.vendor.port}"
        assert told(request)["url"] == "https://www.mysite.com"
    assert len(shop.vendor.requests) == (got.status == 200)


@pytest.mark.parametrize(
    "target", ["http://evil.test/a", "//evil.test/a", "/a%0d%0aX-Evil:%201", "*", "/" + "a" * 3000]
)
def test_I14_target(shop: Shop, target: str) -> None:
    """Nor does the request's target, in whichever form it comes."""
    got = shop.get(target)
    assert got.status in (200, 400, 404) and got.values("x-evil") == []
    assert all(told(request)["url"] == "https://www.mysite.com" for request in shop.vendor.requests)


# One cookie after the other that would break a header, and a good one.
LIES = {
    f"V10_{name}": f"a{text}b"
    for name, text in {
        "header": "\r\nX-Evil: 1",
        "body": "\r\n\r\n<script>",
        "line_feed": "\n",
        "null": "\0",
        "semicolon": "; Domain=evil.test",
        "comma": ",",
        "quote": '"',
        "space": " ",
        "latin_1": "é",
        "snowman": "☃",
    }.items()
}


@pytest.mark.parametrize("name", LIES)
def test_cookie_values_on_the_wire(shop: Shop, name: str) -> None:
    """The answer is whole, has no header that nobody wrote, and only the good cookie."""
    cookies = {control("ta_A"): persisted(LIES[name]), USER: persisted("WT3u~")}
    shop.answer = http(orjson.dumps(decided(cookies=cookies)))
    before = shop.counted()["counts"].get("cookie_rejected wt COOKIE_VALUE", 0)
    got = shop.get()
    assert (got.status, got.body.split(b" ")[:3]) == (200, [b"b", b"SPLIT", b"-"])
    assert got.values("set-cookie") == [f"{USER}=WT3u~; Max-Age={90 * DAY_S}; Path=/; SameSite=Lax"]
    known = {"server", "date", "connection", "content-type", "content-length", "transfer-encoding"}
    assert {name for name, _ in got.headers} - known == {"cache-control", "vary", "set-cookie"}
    assert shop.counted()["counts"]["cookie_rejected wt COOKIE_VALUE"] == before + 1


def test_V15_a_browser_never_reaches_431(shop: Shop) -> None:
    """A vendor that sets 60 projects' cookies, anew on each of 30 pages, never makes a header the server refuses."""

    def get(header: str, answer: bytes) -> Got:
        shop.answer = answer
        return shop.get("/", ("Cookie", header))

    jar, longest = overfill(get)
    print(f"{shop.server}: the longest of {PAGES} Cookie headers had {longest} bytes")
    assert USER in jar and len(jar) > 10 and longest < HEADER_BYTES


# Many at once.


def test_U34_saturation(tmp_path: Path) -> None:
    """Ten times the calls that may be under way: those above 64 wait their turn, and the loop runs on."""
    go = threading.Event()

    def held(connection: Connection) -> None:
        while not go.is_set():
            connection.sleep(0.02)
        connection.send(DECIDED)

    with (
        RawVendor(forever(read_request, held)) as vendor,
        serving("uvicorn", tmp_path, vendor.url, deadline_ms=60_000) as port,
        ThreadPoolExecutor(160) as visitors,
    ):
        coming = [visitors.submit(exchange, port, "GET / HTTP/1.1", timeout_s=60) for _ in range(640)]
        # The vendor answers nobody before it has as many calls as it gets at once, and others had time to come.
        try:
            came = eventually(lambda: len(vendor.requests) >= 64, within_s=4 * HELD_UP_S)
            time.sleep(0.3)
            at_once = len(vendor.requests)
        finally:
            go.set()
        pages = [each.result() for each in coming]
        said = json.loads(exchange(port, "GET /counted HTTP/1.1").body)
    assert came and {page.status for page in pages} == {200}
    shown = [page.body.decode().rsplit(" ", 1) for page in pages]
    outcomes = Counter(text for text, _ in shown)
    lags = sorted(said["lags"])
    print(f"lag p99 {lags[len(lags) * 99 // 100] * 1000:.1f} ms")
    assert outcomes == {"b SPLIT -": 640}
    assert (at_once, len(vendor.requests)) == (64, 640)
    assert said["balanced"]


def test_P24_gevent_worker(tmp_path: Path) -> None:
    """A worker of patched threads and sockets decides for many at once, and delivers what they did."""
    cookies = {control("ta_A"): persisted("WT3c~")}
    slow = http(orjson.dumps(decided(cookies=cookies)))
    converted = http(b'{"opcode":"conversion","body":{},"params":{"testAlias":"ta_A"}}')

    together = threading.Barrier(8)  # nobody has an answer before all have asked

    def act(connection: Connection) -> None:
        while True:
            if "/track/" in connection.read_request().head:
                connection.send(converted)
            else:
                together.wait(2 * HELD_UP_S)
                connection.send(slow)

    with RawVendor(act) as vendor, serving("gunicorn gevent", tmp_path, vendor.url, deadline_ms=30_000) as port:
        with ThreadPoolExecutor(8) as visitors:
            pages = list(visitors.map(lambda _: exchange(port, "GET / HTTP/1.1"), range(8)))
        assert [(page.status, page.body) for page in pages] == [(200, b"b SPLIT -")] * 8

        def said() -> dict[str, Any]:
            told: dict[str, Any] = json.loads(exchange(port, "GET /counted HTTP/1.1").body)
            return told

        assert eventually(lambda: said()["delivered"] == 8, within_s=10)
        assert said()["balanced"] and said()["counts"]["decided wt "] == 8

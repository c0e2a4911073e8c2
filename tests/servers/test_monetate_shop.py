"""A shop whose tests live in Monetate, under a real ASGI and a real WSGI server, against the sandbox."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import pytest

from flagmw.sandbox import SandboxServer
from tests.support.raw_vendor import free_port

BIN = Path(sys.executable).parent
ROOT = Path(__file__).resolve().parents[2]

PAGES = """
import json
from flagmw import Flagmw

fm = Flagmw.from_mapping(file="flagmw.toml", environ={})

def page(path, flags):
    if path.startswith("/buy/"):
        items = [{"sku": "tee-m", "pid": "tee", "quantity": 2, "price": 19.9}]
        return json.dumps({"track": flags.track("purchase", key=path[5:], currency="EUR", items=items)})
    if path == "/signup":
        return json.dumps({"track": flags.track("signup")})
    names = ("HomepageHero", "Checkout_Layout", "Search_Ranking", "Banner")
    return json.dumps({"variants": {name: flags[name] for name in names}, "hero": flags.payload("HomepageHero")})
"""

ASGI = (
    PAGES
    + """
from flagmw.asgi import FlagsMiddleware, flags_from

async def shop(scope, receive, send):
    if scope["type"] != "http":
        return
    body = page(scope["path"], flags_from(scope)).encode()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"application/json")]})
    await send({"type": "http.response.body", "body": body})

app = FlagsMiddleware(shop, flagmw=fm)
"""
)

WSGI = (
    PAGES
    + """
from flagmw.wsgi import FlagsMiddleware, flags_from

def shop(environ, start_response):
    body = page(environ["PATH_INFO"], flags_from(environ)).encode()
    start_response("200 OK", [("Content-Type", "application/json")])
    return [body]

app = FlagsMiddleware(shop, flagmw=fm)
"""
)

SERVERS = {
    "uvicorn": (ASGI, ["--port", "{port}", "--lifespan", "off", "--log-level", "warning", "app:app"]),
    "gunicorn": (WSGI, ["--worker-class", "gthread", "--threads", "4", "--bind", "127.0.0.1:{port}", "app:app"]),
}
# Pages are counted here, so each has to ask.
OPTIONS = """
mode = "eager"
deadline_ms = 5000
reuse_s = 0

[[vendors]]
type = "monetate"
retailer = "acme"
channel = "a-701b337c/p/www.mysite.com"
base_url = "{base_url}"
"""


@dataclass
class Shop:
    """The shop's server, which can be restarted, and one browser in front of it."""

    server: str
    folder: Path
    vendor: SandboxServer
    cookies: dict[str, str] = field(default_factory=dict)
    process: subprocess.Popen[bytes] | None = None
    url: str = ""

    def start(self) -> None:
        source, words = SERVERS[self.server]
        (self.folder / "app.py").write_text(source)
        (self.folder / "flagmw.toml").write_text(OPTIONS.format(base_url=self.vendor.monetate_url))
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        self.process = subprocess.Popen(
            [BIN / self.server, *(word.format(port=port) for word in words)],
            cwd=self.folder,
            env={**os.environ, "PYTHONPATH": f"{ROOT}:{self.folder}"},
            start_new_session=True,
            stderr=subprocess.DEVNULL,
        )
        wait_for(self._answers, 20)

    def _answers(self) -> bool:
        try:
            return httpx2.options(self.url, timeout=5).status_code > 0
        except httpx2.TransportError:
            return False

    def stop(self) -> None:
        if self.process is not None:
            os.killpg(self.process.pid, signal.SIGTERM)
            self.process.wait(15)
            self.process = None

    def open(self, path: str) -> dict[str, Any]:
        headers = {"host": "www.mysite.com", "user-agent": "Mozilla/5.0", "accept-language": "de-DE,de;q=0.5"}
        if self.cookies:
            headers["cookie"] = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        response = httpx2.get(self.url + path, headers=headers, timeout=10)
        for line in response.headers.get_list("set-cookie"):
            name, _, value = line.partition(";")[0].partition("=")
            self.cookies[name] = value
            self.attributes = line
        page: dict[str, Any] = response.json()
        return page


def wait_for(found: Callable[[], Any], seconds: float) -> Any:
    end = time.monotonic() + seconds
    while not (result := found()):
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.05)
    return result


@pytest.fixture(scope="module", params=SERVERS)
def running(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    with SandboxServer("monetate", seed=3) as vendor:
        shop = Shop(request.param, tmp_path_factory.mktemp("shop"), vendor)
        try:
            shop.start()
            yield shop
        finally:
            shop.stop()


@pytest.fixture
def shop(running: Shop) -> Shop:
    """The shop with a new browser, at a vendor without a memory."""
    running.vendor.reset()
    running.cookies.clear()
    return running


def test_a_visitor_decides_comes_back_and_buys(shop: Shop) -> None:
    """Variants are on the first page, stay the same over visits and a restart, and a purchase arrives as one."""
    first = shop.open("/")
    assert first["variants"]["HomepageHero"] in ("New Arrivals", "Clearance")
    assert first["hero"]["title"].lower() == first["variants"]["HomepageHero"].lower()
    assert first["variants"]["Search_Ranking"] in ("Popular first", "Newest first", "control")
    assert first["variants"]["Banner"] in ("Free delivery", "control")
    assert shop.cookies.keys() == {"mt.v"}
    assert "Max-Age=31536000" in shop.attributes and "SameSite=Lax" in shop.attributes
    assert "HttpOnly" not in shop.attributes and "Domain" not in shop.attributes
    named = shop.cookies["mt.v"]

    for _ in range(9):
        assert shop.open("/") == first
    shop.stop()
    shop.start()
    for _ in range(10):
        assert shop.open("/") == first
    assert shop.cookies == {"mt.v": named}

    assert shop.open("/signup")["track"] and shop.open("/buy/order-1")["track"]
    bought = wait_for(lambda: shop.vendor.ledger(metric="purchase")["conversions"], 10)
    wait_for(lambda: shop.vendor.ledger(metric="signup")["conversions"], 10)
    assert [(row["purchase_id"], row["lines"]) for row in bought] == [
        ("order-1", [{"sku": "tee-m", "pid": "tee", "quantity": 2, "currency": "EUR", "value": "39.80"}])
    ]

    ledger = shop.vendor.ledger()
    known = {request["system_uid"] for request in ledger["requests"]}
    assert len(known) == 1, "the engine has seen one visitor"
    assert {row["system_uid"] for row in (*ledger["conversions"], *ledger["views"])} == known
    assert [request["lint"] for request in ledger["requests"]] == [[]] * len(ledger["requests"])
    assert len([view for view in ledger["views"] if view["alias"] == "HomepageHero"]) == 22
    told = {event["eventType"] for event in ledger["requests"][0]["events"]}
    assert {"context:UserAgent", "context:IpAddress", "context:Language", "context:PageView"} < told


def test_junk_in_the_cookie_is_replaced(shop: Shop) -> None:
    """A browser with a broken `mt.v` gets a new identity, and the engine never sees the broken one."""
    shop.cookies["mt.v"] = "null"
    assert shop.open("/")["hero"]
    assert shop.cookies["mt.v"].startswith("2.")
    (request,) = shop.vendor.ledger()["requests"]
    assert request["cookies"] == {} and request["lint"] == []


@pytest.mark.parametrize(
    "fault",
    [
        {"kind": "error", "code": 500},
        {"kind": "error", "code": 400, "status": 400},
        {"kind": "html"},
        {"kind": "truncate"},
        {"kind": "reset"},
        {"kind": "huge_cookie"},
        {"kind": "bad_cookie"},
        {"kind": "trailing_comma"},
    ],
    ids=lambda fault: "-".join(map(str, fault.values())),
)
def test_whatever_the_engine_does_the_page_comes(shop: Shop, fault: dict[str, Any]) -> None:
    """A failure gives defaults, and an id that can be none is not set."""
    shop.vendor.faults([fault])
    page = shop.open("/")
    decides = fault["kind"] in ("huge_cookie", "bad_cookie")
    assert (page["variants"]["HomepageHero"] == "control") is not decides
    assert shop.cookies == {}


@pytest.mark.parametrize(("processed", "counted"), [(True, 1), (False, 0)])
def test_a_purchase_in_doubt_is_not_told_again(shop: Shop, processed: bool, counted: int) -> None:
    """The engine would count a repeat, so a purchase whose answer was lost stays as it is; the next one arrives."""
    shop.open("/")
    shop.vendor.clear_ledger()
    # The page of a purchase decides too, and that goes well: the fault hits what comes after it.
    shop.vendor.faults([{"kind": "delay", "ms": 0, "times": 1}, {"kind": "reset", "processed": processed, "times": 1}])
    shop.open(f"/buy/doubt-{counted}")
    wait_for(lambda: shop.vendor.sandbox.faults.shown()[1]["hits"], 10)
    shop.open("/signup")
    wait_for(lambda: shop.vendor.ledger(metric="signup")["conversions"], 10)
    time.sleep(1.5)  # longer than the first pause before a repeat
    assert len(shop.vendor.ledger(metric="purchase")["conversions"]) == counted

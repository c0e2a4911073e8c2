"""The shops of `integrations/` do the same in every framework: flags, cookies, what the vendor hears, headers."""

from __future__ import annotations

import contextlib
import json
import re
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from django.test import override_settings

from flagmw import Flagmw
from flagmw.sandbox import SandboxServer
from tests.contracts.edges.driver import App, AsgiEdge, Edge, Page, Sent, Visitor, WsgiEdge

SHOPS = Path(__file__).parents[2] / "integrations"
ATTRIBUTES = {"Path=/", "Domain=mysite.com", "Secure", "SameSite=Lax"}
ALIASES = ["ta_Project1", "ta_Project2", "ta_Hero", "ta_Layout"]
CONTROLS = {f"_wt.control-2490593-{alias}" for alias in ALIASES}
COOKIES = {"_wt.user-2490593", "_wt.mode-2490593"} | CONTROLS


@dataclass
class Shop:
    """A shop that can be called."""

    name: str
    edge: Edge
    app: App
    fm: Flagmw
    vendor: SandboxServer

    def visitor(self) -> Visitor:
        """Return somebody new, at a vendor without a memory: the same person in every shop."""
        self.vendor.start()
        self.vendor.reset()
        return Visitor(self.edge, self.app)


def loaded(shop: str, name: str) -> ModuleType:
    """Run a shop's file; all have the same few names, so that none is a module of that name."""
    spec = spec_from_file_location(f"{shop}_{name}", SHOPS / shop / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@contextlib.contextmanager
def django_shop(kind: str) -> Iterator[tuple[App, Flagmw]]:
    """Run the Django shop's settings over those of the tests, and then its entry point."""
    settings = loaded("django_shop", "settings")
    options = {name: value for name, value in vars(settings).items() if name.isupper()}
    with override_settings(**{**options, "ROOT_URLCONF": loaded("django_shop", settings.ROOT_URLCONF)}):
        yield loaded("django_shop", kind).application, settings.FLAGMW


@contextlib.contextmanager
def other_shop(shop: str) -> Iterator[tuple[App, Flagmw]]:
    module = loaded(shop, "app")
    yield module.app, module.fm


OPENERS: dict[str, tuple[type[Edge], Callable[[], Any]]] = {
    "plain_wsgi": (WsgiEdge, lambda: other_shop("plain_wsgi")),
    "plain_asgi": (AsgiEdge, lambda: other_shop("plain_asgi")),
    "fastapi_shop": (AsgiEdge, lambda: other_shop("fastapi_shop")),
    "flask_shop": (WsgiEdge, lambda: other_shop("flask_shop")),
    "django_shop_wsgi": (WsgiEdge, lambda: django_shop("wsgi")),
    "django_shop_asgi": (AsgiEdge, lambda: django_shop("asgi")),
}


@pytest.fixture(scope="module")
def own_vendor() -> Iterator[SandboxServer]:
    """A sandbox that deals the same to everybody who comes first."""
    with SandboxServer(seed=3) as server:
        yield server


@pytest.fixture(scope="module", params=OPENERS)
def shop(request: pytest.FixtureRequest, own_vendor: SandboxServer) -> Iterator[Shop]:
    """Each shop in turn."""
    make_edge, opener = OPENERS[request.param]
    with pytest.MonkeyPatch.context() as patch, make_edge() as edge:
        patch.setenv("FLAGMW_VENDORS__WT__BASE_URL", own_vendor.webtrends_url)
        patch.setenv("FLAGMW_DEADLINE_MS", "5000")
        # What every page asks is what is compared here.
        patch.setenv("FLAGMW_REUSE_S", "0")
        patch.setenv("FLAGMW_STALE_S", "0")
        patch.setenv("DJANGO_SETTINGS_MODULE", "settings")
        with opener() as (app, fm):
            yield Shop(request.param, edge, app, fm, own_vendor)
            assert fm.outbox_stats().balanced()
            edge.close(fm)


@dataclass
class Step:
    """A page as a visitor got it, and what the vendor heard of it."""

    page: Page
    heard: list[dict[str, Any]]

    @property
    def shown(self) -> dict[str, str]:
        """What a checkout page shows."""
        found = re.search(r'data-reason="(.*?)" data-code="(.*?)" data-visitor="(.*?)">(.*?)<', self.page.body.decode())
        assert found is not None
        return dict(zip(("reason", "code", "visitor", "variant"), found.groups(), strict=True))

    @property
    def cookies(self) -> dict[str, set[str]]:
        """The attributes of each cookie that was set; names may come once only."""
        lines = [line.strip().split("; ") for line in self.page.values("set-cookie")]
        found = {pair.partition("=")[0]: set(attributes) for pair, *attributes in lines}
        assert len(found) == len(lines)
        return found

    @property
    def headers(self) -> dict[str, list[str]]:
        """What we may add besides cookies."""
        return {name: self.page.values(name) for name in ("cache-control", "vary")}


PRIVATE = {"cache-control": ["private"], "vary": ["Cookie"]}
ALONE: dict[str, list[str]] = {"cache-control": [], "vary": []}


def walk(shop: Shop, visitor: Visitor, method: str, path: str) -> Step:
    """Open a page, wait until all is delivered, and return the page with what the vendor heard meanwhile."""
    before = len(shop.vendor.ledger()["requests"])
    page = visitor.get(path, method=method)
    assert shop.fm.flush(5)
    kept = ("action", "path", "headers", "url", "s_mode", "track", "aliases", "metric", "data", "lint", "system_uid")
    heard = [
        {**{name: row[name] for name in kept}, "cookies": set(row["cookies"])}
        for row in shop.vendor.ledger()["requests"][before:]
    ]
    return Step(page, heard)


USER_AGENT = dict(Sent().all_headers())["user-agent"]


def row(action: str, path: str, cookies: set[str], **more: Any) -> dict[str, Any]:
    """Return a row of the vendor's ledger as the shops have to make it."""
    return {
        "action": action,
        "path": f"/ots/api/rest-1.2/{action}/2490593{path}",
        "headers": {
            "user-agent": USER_AGENT,
            "x-forwarded-for": "198.51.100.0",
            "content-type": "application/json",
            "accept-encoding": "gzip",
        },
        "url": "https://www.mysite.com",
        "s_mode": None,
        "track": True,
        "aliases": [],
        "metric": None,
        "data": {},
        "lint": [],
        "system_uid": VISITOR,
        "cookies": cookies,
        **more,
    }


VISITOR = "4878431697417752722"
VARIANT = "variation"


def test_first_visit(shop: Shop) -> None:
    """A new visitor is decided for, gets the variant and all cookies, and the page is theirs alone."""
    step = walk(shop, shop.visitor(), "GET", "/checkout")
    assert step.page.status == 200
    assert step.shown == {"reason": "SPLIT", "code": "", "visitor": VISITOR, "variant": VARIANT}
    assert b"<button>Buy now</button>" in step.page.body
    assert step.headers == PRIVATE
    assert step.cookies == {name: ATTRIBUTES | (set() if "mode" in name else {"Max-Age=7776000"}) for name in COOKIES}
    assert step.heard == [row("control", "", set())]


def test_second_visit(shop: Shop) -> None:
    """With the cookies comes the same variant; they are sent to the vendor, and renewed only where they changed."""
    visitor = shop.visitor()
    first, second = (walk(shop, visitor, "GET", "/checkout") for _ in range(2))
    assert second.page.body == first.page.body
    assert second.headers == PRIVATE
    assert second.heard == [row("control", "", COOKIES)]
    assert all(attributes >= ATTRIBUTES for attributes in second.cookies.values())
    assert second.cookies.keys() <= COOKIES


def test_purchase(shop: Shop) -> None:
    """A purchase counts once, for the one test, with its data and the cookies that the page itself has set."""
    visitor = shop.visitor()
    step = walk(shop, visitor, "POST", "/buy")
    assert re.search(rb'<p id="track">[0-9a-f-]{36}</p>', step.page.body)
    assert step.headers == PRIVATE
    assert step.cookies.keys() == COOKIES
    bought = {
        "aliases": ["ta_Project1"],
        "metric": "purchase",
        "data": {"revenue": 49.9, "units": 2, "currency": "GBP"},
    }
    needed = {"_wt.user-2490593", "_wt.mode-2490593", "_wt.control-2490593-ta_Project1"}
    assert step.heard == [row("control", "", set()), row("track", "-ta_Project1", needed, **bought)]


def test_front_page(shop: Shop) -> None:
    """The front page shows what the vendor's JSON variant says."""
    step = walk(shop, shop.visitor(), "GET", "/")
    assert b"<p>Summer sale</p>" in step.page.body
    assert step.headers == PRIVATE
    assert step.heard == [row("control", "", set())]


def test_A1_stream(shop: Shop) -> None:
    """A stream comes in pieces, and what is tracked at its end counts for every test of the visitor."""
    step = walk(shop, shop.visitor(), "GET", "/stream")
    assert step.page.chunks == [f"{n}: {VARIANT}\n".encode() for n in range(3)]
    assert (step.headers, step.cookies.keys()) == (PRIVATE, COOKIES)
    ended = {"aliases": ALIASES, "metric": "Page_Stream_End"}
    assert step.heard == [row("control", "", set()), row("track", f"-{','.join(ALIASES)}", COOKIES, **ended)]


@pytest.mark.parametrize("path", ["/health", "/static/none.css"])
def test_excluded_pages(shop: Shop, path: str) -> None:
    """Excluded pages are left alone, and the vendor hears nothing of them."""
    step = walk(shop, shop.visitor(), "GET", path)
    assert (step.headers, step.cookies, step.heard) == (ALONE, {}, [])
    if path == "/health":
        assert json.loads(step.page.body)["vendors"]["wt"]["breaker"] == "closed"
    else:
        assert step.page.status == 404


def test_page_that_does_not_exist(shop: Shop) -> None:
    """A page that reads no flag stays as it is where reads can wait, or where Django knows that there is no view.

    Else it brings the cookies, and is private for their sake alone.
    """
    step = walk(shop, shop.visitor(), "GET", "/nowhere")
    assert step.page.status == 404
    if shop.name in ("fastapi_shop", "plain_asgi"):
        assert step.headers == {"cache-control": ["private"], "vary": []}
        assert step.cookies.keys() == COOKIES
    else:
        assert (step.headers, step.cookies, step.heard) == (ALONE, {}, [])


def test_A5_A6_head_and_preflight_mint_no_visitor(shop: Shop) -> None:
    """Whatever a framework answers to HEAD and OPTIONS, the vendor hears nothing of it and no cookie is set."""
    visitor = shop.visitor()
    for method in ("HEAD", "OPTIONS"):
        step = walk(shop, visitor, method, "/checkout")
        assert (step.cookies, step.heard) == ({}, [])


def test_outage(shop: Shop) -> None:
    """While the vendor is gone pages stay up with the default; what was bought meanwhile arrives when it is back."""
    visitor = shop.visitor()
    before = walk(shop, visitor, "GET", "/checkout")
    shop.vendor.stop()
    without = Step(visitor.get("/checkout"), [])
    assert (without.page.status, without.shown["variant"], without.shown["reason"]) == (200, "control", "ERROR")
    assert (without.headers, without.cookies) == (PRIVATE, {})
    bought = visitor.get("/buy", method="POST")
    assert b"None" not in bought.body
    shop.vendor.start()
    end = time.monotonic() + 15
    while not shop.vendor.ledger(metric="purchase")["conversions"]:
        assert time.monotonic() < end
        time.sleep(0.05)
    (conversion,) = shop.vendor.ledger(metric="purchase")["conversions"]
    assert (conversion["system_uid"], conversion["alias"]) == (VISITOR, "ta_Project1")
    while (after := Step(visitor.get("/checkout"), [])).shown["code"]:
        assert time.monotonic() < end
        time.sleep(0.1)
    assert after.shown == before.shown

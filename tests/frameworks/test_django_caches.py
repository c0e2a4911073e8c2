"""Django's own caches, compression and validators around us and below us: nobody gets another's page or cookie."""

from __future__ import annotations

import gzip
import random
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.core.cache import cache
from django.http import HttpResponse
from django.views.decorators.cache import cache_page
from django.views.decorators.vary import vary_on_cookie

from flagmw import Flagmw, Static
from flagmw.sandbox import SandboxServer
from tests.contracts.edges.driver import App, Make, Page, Visitor, webtrends
from tests.frameworks.sites import OURS, DjangoAsgi, DjangoWsgi

UPDATE = "django.middleware.cache.UpdateCacheMiddleware"
FETCH = "django.middleware.cache.FetchFromCacheMiddleware"
GZIP = "django.middleware.gzip.GZipMiddleware"
CONDITIONAL = "django.middleware.http.ConditionalGetMiddleware"
COMMON = "django.middleware.common.CommonMiddleware"
Site = DjangoWsgi | DjangoAsgi

ORDERS = {
    "documented": [UPDATE, GZIP, CONDITIONAL, COMMON, OURS, FETCH],
    "all below": [OURS, UPDATE, GZIP, CONDITIONAL, COMMON, FETCH],
    "fetched above": [UPDATE, FETCH, OURS],
    "validated below": [UPDATE, OURS, CONDITIONAL, GZIP, FETCH],
}


@pytest.fixture(autouse=True)
def _empty_cache() -> Iterator[None]:
    cache.clear()
    yield
    cache.clear()


def shop(runs: list[str]) -> Callable[[Any], HttpResponse]:
    """Make a view: `/me` names the visitor it was made for, every other page is the same for all."""

    def view(request: Any) -> HttpResponse:
        runs.append(request.path)
        if request.path.startswith("/me"):
            variant = request.flags.variant("ta_Project1")
            return HttpResponse(f"{variant.key} {variant.ids['system_uid']}" + " " * 500)
        return HttpResponse("the same for everybody" + " " * 500)

    return view


def own(page: Page) -> bytes:
    """Return the visitor that a page of `/me` is for."""
    body = gzip.decompress(page.body) if page.values("content-encoding") else page.body
    return body.strip()


@pytest.mark.parametrize("order", ORDERS)
def test_A23_nobody_gets_the_page_or_cookie_of_another(
    django_site: Site, make: Make, vendor: SandboxServer, order: str
) -> None:
    """In every order of the middleware, each of 20 visitors keeps their own page and cookies over 120 requests."""
    runs: list[str] = []
    fm = make(vendors=[webtrends(vendor.webtrends_url)])
    app = django_site.project(shop(runs), MIDDLEWARE=ORDERS[order], FLAGMW=fm)
    visitors = [Visitor(django_site, app) for _ in range(20)]
    seen: dict[int, bytes] = {}
    users: dict[str, int] = {}
    dice = random.Random(4)
    for _ in range(120):
        who, path = dice.randrange(20), dice.choice(["/me", "/page"])
        page = visitors[who].get(path, headers=[("accept-encoding", "gzip")])
        if path == "/me":
            assert seen.setdefault(who, own(page)) == own(page)
            assert "private" in page.values("cache-control")[0]
            assert "Cookie" in page.values("vary")[0]
        for line in page.values("set-cookie"):
            if line.startswith("_wt.user"):
                assert users.setdefault(line.partition(";")[0], who) == who
    assert len(set(seen.values())) == len(seen) > 15
    assert runs.count("/me") > runs.count("/page")


@pytest.mark.parametrize("order", ORDERS)
def test_A23_pages_without_flags_stay_cached(django_site: Site, make: Make, everyone_b: Static, order: str) -> None:
    """A page that reads no flag is made once and then comes from Django's cache, as without us."""
    runs: list[str] = []
    app = django_site.project(shop(runs), MIDDLEWARE=ORDERS[order], FLAGMW=make(vendors=[everyone_b]))
    pages = [django_site.get(app, "/page") for _ in range(3)]
    assert runs == ["/page"]
    assert pages[0].values("cache-control") == pages[2].values("cache-control") == ["max-age=600"]


def test_A23_page_from_the_cache_gets_no_cookie(django_site: Site, make: Make, vendor: SandboxServer) -> None:
    """A visitor whose page comes from the cache gets their cookies with the first page that is their own."""
    runs: list[str] = []
    fm = make(vendors=[webtrends(vendor.webtrends_url)])
    app = django_site.project(shop(runs), MIDDLEWARE=ORDERS["all below"], FLAGMW=fm)
    assert django_site.get(app, "/page").values("set-cookie") == []
    visitor = Visitor(django_site, app)
    assert visitor.get("/page").values("set-cookie") == []
    assert len(visitor.get("/me").values("set-cookie")) == 6
    assert runs == ["/page", "/me"]


def me(request: Any) -> HttpResponse:
    """Show the visitor of this request, whatever decorators think of it."""
    return shop([])(request)


@pytest.mark.parametrize("keyed", [False, True], ids=["", "vary_on_cookie"])
def test_A23_cache_page_keeps_no_page_that_read_flags(make: Make, vendor: SandboxServer, keyed: bool) -> None:
    """`cache_page` around a view that reads flags would keep one visitor's page for all: it keeps none."""
    view = cache_page(60)(vary_on_cookie(me) if keyed else me)
    with DjangoWsgi() as site:
        app = site.project(view, MIDDLEWARE=[OURS], FLAGMW=make(vendors=[webtrends(vendor.webtrends_url)]))
        pages = [site.get(app, "/me") for _ in range(5)]
    assert len({own(page) for page in pages}) == 5
    assert all(page.values("cache-control") == ["private"] for page in pages)


def test_A23_cache_page_keeps_pages_without_flags(make: Make, everyone_b: Static) -> None:
    """Around other views `cache_page` does what it does."""
    runs: list[str] = []
    with DjangoWsgi() as site:
        view = cache_page(60)(shop(runs))
        app = site.project(view, MIDDLEWARE=[OURS], FLAGMW=make(vendors=[everyone_b]))
        pages = [site.get(app, "/page") for _ in range(3)]
    assert runs == ["/page"]
    assert [page.values("cache-control") for page in pages] == [["max-age=60"]] * 3


@pytest.mark.parametrize("order", ["documented", "validated below"])
def test_A23_compressed_page(django_site: Site, make: Make, split: Static, order: str) -> None:
    """Compression above or below us leaves cookies and Vary right."""

    def view(request: Any) -> HttpResponse:
        return HttpResponse(request.flags["ta_A"] * 500)

    app = django_site.project(view, MIDDLEWARE=ORDERS[order], FLAGMW=make(vendors=[split]))
    page = django_site.get(app, headers=[("accept-encoding", "gzip")])
    assert gzip.decompress(page.body) in (b"a" * 500, b"b" * 500)
    (vary,) = page.values("vary")
    assert {name.strip() for name in vary.split(",")} == {"Accept-Encoding", "Cookie"}
    assert page.cookies.keys() == {"flagmw_uid"}


@pytest.fixture
def validated(django_site: Site, make: Make, split: Static) -> tuple[Flagmw, App]:
    """A project whose page, the same for all, has its ETag made above us."""
    fm = make(vendors=[split])
    return fm, django_site.project(
        lambda request: HttpResponse(f"{len(request.flags)} flags"), MIDDLEWARE=[CONDITIONAL, OURS], FLAGMW=fm
    )


def test_A7_A23_no_cookie_on_a_304_that_is_made_above_us(django_site: Site, validated: tuple[Flagmw, App]) -> None:
    """While cookies are due the page is sent whole, with them; after that it may be a 304, which carries none."""
    visitor = Visitor(django_site, validated[1])
    first = django_site.get(validated[1])
    headers = [("if-none-match", first.values("etag")[0])]
    due = visitor.get("/", headers=headers)
    assert (due.status, due.body) == (200, b"1 flags")
    assert due.cookies.keys() == {"flagmw_uid"}
    settled = visitor.get("/", headers=headers)
    assert (settled.status, settled.body, settled.values("set-cookie")) == (304, b"", [])
    assert (settled.values("cache-control"), settled.values("vary")) == (["private"], ["Cookie"])

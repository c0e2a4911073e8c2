"""Lazy mode in each framework, with views as their users write them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.http import HttpRequest, HttpResponse
from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import PlainTextResponse

from flagmw.fastapi import FlagsDep, FlagsMiddleware, flags_from
from flagmw.sandbox import SandboxServer
from tests.contracts.edges.driver import Make, Page, Sent, asgi_call, http_scope, webtrends
from tests.contracts.edges.test_reuse import asked
from tests.frameworks.sites import OURS, Answer, Asked, DjangoAsgi, DjangoWsgi, FlaskSite, Site

ALIAS = "ta_Project1"


def lazy(vendor: SandboxServer, **options: Any) -> dict[str, Any]:
    return {"vendors": [webtrends(vendor.webtrends_url)], "mode": "lazy", "defaults": {ALIAS: "calm"}, **options}


def good(page: Page, vendor: SandboxServer) -> None:
    """One call was made, and the page has what eager mode gives: variant, cookies, headers."""
    assert page.body in (b"control", b"variation")
    assert "_wt.user-2490593" in page.cookies
    assert page.values("vary") == ["Cookie"]
    assert asked(vendor) == 1


def test_A28_no_read_no_call(site: Site, make: Make, vendor: SandboxServer) -> None:
    """A view that looks at no flag costs no call, whatever the framework, and its page stays as it was."""
    fm = make(**lazy(vendor))
    page = site.get(site.mount(lambda asked: Answer(), fm))
    assert page.headers == site.get(site.app(lambda asked: Answer())).headers
    assert asked(vendor) == 0


@pytest.mark.parametrize("kind", [DjangoWsgi, FlaskSite])
def test_blocking_views(kind: Callable[[], Any], make: Make, vendor: SandboxServer) -> None:
    """In Flask and in Django under WSGI a read waits for the vendor."""
    with kind() as site:

        def view(request: Asked) -> Answer:
            keys = {request.flags[ALIAS] for _ in range(10)}
            return Answer(" ".join(keys).encode())

        good(site.get(site.mount(view, make(**lazy(vendor)))), vendor)


def test_A16_sync_view_of_django_under_asgi(make: Make, vendor: SandboxServer) -> None:
    """Django runs it in a worker thread: its reads wait for the vendor as under WSGI."""
    with DjangoAsgi() as site:

        def view(request: HttpRequest) -> HttpResponse:
            return HttpResponse(request.flags[ALIAS])  # type: ignore[attr-defined]

        fm = make(**lazy(vendor))
        good(site.get(site.project(view, MIDDLEWARE=[OURS], FLAGMW=fm)), vendor)
        site.close(fm)


def test_async_view_of_django(make: Make, vendor: SandboxServer) -> None:
    """A coroutine loads, or reads in sync code of its own; ten of them make one call."""
    with DjangoAsgi() as site:

        async def view(request: Any) -> HttpResponse:
            assert request.flags[ALIAS] == "calm", "not loaded"
            flags, *_ = await asyncio.gather(*(request.flags.load() for _ in range(10)))
            return HttpResponse(await sync_to_async(lambda: flags[ALIAS])())

        fm = make(**lazy(vendor))
        good(site.get(site.project(view, MIDDLEWARE=[OURS], FLAGMW=fm)), vendor)
        site.close(fm)


async def served(app: FastAPI) -> Page:
    return await asgi_call(app, http_scope(Sent()))


@pytest.fixture
def app() -> FastAPI:
    return FastAPI(openapi_url=None)


async def test_flags_dep_loads(app: FastAPI, make: Make, vendor: SandboxServer) -> None:
    """A coroutine that has the flags as a parameter finds them loaded."""
    fm = make(**lazy(vendor))
    app.add_middleware(FlagsMiddleware, flagmw=fm)

    @app.get("/")
    async def view(flags: FlagsDep) -> Any:
        return PlainTextResponse(flags[ALIAS])

    good(await served(app), vendor)
    await fm.aclose(2.0)


async def test_A16_sync_view_of_fastapi(app: FastAPI, make: Make, vendor: SandboxServer) -> None:
    """A plain function is run in a worker thread; its reads ask the loop, without the dependency too."""
    fm = make(**lazy(vendor))
    app.add_middleware(FlagsMiddleware, flagmw=fm)

    @app.get("/")
    def view(request: Request) -> Any:
        return PlainTextResponse(" ".join({flags_from(request)[ALIAS] for _ in range(10)}))

    good(await served(app), vendor)
    await fm.aclose(2.0)


async def test_A28_fastapi_without_the_dependency(app: FastAPI, make: Make, vendor: SandboxServer) -> None:
    """A path operation that does not ask for the flags costs no call."""
    fm = make(**lazy(vendor))
    app.add_middleware(FlagsMiddleware, flagmw=fm)

    @app.get("/")
    async def view() -> str:
        return "ok"

    page = await served(app)
    assert (page.status, page.values("set-cookie"), asked(vendor)) == (200, [], 0)

"""`mode="auto"`, the default: at the first read where a read can wait, else before the view."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Annotated, Any

import pytest
from django.http import HttpRequest, HttpResponse
from django.views import View
from fastapi import APIRouter, Depends, FastAPI
from fastapi.security import HTTPBearer
from starlette.applications import Starlette
from starlette.endpoints import HTTPEndpoint
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route, Router
from starlette.staticfiles import StaticFiles

from flagmw import Flagmw, current
from flagmw.asgi import FlagsMiddleware as AsgiMiddleware
from flagmw.fastapi import FlagsDep, FlagsMiddleware, flags_from
from flagmw.sandbox import SandboxServer
from tests.contracts.edges.driver import Make, Page, Sent, asgi_call, http_scope, webtrends
from tests.contracts.edges.test_reuse import asked
from tests.frameworks.sites import OURS, Answer, DjangoAsgi, DjangoWsgi, FlaskSite

ALIAS = "ta_Project1"


def auto(vendor: SandboxServer, **options: Any) -> dict[str, Any]:
    return {"vendors": [webtrends(vendor.webtrends_url)], "defaults": {ALIAS: "calm"}, "mode": "auto", **options}


def test_it_is_the_default() -> None:
    assert Flagmw().config.mode == "auto"


@pytest.mark.parametrize("kind", [DjangoWsgi, FlaskSite])
def test_blocking_servers(kind: Callable[[], Any], make: Make, vendor: SandboxServer) -> None:
    """A view that reads nothing costs nothing and stays as it was; a read waits for the vendor."""
    with kind() as site:
        fm = make(**auto(vendor))
        page = site.get(site.mount(lambda request: Answer(), fm))
        assert (asked(vendor), page.values("set-cookie"), page.values("cache-control")) == (0, [], [])
        read = site.get(site.mount(lambda request: Answer(request.flags[ALIAS].encode()), fm))
        assert read.body in (b"control", b"variation") and "_wt.user-2490593" in read.cookies
        assert asked(vendor) == 1


class AsyncClass(View):
    async def get(self, request: HttpRequest) -> HttpResponse:
        return HttpResponse(request.flags[ALIAS])  # type: ignore[attr-defined]


class SyncClass(View):
    def get(self, request: HttpRequest) -> HttpResponse:
        return HttpResponse(request.flags[ALIAS] if "read" in request.GET else "")  # type: ignore[attr-defined]


async def reads(request: HttpRequest) -> HttpResponse:
    return HttpResponse(request.flags[ALIAS])  # type: ignore[attr-defined]


async def reads_nothing(request: HttpRequest) -> HttpResponse:
    return HttpResponse("")


@pytest.mark.parametrize("kind", [DjangoAsgi, DjangoWsgi])
def test_django_knows_the_view(kind: Callable[[], Any], make: Make, vendor: SandboxServer) -> None:
    """A coroutine finds the flags decided; a plain view of either kind decides by its first read."""
    with kind() as site:
        fm = make(**auto(vendor))
        counted = 0
        views = [
            (reads, "", 1),
            (AsyncClass.as_view(), "", 1),
            (reads_nothing, "", 1),
            (SyncClass.as_view(), "", 0),
            (SyncClass.as_view(), "read", 1),
        ]
        for view, query, calls in views:
            page = site.get(site.project(view, MIDDLEWARE=[OURS], FLAGMW=fm), query=query)
            counted += calls
            assert asked(vendor) == counted, view
            expected = (b"",) if view is reads_nothing or not calls else (b"control", b"variation")
            assert page.body in expected, view
        site.close(fm)


def sync_only(get_response: Any) -> Any:
    """Middleware that can only be called without a loop, so that Django calls all above it in a thread."""
    return lambda request: get_response(request)


def test_django_with_a_blocking_middleware(make: Make, vendor: SandboxServer) -> None:
    """Where Django runs our middleware in a thread, a coroutine finds the flags decided all the same."""
    with DjangoAsgi() as site:
        fm = make(**auto(vendor))
        middleware = [OURS, "tests.frameworks.test_auto.sync_only"]
        page = site.get(site.project(reads, MIDDLEWARE=middleware, FLAGMW=fm))
        assert page.body in (b"control", b"variation")
        site.close(fm)


# Starlette and FastAPI


def text(request: Request) -> PlainTextResponse:
    return PlainTextResponse(flags_from(request)[ALIAS] if "read" in request.url.query else "-")


async def atext(request: Request) -> PlainTextResponse:
    return text(request)


class Endpoint(HTTPEndpoint):
    def get(self, request: Request) -> PlainTextResponse:
        return text(request)

    async def post(self, request: Request) -> PlainTextResponse:
        return text(request)


async def raw(scope: Any, receive: Any, send: Any) -> None:
    await text(Request(scope))(scope, receive, send)


def routes(tmp: Any) -> list[Any]:
    return [
        Route("/sync", text),
        Route("/async", atext),
        Route("/partial", functools.partial(text)),
        Route("/apartial", functools.partial(atext)),
        Route("/class", Endpoint, methods=["GET", "POST"]),
        Mount("/mount", routes=[Route("/sync", text), Route("/async", atext)]),
        Mount("/app", app=Starlette(routes=[Route("/sync", text)])),
        Mount("/raw", app=raw),
        Mount("/files", app=StaticFiles(directory=tmp, check_dir=False)),
    ]


# Path, method, and whether a page that reads nothing costs a call.
STARLETTE = [
    ("/sync", "GET", False),
    ("/async", "GET", True),
    ("/partial", "GET", False),
    ("/apartial", "GET", True),
    ("/class", "GET", False),
    ("/class", "POST", True),
    ("/mount/sync", "GET", False),
    ("/mount/async", "GET", True),
    ("/app/sync", "GET", False),
    ("/raw/x", "GET", True),
    ("/files/none.css", "GET", False),
    ("/nowhere", "GET", True),
    ("/sync", "DELETE", True),
]


async def _checked(app: Any, vendor: SandboxServer, path: str, method: str, early: bool) -> None:
    before = asked(vendor)
    for _ in range(2):
        await asgi_call(app, http_scope(Sent(path, method)))
    assert asked(vendor) - before == (2 if early else 0), path
    if "files" not in path and path != "/nowhere" and method != "DELETE":
        page: Page = await asgi_call(app, http_scope(Sent(path, method, query="read")))
        assert page.body in (b"control", b"variation"), path
        assert asked(vendor) - before == (3 if early else 1), path


@pytest.mark.parametrize("around", [False, True])
async def test_starlette(around: bool, make: Make, vendor: SandboxServer, tmp_path: Any) -> None:
    """The matched route says whether a read can wait, in the application's middleware and around it."""
    fm = make(**auto(vendor))
    if around:
        app: Any = AsgiMiddleware(Starlette(routes=routes(tmp_path)), flagmw=fm)
    else:
        app = Starlette(routes=routes(tmp_path), middleware=[Middleware(FlagsMiddleware, flagmw=fm)])
    for path, method, early in STARLETTE:
        await _checked(app, vendor, path, method, early)
    bare = AsgiMiddleware(Router(routes(tmp_path)), flagmw=fm)
    await _checked(bare, vendor, "/sync", "GET", False)
    await _checked(AsgiMiddleware(raw, flagmw=fm), vendor, "/", "GET", True)
    await fm.aclose(2.0)


def plain_dependency() -> int:
    return 1


async def reading_dependency(request: Request) -> str:
    return current()[ALIAS]


async def has_flags(flags: FlagsDep) -> Any:
    return flags


async def test_fastapi(make: Make, vendor: SandboxServer) -> None:
    """A plain function, or `FlagsDep` anywhere among the parameters, means the first read."""
    fm = make(**auto(vendor))
    app, inner, outer = FastAPI(openapi_url=None), APIRouter(prefix="/inner"), APIRouter(prefix="/outer")
    app.add_middleware(FlagsMiddleware, flagmw=fm)

    for router in (app, inner):

        @router.get("/sync")
        def sync(request: Request, one: Annotated[int, Depends(plain_dependency)]) -> Any:
            return text(request)

        @router.get("/async")
        async def coroutine(request: Request) -> Any:
            return text(request)

        @router.get("/dep")
        async def dep(request: Request, flags: FlagsDep) -> Any:
            return text(request)

        @router.get("/deep")
        async def deep(request: Request, flags: Annotated[Any, Depends(has_flags)]) -> Any:
            return text(request)

        @router.get("/secured", dependencies=[Depends(HTTPBearer(auto_error=False))])
        def secured(request: Request) -> Any:
            return text(request)

        @router.get("/reading")
        def reading(request: Request, key: Annotated[str, Depends(reading_dependency)]) -> Any:
            return PlainTextResponse(key)

    outer.include_router(inner)
    app.include_router(inner)
    app.include_router(outer)
    for prefix in ("", "/inner", "/outer/inner"):
        for path, early in [("/sync", False), ("/async", True), ("/secured", False)]:
            await _checked(app, vendor, prefix + path, "GET", early)
        # The dependency decides, whether the view reads or not, and not the middleware before it.
        for path in ("/dep", "/deep"):
            page = await asgi_call(app, http_scope(Sent(prefix + path, query="read")))
            assert page.body in (b"control", b"variation"), path
        page = await asgi_call(app, http_scope(Sent(prefix + "/reading")))
        assert page.body in (b"control", b"variation"), prefix
    await fm.aclose(2.0)

"""What a request costs over a middleware that does nothing, in process: ASGI and WSGI, and the parts of it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from http.cookies import SimpleCookie
from time import perf_counter
from typing import Any

from benchmarks import visitor
from benchmarks.harness import Settings, Stub, timed
from benchmarks.table import Column, Goal, Section, Table, interleave
from flagmw import Flagmw, Static, _cookies
from flagmw.asgi import FlagsMiddleware as ASGI
from flagmw.wsgi import FlagsMiddleware as WSGI

US = [Column("time", "us", 2)]
NOOP = "no-op middleware"
HEADERS = [
    (b"host", b"www.mysite.com"),
    (b"user-agent", visitor.USER_AGENT.encode()),
]


def run(settings: Settings, stub: Stub) -> Section:
    stub.mode()
    section = Section("edge: overhead of a request, in process")
    calls = settings.n(5000, 50)
    for title, cases in (("ASGI", asgi_cases(stub.url)), ("WSGI", wsgi_cases(stub.url))):
        for case in cases.values():
            case(calls // 10 + 1)
        bound = {name: (lambda case=case: case(calls)) for name, case in cases.items()}
        table = Table(f"{title} request", US, interleave(bound, settings.rounds), NOOP)
        section.tables.append(table)
        for name in ("excluded path", "lazy, no flag read"):
            if table.has(f"flagmw, {name}"):
                goal = f"{title}, {name}: over a no-op middleware"
                section.goals.append(Goal("G2", goal, table.ratio(f"flagmw, {name}", NOOP, "time"), at_most=2.0))
        for name in ("reused by memory", "reused by cookie"):
            if table.has(f"flagmw, {name}"):
                taken = table.median(f"flagmw, {name}", "time")
                section.goals.append(Goal("G1", f"{title}, decision {name}", taken, at_most=10, unit="us"))
    section.tables.append(parts(settings, calls))
    return section


# ASGI


async def asgi_app(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
    await send({"type": "http.response.body", "body": b"hello"})


async def asgi_reading(scope: Any, receive: Any, send: Any) -> None:
    scope["state"]["flags"].get("11/ta_A")
    await asgi_app(scope, receive, send)


class Wrapping:
    """The least a middleware can be that sees the response's start."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        async def watched(message: Any) -> None:
            await send(message)

        await self.app(scope, receive, watched)


def asgi_cases(url: str) -> dict[str, Callable[[int], dict[str, float]]]:
    fixed = Flagmw(vendors=[Static(flags={"11/ta_A": "b"})], exclude=["/excluded"])
    cases = {
        "bare app": asgi_loop(asgi_app, "/"),
        NOOP: asgi_loop(Wrapping(asgi_app), "/"),
        "flagmw, excluded path": asgi_loop(ASGI(asgi_app, flagmw=fixed), "/excluded"),
        "flagmw, Static, one flag read": asgi_loop(ASGI(asgi_reading, flagmw=fixed), "/"),
    }
    if visitor.has("mode"):
        lazy = ASGI(asgi_app, flagmw=visitor.flagmw(url, mode="lazy"))
        cases["flagmw, lazy, no flag read"] = asgi_loop(lazy, "/")
    for name, options in visitor.reuses().items():
        cases[f"flagmw, {name}"] = asgi_loop(ASGI(asgi_reading, flagmw=visitor.flagmw(url, **options)), "/")
    return cases


def scope(path: str, cookie: str) -> dict[str, Any]:
    return {
        "type": "http",
        "method": "GET",
        "scheme": "https",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "headers": [*HEADERS, (b"cookie", cookie.encode())],
        "client": ("192.0.2.7", 1),
    }


async def receive() -> Any:
    return {"type": "http.request", "body": b""}


async def ignore(message: Any) -> None:
    pass


def asgi_loop(app: Callable[[Any, Any, Any], Awaitable[None]], path: str) -> Callable[[int], dict[str, float]]:
    jar = visitor.Jar()

    async def keep(message: Any) -> None:
        for name, value in message.get("headers", ()):
            if name == b"set-cookie":
                jar.take(value.decode("latin-1"))

    async def loop(calls: int) -> float:
        # The first answers bring the cookies that the rest is asked with.
        for _ in range(2):
            await app(scope(path, jar.header), receive, keep)
        started = perf_counter()
        for _ in range(calls):
            await app(scope(path, jar.header), receive, ignore)
        return perf_counter() - started

    return lambda calls: {"time": asyncio.run(loop(calls)) / calls * 1e6}


# WSGI


def wsgi_app(environ: Any, start_response: Any) -> Iterable[bytes]:
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"hello"]


def wsgi_reading(environ: Any, start_response: Any) -> Iterable[bytes]:
    environ["flagmw.flags"].get("11/ta_A")
    return wsgi_app(environ, start_response)


def wsgi_noop(environ: Any, start_response: Any) -> Iterable[bytes]:
    def watched(status: str, headers: Any, exc_info: Any = None) -> Any:
        return start_response(status, headers, exc_info)

    return wsgi_app(environ, watched)


def wsgi_cases(url: str) -> dict[str, Callable[[int], Any]]:
    fixed = Flagmw(vendors=[Static(flags={"11/ta_A": "b"})], exclude=["/excluded"])
    cases: dict[str, Callable[[int], Any]] = {
        "bare app": wsgi_loop(wsgi_app, "/"),
        NOOP: wsgi_loop(wsgi_noop, "/"),
        "flagmw, excluded path": wsgi_loop(WSGI(wsgi_app, flagmw=fixed), "/excluded"),
        "flagmw, Static, one flag read": wsgi_loop(WSGI(wsgi_reading, flagmw=fixed), "/"),
    }
    if visitor.has("mode"):
        lazy = WSGI(wsgi_app, flagmw=visitor.flagmw(url, mode="lazy"))
        cases["flagmw, lazy, no flag read"] = wsgi_loop(lazy, "/")
    for name, options in visitor.reuses().items():
        cases[f"flagmw, {name}"] = wsgi_loop(WSGI(wsgi_reading, flagmw=visitor.flagmw(url, **options)), "/")
    return cases


def environ(path: str, cookie: str) -> dict[str, Any]:
    return {
        "REQUEST_METHOD": "GET",
        "SCRIPT_NAME": "",
        "PATH_INFO": path,
        "QUERY_STRING": "",
        "wsgi.url_scheme": "https",
        "REMOTE_ADDR": "192.0.2.7",
        "HTTP_HOST": "www.mysite.com",
        "HTTP_USER_AGENT": visitor.USER_AGENT,
        "HTTP_COOKIE": cookie,
    }


def wsgi_loop(app: Callable[[Any, Any], Iterable[bytes]], path: str) -> Callable[[int], Any]:
    jar = visitor.Jar()

    def keep(status: str, headers: Any, exc_info: Any = None) -> Any:
        for name, value in headers:
            if name.lower() == "set-cookie":
                jar.take(value)

    def ask(start_response: Any = lambda *_: None) -> None:
        body = app(environ(path, jar.header), start_response)
        for _ in body:
            pass
        getattr(body, "close", int)()

    def loop(calls: int) -> Any:
        for _ in range(2):
            ask(keep)
        return timed(ask, calls)

    return loop


# Parts


def parts(settings: Settings, calls: int) -> Table:
    rule = visitor.webtrends("https://example.test").cookies
    cases = {
        "SimpleCookie.load": lambda: timed(lambda: SimpleCookie().load(visitor.COOKIES), calls),
        "flagmw's cookie reader": lambda: timed(lambda: _cookies.read([visitor.COOKIES], [rule]), calls),
    }
    return Table("parts", US, interleave(cases, settings.rounds), "SimpleCookie.load")

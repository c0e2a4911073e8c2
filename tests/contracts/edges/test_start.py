"""A response's start waits for its body, so that flags read in between still make it private."""

from __future__ import annotations

import asyncio
from typing import Any

from flagmw import ErrorCode, Flagmw, Static, asgi, wsgi
from flagmw.testing import override_flags
from tests.contracts.edges.driver import Sent, asgi_call, environ, http_scope, wsgi_call

PUBLIC = [("Cache-Control", "public, max-age=60"), ("Content-Type", "text/plain")]


def fixed() -> Flagmw:
    return Flagmw(vendors=[Static(flags={"ta_A": "b"})])


def test_I17_wsgi_flag_read_after_start_response() -> None:
    """A view that starts its response before it reads a flag is private all the same, in every form of body."""

    def listed(environ: Any, start_response: Any) -> Any:
        start_response("200 OK", list(PUBLIC))
        return [wsgi.flags_from(environ)["ta_A"].encode()]

    def generated(environ: Any, start_response: Any) -> Any:
        start_response("200 OK", list(PUBLIC))
        yield wsgi.flags_from(environ)["ta_A"].encode()

    def written(environ: Any, start_response: Any) -> Any:
        write = start_response("200 OK", list(PUBLIC))
        write(wsgi.flags_from(environ)["ta_A"].encode())
        return []

    for app in (listed, generated, written):
        fm = fixed()
        page = wsgi_call(wsgi.FlagsMiddleware(app, flagmw=fm), environ(Sent()))
        assert page.body == b"b", app.__name__
        assert page.values("cache-control") == ["private, max-age=60"] and page.values("vary") == ["Cookie"], (
            app.__name__
        )
        fm.close()


def test_I17_asgi_flag_read_after_the_start() -> None:
    """The start of a response that may be stored waits for the first message of its body."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        headers = [(name.encode(), value.encode()) for name, value in PUBLIC]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": asgi.flags_from(scope)["ta_A"].encode()})

    page = asyncio.run(asgi_call(asgi.FlagsMiddleware(app, flagmw=fixed()), http_scope(Sent())))
    assert page.values("cache-control") == ["private, max-age=60"] and page.values("vary") == ["Cookie"]


def test_A2_a_stream_of_events_starts_at_once() -> None:
    """Headers of event streams, and of what no cache may keep, do not wait for a first event."""
    for headers in ([("content-type", "text/event-stream")], [("cache-control", "no-store")]):
        sent: list[str] = []

        async def app(scope: Any, receive: Any, send: Any, headers: Any = headers, sent: Any = sent) -> None:
            raw = [(name.encode(), value.encode()) for name, value in headers]
            await send({"type": "http.response.start", "status": 200, "headers": raw})
            sent.append("and then")
            await send({"type": "http.response.body", "body": b"x"})

        async def collect(message: Any, sent: Any = sent) -> None:
            sent.append(message["type"])

        middleware = asgi.FlagsMiddleware(app, flagmw=fixed())
        asyncio.run(middleware(http_scope(Sent()), None, collect))  # type: ignore[arg-type]
        assert sent == ["http.response.start", "and then", "http.response.body"]


def test_too_late_is_counted() -> None:
    """A flag read after the headers left cannot make the response private; that is counted for its owner to see."""

    def app(environ: Any, start_response: Any) -> Any:
        start_response("200 OK", list(PUBLIC))
        yield b"first"
        yield wsgi.flags_from(environ)["ta_A"].encode()

    fm = fixed()
    page = wsgi_call(wsgi.FlagsMiddleware(app, flagmw=fm), environ(Sent()))
    assert page.values("cache-control") == ["public, max-age=60"]
    assert fm.counts()[("touched_late", "", ErrorCode.TOUCHED_LATE)] == 1
    fm.close()


def test_start_without_a_body_still_leaves() -> None:
    """An application that ends without a body has its start sent; one that fails has not, so the server can answer."""
    sent: list[str] = []

    async def collect(message: Any) -> None:
        sent.append(message["type"])

    async def quiet(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 204, "headers": []})

    async def failing(scope: Any, receive: Any, send: Any) -> None:
        await quiet(scope, receive, send)
        raise KeyError("mine")

    asyncio.run(asgi.FlagsMiddleware(quiet, flagmw=fixed())(http_scope(Sent()), None, collect))  # type: ignore[arg-type]
    assert sent == ["http.response.start"]
    sent.clear()
    try:
        asyncio.run(asgi.FlagsMiddleware(failing, flagmw=fixed())(http_scope(Sent()), None, collect))  # type: ignore[arg-type]
    except KeyError:
        pass
    assert sent == []


def test_excluded_paths_give_the_configured_defaults() -> None:
    """A view on an excluded path reads the defaults of the configuration, and what a test has put in place."""
    seen: list[str] = []

    def view(environ: Any, start_response: Any) -> Any:
        seen.append(wsgi.flags_from(environ)["ta_A"])
        start_response("200 OK", [])
        return []

    fm = Flagmw(vendors=[Static(flags={"ta_A": "b"})], defaults={"ta_A": "calm"}, exclude=["/health"])
    app = wsgi.FlagsMiddleware(view, flagmw=fm)
    wsgi_call(app, environ(Sent(path="/health")))
    with override_flags({"ta_A": "mine"}):
        wsgi_call(app, environ(Sent(path="/health")))
        wsgi_call(app, environ(Sent(method="HEAD")))
    assert seen == ["calm", "mine", "mine"]
    fm.close()

"""What a request costs when it is done by hand or the usual way: the rows that the edges are set against.

All of them do what a page with remembered decisions needs: read the visitor's six cookies, and set three.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from starlette.middleware.base import BaseHTTPMiddleware
from starlette.requests import Request

from benchmarks.support import visitor

SET = {f"_wt.{name}": visitor.VALUE for name in ("user-11", "control-11-ta_A", "control-11-ta_B")}
MAX_AGE_S, DOMAIN = 7_776_000, "mysite.com"


def read(header: str) -> dict[str, str]:
    """Return the cookies of a Cookie header, by splitting it."""
    found = {}
    for part in header.split("; "):
        name, _, value = part.partition("=")
        found[name] = value
    return found


def lines() -> list[str]:
    """Return three Set-Cookie values, each one f-string."""
    return [
        f"{name}={value}; Max-Age={MAX_AGE_S}; Domain={DOMAIN}; Path=/; Secure; SameSite=Lax"
        for name, value in SET.items()
    ]


class Wrapping:
    """The least that an ASGI middleware can be which sees the response's start."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        async def watched(message: Any) -> None:
            await send(message)

        await self.app(scope, receive, watched)


class Hand:
    """Cookies by hand, under ASGI."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        for name, value in scope["headers"]:
            if name == b"cookie":
                scope["cookies"] = read(value.decode("latin-1"))

        async def watched(message: Any) -> None:
            if message["type"] == "http.response.start":
                added = [(b"set-cookie", line.encode("latin-1")) for line in lines()]
                message = {**message, "headers": [*message["headers"], *added]}
            await send(message)

        await self.app(scope, receive, watched)


class Nothing(BaseHTTPMiddleware):
    """Starlette's middleware, doing nothing."""

    async def dispatch(self, request: Request, call_next: Any) -> Any:
        return await call_next(request)


class Usual(BaseHTTPMiddleware):
    """Starlette's middleware with its own cookies: `request.cookies` and `set_cookie`, which is a SimpleCookie."""

    async def dispatch(self, request: Request, call_next: Any) -> Any:
        request.state.cookies = request.cookies
        response = await call_next(request)
        for name, value in SET.items():
            response.set_cookie(name, value, max_age=MAX_AGE_S, domain=DOMAIN, secure=True)
        return response


def wsgi_wrapping(app: Any) -> Any:
    """Return the least that a WSGI middleware can be which sees the response's start."""

    def wrapped(environ: Any, start_response: Any) -> Iterable[bytes]:
        def watched(status: str, headers: Any, exc_info: Any = None) -> Any:
            return start_response(status, headers, exc_info)

        answer: Iterable[bytes] = app(environ, watched)
        return answer

    return wrapped


def wsgi_hand(app: Any) -> Any:
    """Return *app* with cookies by hand, under WSGI."""

    def wrapped(environ: Any, start_response: Any) -> Iterable[bytes]:
        environ["cookies"] = read(environ["HTTP_COOKIE"])

        def watched(status: str, headers: Any, exc_info: Any = None) -> Any:
            return start_response(status, [*headers, *(("Set-Cookie", line) for line in lines())], exc_info)

        answer: Iterable[bytes] = app(environ, watched)
        return answer

    return wrapped

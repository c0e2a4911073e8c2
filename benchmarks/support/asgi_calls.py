"""An ASGI application, its requests, and a loop that calls it: no server, no sockets. `wsgi_calls` is the same."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from time import process_time
from typing import Any

from benchmarks.support import visitor
from flagmw.asgi import FlagsMiddleware as Middleware

__all__ = ["Middleware", "Reading", "app", "ignore", "loop", "receive", "scope"]
HEADERS = [(b"host", b"www.mysite.com"), (b"user-agent", visitor.USER_AGENT.encode())]
# Requests are made ahead, outside of what is timed, but not so many that the collector has to go through them.
AHEAD = 250


async def app(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
    await send({"type": "http.response.body", "body": b"hello"})


class Reading:
    """An application that reads one flag, and the last variant it saw."""

    seen: str | None = None

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.seen = scope["state"]["flags"].get("11/ta_A")
        await app(scope, receive, send)


def scope(path: str, cookie: str, kind: str = "http") -> dict[str, Any]:
    headers = [*HEADERS, (b"cookie", cookie.encode())] if cookie else [*HEADERS]
    return {
        "type": kind,
        "method": "GET",
        "scheme": "https",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "headers": headers,
        "client": ("192.0.2.7", 1),
    }


async def receive() -> Any:
    return {"type": "http.request", "body": b""}


async def ignore(message: Any) -> None:
    pass


def loop(
    called: Callable[[Any, Any, Any], Awaitable[None]],
    path: str = "/",
    *,
    cookies: dict[str, str] | None = None,
    keeps: bool = True,
    kind: str = "http",
) -> Callable[[int], Mapping[str, float]]:
    """Return a function that measures the microseconds of CPU of one call.

    Args:
        cookies: the visitor's, if not those of one who was here before.
        keeps: whether the visitor keeps the cookies that the first answers bring.
    """
    jar = visitor.Jar(cookies)

    async def keep(message: Any) -> None:
        for name, value in message.get("headers", ()):
            if name == b"set-cookie" and keeps:
                jar.take(value.decode("latin-1"))

    async def main(calls: int) -> float:
        taken, left = 0.0, calls
        for _ in range(2):
            await called(scope(path, jar.header, kind), receive, keep)
        while left:
            ahead = [scope(path, jar.header, kind) for _ in range(min(left, AHEAD))]
            started = process_time()
            for one in ahead:
                await called(one, receive, ignore)
            taken += process_time() - started
            left -= len(ahead)
        return taken

    return lambda calls: {"time": asyncio.run(main(calls)) / calls * 1e6}

"""A WSGI application, its requests, and a loop that calls it: no server, no sockets. `asgi_calls` is the same."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from time import process_time
from typing import Any

from benchmarks.support import visitor
from flagmw.wsgi import FlagsMiddleware as Middleware

__all__ = ["Middleware", "Reading", "app", "environ", "loop", "read_through"]
AHEAD = 250


def app(environ: Any, start_response: Any) -> Iterable[bytes]:
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"hello"]


class Reading:
    """An application that reads one flag, and the last variant it saw."""

    seen: str | None = None

    def __call__(self, environ: Any, start_response: Any) -> Iterable[bytes]:
        self.seen = environ["flagmw.flags"].get("11/ta_A")
        return app(environ, start_response)


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
        **({"HTTP_COOKIE": cookie} if cookie else {}),
    }


def ignore(status: str, headers: Any, exc_info: Any = None) -> None:
    pass


def read_through(body: Iterable[bytes]) -> None:
    """Do with an answer what a server does."""
    for _ in body:
        pass
    close = getattr(body, "close", None)
    if close is not None:
        close()


def loop(
    called: Callable[[Any, Any], Iterable[bytes]],
    path: str = "/",
    *,
    cookies: dict[str, str] | None = None,
    keeps: bool = True,
) -> Callable[[int], Mapping[str, float]]:
    """Return a function that measures the microseconds of CPU of one call; arguments as for `asgi_calls.loop`."""
    jar = visitor.Jar(cookies)

    def keep(status: str, headers: Any, exc_info: Any = None) -> None:
        for name, value in headers:
            if name.lower() == "set-cookie" and keeps:
                jar.take(value)

    def measure(calls: int) -> Mapping[str, float]:
        taken, left = 0.0, calls
        for _ in range(2):
            read_through(called(environ(path, jar.header), keep))
        while left:
            ahead = [environ(path, jar.header) for _ in range(min(left, AHEAD))]
            started = process_time()
            for one in ahead:
                read_through(called(one, ignore))
            taken += process_time() - started
            left -= len(ahead)
        return {"time": taken / calls * 1e6}

    return measure

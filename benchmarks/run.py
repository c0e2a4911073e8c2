"""Time flagmw against the floor it stands on, as ratios taken in one run: `make bench`.

Rounds are interleaved, medians are shown, and each row is set against the row named in its last column. Absolute
figures belong to the machine they were taken on; only the ratios travel.
"""

from __future__ import annotations

import argparse
import asyncio
import platform
import statistics
import sys
import time
from collections.abc import Awaitable, Callable, Iterable
from http.cookies import SimpleCookie
from typing import Any

from flagmw import Flagmw, Static, Webtrends, _cookies
from flagmw.asgi import FlagsMiddleware as ASGI
from flagmw.types import Reply, Visit, VisitorState
from flagmw.wsgi import FlagsMiddleware as WSGI

Case = tuple[str, Callable[[int], float], str]

TOKEN = "t" * 32
SITE_COOKIES = "; ".join(f"site{n}={'x' * 40}" for n in range(4))
VENDOR_COOKIES = "; ".join(
    f"_wt.{name}=WT3{'a' * 170}~" for name in ("user-1", "mode-1", "control-1-ta_A", "control-1-ta_B", "control-1-ta_C")
)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("--calls", type=int, default=5000)
    asked = options.parse_args()
    print(f"{platform.python_implementation()} {platform.python_version()}, {platform.machine()}, {sys.platform}\n")
    table("ASGI request, in process", asgi_cases(), asked.rounds, asked.calls)
    table("WSGI request, in process", wsgi_cases(), asked.rounds, asked.calls)
    table("parts", part_cases(), asked.rounds, asked.calls)


def table(title: str, cases: list[Case], rounds: int, calls: int) -> None:
    for _, case, _ in cases:
        case(calls // 10 + 1)
    times: dict[str, list[float]] = {name: [] for name, _, _ in cases}
    for _ in range(rounds):
        for name, case, _ in cases:
            times[name].append(case(calls) / calls * 1e6)
    medians = {name: statistics.median(taken) for name, taken in times.items()}
    print(f"{title}: median of {rounds} rounds of {calls}")
    print(f"  {'case':<44}{'us':>9}  {'min..max':>17}  ratio")
    for name, _, against in cases:
        spread = f"{min(times[name]):.2f}..{max(times[name]):.2f}"
        ratio = f"{medians[name] / medians[against]:.2f} x {against}" if against else ""
        print(f"  {name:<44}{medians[name]:>9.2f}  {spread:>17}  {ratio}")
    print()


# ASGI

SCOPE_HEADERS = [
    (b"host", b"www.mysite.com"),
    (b"user-agent", b"Mozilla/5.0 (X11; Linux x86_64) Chrome/141.0.0.0"),
    (b"cookie", f"{SITE_COOKIES}; {VENDOR_COOKIES}".encode()),
]


async def asgi_app(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
    await send({"type": "http.response.body", "body": b"hello"})


class Wrapping:
    """The least a middleware can be that sees the response's start."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        async def watched(message: Any) -> None:
            await send(message)

        await self.app(scope, receive, watched)


def asgi_cases() -> list[Case]:
    async def reading(scope: Any, receive: Any, send: Any) -> None:
        scope["state"]["flags"]["ta_A"]
        await asgi_app(scope, receive, send)

    fixed = Flagmw(vendors=[Static(flags={"ta_A": "b"})], exclude=["/excluded"])
    return [
        ("bare app", asgi_loop(asgi_app, "/"), ""),
        ("no-op middleware", asgi_loop(Wrapping(asgi_app), "/"), "bare app"),
        ("flagmw, excluded path", asgi_loop(ASGI(asgi_app, flagmw=fixed), "/excluded"), "no-op middleware"),
        ("flagmw, Static, no flag read", asgi_loop(ASGI(asgi_app, flagmw=fixed), "/"), "no-op middleware"),
        ("flagmw, Static, one flag read", asgi_loop(ASGI(reading, flagmw=fixed), "/"), "no-op middleware"),
    ]


def asgi_loop(app: Callable[[Any, Any, Any], Awaitable[None]], path: str) -> Callable[[int], float]:
    async def receive() -> Any:
        return {"type": "http.request", "body": b""}

    async def send(message: Any) -> None:
        pass

    async def run(calls: int) -> float:
        started = time.perf_counter()
        for _ in range(calls):
            scope = {
                "type": "http",
                "method": "GET",
                "scheme": "https",
                "path": path,
                "raw_path": path.encode(),
                "query_string": b"",
                "headers": SCOPE_HEADERS,
                "client": ("192.0.2.7", 1),
            }
            await app(scope, receive, send)
        return time.perf_counter() - started

    return lambda calls: asyncio.run(run(calls))


# WSGI


def wsgi_app(environ: Any, start_response: Any) -> Iterable[bytes]:
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"hello"]


def wsgi_noop(environ: Any, start_response: Any) -> Iterable[bytes]:
    def watched(status: str, headers: Any, exc_info: Any = None) -> Any:
        return start_response(status, headers, exc_info)

    return wsgi_app(environ, watched)


def wsgi_cases() -> list[Case]:
    def reading(environ: Any, start_response: Any) -> Iterable[bytes]:
        environ["flagmw.flags"]["ta_A"]
        return wsgi_app(environ, start_response)

    fixed = Flagmw(vendors=[Static(flags={"ta_A": "b"})], exclude=["/excluded"])
    return [
        ("bare app", wsgi_loop(wsgi_app, "/"), ""),
        ("no-op middleware", wsgi_loop(wsgi_noop, "/"), "bare app"),
        ("flagmw, excluded path", wsgi_loop(WSGI(wsgi_app, flagmw=fixed), "/excluded"), "no-op middleware"),
        ("flagmw, Static, no flag read", wsgi_loop(WSGI(wsgi_app, flagmw=fixed), "/"), "no-op middleware"),
        ("flagmw, Static, one flag read", wsgi_loop(WSGI(reading, flagmw=fixed), "/"), "no-op middleware"),
    ]


def wsgi_loop(app: Callable[[Any, Any], Iterable[bytes]], path: str) -> Callable[[int], float]:
    def start_response(status: str, headers: Any, exc_info: Any = None) -> Any:
        return None

    def run(calls: int) -> float:
        started = time.perf_counter()
        for _ in range(calls):
            environ = {
                "REQUEST_METHOD": "GET",
                "SCRIPT_NAME": "",
                "PATH_INFO": path,
                "QUERY_STRING": "",
                "wsgi.url_scheme": "https",
                "REMOTE_ADDR": "192.0.2.7",
                "HTTP_HOST": "www.mysite.com",
                "HTTP_USER_AGENT": "Mozilla/5.0 (X11; Linux x86_64) Chrome/141.0.0.0",
                "HTTP_COOKIE": f"{SITE_COOKIES}; {VENDOR_COOKIES}",
            }
            for _ in app(environ, start_response):
                pass
        return time.perf_counter() - started

    return run


# Parts

ANSWER = (
    b'{"body":{"cookies":{"_wt.control-1-ta_A":{"timeout":7776000000,"type":"persisted","value":"WT3abc~"},'
    b'"_wt.user-1":{"timeout":7776000000,"type":"persisted","value":"WT3def~"}},"factors":[{"name":"#f",'
    b'"operation":3,"value":"variation"}]},"opcode":"process","opstatus":"success","params":{"testAlias":"ta_A",'
    b'"r_experimentID":3,"r_runID":2,"r_testID":1,"r_type":"AB","cookieDomain":".mysite.com"}}'
)


def part_cases() -> list[Case]:
    vendor = Webtrends(1, TOKEN, "https://www.mysite.com")
    header = f"{SITE_COOKIES}; {VENDOR_COOKIES}"
    state = VisitorState(_cookies.read([header], [vendor.cookies]).own[0])
    visit = Visit(url="https://www.mysite.com/", user_agent="Mozilla/5.0")
    reply = Reply(status=200, headers={}, body=ANSWER)

    def decide() -> None:
        flow = vendor.decide(visit, state)
        next(flow)
        try:
            flow.send(reply)
        except StopIteration:
            return

    stdlib = "SimpleCookie.load, 9 cookies"
    return [
        (stdlib, loop(lambda: SimpleCookie().load(header)), ""),
        ("flagmw cookie reader", loop(lambda: _cookies.read([header], [vendor.cookies])), stdlib),
        ("Webtrends decision without I/O", loop(decide), ""),
    ]


def loop(work: Callable[[], object]) -> Callable[[int], float]:
    def run(calls: int) -> float:
        started = time.perf_counter()
        for _ in range(calls):
            work()
        return time.perf_counter() - started

    return run


if __name__ == "__main__":
    main()

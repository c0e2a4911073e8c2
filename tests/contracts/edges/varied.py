"""Send one process many different values of what visitors choose, and measure how much memory it keeps.

The long form: python -m tests.contracts.edges.varied --values 200000 --memory-mb 8 [KIND ...]
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import logging
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2
import orjson

from flagmw import Flagmw, Identity, Webtrends
from flagmw.asgi import FlagsMiddleware, flags_from

DOMAIN = 2490593
USER = f"_wt.user-{DOMAIN}"
WARM_UP = 200
ALLOWED = 1.2

Change = Callable[[int, str, dict[str, str], dict[str, Any]], None]


def _header(name: str, value: str) -> Change:
    def change(n: int, pad: str, headers: dict[str, str], _: dict[str, Any]) -> None:
        headers[name] = value.format(n=n, pad=pad)

    return change


def _path(n: int, pad: str, _: dict[str, str], scope: dict[str, Any]) -> None:
    scope["path"] = f"/{n}{pad}"


def _query(n: int, pad: str, _: dict[str, str], scope: dict[str, Any]) -> None:
    scope["query_string"] = f"q={n}{pad}".encode()


def _address(n: int, _: str, headers: dict[str, str], __: dict[str, Any]) -> None:
    headers["x-forwarded-for"] = f"198.{n // 65536 % 256}.{n // 256 % 256}.{n % 256}"


def _hosts_of_one(n: int, pad: str, headers: dict[str, str], _: dict[str, Any]) -> None:
    headers["cookie"], headers["host"] = f"{USER}=u{n // 5}", f"{n}.example{pad}"


def _paths_of_one(n: int, pad: str, headers: dict[str, str], scope: dict[str, Any]) -> None:
    headers["cookie"], scope["path"] = f"{USER}=u{n // 17}", f"/{n}{pad}"


def _many_cookies(n: int, _: str, headers: dict[str, str], __: dict[str, Any]) -> None:
    headers["cookie"] = f"{USER}=u{n}; " + "; ".join(f"_wt.control-{DOMAIN}-{n}-{each}=1" for each in range(100))


KINDS: dict[str, Change] = {
    "host": _header("host", "{n}.example{pad}"),
    "port": _header("host", "www.mysite.com:{n}"),
    "hosts of one visitor": _hosts_of_one,
    "path": _path,
    "paths of one visitor": _paths_of_one,
    "query": _query,
    "address": _address,
    "user agent": _header("user-agent", "Mozilla/5.0 Firefox/{n} {pad}"),
    "language": _header("accept-language", "en-{n}{pad}"),
    "referer": _header("referer", "https://{n}.example/{pad}"),
    "vendor cookie": _header("cookie", f"{USER}=u{{n}}{{pad}}"),
    "control cookie": _header("cookie", f"{USER}=u; _wt.control-{DOMAIN}-ta_{{n}}=c{{pad}}"),
    "many cookies": _many_cookies,
    "site cookie": _header("cookie", f"{USER}=u; session={{n}}{{pad}}"),
    "token": _header("cookie", f"{USER}=u; flagmw=a.{{n}}.{{pad}}"),
    "user id": _header("x-user", "user-{n}"),
    "metric": _header("x-metric", "metric-{n}"),
    "alias": _header("x-alias", "alias-{n}"),
}


def _decision(user: str) -> bytes:
    cookies = {USER: {"value": user, "timeout": 31536000000, "type": "persisted"}}
    factors = [{"name": "f", "value": "variation", "operation": 1}]
    body = {"factors": factors, "cookies": cookies}
    return orjson.dumps({"opcode": "process", "params": {"testAlias": "ta_A", "r_experimentID": "1"}, "body": body})


class Service(httpx2.AsyncBaseTransport, httpx2.BaseTransport):
    """A vendor without a network: decides for everybody, who keep the id that they bring."""

    def __init__(self) -> None:
        self.calls = 0

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        self.calls += 1
        sent = orjson.loads(await request.aread()).get("cookies", {})
        return httpx2.Response(200, content=_decision(sent.get(USER, {}).get("value") or f"new{self.calls}"))

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(200, content=b'{"opcode":"conversion","params":{"testAlias":"ta_A"},"body":{}}')


async def _view(scope: Any, receive: Any, send: Any) -> None:
    flags, headers = flags_from(scope), dict(scope["headers"])
    flags["ta_A"]
    if b"x-metric" in headers:
        flags.track(headers[b"x-metric"].decode(), aliases=["ta_A"])
    if b"x-alias" in headers:
        flags[headers[b"x-alias"].decode()]
        flags.track("buy", aliases=[headers[b"x-alias"].decode()])
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b""})


async def _nothing(*_: Any) -> Any:
    return {"type": "http.request", "body": b"", "more_body": False}


def resident_mib() -> float:
    """Return what of this process is in memory."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmRSS")).split()[1]) / 1024


async def grown(kinds: list[str], values: int, memory_mb: int, pad: int, outbox: str) -> float:
    """Return by how many MiB the process has grown when *values* different ones of each kind have come."""
    service = Service()
    account = Webtrends(DOMAIN, "a-token-of-tests", "https://www.mysite.com{path}", exposure="read")
    fm = Flagmw(
        vendors=[account],
        outbox=f"sqlite://{outbox}",
        memory_mb=memory_mb,
        transport=(service, service),
        signing_keys=["a-signing-key-of-the-tests-0123456789"],
        trusted_proxies=["203.0.113.0/24"],
        send_query=["q"],
        deadline_ms=5000,
        max_rate=100_000,
        new_visitors_per_s=100_000,
        identify=lambda inbound: Identity(user_id=inbound.header("x-user")),
    )
    app = FlagsMiddleware(_view, flagmw=fm)

    async def visit(n: int) -> None:
        headers = {"host": "www.mysite.com", "user-agent": "Mozilla/5.0 Firefox/140.0", "cookie": f"{USER}=u"}
        scope: dict[str, Any] = {"path": "/", "query_string": b""}
        for kind in kinds:
            KINDS[kind](n, "x" * pad, headers, scope)
        raw = [(name.encode(), value.encode()) for name, value in headers.items()]
        common = {"type": "http", "method": "GET", "scheme": "https", "root_path": "", "client": ("203.0.113.9", 1)}
        request = {**common, **scope, "raw_path": scope["path"].encode(), "headers": raw, "asgi": {"version": "3.0"}}
        await app(request, _nothing, _nothing)

    before = 0.0
    for n in range(values + WARM_UP):
        if n == WARM_UP:
            gc.collect()
            before = resident_mib()
        # Each in a task of its own, as servers do it.
        await asyncio.create_task(visit(n))
    gc.collect()
    after = resident_mib()
    await fm.aclose(10.0)
    return after - before


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kinds", nargs="*", metavar="KIND", help=f"what is varied; {', '.join(KINDS)}; all by default")
    parser.add_argument("--values", type=int, default=2000)
    parser.add_argument("--memory-mb", type=int, default=8)
    parser.add_argument("--pad", type=int, default=0, help="how much longer each value is made")
    parser.add_argument("--together", action="store_true", help="vary all kinds in each request")
    asked = parser.parse_args()
    logging.disable(logging.CRITICAL)
    kinds: list[str] = asked.kinds or list(KINDS)
    if len(kinds) > 1 and not asked.together:
        # Each in a process of its own: what one has given back would hide what the next one takes.
        numbers = ("--values", str(asked.values), "--memory-mb", str(asked.memory_mb), "--pad", str(asked.pad))
        raise SystemExit(max(subprocess.call([sys.executable, "-m", __spec__.name, kind, *numbers]) for kind in kinds))
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as outbox:
        mib = asyncio.run(grown(kinds, asked.values, asked.memory_mb, asked.pad, outbox))
    said, seconds = "together" if asked.together else kinds[0], time.monotonic() - began
    print(f"{said}: +{mib:.1f} MiB of {asked.memory_mb} ({asked.values} values, {seconds:.0f} s)", flush=True)
    raise SystemExit(mib > ALLOWED * asked.memory_mb)


if __name__ == "__main__":
    main()

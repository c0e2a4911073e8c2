"""What a vendor call costs without flagmw: bare clients, the naive ones, and the least that speaks HTTP at all."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

import orjson

from benchmarks.support import visitor
from benchmarks.support.harness import tasks, threads
from flagmw.types import Call, VisitorState

FLOOR, RAW = "aiohttp + orjson, bare", "asyncio protocol + orjson, bare"
NAIVE, SYNC_NAIVE = "naive httpx.AsyncClient", "naive httpx.Client"
Opened = Callable[[], Awaitable[tuple[Callable[[], Awaitable[Any]], Callable[[], Awaitable[None]]]]]


def request(url: str) -> Call:
    """Return the call that a decision makes, so that the bare clients send the same bytes."""
    flow = visitor.webtrends(url).decide(visitor.visit(), VisitorState(visitor.vendor_cookies()))
    call = next(flow)
    flow.close()
    return call


def looped(opened: Opened) -> Callable[[int, int], Mapping[str, float]]:
    """Return a case that opens a client, warms it up and measures it, all in one event loop."""

    async def main(calls: int, callers: int) -> Mapping[str, float]:
        ask, close = await opened()
        await tasks(ask, callers * 2, callers)
        measured = await tasks(ask, calls, callers)
        await close()
        return measured

    return lambda calls, callers: asyncio.run(main(calls, callers))


async def bare_aiohttp(call: Call) -> Any:
    import aiohttp

    session = aiohttp.ClientSession(auto_decompress=True)

    async def ask() -> Any:
        async with session.post(call.url, data=call.body, headers=call.headers) as response:
            return orjson.loads(await response.read())

    return ask, session.close


class Connection(asyncio.Protocol):
    """One connection that is asked one thing at a time and believes every answer."""

    def connection_made(self, transport: Any) -> None:
        self.transport, self.unread = transport, b""

    def ask(self, wire: bytes, answer: asyncio.Future[bytes]) -> None:
        self.answer = answer
        self.transport.write(wire)

    def data_received(self, data: bytes) -> None:
        self.unread += data
        head, end, body = self.unread.partition(b"\r\n\r\n")
        if end and len(body) == int(head.rpartition(b"content-length: ")[2].partition(b"\r")[0]):
            self.unread = b""
            self.answer.set_result(body)


async def bare_protocol(call: Call) -> Any:
    parts, loop = urlsplit(call.url), asyncio.get_running_loop()
    headers = {**call.headers, "Host": parts.netloc, "Content-Length": str(len(call.body or b""))}
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    wire = f"{call.method} {parts.path} HTTP/1.1\r\n{lines}\r\n".encode() + (call.body or b"")
    idle: list[Connection] = []

    async def ask() -> Any:
        if idle:
            connection = idle.pop()
        else:
            _, connection = await loop.create_connection(Connection, parts.hostname, parts.port)
        answer = loop.create_future()
        connection.ask(wire, answer)
        body = await answer
        idle.append(connection)
        return orjson.loads(body)

    async def close() -> None:
        for connection in idle:
            connection.transport.close()

    return ask, close


async def naive(call: Call) -> Any:
    import httpx

    client = httpx.AsyncClient()

    async def ask() -> Any:
        return (await client.post(call.url, content=call.body, headers=call.headers)).json()

    return ask, client.aclose


def naive_threads(call: Call, calls: int, callers: int) -> Mapping[str, float]:
    import httpx

    with httpx.Client() as client:

        def ask() -> Any:
            return client.post(call.url, content=call.body, headers=call.headers).json()

        threads(ask, callers * 2, callers)
        return threads(ask, calls, callers)


async def deciding(url: str, **options: Any) -> Any:
    """Open flagmw on the stub, with a visitor like no one before for every call."""
    fm = visitor.flagmw(url, **{**visitor.asking(), **options})
    await fm.astart()
    wanted = (await fm.adecide(visitor.visit())).get("11/ta_A")
    assert wanted == "variation", wanted
    return (lambda: fm.adecide(visitor.visit())), fm.aclose


def deciding_threads(url: str, calls: int, callers: int, transport: str) -> Mapping[str, float]:
    fm = visitor.flagmw(url, transport=(transport, None), pool_size=max(8, callers), **visitor.asking())
    fm.start()

    def ask() -> Any:
        return fm.decide(visitor.visit())

    assert ask().get("11/ta_A") == "variation"
    threads(ask, callers * 2, callers)
    measured = threads(ask, calls, callers)
    fm.close()
    return measured

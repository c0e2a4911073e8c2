"""The start of a response under ASGI, which waits for the body's first piece, but not for long."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from flagmw import Flagmw, Static
from flagmw.asgi import FlagsMiddleware, flags_from
from tests.contracts.edges.driver import Sent, http_scope

PUBLIC = [(b"cache-control", b"public, max-age=60")]
View = Callable[[Any, Any, Any], Awaitable[None]]


class Client:
    """The other end of a request: sends pieces when it is told to, and notes when messages come."""

    def __init__(self) -> None:
        self.queue: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.got: list[dict[str, Any]] = []
        self.times: list[float] = []
        self.started = asyncio.Event()
        self.gone = False

    def sends(self, body: bytes, *, more: bool) -> None:
        self.queue.put_nowait({"type": "http.request", "body": body, "more_body": more})

    async def receive(self) -> dict[str, Any]:
        return await self.queue.get()

    async def send(self, message: dict[str, Any]) -> None:
        if self.gone:
            raise OSError("the client has gone")
        self.got.append(message)
        self.times.append(time.monotonic())
        self.started.set()

    @property
    def headers(self) -> dict[bytes, bytes]:
        return dict(self.got[0]["headers"])


async def serve(view: View, client: Client, **scope: Any) -> None:
    fm = Flagmw(vendors=[Static(flags={"ta_A": "b"})], outbox="memory://", mode="eager")
    app = FlagsMiddleware(view, flagmw=fm)
    try:
        async with asyncio.timeout(5):
            await app(http_scope(Sent(**scope)), client.receive, client.send)
    finally:
        await fm.aclose(2.0)


async def start(send: Any, headers: Any = ()) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [*headers]})


async def piece(send: Any, body: bytes, *, more: bool = True) -> None:
    await send({"type": "http.response.body", "body": body, "more_body": more})


async def test_C2_a_two_way_exchange() -> None:
    """The client sends on when it has the start: the application answers before it has all of the request."""

    async def view(scope: Any, receive: Any, send: Any) -> None:
        assert (await receive())["more_body"]
        await start(send, PUBLIC)
        body = (await receive())["body"]
        await piece(send, body + flags_from(scope)["ta_A"].encode(), more=False)

    client = Client()
    client.sends(b"one", more=True)

    async def second() -> None:
        await client.started.wait()
        client.sends(b"two", more=False)

    sender = asyncio.create_task(second())
    await serve(view, client, method="POST", headers=[("transfer-encoding", "chunked")])
    await sender
    assert client.got[1]["body"] == b"twob"
    assert client.headers[b"cache-control"].startswith(b"private")


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_C2_a_long_poll(method: str) -> None:
    """The headers leave some milliseconds after the application has sent them, and nobody else may keep the page."""

    async def view(scope: Any, receive: Any, send: Any) -> None:
        if method == "POST":
            await receive()
        await start(send, PUBLIC)
        await asyncio.sleep(0.3)
        await piece(send, flags_from(scope)["ta_A"].encode(), more=False)

    client = Client()
    client.sends(b"", more=False)
    await serve(view, client, method=method, headers=[("content-length", "1")] if method == "POST" else [])
    assert [message["type"] for message in client.got] == ["http.response.start", "http.response.body"]
    assert client.times[1] - client.times[0] > 0.2
    assert client.headers[b"cache-control"].startswith(b"private")
    assert b"Cookie" in client.headers[b"vary"]


async def test_C2_a_page_at_once_stays_as_it_was() -> None:
    """A start with its body behind it waits for no timer, and what is public and unread stays public."""

    async def view(scope: Any, receive: Any, send: Any) -> None:
        await start(send, PUBLIC)
        await piece(send, b"x", more=False)

    client = Client()
    await serve(view, client)
    assert client.headers == dict(PUBLIC)
    # A request whose body has come whole is like one without.
    client = Client()
    client.sends(b"{}", more=False)

    async def reads_first(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await view(scope, receive, send)

    await serve(reads_first, client, method="POST", headers=[("content-length", "2")])
    assert client.headers == dict(PUBLIC)


async def test_C2_a_read_before_the_first_piece() -> None:
    async def view(scope: Any, receive: Any, send: Any) -> None:
        await start(send, PUBLIC)
        await piece(send, flags_from(scope)["ta_A"].encode(), more=False)

    client = Client()
    await serve(view, client)
    assert client.headers[b"cache-control"].startswith(b"private")


async def test_C2_a_client_that_has_gone() -> None:
    """The application hears of it at its next message, as if it had sent the start itself; nothing is left behind."""

    async def view(scope: Any, receive: Any, send: Any) -> None:
        await start(send)
        await asyncio.sleep(0.05)
        await piece(send, b"x", more=False)

    client = Client()
    client.gone = True
    with pytest.raises(OSError, match="gone"):
        await serve(view, client)


async def test_C2_an_application_that_fails() -> None:
    """A start that had not left is the server's to replace; one that had left is not sent again."""

    async def fails(scope: Any, receive: Any, send: Any) -> None:
        await start(send)
        await asyncio.sleep(0.05 if scope["path"] == "/late" else 0)
        raise LookupError("broken")

    for path, messages in (("/", 0), ("/late", 1)):
        client = Client()
        with pytest.raises(LookupError):
            await serve(fails, client, path=path)
        await asyncio.sleep(0.03)
        assert len(client.got) == messages

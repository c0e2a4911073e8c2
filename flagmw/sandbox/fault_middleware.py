"""ASGI middleware that applies faults to bytes and connections."""

from __future__ import annotations

import asyncio
import os
import socket
import struct
import zlib
from collections.abc import Callable
from functools import lru_cache
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from flagmw.sandbox.faults import PROCESSED_KINDS, SCOPE_KEY, VENDOR_KINDS, Rule
from flagmw.sandbox.ledger import shown_headers
from flagmw.sandbox.state import Sandbox

RouteOf = Callable[[str], tuple[str, str] | None]


class ConnectionCut(ConnectionResetError):
    """Raised towards an in-process caller, where there is no socket that could be cut."""


class FaultWrapper:
    """Pick a fault for each request of a vendor's route and carry it out.

    Args:
        app: the vendors' application.
        sandbox: holds the rules, and the ledger that hears of requests the vendor never sees.
        route_of: from a path to (vendor, route); None for paths that no fault may touch.
    """

    def __init__(self, app: ASGIApp, sandbox: Sandbox, route_of: RouteOf) -> None:
        self._app = app
        self._sandbox = sandbox
        self._route_of = route_of

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._sandbox.ledger.begin()
        known = self._route_of(scope["path"]) if scope["type"] == "http" else None
        rule = self._sandbox.faults.pick(*known) if known else None
        if known is None or rule is None:
            await self._app(scope, receive, send)
            return
        scope = {**scope, SCOPE_KEY: rule}
        if rule.kind not in PROCESSED_KINDS and not rule.processed:
            self._record(scope, known, rule)
        if rule.kind in VENDOR_KINDS:
            await self._app(scope, receive, send)
        elif rule.kind == "delay":
            # The body is taken first: a vendor that has it goes on when the caller runs out of patience.
            whole = await _taken(receive)
            await asyncio.sleep(rule.ms / 1000)
            await self._app(scope, whole, send)
        elif rule.kind in ("drip", "truncate"):
            await self._mangle(rule, scope, receive, send)
        elif rule.kind in ("hang", "reset", "close"):
            await self._silence(rule, scope, receive)
        else:
            await self._take(rule, scope, receive)
            await _answer(send, *_canned(rule))

    def _record(self, scope: Scope, known: tuple[str, str], rule: Rule) -> None:
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        self._sandbox.ledger.request(
            {
                "time": self._sandbox.clock(), "vendor": known[0], "action": known[1], "path": scope["path"],
                "headers": shown_headers(headers), "aliases": [], "lint": [], "fault": rule.kind,
                "answer": {"status": None, "results": []},
            }
        )  # fmt: skip

    async def _mangle(self, rule: Rule, scope: Scope, receive: Receive, send: Send) -> None:
        start, body = await _collect(self._app, scope, receive)
        if rule.kind == "drip":
            await _drip(rule, start, body, receive, send)
            return
        await send(start)
        length = min(rule.size(len(body) // 2), max(len(body) - 1, 0))
        await send({"type": "http.response.body", "body": body[:length], "more_body": True})
        await _cut(receive, reset=False)

    async def _silence(self, rule: Rule, scope: Scope, receive: Receive) -> None:
        await self._take(rule, scope, receive)
        if rule.kind == "hang":
            gone = asyncio.ensure_future(_until_disconnect(receive))
            await asyncio.wait([gone], timeout=rule.ms / 1000 if rule.ms else None)
            if gone.done():
                return
            gone.cancel()
        await _cut(receive, reset=rule.kind == "reset")

    async def _take(self, rule: Rule, scope: Scope, receive: Receive) -> None:
        """Read the request, and let the vendor process it where the rule says so."""
        if rule.processed:
            await _collect(self._app, scope, receive)
        else:
            await _taken(receive)


async def _collect(app: ASGIApp, scope: Scope, receive: Receive) -> tuple[Message, bytes]:
    """Let the application answer, and return the answer instead of sending it."""
    start: Message = {}
    chunks: list[bytes] = []

    async def keep(message: Message) -> None:
        if message["type"] == "http.response.start":
            start.update(message)
        else:
            chunks.append(message.get("body", b""))

    await app(scope, receive, keep)
    return start, b"".join(chunks)


async def _taken(receive: Receive) -> Receive:
    """Read the request, and return a `receive` that gives it again."""
    messages = [await receive()]
    while messages[-1]["type"] == "http.request" and messages[-1].get("more_body"):
        messages.append(await receive())

    async def again() -> Message:
        return messages.pop(0) if messages else await receive()

    return again


async def _until_disconnect(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _cut(receive: Receive, *, reset: bool) -> None:
    """Close the connection under the server, with an RST when *reset*."""
    # ASGI has no message for this. In uvicorn `receive` is bound to the object that holds the transport.
    transport: Any = getattr(getattr(receive, "__self__", None), "transport", None)
    if transport is None:
        raise ConnectionCut("the sandbox cut the connection")
    if reset:
        raw = transport.get_extra_info("socket")
        with socket.socket(fileno=os.dup(raw.fileno())) as same:
            # Linger on, for 0 seconds: closing then discards what is unsent and sends RST.
            same.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        transport.abort()
    else:
        transport.close()
    # uvicorn answers 500 for an application that returns without a response, unless it knows of the disconnect.
    await _until_disconnect(receive)


def _canned(rule: Rule) -> tuple[int, list[tuple[bytes, bytes]], bytes]:
    status = rule.http_status()
    if rule.kind == "html":
        page = b"<!DOCTYPE html><html><head><title>Gateway</title></head><body><h1>Sorry</h1></body></html>"
        return status, [(b"content-type", b"text/html; charset=utf-8")], page
    if rule.kind == "redirect":
        return status, [(b"location", rule.location.encode("latin-1"))], b""
    json_type = (b"content-type", b"application/json")
    if rule.kind == "empty":
        return status, [json_type], b""
    if rule.kind == "gzip_bomb":
        return status, [json_type, (b"content-encoding", b"gzip")], _bomb(rule.size())
    headers = [(b"content-type", b"text/plain")]
    if rule.retry_after is not None:
        headers.append((b"retry-after", str(rule.retry_after).encode()))
    return status, headers, f"status {status}\n".encode()


@lru_cache(maxsize=2)
def _bomb(size: int) -> bytes:
    """Compress *size* bytes of legal JSON (one string of blanks) without ever holding them."""
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    block = b" " * 65536
    parts = [packer.compress(b'"')]
    parts.extend(packer.compress(block) for _ in range(size // len(block)))
    parts.extend((packer.compress(block[: size % len(block)]), packer.compress(b'"'), packer.flush()))
    return b"".join(parts)


async def _drip(rule: Rule, start: Message, body: bytes, receive: Receive, send: Send) -> None:
    await send(start)
    gone = asyncio.ensure_future(_until_disconnect(receive))
    for at in range(0, len(body), rule.size()):
        if gone.done():
            return
        await send({"type": "http.response.body", "body": body[at : at + rule.size()], "more_body": True})
        await asyncio.sleep(rule.ms / 1000)
    gone.cancel()
    await send({"type": "http.response.body", "body": b""})


async def _answer(send: Send, status: int, headers: list[tuple[bytes, bytes]], body: bytes) -> None:
    length = [] if status in (204, 304) else [(b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers + length})
    await send({"type": "http.response.body", "body": b"" if status in (204, 304) else body})

"""One ASGI response: its start is edited, its tracks are committed before its end."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flagmw._edge.asgi_scope import Message, Receive, Scope, Send
from flagmw._edge.edge import Edge
from flagmw._exchange.protocol import RequestExchange
from flagmw._web import response as response_headers
from flagmw.flags.flags import Flags

if TYPE_CHECKING:
    import asyncio


def may_have_body(scope: Scope) -> bool:
    """Say whether the client may still be sending when the application answers."""
    for name, value in scope["headers"]:
        if name == b"transfer-encoding" or (name == b"content-length" and value != b"0"):
            return True
    return scope["method"] not in _BODILESS and not scope.get("http_version", "1.1").startswith("1")


_BODILESS = frozenset({"GET", "HEAD", "OPTIONS", "DELETE"})


class RequestBody:
    """The request's body on its way to the application.

    Attributes:
        arrived: whether all of it has arrived, or the client has gone.
    """

    __slots__ = ("_receive", "arrived")

    def __init__(self, receive: Receive) -> None:
        self._receive, self.arrived = receive, False

    async def receive(self) -> Message:
        message = await self._receive()
        if message["type"] != "http.request" or not message.get("more_body"):
            self.arrived = True
        return message


class Responder:
    """Edit one response's start and commit its tracks before its end.

    The start of a response that caches may store waits for the body's first message: what the view reads in
    between still makes the response private. It waits for some milliseconds at most, and not while the client still
    sends: an application may answer before it reads on. If it leaves alone, the response is private, since the view
    may read later.

    Args:
        body: the request's body; None if there is none.
    """

    __slots__ = (
        "_body",
        "_edge",
        "_exchange",
        "_flags",
        "_held",
        "_plain",
        "_recorder",
        "_releasing",
        "_send",
        "_timer",
        "_unread",
    )

    def __init__(
        self, edge: Edge, exchange: RequestExchange, flags: Flags, send: Send, body: RequestBody | None, *, plain: bool
    ) -> None:
        self._edge, self._exchange, self._flags, self._send = edge, exchange, flags, send
        self._recorder, self._body, self._plain = exchange.recorder, body, plain
        self._held: Message | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._releasing: asyncio.Task[None] | None = None
        self._unread = False

    async def send(self, message: Message) -> None:
        kind = message["type"]
        alone = False
        if kind == "http.response.start" and not self._flags.touched and self._may_wait(message):
            if self._body is None or self._body.arrived:
                self._hold(message)
                return
            alone = True
        if self._held is not None or self._releasing is not None:
            await self.release()
        if kind in ("http.response.start", "websocket.accept"):
            message = self._start(message, alone=alone)
        # Before the visitor has any of the answer; what happens later, in a stream perhaps, is put away as it comes.
        recorder = self._recorder
        if recorder.pending:
            await self._edge.acommit(self._exchange)
        recorder.answered = True
        await self._send(message)

    def _hold(self, message: Message) -> None:
        import asyncio

        self._held = message
        self._timer = asyncio.get_running_loop().call_later(_HOLD_S, self._waited)

    def _waited(self) -> None:
        """Send the start alone: the body has not begun in time."""
        import asyncio

        if self._held is not None:
            held, self._held = self._held, None
            self._releasing = asyncio.get_running_loop().create_task(self._send_alone(held))

    async def _send_alone(self, message: Message) -> None:
        await self._send(self._start(message, alone=True))

    async def release(self) -> None:
        """Send the start that waits, if any, with the headers that it has now."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._held is not None:
            held, self._held = self._held, None
            await self._send(self._start(held))
        elif self._releasing is not None:
            # What goes wrong with it is the application's to know, as if it had sent the start itself.
            releasing, self._releasing = self._releasing, None
            await releasing

    def over(self) -> None:
        """Note whether flags were looked at too late to make the response private."""
        if self._timer is not None:
            self._timer.cancel()  # the application has failed: its server answers
        releasing = self._releasing
        if releasing is not None and not releasing.cancel() and not releasing.cancelled():
            releasing.exception()  # the application has ended without asking
        if self._unread and self._flags.touched:
            self._edge.touched_late()

    def _may_wait(self, message: Message) -> bool:
        try:
            raw = message.get("headers") or ()
            if not isinstance(raw, list | tuple):
                return False
            for name, value in raw:
                if name not in _NEUTRAL_FIELDS or (name == b"content-type" and value[:10].lower() == b"text/event"):
                    break
            else:
                return True
            return response_headers.may_wait([(name.decode("latin-1"), value.decode("latin-1")) for name, value in raw])
        except Exception as error:
            self._edge.internal_error(error)
            return False

    def _start(self, message: Message, *, alone: bool = False) -> Message:
        """Return the start of the response as it leaves; the application's own message may serve others too.

        Args:
            alone: nothing of the body has come yet, so that flags may still be read.
        """
        cookies, no_store = self._exchange.set_cookies, self._exchange.no_store
        touched = alone or self._flags.touched
        self._unread = self._plain and not touched
        if not touched and not cookies and not no_store:
            return message
        try:
            raw = list(message.get("headers") or ())
            if touched and not no_store and self._plain and _plain_answer(message, raw, bool(cookies)):
                # The common case, without taking everything apart: nothing was said of caches, and no cookie set.
                return {
                    **message,
                    "headers": [*raw, *_PRIVATE, *((b"set-cookie", c.encode("latin-1")) for c in cookies)],
                }
            headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in raw]
            if self._plain:
                edited = response_headers.edit(
                    headers,
                    message["status"],
                    cookies,
                    touched=touched,
                    no_store=no_store,
                )
            else:
                # Caches have no part in a handshake, so cookies are all there is to add.
                taken = {value.partition("=")[0].strip() for name, value in headers if name.lower() == "set-cookie"}
                edited = [*headers, *(("set-cookie", c) for c in cookies if c.partition("=")[0] not in taken)]
            if edited is not None:
                raw = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in edited]
            return {**message, "headers": raw}
        except Exception as error:
            self._edge.internal_error(error)
            return message


_HOLD_S = 0.01
# The tables of `_web/response.py` as ASGI has headers: in bytes.
_PRIVATE = tuple((name.encode(), value.encode()) for name, value in response_headers.PRIVATE_HEADERS)
_NEUTRAL_FIELDS = frozenset(name.encode() for name in response_headers.NEUTRAL_FIELDS)
_CACHE_FIELDS = frozenset(name.encode() for name in response_headers.CACHE_FIELDS)
_CDN_SUFFIX = response_headers.CDN_SUFFIX.encode()


def _plain_answer(message: Message, raw: list[tuple[bytes, bytes]], adds_cookies: bool) -> bool:
    """Say whether this is an ordinary response that says nothing to caches, nor sets cookies where more are added."""
    if not 200 <= message["status"] < 600 or message["status"] == 304:
        return False
    for name, _ in raw:
        if name in _NEUTRAL_FIELDS and not (adds_cookies and name == b"set-cookie"):
            continue
        name = name.lower()
        if adds_cookies and name == b"set-cookie":
            return False
        if name in _CACHE_FIELDS or name.endswith(_CDN_SUFFIX):
            return False
    return True

"""ASGI middleware: the visitor's flags at `scope["state"]["flags"]`.

Pure ASGI (specification 3.0): nothing is buffered, unknown scope types pass untouched.
"""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias
from urllib.parse import quote

from flagmw._edge.edge import Edge
from flagmw._exchange.protocol import RequestExchange
from flagmw._support.ending import ends_by_signal
from flagmw._web import response as response_headers
from flagmw._web.asgi_state import own_state
from flagmw._web.inbound import mounted, mounted_raw
from flagmw._web.link_page import Page
from flagmw._web.matched_route import MatchedRoutes
from flagmw.exceptions import OutboxError
from flagmw.flags.current import set_current, swap_current
from flagmw.flags.flags import Flags
from flagmw.runtime import NO_ASYNCIO, Flagmw, edge_of, rest, runs_asyncio

if TYPE_CHECKING:
    import asyncio

Scope: TypeAlias = MutableMapping[str, Any]
Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
ASGIApp: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]

KEY = "flagmw.flags"


class FlagsMiddleware:
    """Decide flags for each http and websocket request, set the vendors' cookies, commit tracks.

    Mounted twice it does its work once. It starts *flagmw* in the lifespan, or at the first request where the
    server has none, and closes it when the application has shut down.

    Args:
        app: the application.
        flagmw: what decides.

    Raises:
        TypeError: *flagmw* is something else.
    """

    def __init__(self, app: ASGIApp, *, flagmw: Flagmw) -> None:
        if not isinstance(flagmw, Flagmw):
            raise TypeError(f"FlagsMiddleware needs flagmw=Flagmw(...), not {type(flagmw).__name__}")
        self.app = app
        self.flagmw = flagmw
        self._edge = edge_of(flagmw)
        self._routes = MatchedRoutes(app)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        kind = scope["type"]
        if kind == "lifespan":
            await self.app(scope, receive, _Lifespan(self.flagmw, send).send)
            return
        if kind not in ("http", "websocket") or KEY in scope:
            await self.app(scope, receive, send)
            return
        edge = self._edge
        root: str = scope.get("root_path") or ""
        if edge.leaves_alone(mounted(scope["path"], root) if root else scope["path"]):
            # Most excluded paths never look: flags are made for those that do.
            scope[KEY] = edge.excluded
            _order_cookies(scope, edge)
            outer = swap_current(None)
            try:
                await self.app(scope, receive, send)
            finally:
                set_current(outer)
            return
        exchange: RequestExchange | None
        flags: Flags
        request: _Request | None = None
        try:
            request = _Request(scope)
            if edge.asks_site:
                request.live = scope
                if edge.awaits_site:
                    await edge.answer(request)
            if edge.lazy or (edge.waits and self._routes.can_wait(scope)):
                exchange, flags = await self._lazily(request)
            else:
                exchange = begun = edge.take(request)
                ready = edge.ready(begun)
                flags = await edge.adecide(begun) if ready is None else ready
        except Exception as error:
            # A defect of ours must not become the site's error page: the application runs as if we were not there.
            edge.internal_error(error)
            exchange, flags = None, edge.defective()
        if exchange is not None and exchange.page is not None:
            await _send_page(send, exchange.page, exchange.set_cookies)
            return
        scope[KEY] = flags
        _order_cookies(scope, edge)
        # Some servers give all requests of a connection the same state, some of which are served at the same time.
        server_state = scope.get("state")
        scope["state"] = own_state(server_state, flags)
        # This may be a request that a view makes of its own application: the view's flags come back afterwards.
        outer = swap_current(flags)
        try:
            if exchange is None:
                await self.app(scope, receive, send)
                return
            body = _Body(receive) if kind == "http" and _may_have_body(scope) else None
            responder = _Responder(edge, exchange, flags, send, body, plain=kind == "http")
            try:
                await self.app(scope, receive if body is None else body.receive, responder.send)
                await responder.release()
            finally:
                # The application may have failed, or the visitor gone: what they did before that happened all the same.
                responder.over()
                if exchange.recorder.pending:
                    await edge.acommit(exchange)
            if edge.shadows and kind == "http":
                edge.ask_shadow(exchange, flags, on_loop=True)
        finally:
            set_current(outer)
            if request is not None:
                request.live = None  # it knows the flags, which know the request
            if server_state is not None:
                scope["state"] = server_state

    async def _lazily(self, request: _Request) -> tuple[RequestExchange, Flags]:
        """Return flags that decide when they are first read, or at once where there is nothing to ask."""
        edge = self._edge
        deferred = edge.defer(request)
        if deferred is not None:
            return deferred, edge.lazily(deferred, on_loop=True)
        exchange = edge.take(request)
        await edge.aload_visitor(exchange)
        flags = edge.lazily(exchange, on_loop=True) if exchange.asks else edge.ready(exchange)
        return exchange, await edge.adecide(exchange) if flags is None else flags


def _order_cookies(scope: Scope, edge: Edge) -> None:
    """Put vendors' cookies that the application may be unable to read behind the site's own."""
    for name, value in scope["headers"]:
        if name == b"cookie" and (b'"' in value or value.count(b" ") != value.count(b"; ")):
            break
    else:
        return
    cookies = [value.decode("latin-1") for name, value in scope["headers"] if name == b"cookie"]
    ordered = edge.site_cookies_first("; ".join(cookies))
    if ordered is not None:
        others = [header for header in scope["headers"] if header[0] != b"cookie"]
        scope["headers"] = [*others, (b"cookie", ordered.encode("latin-1"))]


async def _send_page(send: Send, page: Page, cookies: Sequence[str]) -> None:
    """Send a response of ours in place of the application's."""
    lines = [*page.headers, ("content-length", str(len(page.body))), *(("set-cookie", cookie) for cookie in cookies)]
    headers = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in lines]
    await send({"type": "http.response.start", "status": page.status, "headers": headers})
    await send({"type": "http.response.body", "body": page.body})


def _may_have_body(scope: Scope) -> bool:
    """Say whether the client may still be sending when the application answers."""
    for name, value in scope["headers"]:
        if name == b"transfer-encoding" or (name == b"content-length" and value != b"0"):
            return True
    return scope["method"] not in _BODILESS and not scope.get("http_version", "1.1").startswith("1")


_BODILESS = frozenset({"GET", "HEAD", "OPTIONS", "DELETE"})


class _Body:
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


class _Responder:
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
        self, edge: Edge, exchange: RequestExchange, flags: Flags, send: Send, body: _Body | None, *, plain: bool
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


class _Lifespan:
    """Start flagmw when the application is up, and let it rest, or close it, when the application has shut down."""

    def __init__(self, flagmw: Flagmw, send: Send) -> None:
        self._flagmw, self._send = flagmw, send

    async def send(self, message: Message) -> None:
        try:
            if message["type"] == "lifespan.startup.complete" and not runs_asyncio():
                # Every page would have its defaults, and every track would be lost.
                message = {"type": "lifespan.startup.failed", "message": NO_ASYNCIO}
            elif message["type"] == "lifespan.startup.complete":
                try:
                    await self._flagmw.astart()
                except OutboxError as error:
                    # Only with `outbox_required`: the server is to end instead of losing what visitors do.
                    text = f"flagmw: the outbox is required and cannot be used: {error}"
                    message = {"type": "lifespan.startup.failed", "message": text}
            elif message["type"] in ("lifespan.shutdown.complete", "lifespan.shutdown.failed"):
                # It need not be the process's end: adapters to serverless platforms have a lifespan for each request.
                await (self._flagmw.aclose() if ends_by_signal() else rest(self._flagmw))
        except Exception as error:
            edge_of(self._flagmw).internal_error(error)
        await self._send(message)


_WIRE = {name: name.encode() for name in ("host", "user-agent", "sec-purpose", "purpose")}


class _Request:
    """An ASGI scope as the engine reads it."""

    __slots__ = ("_headers", "_named", "_root", "_scope", "answers", "live", "method", "path")

    # What the site's functions have said already, by option; set where they were asked before.
    answers: dict[str, Any]

    def __init__(self, scope: Scope) -> None:
        # Not the scope itself, into which flags come that know their request: circles are left to the collector.
        self._scope = dict(scope)
        # The scope itself, for as long as the application runs and where functions of the site may want its session.
        self.live: Scope | None = None
        headers = scope["headers"]
        self._headers: Sequence[tuple[bytes, bytes]] = headers if isinstance(headers, list | tuple) else [*headers]
        self._named: dict[bytes, bytes] | None = None
        self.method: str = scope.get("method", "GET")
        self._root: str = scope.get("root_path") or ""
        self.path: str = mounted(scope["path"], self._root) if self._root else scope["path"]

    @property
    def request(self) -> Any:
        scope = self._scope if self.live is None else self.live
        starlette = sys.modules.get("starlette.requests")
        if starlette is None:
            return scope
        return starlette.Request(scope) if scope["type"] == "http" else starlette.HTTPConnection(scope)

    @property
    def scheme(self) -> str:
        scheme: str = self._scope.get("scheme", "http")
        return scheme

    @property
    def raw_path(self) -> str:
        raw: bytes | None = self._scope.get("raw_path")
        if not raw:
            return quote(self.path)
        path = raw.partition(b"?")[0].decode("latin-1")
        return mounted_raw(path, self._root) if self._root else path

    @property
    def query(self) -> str:
        query: bytes = self._scope.get("query_string", b"")
        return query.decode("latin-1")

    @property
    def peer(self) -> str | None:
        client = self._scope.get("client")
        return client[0] if client else None

    def headers(self, name: str) -> list[str]:
        wanted = name.encode("latin-1")
        return [value.decode("latin-1") for key, value in self._headers if key == wanted]

    def header(self, name: str) -> str | None:
        # Servers send names in lower case (ASGI, HTTP connection scope).
        named = self._named
        if named is None:
            # The first of a name is the one that counts: later ones are put in before it.
            named = self._named = dict(reversed(self._headers))
        value = named.get(_WIRE.get(name) or name.encode("latin-1"))
        return None if value is None else value.decode("latin-1")


def flags_from(scope: Scope) -> Flags:
    """Return the flags of the request with this *scope*; undecided ones where its path is excluded.

    Raises:
        RuntimeError: no `FlagsMiddleware` is mounted.
    """
    try:
        flags: Flags | Callable[[], Flags] = scope[KEY]
    except KeyError:
        raise RuntimeError("no flags on this request: mount flagmw.asgi.FlagsMiddleware around the app") from None
    if not isinstance(flags, Flags):
        flags = scope[KEY] = flags()
    return flags

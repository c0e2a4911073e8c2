"""ASGI middleware: the visitor's flags at `scope["state"]["flags"]`.

Pure ASGI (specification 3.0): nothing is buffered, unknown scope types pass untouched.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from flagmw._edge.asgi_responder import RequestBody, Responder, may_have_body
from flagmw._edge.asgi_scope import ASGIApp, Message, Receive, Scope, ScopeRequest, Send
from flagmw._edge.edge import Edge
from flagmw._exchange.protocol import RequestExchange
from flagmw._support.ending import ends_by_signal
from flagmw._web.asgi_state import own_state
from flagmw._web.inbound import mounted
from flagmw._web.link_page import Page
from flagmw._web.matched_route import MatchedRoutes
from flagmw.exceptions import OutboxError
from flagmw.flags.current import set_current, swap_current
from flagmw.flags.flags import Flags
from flagmw.runtime import Flagmw, NoAsyncioError, edge_of, rest

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
        request: ScopeRequest | None = None
        try:
            request = ScopeRequest(scope)
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
            body = RequestBody(receive) if kind == "http" and may_have_body(scope) else None
            responder = Responder(edge, exchange, flags, send, body, plain=kind == "http")
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

    async def _lazily(self, request: ScopeRequest) -> tuple[RequestExchange, Flags]:
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


class _Lifespan:
    """Start flagmw when the application is up, and let it rest, or close it, when the application has shut down."""

    def __init__(self, flagmw: Flagmw, send: Send) -> None:
        self._flagmw, self._send = flagmw, send

    async def send(self, message: Message) -> None:
        try:
            if message["type"] == "lifespan.startup.complete":
                try:
                    await self._flagmw.astart()
                except OutboxError as error:
                    # Only with `outbox_required`: the server is to end instead of losing what visitors do.
                    text = f"flagmw: the outbox is required and cannot be used: {error}"
                    message = {"type": "lifespan.startup.failed", "message": text}
                except NoAsyncioError as error:
                    # Without asyncio every page would have its defaults, and every track would be lost.
                    message = {"type": "lifespan.startup.failed", "message": f"{error}"}
            elif message["type"] in ("lifespan.shutdown.complete", "lifespan.shutdown.failed"):
                # It need not be the process's end: adapters to serverless platforms have a lifespan for each request.
                await (self._flagmw.aclose() if ends_by_signal() else rest(self._flagmw))
        except Exception as error:
            edge_of(self._flagmw).internal_error(error)
        await self._send(message)


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

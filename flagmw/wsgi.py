"""WSGI middleware (PEP 3333): the visitor's flags at `environ["flagmw.flags"]`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

from flagmw._cookies.site_first import looks_readable
from flagmw._edge.edge import Edge
from flagmw._edge.wsgi_environ import EnvironRequest, full_path
from flagmw._edge.wsgi_responder import Body, End, SizedBody, Start, watch_file_wrapper
from flagmw._exchange.protocol import RequestExchange
from flagmw._web.link_page import Page
from flagmw.flags.current import set_current, swap_current
from flagmw.flags.flags import Flags
from flagmw.runtime import Flagmw, edge_of

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

KEY = "flagmw.flags"


class FlagsMiddleware:
    """Decide flags for each request, set the vendors' cookies, commit tracks.

    Mounted twice it does its work once. What the application returns is handed on as it is where the server may
    compare or measure it (the server's own file wrapper, a list); anything else is wrapped to see its end.

    Args:
        app: the application.
        flagmw: what decides.

    Raises:
        TypeError: *flagmw* is something else.
    """

    def __init__(self, app: WSGIApplication, *, flagmw: Flagmw) -> None:
        if not isinstance(flagmw, Flagmw):
            raise TypeError(f"FlagsMiddleware needs flagmw=Flagmw(...), not {type(flagmw).__name__}")
        self.app = app
        self.flagmw = flagmw
        self._edge = edge_of(flagmw)
        self._edge.check_blocking()

    def _request(self, environ: WSGIEnvironment, path: str) -> EnvironRequest:
        return EnvironRequest(environ, path)

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        if KEY in environ:
            return self.app(environ, start_response)
        flags, exchange = self._decide(environ)
        if exchange is not None and exchange.page is not None:
            return _send_page(start_response, exchange.page, exchange.set_cookies)
        # Most excluded paths never look: flags are made for those that do.
        environ[KEY] = self._edge.excluded if flags is None else flags
        _order_cookies(environ, self._edge)
        # This may be a request that a view makes of its own application: the view's flags come back afterwards.
        outer = swap_current(flags)
        try:
            if flags is None:
                return self.app(environ, start_response)
            return self._call(environ, start_response, flags, exchange)
        finally:
            set_current(outer)

    def _call(
        self,
        environ: WSGIEnvironment,
        start_response: StartResponse,
        flags: Flags,
        exchange: RequestExchange | None,
    ) -> Iterable[bytes]:
        """Call the application, and return its body when the server has the status and the headers."""
        start = None if exchange is None else Start(self._edge, exchange, flags, start_response)
        end = End(self._edge, exchange, flags, start)
        is_file = watch_file_wrapper(environ)
        try:
            body = self.app(environ, start_response if start is None else start)
        except BaseException:
            end()
            raise
        end.commit()
        # Shadow vendors wait for a body's end, and a server's own file has none that could be seen.
        if (isinstance(body, list | tuple) and not self._edge.shadows) or is_file(body):
            if start is not None:
                start.release()
            return body
        wrapped = SizedBody(body, end) if hasattr(body, "__len__") else Body(body, end)
        if start is not None and not start.is_settled():
            # Some servers read status and headers when the application returns, although PEP 3333 lets it call
            # start_response as late as with the first piece of the body.
            wrapped.draw()
        return wrapped

    def _decide(self, environ: WSGIEnvironment) -> tuple[Flags | None, RequestExchange | None]:
        """Return flags and exchange; no flags for an excluded path, no exchange after a defect of ours."""
        edge = self._edge
        try:
            path = full_path(environ)
            if edge.leaves_alone(path):
                return None, None
            request = self._request(environ, path)
            if edge.waits:
                deferred = edge.defer(request)
                if deferred is not None:
                    return edge.lazily(deferred, on_loop=False), deferred
            exchange = edge.take(request)
            if edge.waits and exchange.asks:
                return edge.lazily(exchange, on_loop=False), exchange
            return edge.decide(exchange), exchange
        except Exception as error:
            # A defect of ours must not become the site's error page: the application runs as if we were not there.
            edge.internal_error(error)
            return edge.defective(), None


def _order_cookies(environ: WSGIEnvironment, edge: Edge) -> None:
    """Put vendors' cookies that the application may be unable to read behind the site's own.

    A function, so that no traceback of the application's has the header among its locals.
    """
    cookies = environ.get("HTTP_COOKIE", "")
    if cookies and not looks_readable(cookies):
        environ["HTTP_COOKIE"] = edge.site_cookies_first(cookies) or cookies


def _send_page(start_response: StartResponse, page: Page, cookies: Sequence[str]) -> list[bytes]:
    """Send a response of ours in place of the application's."""
    length = ("Content-Length", str(len(page.body)))
    status = {200: "200 OK", 303: "303 See Other"}[page.status]
    start_response(status, [*page.headers, length, *(("Set-Cookie", cookie) for cookie in cookies)])
    return [page.body]


def flags_from(environ: WSGIEnvironment) -> Flags:
    """Return the flags of the request with this *environ*; undecided ones where its path is excluded.

    Raises:
        RuntimeError: no `FlagsMiddleware` is mounted.
    """
    try:
        flags: Flags | Callable[[], Flags] = environ[KEY]
    except KeyError:
        raise RuntimeError("no flags on this request: mount flagmw.wsgi.FlagsMiddleware around the app") from None
    if not isinstance(flags, Flags):
        flags = environ[KEY] = flags()
    return flags

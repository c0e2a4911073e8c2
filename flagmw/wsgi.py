"""WSGI middleware (PEP 3333): the visitor's flags at `environ["flagmw.flags"]`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote

from flagmw._cookies.site_first import looks_readable
from flagmw._edge.edge import Edge
from flagmw._exchange.protocol import RequestExchange
from flagmw._web import response as response_headers
from flagmw._web.inbound import mounted, mounted_raw
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

    def _request(self, environ: WSGIEnvironment, path: str) -> _Request:
        return _Request(environ, path)

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
        start = None if exchange is None else _Start(self._edge, exchange, flags, start_response)
        end = _End(self._edge, exchange, flags, start)
        is_file = _watch_file_wrapper(environ)
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
        wrapped = _SizedBody(body, end) if hasattr(body, "__len__") else _Body(body, end)
        if start is not None and not start.is_settled():
            # Some servers read status and headers when the application returns, although PEP 3333 lets it call
            # start_response as late as with the first piece of the body.
            wrapped.draw()
        return wrapped

    def _decide(self, environ: WSGIEnvironment) -> tuple[Flags | None, RequestExchange | None]:
        """Return flags and exchange; no flags for an excluded path, no exchange after a defect of ours."""
        edge = self._edge
        try:
            path = _path(environ)
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


def _watch_file_wrapper(environ: WSGIEnvironment) -> Callable[[object], bool]:
    """Return a test whether a body is what the server's own file wrapper made: servers look for that very object."""
    wrapper = environ.get("wsgi.file_wrapper")
    if wrapper is None or isinstance(wrapper, type):
        return lambda body: wrapper is not None and isinstance(body, wrapper)
    files: list[object] = []

    def watched(*args: Any) -> Any:
        files.append(wrapper(*args))
        return files[-1]

    # uWSGI's and mod_wsgi's are functions, whose results have no type that we could know.
    environ["wsgi.file_wrapper"] = watched
    return lambda body: any(body is file for file in files)


class _Start:
    """Hold the response's start until the first piece of its body, as servers hold its headers.

    What the view reads in between still makes the response private.
    """

    __slots__ = ("_edge", "_exchange", "_gone", "_held", "_start_response", "_unread", "_write", "flags")

    def __init__(self, edge: Edge, exchange: RequestExchange, flags: Flags, start_response: StartResponse) -> None:
        self._edge, self._exchange, self.flags, self._start_response = edge, exchange, flags, start_response
        self._held: tuple[Any, ...] | None = None
        self._write: Callable[[bytes], object] | None = None
        self._gone = self._unread = False

    def __call__(self, status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Callable[[bytes], object]:
        more = () if exc_info is None else (exc_info,)
        if self._gone or (self._held is not None and exc_info is None):
            # A second start: the server knows whether that can still be.
            self.release()
            return self._start_response(status, headers, *more)
        self._held = (status, headers, *more)
        return self._written

    def release(self) -> None:
        """Let the start through, with the headers that it has now."""
        if self._held is None:
            return
        (status, headers, *more), self._held = self._held, None
        flags, cookies = self.flags, self._exchange.set_cookies
        self._unread = not flags.touched
        no_store = self._exchange.no_store
        if flags.touched or cookies or no_store:
            try:
                edited = response_headers.edit(
                    headers, int(status[:3]), cookies, touched=flags.touched, no_store=no_store
                )
                headers = headers if edited is None else edited
            except Exception as error:
                self._edge.internal_error(error)
        # Some servers return no function to write with.
        self._gone = True
        self._write = self._start_response(status, headers, *more)

    def is_settled(self) -> bool:
        """Say whether the server has the start, which goes out now if nothing of the body can change it any more."""
        if self._held is not None and self.flags.touched:
            self.release()
        return self._gone

    def over(self) -> None:
        """Note whether flags were looked at too late to make the response private."""
        if self._unread and self.flags.touched:
            self._edge.touched_late()

    def _written(self, data: bytes) -> object:
        self.release()
        # None where the server has no such function: it fails as it would without us.
        return self._write(data)  # type: ignore[misc]


class _End:
    """Commit what is left, once."""

    __slots__ = ("_done", "_edge", "_exchange", "flags", "start")

    def __init__(self, edge: Edge, exchange: RequestExchange | None, flags: Flags, start: _Start | None) -> None:
        self._edge, self._exchange, self.flags, self.start, self._done = edge, exchange, flags, start, False

    def commit(self) -> None:
        if self._exchange is None:
            return
        recorder = self._exchange.recorder
        recorder.answered = True
        if recorder.pending:
            self._edge.commit(self._exchange)

    def __call__(self) -> None:
        if not self._done:
            self._done = True
            self.commit()
            if self.start is not None:
                self.start.over()
            if self._exchange is not None and self.start is not None and self._edge.shadows:
                self._edge.ask_shadow(self._exchange, self.start.flags, on_loop=False)


class _Body:
    """Pass a body through, piece by piece, and see its end; `close()` of the application's is called once.

    The flags are current while the application makes a piece, and only then: a server may make the pieces of several
    responses in turn, and need not call `close()` in the thread that made them.
    """

    __slots__ = ("_body", "_end", "_first", "_iterator")

    def __init__(self, body: Iterable[bytes], end: _End) -> None:
        self._body, self._end = body, end
        self._iterator: Iterator[bytes] | None = None
        self._first: list[bytes] = []

    def __iter__(self) -> Iterator[bytes]:
        return self

    def draw(self) -> None:
        """Take the first piece, and keep it for the server.

        What goes wrong with it is raised as by the application's call, whose body no server will close.
        """
        try:
            self._first.append(self._next())
        except StopIteration:
            pass
        except BaseException:
            self.close()
            raise

    def __next__(self) -> bytes:
        return self._first.pop() if self._first else self._next()

    def _next(self) -> bytes:
        outer = swap_current(self._end.flags)
        try:
            if self._iterator is None:
                self._iterator = iter(self._body)
            piece = next(self._iterator)
        except StopIteration:
            self._passed()
            raise
        except BaseException:
            self._end.commit()
            raise
        finally:
            set_current(outer)
        self._passed()
        return piece

    def _passed(self) -> None:
        """Let the start through with the first piece, or when there is none; commit before the visitor has it."""
        if self._end.start is not None:
            self._end.start.release()
        self._end.commit()

    def close(self) -> None:
        body, self._body = self._body, ()
        outer = swap_current(self._end.flags)
        try:
            close = getattr(body, "close", None)
            if close is not None:
                close()
        finally:
            set_current(outer)
            self._end()


class _SizedBody(_Body):
    """A body whose length the server may ask for: with one piece it knows the Content-Length."""

    __slots__ = ()

    def __len__(self) -> int:
        return len(self._body)  # type: ignore[arg-type]


_ENVIRON = {name: f"HTTP_{name.upper().replace('-', '_')}" for name in ("host", "user-agent", "sec-purpose", "purpose")}


def _path(environ: WSGIEnvironment) -> str:
    """Return the decoded path, with the mount point."""
    root: str = environ.get("SCRIPT_NAME", "")
    path: str = environ.get("PATH_INFO", "")
    # One that is in PATH_INFO as well is the mount point only if the server was asked for just that path.
    if root and not (mounted(path, root) == path and unquote(_raw_path(environ) or "", "latin-1") == path):
        path = root + path
    # One character per byte (PEP 3333, "Unicode Issues").
    return (path if path.isascii() else path.encode("latin-1", "replace").decode("utf-8", "replace")) or "/"


def _raw_path(environ: WSGIEnvironment) -> str | None:
    """Return the path as it was sent, if the server tells."""
    for name in ("RAW_URI", "REQUEST_URI"):
        raw = environ.get(name)
        if isinstance(raw, str) and raw.startswith("/"):
            return raw.partition("?")[0]
    return None


class _Request:
    """A WSGI environ as the engine reads it: as it was before the flags, which know their request, came into it."""

    __slots__ = ("_environ", "answers", "path")

    # What the site's functions have said already, by option; set where they were asked on a loop.
    answers: dict[str, Any]

    def __init__(self, environ: WSGIEnvironment, path: str) -> None:
        self._environ, self.path = environ.copy(), path

    @property
    def request(self) -> Any:
        return self._environ

    @property
    def method(self) -> str:
        return str(self._environ.get("REQUEST_METHOD", "GET"))

    @property
    def scheme(self) -> str:
        return str(self._environ.get("wsgi.url_scheme", "http"))

    @property
    def raw_path(self) -> str:
        raw = _raw_path(self._environ)
        if raw is None:
            return quote(self.path)
        root: str = self._environ.get("SCRIPT_NAME", "")
        return mounted_raw(raw, root.encode("latin-1", "replace").decode("utf-8", "replace")) if root else raw

    @property
    def query(self) -> str:
        return str(self._environ.get("QUERY_STRING", ""))

    @property
    def peer(self) -> str | None:
        return self._environ.get("REMOTE_ADDR") or None

    def headers(self, name: str) -> list[str]:
        # Servers join repeated headers, and drop or refuse names with an underscore.
        value = self._environ.get("HTTP_" + name.upper().replace("-", "_"))
        return [] if value is None else [value]

    def header(self, name: str) -> str | None:
        value: str | None = self._environ.get(_ENVIRON.get(name) or "HTTP_" + name.upper().replace("-", "_"))
        return value


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

"""HTTP with httpcore or httpcore2, blocking and async."""

from __future__ import annotations

import importlib
import logging
import ssl
from contextlib import aclosing
from contextvars import ContextVar
from typing import Any

from flagmw._transports import http as wire_http
from flagmw._transports.body import Limits
from flagmw._transports.connection import Connection, SocketStream
from flagmw._transports.proxies import Proxy
from flagmw.codes import ErrorCode
from flagmw.exceptions import ConfigError, TransportError
from flagmw.types import Call

# Set while one of our calls is in httpcore, whose debug log would show a vendor's reply headers.
ours: ContextVar[bool] = ContextVar("flagmw_ours", default=False)


class _Mute(logging.Filter):
    """Keep httpcore's debug lines about our calls out of the log, and nobody else's."""

    def filter(self, record: logging.LogRecord) -> bool:
        return not ours.get()


_MUTE = _Mute()
# Whichever of the libraries a call goes through, its own or a caller's transport's, and whatever it speaks.
for _name in ("httpcore", "httpcore2"):
    for _part in ("http11", "http2", "proxy", "socks"):
        logging.getLogger(f"{_name}.{_part}").addFilter(_MUTE)


def library() -> Any:
    """Import httpcore2, which comes with httpx2; where it is not installed, httpcore.

    Raises:
        ConfigError: neither is installed.
    """
    for name in ("httpcore2", "httpcore"):
        try:
            lib = importlib.import_module(name)
        except ModuleNotFoundError:
            continue
        return lib
    raise ConfigError("flagmw needs an HTTP library: pip install httpx2")


class Httpcore:
    """The blocking half."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._lib: Any = None

    @property
    def lib(self) -> Any:
        if self._lib is None:
            self._lib = library()
        return self._lib

    def load(self) -> None:
        self._lib = self.lib

    def tls_context(self) -> ssl.SSLContext:
        context: ssl.SSLContext = self.lib.default_ssl_context()
        return context

    def open(self, to: wire_http.Target, wire: SocketStream) -> Any:
        return self.lib.HTTP11Connection(self._origin(to), wire)

    def ask(self, link: Connection, call: Call, to: wire_http.Target, *, absolute: bool) -> wire_http.RawReply:
        ours.set(True)
        try:
            response = link.http.handle_request(self._request(call, to, absolute))
            body = self._body(link.wire, call, response)
            for chunk in response.stream:
                body.feed(chunk)
            response.close()
            content = body.finish()
        finally:
            ours.set(False)
        link.spent = not _clean(link.http)
        return wire_http.RawReply(response.status, response.headers, content)

    def tunnel(self, wire: SocketStream, proxy: Proxy, to: wire_http.Target) -> int:
        """Ask *proxy* for a way to *to* and return its status."""
        request = self._connect_request(proxy, to)
        status: int = self.lib.HTTP11Connection(request.url.origin, wire).handle_request(request).status
        return status

    def explain(self, error: Exception, wire: SocketStream) -> TransportError:
        """Say what an exception of httpcore means, from what the wire saw rather than from its text."""
        lib = self.lib
        if isinstance(error, lib.LocalProtocolError):
            # The parser refused our own request before a byte of it was written: a codec's mistake.
            return TransportError(ErrorCode.INTERNAL, sent=wire.wrote)
        if isinstance(error, lib.RemoteProtocolError):
            if wire.ended:
                return TransportError(ErrorCode.TRUNCATED if wire.received else ErrorCode.RESET)
            if wire_http.header_too_large(error):
                return TransportError(ErrorCode.TOO_LARGE)
            return TransportError(ErrorCode.TRANSPORT)
        return wire_http.explain_other(error, wire)

    def _body(self, wire: SocketStream, call: Call, response: Any) -> Any:
        if not wire.received:
            # Left over from the answer before: whatever it is, it does not belong to this call.
            raise TransportError(ErrorCode.TRANSPORT)
        return wire_http.body_for(call, response.status, response.headers, self._limits)

    def _request(self, call: Call, to: wire_http.Target, absolute: bool) -> Any:
        url = self.lib.URL(
            scheme=to.scheme.encode(),
            host=to.host.encode(),
            port=to.port,
            target=wire_http.request_target(to, absolute),
        )
        headers = wire_http.request_headers(call, to.authority)
        return self.lib.Request(call.method, url, headers=headers, content=call.body)

    def _origin(self, to: wire_http.Target) -> Any:
        return self.lib.Origin(to.scheme.encode(), to.host.encode(), to.port)

    def _connect_request(self, proxy: Proxy, to: wire_http.Target) -> Any:
        place = to.place.encode("ascii")
        url = self.lib.URL(scheme=b"http", host=proxy.host.encode("idna"), port=proxy.port, target=place)
        return self.lib.Request("CONNECT", url, headers=[(b"host", place), *proxy.headers])


class AsyncHttpcore(Httpcore):
    """The async half, for httpcore's async connections."""

    def open(self, to: wire_http.Target, wire: SocketStream) -> Any:
        return self.lib.AsyncHTTP11Connection(self._origin(to), wire)

    async def aask(self, link: Connection, call: Call, to: wire_http.Target, *, absolute: bool) -> wire_http.RawReply:
        ours.set(True)
        try:
            response = await link.http.handle_async_request(self._request(call, to, absolute))
            body = self._body(link.wire, call, response)
            async with aclosing(aiter(response.stream)) as chunks:
                async for chunk in chunks:
                    body.feed(chunk)
            await response.aclose()
            content = body.finish()
        finally:
            ours.set(False)
        link.spent = not _clean(link.http)
        return wire_http.RawReply(response.status, response.headers, content)

    async def atunnel(self, wire: SocketStream, proxy: Proxy, to: wire_http.Target) -> int:
        request = self._connect_request(proxy, to)
        connection = self.lib.AsyncHTTP11Connection(request.url.origin, wire)
        status: int = (await connection.handle_async_request(request)).status
        return status


def _clean(http: Any) -> bool:
    """Say whether nothing followed the answer. httpcore does not look, so its parser is asked; if it cannot be
    asked, the answer is no.
    """
    parser = getattr(http, "_h11_state", None)
    return parser is not None and not parser.trailing_data[0] and bool(http.is_idle())

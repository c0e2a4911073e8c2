"""HTTP with httptools, blocking and async.

httptools reads answers only, so requests are written here; their parts are checked against RFC 9110 first.
"""

from __future__ import annotations

import ssl
from typing import Any

import httptools

from flagmw._transports import http as wire_http
from flagmw._transports.body import Body, Limits
from flagmw._transports.connection import Connection, SocketStream
from flagmw._transports.proxies import Proxy
from flagmw.codes import ErrorCode
from flagmw.exceptions import TransportError
from flagmw.types import Call

_CHUNK = 65536
_TUNNEL = Call(method="CONNECT", url="", headers={})


def written(call: Call, to: wire_http.Target, absolute: bool) -> list[bytes]:
    """Return the bytes of a request.

    Raises:
        TransportError: `INTERNAL` for what would not be one request: a codec's mistake.
    """
    head = wire_http.request_head(call, to, absolute=absolute)
    return [head, call.body] if call.body else [head]


def asked(proxy: Proxy, to: wire_http.Target) -> bytes:
    """Return the bytes that ask *proxy* for a tunnel."""
    place = to.place.encode("ascii")
    return wire_http.head(b"CONNECT", place, [(b"host", place), *proxy.headers])


class ResponseParser:
    """Collect one answer, as httptools tells of its parts. No I/O."""

    def __init__(self, call: Call, limits: Limits) -> None:
        self._call, self._limits = call, limits
        self._parser = httptools.HttpResponseParser(self)
        # Servers have long padded chunk sizes, and RFC 9112 (2.2) lets a client take a single LF. Neither moves the
        # bounds of an answer. What also takes folded fields takes a space before the colon, which does.
        self._parser.set_dangerous_leniencies(lenient_optional_cr_before_lf=True, lenient_spaces_after_chunk_size=True)
        self._lines: list[tuple[bytes, bytes]] = []
        self._chunks: list[bytes] = []
        self._begun = self._headed = self._complete = self._keep = False
        self._body: Body | None = None
        self.status = 0
        self.stray = False

    # What httptools calls. Nothing is raised in here: it would come out wrapped.

    def on_message_begin(self) -> None:
        self.stray = self._complete

    def on_header(self, name: bytes, value: bytes) -> None:
        # After the headers these are trailers, which nobody wants.
        if not self._headed:
            self._lines.append((name, value))

    def on_headers_complete(self) -> None:
        if not self._complete:
            self._headed, self.status = True, self._parser.get_status_code()

    def on_body(self, chunk: bytes) -> None:
        if not self._complete:
            self._chunks.append(chunk)

    def on_message_complete(self) -> None:
        if self._complete:
            return
        if 100 <= self.status < 200 and self.status != 101:
            self._headed = False
            self._lines.clear()
            return
        self._complete = True
        self._keep = self._parser.should_keep_alive()

    # What the speakers call.

    @property
    def headed(self) -> bool:
        """Whether the status and all header lines are there."""
        return self._headed

    def feed(self, data: bytes) -> bool:
        """Take what was received, nothing at its end; say whether the answer is complete.

        Raises:
            TransportError: it is too long, ends too early, or is no HTTP.
        """
        if not data:
            self._end()
            return True
        self._begun = True
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            if not self._complete:
                raise TransportError(ErrorCode.TRANSPORT) from None
            self.stray = True
        if self._headed:
            self._take()
        return self._complete

    def finish(self) -> wire_http.RawReply:
        assert self._body is not None
        return wire_http.RawReply(self.status, self._lines, self._body.finish())

    def reusable(self) -> bool:
        return self._complete and self._keep and not self.stray

    def _take(self) -> None:
        if self._body is None:
            if self.status == 101:
                raise TransportError(ErrorCode.PROTOCOL)
            self._body = wire_http.body_for(self._call, self.status, self._lines, self._limits)
            if self._call.method == "HEAD":
                # httptools cannot be told that no body follows.
                self._complete = True
        for chunk in self._chunks:
            self._body.feed(chunk)
        self._chunks.clear()

    def _end(self) -> None:
        """The connection has ended: good for a body that says neither its length nor where it ends."""
        if not self._begun:
            raise TransportError(ErrorCode.RESET)
        names = {name.lower() for name, _ in self._lines}
        if self._body is None or names & {b"content-length", b"transfer-encoding"}:
            raise TransportError(ErrorCode.TRUNCATED)


class Httptools:
    """The blocking half, for wires that block."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits

    def load(self) -> None:
        pass

    def tls_context(self) -> ssl.SSLContext:
        return ssl.create_default_context()

    def open(self, to: wire_http.Target, wire: SocketStream) -> Any:
        return None

    def ask(self, link: Connection, call: Call, to: wire_http.Target, *, absolute: bool) -> wire_http.RawReply:
        wire: Any = link.wire
        reading = ResponseParser(call, self._limits)
        wire.pending += written(call, to, absolute)
        while not reading.feed(wire.read(_CHUNK)):
            pass
        link.spent = not reading.reusable()
        return reading.finish()

    def tunnel(self, wire: Any, proxy: Proxy, to: wire_http.Target) -> int:
        reading = ResponseParser(_TUNNEL, self._limits)
        wire.pending.append(asked(proxy, to))
        while not reading.headed:
            reading.feed(wire.read(_CHUNK))
        return reading.status

    def explain(self, error: Exception, wire: SocketStream) -> TransportError:
        return wire_http.explain_other(error, wire)


class AsyncHttptools(Httptools):
    """The async half, for wires whose reading is awaited."""

    async def aask(self, link: Connection, call: Call, to: wire_http.Target, *, absolute: bool) -> wire_http.RawReply:
        wire: Any = link.wire
        reading = ResponseParser(call, self._limits)
        wire.pending += written(call, to, absolute)
        while not reading.feed(await wire.read(_CHUNK)):
            pass
        link.spent = not reading.reusable()
        return reading.finish()

    async def atunnel(self, wire: Any, proxy: Proxy, to: wire_http.Target) -> int:
        reading = ResponseParser(_TUNNEL, self._limits)
        wire.pending.append(asked(proxy, to))
        while not reading.headed:
            reading.feed(await wire.read(_CHUNK))
        return reading.status

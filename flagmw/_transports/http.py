"""Addresses, headers and errors, alike for all HTTP libraries. No I/O."""

from __future__ import annotations

import re
import socket
import ssl
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from flagmw._transports.body import Body, Limits
from flagmw._transports.connection import SocketStream
from flagmw.codes import ErrorCode
from flagmw.exceptions import TransportError
from flagmw.types import Call, Reply

_PORTS = {"http": 80, "https": 443}
# These describe the connection, so the driver alone sets them.
# Longer than that are but a few parts of calls, and those are one visitor's own.
_KEPT_CHARS = 256
_OURS = frozenset({"host", "content-length", "transfer-encoding", "connection"})
_PLAIN = frozenset({"GET", "HEAD", "OPTIONS", "DELETE"})


# RFC 9110, 5.6.2 and 5.5: a token, and a field value, in which white space is only inside.
_TOKEN = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_START = re.compile(_TOKEN + rb" [\x21-\x7e]+ HTTP/1\.1\r\n")
_LINE = re.compile(_TOKEN + rb": (?:[\x21-\x7e\x80-\xff](?:[\t\x20-\x7e\x80-\xff]*[\x21-\x7e\x80-\xff])?)?\r\n")


class Target(NamedTuple):
    """The target of a call."""

    scheme: str
    host: str
    port: int
    authority: str
    path: bytes

    @property
    def key(self) -> tuple[str, str, int]:
        return (self.scheme, self.host, self.port)

    @property
    def place(self) -> str:
        """Host and port, as a proxy is asked for them."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class RawReply(NamedTuple):
    """The response: the header lines as received, the body decoded."""

    status: int
    headers: Iterable[tuple[bytes, bytes]]
    body: bytes


@lru_cache(maxsize=256)
def _origin(scheme: str, netloc: str) -> tuple[str, int, str]:
    parts = urlsplit(f"{scheme}://{netloc}")
    host, port = parts.hostname or "", parts.port or _PORTS[scheme]
    if not host.isascii():
        host = host.encode("idna").decode("ascii")
    shown = f"[{host}]" if ":" in host else host
    return host, port, shown if port == _PORTS[scheme] else f"{shown}:{port}"


def target(call: Call) -> Target:
    """Take the address of *call* apart.

    Raises:
        TransportError: `INTERNAL`, because urls come from the configuration and the codecs, never from visitors.
    """
    # What is long is one visitor's own: it would fill the memory and be of no use to the next.
    return _target(call.url) if len(call.url) <= _KEPT_CHARS else _target.__wrapped__(call.url)


# Most vendors are asked at one address.
@lru_cache(maxsize=256)
def _target(url: str) -> Target:
    try:
        parts = urlsplit(url)
        host, port, authority = _origin(parts.scheme, parts.netloc)
        path = f"{parts.path or '/'}{'?' if parts.query else ''}{parts.query}".encode("ascii")
    except (ValueError, KeyError) as error:
        raise TransportError(ErrorCode.INTERNAL, sent=False) from error
    if not host:
        raise TransportError(ErrorCode.INTERNAL, sent=False)
    return Target(parts.scheme, host, port, authority, path)


def request_headers(call: Call, authority: str) -> list[tuple[bytes, bytes]]:
    """Return the header lines of *call*; no library adds its own name or anything else to them."""
    lines = [(b"host", authority.encode("ascii"))]
    asked = False
    for name, value in call.headers.items():
        low = name.lower()
        if low not in _OURS:
            lines.append(_encoded(name, value))
            asked = asked or low == "accept-encoding"
    if not asked:
        lines.append((b"accept-encoding", b"gzip"))
    if call.body or call.method not in _PLAIN:
        lines.append((b"content-length", b"%d" % len(call.body)))
    return lines


def request_target(to: Target, absolute: bool) -> bytes:
    """Return the target of the request line; *absolute* is the form that a forwarding proxy wants."""
    return f"{to.scheme}://{to.authority}".encode("ascii") + to.path if absolute else to.path


def request_head(call: Call, to: Target, *, absolute: bool) -> bytes:
    """Return the beginning of *call* as it is sent, up to its body.

    Raises:
        TransportError: as `head`.
    """
    where = request_target(to, absolute)
    lines = [_started(call.method.encode("ascii", "replace"), where), _host_line(to.authority)]
    asked = False
    for name, value in call.headers.items():
        line, asks = _call_line(name, value) if len(value) <= _KEPT_CHARS else _call_line.__wrapped__(name, value)
        lines.append(line)
        asked = asked or asks
    if not asked:
        lines.append(_checked_line(b"accept-encoding", b"gzip"))
    if call.body or call.method not in _PLAIN:
        lines.append(b"content-length: %d\r\n" % len(call.body))
    lines.append(b"\r\n")
    return b"".join(lines)


@lru_cache(maxsize=256)
def _host_line(authority: str) -> bytes:
    return _checked_line(b"host", authority.encode("ascii"))


@lru_cache(maxsize=256)
def _call_line(name: str, value: str) -> tuple[bytes, bool]:
    """Return a header line of a call, empty where it is the driver's to write; and whether it asks for compression."""
    low = name.lower()
    if low in _OURS:
        return b"", False
    return _line(*_encoded(name, value)), low == "accept-encoding"


def _encoded(name: str, value: str) -> tuple[bytes, bytes]:
    return name.encode("latin-1", "replace"), value.strip(" \t").encode("latin-1", "replace")


def head(method: bytes, where: bytes, headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    """Return the beginning of a request, up to its body.

    Raises:
        TransportError: `INTERNAL` for what would not be one request: a codec's mistake.
    """
    lines = [_checked_line(*line) if len(line[1]) <= _KEPT_CHARS else _line(*line) for line in headers]
    return b"".join([_started(method, where), *lines, b"\r\n"])


# The same few lines are written again and again.
@lru_cache(maxsize=256)
def _checked_start(method: bytes, where: bytes) -> bytes:
    start = b"%s %s HTTP/1.1\r\n" % (method, where)
    if not _START.fullmatch(start):
        raise TransportError(ErrorCode.INTERNAL, sent=False)
    return start


def _started(method: bytes, where: bytes) -> bytes:
    start: bytes = (_checked_start if len(where) <= _KEPT_CHARS else _checked_start.__wrapped__)(method, where)
    return start


def _line(name: bytes, value: bytes) -> bytes:
    line = b"%s: %s\r\n" % (name, value)
    if not _LINE.fullmatch(line):
        raise TransportError(ErrorCode.INTERNAL, sent=False)
    return line


_checked_line = lru_cache(maxsize=256)(_line)


def checked_headers(call: Call, to: Target) -> list[tuple[str, str]]:
    """Return the header lines of *call* as text, for a library that checks them later than we want.

    Raises:
        TransportError: as `head`.
    """
    headers = request_headers(call, to.authority)
    head(call.method.encode("ascii", "replace"), to.path, headers)
    return [(name.decode("latin-1"), value.decode("latin-1")) for name, value in headers]


def size(raw: Iterable[tuple[bytes, bytes]]) -> int:
    """Return about how many bytes these header lines took on the wire."""
    return sum(len(name) + len(value) + 4 for name, value in raw)


def body_for(call: Call, status: int, raw: Iterable[tuple[bytes, bytes]], limits: Limits, spent: int = 0) -> Body:
    """Return the collector for the body that belongs to these reply headers."""
    encodings: list[str] = []
    announced: int | None = None
    for name, value in raw:
        low = name.lower()
        if low == b"content-encoding":
            encodings.append(value.decode("latin-1"))
        elif low == b"content-length" and value.isdigit() and len(value) < 16:
            announced = int(value)
    if call.method == "HEAD" or status in (204, 304):
        announced = None
    return Body(limits, encodings, spent=spent, announced=announced)


def reply(answer: RawReply, elapsed_s: float) -> Reply:
    """Return our own value: lower-case names, the first of several, and no cookie that a vendor set for us.

    Raises:
        TransportError: `PROTOCOL` for an interim answer that was to be the last (RFC 9110 section 15.2).
    """
    if answer.status < 200:
        raise TransportError(ErrorCode.PROTOCOL)
    headers: dict[str, str] = {}
    for name, value in answer.headers:
        low = name.decode("latin-1").lower()
        if low not in headers and low != "set-cookie":
            headers[low] = value.decode("latin-1")
    return Reply(status=answer.status, headers=headers, body=answer.body, elapsed_s=elapsed_s)


def explain_other(error: Exception, wire: SocketStream) -> TransportError:
    """Say what an exception means that is none of an HTTP library's."""
    if isinstance(error, TransportError):
        return error
    if isinstance(error, ssl.SSLError):
        return TransportError(ErrorCode.TLS, sent=wire.wrote)
    return TransportError(ErrorCode.INTERNAL, sent=wire.wrote)


def explain_foreign(lib: Any, error: Exception) -> TransportError:
    """Say what an exception of a caller's own transport means; anything unknown is `TRANSPORT`."""
    if isinstance(error, TransportError):
        return error
    causes = list(_chain(error))
    unsent = isinstance(error, (lib.ConnectError, lib.ConnectTimeout, lib.PoolTimeout, ConnectionRefusedError))
    if any(isinstance(item, socket.gaierror) for item in causes):
        return TransportError(ErrorCode.DNS, sent=False)
    if any(isinstance(item, ssl.SSLError) for item in causes) and (unsent or isinstance(error, ssl.SSLError)):
        return TransportError(ErrorCode.TLS, sent=not (unsent or isinstance(error, ssl.SSLCertVerificationError)))
    if unsent:
        return TransportError(ErrorCode.CONNECT, sent=False)
    if isinstance(error, (lib.TimeoutException, TimeoutError)):
        return TransportError(ErrorCode.DEADLINE)
    if isinstance(error, (lib.ReadError, lib.WriteError, ConnectionError)):
        return TransportError(ErrorCode.RESET)
    if isinstance(error, lib.RemoteProtocolError):
        if header_too_large(error):
            return TransportError(ErrorCode.TOO_LARGE)
        # Only the text tells these apart; a wrong guess still is a failed call.
        text = str(error)
        if "without sending a response" in text:
            return TransportError(ErrorCode.RESET)
        if "closed connection" in text or "incomplete" in text:
            return TransportError(ErrorCode.TRUNCATED)
    if isinstance(error, (lib.LocalProtocolError, lib.UnsupportedProtocol, lib.InvalidURL)):
        return TransportError(ErrorCode.INTERNAL, sent=False)
    return TransportError(ErrorCode.TRANSPORT)


def timeouts(left: float) -> Mapping[str, float]:
    """Return what httpx calls timeouts: each is all that is left, because none of them limits the whole."""
    return dict.fromkeys(("connect", "read", "write", "pool"), left)


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    for _ in range(10):
        if error is None:
            return
        yield error
        error = error.__cause__ or error.__context__


def header_too_large(error: BaseException) -> bool:
    """Say whether h11 gave up on header lines for their size."""
    return any(getattr(item, "error_status_hint", None) == 431 for item in _chain(error))

"""Shared use of the HTTP library: clients, bodies, failures."""

from __future__ import annotations

import contextlib
import importlib
import os
import socket
import ssl
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from functools import cache
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Any, BinaryIO

from flagmw.admin.flow.effects import Send
from flagmw.admin.http.call import FileCall
from flagmw.codes import ErrorCode
from flagmw.exceptions import TransportError
from flagmw.types import Call, Reply

CHUNK_BYTES = 1 << 16
CONNECT_S = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How connections are made.

    Attributes:
        verify: False, a file with the accepted authorities, or an `ssl.SSLContext`.
        trust_env: whether the environment's proxies are used.
        transport: a transport of httpx2 to use instead of connections, for tests; it is closed with the client.
    """

    verify: Any = True
    trust_env: bool = True
    transport: Any = None


def timeouts(effect: Send) -> Any:
    """Return the timeouts of a call, as the library takes them; ten seconds for the connection."""
    return load().Timeout(effect.timeout_s, connect=min(effect.timeout_s, CONNECT_S))


@cache
def load() -> Any:
    """Return the HTTP library, which is imported at the first call."""
    return importlib.import_module("httpx2")


def reading(call: Call) -> bool:
    """True when *call* may go over a connection that was used before, since it can be made again."""
    return call.replay_safe


def client_options(options: Options, reads: bool) -> dict[str, Any]:
    """Return the arguments of a client for reads, or for writes.

    Writes never go over a connection that was used before: when the server has closed it meanwhile, nobody can say
    whether the write arrived.
    """
    library = load()
    return {
        "verify": _verification(options.verify),
        "trust_env": options.trust_env,
        "transport": options.transport,
        "follow_redirects": False,
        "headers": {"user-agent": _user_agent(), "accept-encoding": "gzip, deflate"},
        # The vendors' cookies mean nothing here, and one call's must not go out with another.
        "cookies": CookieJar(DefaultCookiePolicy(allowed_domains=[])),
        "limits": library.Limits(max_connections=20, max_keepalive_connections=5 if reads else 0, keepalive_expiry=4.0),
    }


def _verification(verify: Any) -> Any:
    """Return *verify* as the library takes it: a context, or False."""
    if verify is True or isinstance(verify, str | os.PathLike):
        return _context(verify if verify is True else os.fspath(verify))
    return verify


@cache
def _context(verify: bool | str) -> Any:
    """Return the context with the usual authorities, or those of a file; making it takes a tenth of a second."""
    return ssl.create_default_context(cafile=verify) if isinstance(verify, str) else load().create_ssl_context()


@cache
def _user_agent() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return f"flagmw/{version('flagmw')}"
    except PackageNotFoundError:  # used from its source, without being installed
        return "flagmw"


@contextlib.contextmanager
def body_of(call: Call) -> Iterator[bytes | Iterator[bytes] | None]:
    """Give the body of *call* as the library takes it, and close what it is read from."""
    if not isinstance(call, FileCall):
        yield call.body or None
        return
    with call.file.open("rb") as source:
        yield _pieces(call, source)


def chunks_of(call: Call) -> bytes | AsyncIterator[bytes] | None:
    """Return the body of *call* as the asynchronous library takes it."""
    return _async_pieces(call) if isinstance(call, FileCall) else call.body or None


def _pieces(call: FileCall, source: BinaryIO) -> Iterator[bytes]:
    if call.prefix:
        yield call.prefix
    while piece := source.read(CHUNK_BYTES):
        yield piece


async def _async_pieces(call: FileCall) -> AsyncIterator[bytes]:
    # A local file of at most 50 MB in small pieces: a thread for each of them would cost more than the reading.
    with call.file.open("rb") as source:
        for piece in _pieces(call, source):
            yield piece


def limited(body: bytearray, chunk: bytes, effect: Send, begun: float) -> None:
    """Add *chunk* to *body*.

    Raises:
        TransportError: the answer is larger than allowed, or takes longer.
    """
    body += chunk
    if len(body) > effect.max_bytes:
        raise TransportError(ErrorCode.TOO_LARGE)
    if time.monotonic() - begun > effect.timeout_s:
        raise TransportError(ErrorCode.DEADLINE)


def answered(response: Any, body: bytes, elapsed_s: float) -> Reply:
    """Return the library's *response* as a reply of ours."""
    headers = {name.lower(): value for name, value in response.headers.items()}
    return Reply(status=response.status_code, headers=headers, body=body, elapsed_s=elapsed_s)


def translated(error: Exception) -> TransportError:
    """Return *error* of the library as ours, with whether bytes of the request may have been sent."""
    library = load()
    kinds = (
        (library.ConnectTimeout, ErrorCode.DEADLINE, False),
        (library.PoolTimeout, ErrorCode.SHED, False),
        (library.ProxyError, ErrorCode.CONNECT, False),
        (library.ConnectError, ErrorCode.CONNECT, False),
        (library.UnsupportedProtocol, ErrorCode.CONNECT, False),
        (library.LocalProtocolError, ErrorCode.PROTOCOL, False),
        (library.TimeoutException, ErrorCode.DEADLINE, True),
        (library.DecodingError, ErrorCode.ENCODING, True),
        (library.RemoteProtocolError, ErrorCode.TRUNCATED, True),
        (library.NetworkError, ErrorCode.RESET, True),
    )
    if isinstance(error, library.ConnectError) and (cause := _cause(error)) is not None:
        return TransportError(cause, sent=False)
    for kind, code, sent in kinds:
        if isinstance(error, kind):
            return TransportError(code, sent=sent)
    return TransportError(ErrorCode.TRANSPORT)


def _cause(error: BaseException) -> ErrorCode | None:
    """Return the reason why no connection was made, where the system gives one."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, ssl.SSLError):
            return ErrorCode.TLS
        if isinstance(seen, socket.gaierror):
            return ErrorCode.DNS
        seen = seen.__cause__ or seen.__context__
    return None

"""Steps to a vendor: name, connection and TLS, with their times."""

from __future__ import annotations

import ssl
import time
from collections.abc import Mapping
from concurrent.futures import Future

from flagmw._support.deadline import Deadline
from flagmw._transports import http as wire_http
from flagmw._transports import httpcore, resolver
from flagmw._transports import proxies as transports_proxies
from flagmw._transports.body import LIMITS
from flagmw._transports.stream import BlockingStream, dial
from flagmw.codes import ErrorCode
from flagmw.config.config import Config
from flagmw.doctor.finding import (
    Verdicts,
    shown_ms,
)
from flagmw.exceptions import TransportError
from flagmw.types import Call

STEP_S = 2.0


def connection(base_url: str, config: Config, end: Deadline) -> Verdicts:
    to = wire_http.target(Call(method="POST", url=base_url, headers={}))
    proxies = transports_proxies.environment_proxies(config.trust_env)
    own = config.transport[0] is not None and not isinstance(config.transport[0], str)
    if own or (proxies is not None and proxies.of(to) is not None):
        through = "transport=" if own else "the environment's proxy"
        yield "OK", f"calls go through {through}, which is tried with a call only", None
        return
    try:
        started = time.monotonic()
        addresses = _addresses(to, end)
        resolved = time.monotonic()
        wire, silent, dialled_s = _connect(addresses, to.port, end)
        text = f"{to.authority}: name in {shown_ms(resolved - started)}, connected in {shown_ms(dialled_s)}"
        try:
            text += _handshake(wire, to, config, end)
        finally:
            wire.abort()
    except TransportError as error:
        why = getattr(error.__cause__, "verify_message", "") if error.code is ErrorCode.TLS else ""
        text = f"{to.authority} cannot be reached: {error.code}{f', {why}' if why else ''}"
        yield "FAIL", text, CURES.get(error.code)
        return
    if silent:
        cure = "let this machine reach all of them, IPv6 ones too"
        yield "WARN", f"{text}; {silent} of {len(addresses)} addresses did not connect", cure
    elif dialled_s > LIMITS.connect_s:
        cure = "look for what slows the network down, or run nearer to the vendor"
        yield "WARN", f"{text}; an attempt is given up after {shown_ms(LIMITS.connect_s)}", cure
    else:
        yield "OK", text, None


def _addresses(to: wire_http.Target, end: Deadline) -> list[str]:
    found = resolver.lookup(to.host, to.port)
    if isinstance(found, Future):
        try:
            found = found.result(min(STEP_S, end.left(time.monotonic())))
        except TimeoutError:
            raise TransportError(ErrorCode.DNS, sent=False) from None
    return [str(address[0]) for _, address in resolver.usable(found)]


def _connect(addresses: list[str], port: int, end: Deadline) -> tuple[BlockingStream, int, float]:
    """Return a connection, how many addresses failed before it, and how long it took."""
    share_s = min(STEP_S, end.left(time.monotonic())) / len(addresses)
    for silent, address in enumerate(addresses):
        started = time.monotonic()
        try:
            wire = dial(address, port, started + share_s, share_s, time.monotonic)
        except TransportError:
            continue
        return wire, silent, time.monotonic() - started
    raise TransportError(ErrorCode.CONNECT, sent=False)


def _handshake(wire: BlockingStream, to: wire_http.Target, config: Config, end: Deadline) -> str:
    if to.scheme != "https":
        return ", not encrypted"
    context = resolver.tls_context(httpcore.library().default_ssl_context, config.ca_file)
    started = time.monotonic()
    wire.begin(started + min(STEP_S, end.left(started)), LIMITS.wire_bytes)
    wire.secure(context, to.host)
    version = wire.sock.version() if isinstance(wire.sock, ssl.SSLSocket) else ""
    return f", {version} in {shown_ms(time.monotonic() - started)}"


_CUT = "look at the vendor's status page, and for a proxy or firewall that cuts connections"
_STRANGE = "this is no answer of the API: check base_url, its path too, and for a proxy that answers in its place"
CURES: Mapping[ErrorCode, str] = {
    ErrorCode.DNS: "check the host in base_url, and this machine's name server",
    ErrorCode.CONNECT: "check host and port in base_url, and that a firewall lets this machine reach them",
    ErrorCode.TLS: "check the host in base_url, this machine's clock, and ca_file where a proxy opens TLS",
    ErrorCode.DEADLINE: "look at the vendor's status page, and for a firewall that swallows what is sent",
    ErrorCode.REDIRECT: "redirects are not followed: give base_url as the address it leads to",
    ErrorCode.UNAUTHORIZED: "copy Domain ID and Key Token from the account overview",
    ErrorCode.RATE_LIMITED: "the vendor asks for a rest: try again in some minutes",
    **dict.fromkeys((ErrorCode.RESET, ErrorCode.TRUNCATED), _CUT),
    **dict.fromkeys((ErrorCode.HTTP_STATUS, ErrorCode.EMPTY, ErrorCode.NOT_JSON, ErrorCode.SHAPE), _STRANGE),
    **dict.fromkeys((ErrorCode.TRANSPORT, ErrorCode.ENCODING, ErrorCode.TOO_LARGE), _STRANGE),
}

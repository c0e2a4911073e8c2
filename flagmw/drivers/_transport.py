"""Accept a caller's own httpx2 or httpx transport, and proxies of the environment where they are asked for."""

from __future__ import annotations

import os
import sys
from base64 import b64encode
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit
from urllib.request import (  # type: ignore[attr-defined]  # not in the stubs
    getproxies_environment,
    proxy_bypass_environment,
)

from flagmw.drivers._http import Target, request_headers, target, timeouts
from flagmw.exceptions import ConfigError
from flagmw.types import Call


@dataclass(frozen=True, slots=True)
class Transport:
    """A caller's transport and the library that it belongs to."""

    lib: Any
    handler: Any

    def request(self, call: Call, left: float) -> Any:
        """Return a request of the transport's own library."""
        to = target(call)
        return self.lib.Request(
            call.method,
            call.url,
            headers=request_headers(call, to.authority),
            content=call.body,
            # Without the target the library would encode the address its own way.
            extensions={"timeout": timeouts(left), "target": to.path},
        )


def accept(transport: Any, base: str) -> Transport | None:
    """Check a `transport=` option; *base* is the class it must be an instance of.

    The library is found among the imported modules: an instance exists, so its library is there.

    Raises:
        ConfigError: it is a client, or no transport of this colour.
    """
    if transport is None:
        return None
    for name in ("httpx2", "httpx"):
        lib = sys.modules.get(name)
        if lib is None:
            continue
        if isinstance(transport, (lib.Client, lib.AsyncClient)):
            raise ConfigError(
                f"transport= takes a transport, not a {type(transport).__name__}: a client keeps cookies and follows "
                f"redirects. Pass what the client was made from, e.g. {name}.{base.replace('Base', 'HTTP')}()"
            )
        if isinstance(transport, getattr(lib, base)):
            return Transport(lib, transport)
    raise ConfigError(
        f"transport= needs an instance of httpx2.{base} or httpx.{base} here; got {type(transport).__name__}"
    )


@dataclass(frozen=True, slots=True)
class Proxy:
    """An http proxy, and the header that it wants."""

    host: str
    port: int
    headers: tuple[tuple[bytes, bytes], ...] = field(default=(), repr=False)


@dataclass(frozen=True, slots=True)
class Proxies:
    """The proxies that the environment names, by the scheme of the address that is called."""

    by_scheme: dict[str, Proxy]
    raw: dict[str, str] = field(repr=False)

    def of(self, to: Target) -> Proxy | None:
        proxy = self.by_scheme.get(to.scheme) or self.by_scheme.get("all")
        if proxy is None or proxy_bypass_environment(f"{to.host}:{to.port}", self.raw):
            return None
        return proxy


def environment_proxies(trust_env: bool) -> Proxies | None:
    """Read HTTPS_PROXY, HTTP_PROXY and ALL_PROXY, but only with *trust_env*.

    Raises:
        ConfigError: one of them is nothing that a call could be sent through.
    """
    if not trust_env:
        return None
    found: dict[str, Proxy] = {}
    raw = getproxies_environment()
    for scheme, url in raw.items():
        if scheme not in ("http", "https", "all"):
            continue
        parts = urlsplit(url if "://" in url else f"http://{url}")
        try:
            port = parts.port or 80
        except ValueError:
            port = 0
        if parts.scheme != "http" or not parts.hostname or not port:
            raise ConfigError(f"{scheme.upper()}_PROXY must be an address such as http://proxy.example:3128")
        headers: tuple[tuple[bytes, bytes], ...] = ()
        if parts.username is not None:
            login = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
            headers = ((b"proxy-authorization", b"Basic " + b64encode(login.encode())),)
        found[scheme] = Proxy(parts.hostname, port, headers)
    return Proxies(found, raw) if found else None


def connect_request(lib: Any, proxy: Proxy, to: Target) -> Any:
    """Return the request that asks *proxy* for a tunnel."""
    place = f"[{to.host}]:{to.port}" if ":" in to.host else f"{to.host}:{to.port}"
    url = lib.URL(scheme=b"http", host=proxy.host.encode("idna"), port=proxy.port, target=place.encode("ascii"))
    return lib.Request("CONNECT", url, headers=[(b"host", place.encode("ascii")), *proxy.headers])


def accept_ca_file(ca_file: str | os.PathLike[str] | None) -> str | None:
    """Check a `ca_file=` option.

    Raises:
        ConfigError: there is no such file.
    """
    if ca_file is None:
        return None
    path = os.fspath(ca_file)
    if not Path(path).is_file():
        raise ConfigError(f"ca_file={path!r} is no file; name a PEM file of the authorities to trust")
    return path

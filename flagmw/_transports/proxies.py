"""Proxies from the environment. No I/O."""

from __future__ import annotations

from base64 import b64encode
from dataclasses import dataclass, field
from urllib.parse import unquote, urlsplit
from urllib.request import (  # type: ignore[attr-defined]  # not in the stubs
    getproxies_environment,
    proxy_bypass_environment,
)

from flagmw._transports.http import Target
from flagmw.exceptions import ConfigError


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
    proxies: dict[str, Proxy] = {}
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
        proxies[scheme] = Proxy(parts.hostname, port, headers)
    return Proxies(proxies, raw) if proxies else None

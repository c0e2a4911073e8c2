"""The settings of all transports, and the check of `transport=`."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flagmw._transports.body import Limits
from flagmw._transports.http import Target, request_headers, target, timeouts
from flagmw._transports.proxies import Proxies, Proxy
from flagmw.exceptions import ConfigError
from flagmw.types import Call


@dataclass(frozen=True, slots=True)
class Setup:
    """The settings of a transport.

    Attributes:
        size: idle connections that are kept.
        proxies: None unless the environment counts.
        ca_file: authorities to trust instead of the system's.
        clock: the clock of deadlines.
    """

    size: int
    limits: Limits
    proxies: Proxies | None
    ca_file: str | None
    clock: Callable[[], float]

    def proxy(self, to: Target) -> Proxy | None:
        return None if self.proxies is None else self.proxies.of(to)


@dataclass(frozen=True, slots=True)
class Foreign:
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


def accept(transport: Any, base: str) -> Foreign:
    """Check a caller's own transport; *base* is the class it must be an instance of.

    The library is found among the imported modules: an instance exists, so its library is there.

    Raises:
        ConfigError: it is a client, or no transport of this colour.
    """
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
            return Foreign(lib, transport)
    raise ConfigError(
        f"transport= needs a name or an instance of httpx2.{base} or httpx.{base} here; got {type(transport).__name__}"
    )


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

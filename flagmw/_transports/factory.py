"""Make the transport that `transport=` names."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any, Protocol

from flagmw._transports import http as wire_http
from flagmw._transports.attempt import Attempt
from flagmw._transports.base import Setup, accept
from flagmw.exceptions import ConfigError
from flagmw.types import Call

# The least CPU a call of those that are made of well-kept parts; see docs/transports.md.
DEFAULT = "httptools"


class Transport(Protocol):
    """Blocking calls of one process."""

    def prepare(self) -> None: ...

    def ask(self, call: Call, attempt: Attempt) -> wire_http.RawReply: ...

    def close(self) -> None: ...

    def abandon(self) -> None: ...


class Pool(Protocol):
    """An async transport's connections for one event loop."""

    def close(self) -> None: ...

    def abandon(self) -> None: ...


class AsyncTransport(Protocol):
    """Async calls of one process."""

    def prepare(self) -> None: ...

    def open(self) -> Any: ...

    async def ask(self, pool: Any, call: Call, attempt: Attempt) -> wire_http.RawReply: ...


def blocking(transport: Any, setup: Setup) -> Callable[[], Transport]:
    """Return what makes the transport that *transport* means, once per process.

    Raises:
        ConfigError: there is none of this name or colour, or its package is not installed.
    """
    if not isinstance(transport, str | None):
        from flagmw._transports.httpx import CallerTransport

        foreign = accept(transport, "BaseTransport")
        return lambda: CallerTransport(foreign, setup)
    from flagmw._transports.pool import ConnectionPool

    match _installed(transport):
        case "httpx2":
            from flagmw._transports.httpcore import Httpcore

            return lambda: ConnectionPool(Httpcore(setup.limits), setup)
        case "httptools":
            from flagmw._transports.httptools import Httptools

            return lambda: ConnectionPool(Httptools(setup.limits), setup)
    raise ConfigError(f'blocking calls have no transport {transport!r}; use "httptools" or "httpx2"')


def asynchronous(transport: Any, setup: Setup) -> Callable[[], AsyncTransport]:
    """Return what makes the transport that *transport* means, once per process.

    Raises:
        ConfigError: there is none of this name or colour, or its package is not installed.
    """
    if not isinstance(transport, str | None):
        from flagmw._transports.httpx import AsyncCallerTransport

        foreign = accept(transport, "AsyncBaseTransport")
        return lambda: AsyncCallerTransport(foreign, setup)
    from flagmw._transports.async_pool import AsyncConnectionPool

    match _installed(transport):
        case "httpx2":
            from flagmw._transports.httpcore import AsyncHttpcore

            return lambda: AsyncConnectionPool(AsyncHttpcore(setup.limits), setup)
        case "httptools":
            from flagmw._transports.httptools import AsyncHttptools

            return lambda: AsyncConnectionPool(AsyncHttptools(setup.limits), setup)
        case "aiohttp":
            from flagmw._transports.aiohttp import Aiohttp

            return lambda: Aiohttp(setup)
    raise ConfigError(f'async calls have no transport {transport!r}; use "httptools", "httpx2" or "aiohttp"')


def _installed(name: str | None) -> str:
    """Return the name of a transport whose package is there; that of the default for None.

    Raises:
        ConfigError: it is not installed.
    """
    chosen = DEFAULT if name is None else name
    if chosen in ("httptools", "aiohttp"):
        try:
            importlib.import_module(chosen)
        except ImportError:
            cure = (
                "pip install 'flagmw[aiohttp]'"
                if chosen == "aiohttp"
                else 'pip install it, or choose transport="httpx2"'
            )
            raise ConfigError(f"transport {chosen!r} needs {chosen}: {cure}") from None
    return chosen

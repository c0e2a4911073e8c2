"""Find the transport that `transport=` names. What is not chosen is not imported."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from flagmw.drivers import _http
from flagmw.drivers._attempt import Attempt
from flagmw.drivers._transport import Setup, accept
from flagmw.exceptions import ConfigError
from flagmw.types import Call

BLOCKING = ("httpx2",)
ASYNC = ("httpx2",)


class Transport(Protocol):
    """How blocking calls are made in one process."""

    def prepare(self) -> None: ...

    def ask(self, call: Call, attempt: Attempt) -> _http.Answer: ...

    def close(self) -> None: ...

    def abandon(self) -> None: ...


class Pool(Protocol):
    """What an async transport keeps for one event loop."""

    def close(self) -> None: ...

    def abandon(self) -> None: ...


class AsyncTransport(Protocol):
    """How async calls are made in one process."""

    def prepare(self) -> None: ...

    def open(self) -> Any: ...

    async def ask(self, pool: Any, call: Call, attempt: Attempt) -> _http.Answer: ...


def blocking(transport: Any, setup: Setup) -> Callable[[], Transport]:
    """Return what makes the transport that *transport* means, once per process.

    Raises:
        ConfigError: there is none of this name or colour, or its package is not installed.
    """
    from flagmw.drivers._pooled import Pooled

    if transport in (None, "httpx2"):
        from flagmw.drivers._httpcore import Httpcore

        return lambda: Pooled(Httpcore(setup.limits), setup)
    if isinstance(transport, str):
        raise _unknown(transport, BLOCKING)
    from flagmw.drivers._foreign import Borrowed

    foreign = accept(transport, "BaseTransport")
    return lambda: Borrowed(foreign, setup)


def asynchronous(transport: Any, setup: Setup) -> Callable[[], AsyncTransport]:
    """Return what makes the transport that *transport* means, once per process.

    Raises:
        ConfigError: there is none of this name or colour, or its package is not installed.
    """
    from flagmw.drivers._aio_pooled import AsyncPooled

    if transport in (None, "httpx2"):
        from flagmw.drivers._httpcore import AsyncHttpcore

        return lambda: AsyncPooled(AsyncHttpcore(setup.limits), setup)
    if isinstance(transport, str):
        raise _unknown(transport, ASYNC)
    from flagmw.drivers._foreign import AsyncBorrowed

    foreign = accept(transport, "AsyncBaseTransport")
    return lambda: AsyncBorrowed(foreign, setup)


def _unknown(name: str, known: tuple[str, ...]) -> ConfigError:
    return ConfigError(f"transport {name!r} is none of {', '.join(map(repr, known))} for this driver")

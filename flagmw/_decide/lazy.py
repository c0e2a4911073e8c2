"""Flags that are decided at the view's first read (`mode="lazy"`): by waiting in threads, by awaiting on a loop."""

from __future__ import annotations

import threading
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any, Protocol

from flagmw._exchange.exchange import Exchange
from flagmw.codes import ErrorCode
from flagmw.flags.flags import Flags

if TYPE_CHECKING:
    import asyncio

# A worker thread of an async application waits this much longer than the deadline for the loop to answer.
_BRIDGE_S = 1.0


class Decider(Protocol):
    """What decides; see `Flagmw`."""

    def ready(self, exchange: Exchange) -> Flags | None: ...

    def settle(self, exchange: Exchange) -> Flags: ...

    def asettle(self, exchange: Exchange) -> Awaitable[Flags]: ...

    def internal_error(self, error: BaseException) -> None: ...


class DeferredExchange:
    """An exchange that is begun when something of it is first needed: a page that never looks pays for none.

    Edges see of it what they see of an `Exchange`.

    Args:
        begin: makes the exchange.

    Attributes:
        answered: as of the exchange.
    """

    __slots__ = ("_answered", "_begin", "_lock", "_made")
    # What would be sent instead of the application's response is known only where the exchange begins at once.
    instead = None

    def __init__(self, begin: Callable[[], Exchange]) -> None:
        self._begin, self._lock = begin, threading.Lock()
        self._made: Exchange | None = None
        self._answered = False

    def begun(self) -> Exchange:
        """Return the exchange."""
        if self._made is None:
            with self._lock:
                if self._made is None:
                    made = self._begin()
                    made.answered = self._answered
                    self._made = made
        return self._made

    # For the edges

    @property
    def answered(self) -> bool:
        return self._answered

    @answered.setter
    def answered(self, answered: bool) -> None:
        self._answered = answered
        if self._made is not None:
            self._made.answered = answered

    @property
    def pending(self) -> bool:
        return self._made is not None and self._made.pending

    @property
    def set_cookies(self) -> tuple[str, ...]:
        return () if self._made is None else self._made.set_cookies

    @property
    def no_store(self) -> bool:
        return self._made is not None and self._made.no_store

    # For the flags

    def track(self, metric: str, **told: Any) -> str | None:
        return self.begun().track(metric, **told)

    def identified_late(self) -> None:
        self.begun().identified_late()

    def mismatch(self, alias: str) -> None:
        self.begun().mismatch(alias)

    def save(self) -> bytes:
        return self.begun().save()


class _Pending:
    def __init__(self, decider: Decider, exchange: Exchange | DeferredExchange) -> None:
        self._decider, self._source = decider, exchange
        # Whether vendors are being asked.
        self._begun = False

    @property
    def _exchange(self) -> Exchange:
        return self._source.begun()

    def identify(self, user_id: Any, data: Mapping[str, Any] | None) -> bool:
        """Say who the visitor is; return whether that was in time."""
        if self._begun:
            return False
        self._exchange.identify(user_id, data)
        return True

    def _decided(self, flags: Flags, decide: Callable[[Exchange], Flags | None]) -> bool:
        """Decide by *decide* and have *flags* take it over; say whether there was a decision. Raises nothing."""
        try:
            made = decide(self._exchange)
        except Exception as error:
            self._decider.internal_error(error)
            made = self._exchange.undecided(ErrorCode.INTERNAL)
        if made is None:
            return False
        self._take(flags, made)
        return True

    def _take(self, flags: Flags, made: Flags) -> None:
        flags._adopt(made)
        self._exchange.gave(flags)


class InThread(_Pending):
    """Decide in the thread that reads, under the deadline."""

    def __init__(self, decider: Decider, exchange: Exchange | DeferredExchange) -> None:
        super().__init__(decider, exchange)
        self._lock = threading.RLock()

    def read(self, flags: Flags) -> None:
        """Decide; of several threads that read at once, one does and the others wait."""
        with self._lock:
            if self._begun:
                # This thread itself, in a hook of the application's that looks at the flags.
                flags._note(ErrorCode.NOT_LOADED)
            elif flags.is_pending:
                self._begun = True
                try:
                    self._decided(flags, self._decider.settle)
                finally:
                    self._begun = False

    async def load(self, flags: Flags) -> None:
        """Decide for a coroutine in a blocking server, without holding up its loop."""
        import asyncio

        await asyncio.to_thread(self.read, flags)


class OnLoop(_Pending):
    """Decide on the event loop that serves the request."""

    def __init__(self, decider: Decider, exchange: Exchange | DeferredExchange, deadline_s: float) -> None:
        import asyncio

        super().__init__(decider, exchange)
        self._loop = asyncio.get_running_loop()
        self._thread = threading.get_ident()
        self._wait_s = deadline_s + _BRIDGE_S
        self._loading: asyncio.Task[None] | None = None

    def read(self, flags: Flags) -> None:
        """Decide where that needs no waiting, or in a worker thread by asking the loop; else say `NOT_LOADED`."""
        if threading.get_ident() == self._thread:
            if self._begun or not self._decided(flags, self._decider.ready):
                flags._note(ErrorCode.NOT_LOADED)
            return
        import asyncio
        import concurrent.futures

        loading = self.load(flags)
        try:
            waiting = asyncio.run_coroutine_threadsafe(loading, self._loop)
        except RuntimeError:  # the loop is closed
            loading.close()
            flags._note(ErrorCode.NOT_LOADED)
            return
        try:
            waiting.result(self._wait_s)
        except (concurrent.futures.TimeoutError, concurrent.futures.CancelledError, RuntimeError):
            waiting.cancel()
            flags._note(ErrorCode.NOT_LOADED)

    async def load(self, flags: Flags) -> None:
        """Decide; coroutines that wait at the same time share one decision."""
        import asyncio

        if not flags.is_pending:  # decided while this was on its way to the loop
            return
        if self._loading is None:
            self._begun = True
            self._loading = asyncio.get_running_loop().create_task(self._load(flags))
        # Whoever gives up waiting leaves it to the others.
        await asyncio.shield(self._loading)

    async def _load(self, flags: Flags) -> None:
        try:
            made = await self._decider.asettle(self._exchange)
        except Exception as error:
            self._decider.internal_error(error)
            made = self._exchange.undecided(ErrorCode.INTERNAL)
        self._take(flags, made)

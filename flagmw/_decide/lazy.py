"""Lazy flags: decided when the view first reads them."""

from __future__ import annotations

import threading
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any, Protocol

from flagmw._exchange.exchange import Exchange
from flagmw._exchange.protocol import RequestExchange
from flagmw.codes import ErrorCode
from flagmw.flags.flags import Flags, adopt, set_pending_code

if TYPE_CHECKING:
    import asyncio

# A worker thread of an async application waits this much longer than the deadline for the loop to answer.
_BRIDGE_S = 1.0


class DecidesExchanges(Protocol):
    """The part of a `Decider` that lazy flags use."""

    def ready(self, exchange: Exchange) -> Flags | None: ...

    def decide(self, exchange: Exchange) -> Flags: ...

    def adecide(self, exchange: Exchange) -> Awaitable[Flags]: ...

    def internal_error(self, error: BaseException) -> None: ...


class DeferredExchange:
    """An exchange that begins at its first use: a page that reads no flag pays for none. A `RequestExchange`.

    Args:
        begin: makes the exchange.
        has_cookies: says whether the visitor has sent cookies that a page without consent deletes, for which the
            exchange begins with the response if it has not begun before; None where no page does so.
    """

    __slots__ = ("_answered", "_begin", "_exchange", "_has_cookies", "_lock")
    # Only an exchange that begins at once can have a page of its own.
    page = None

    def __init__(self, begin: Callable[[], Exchange], has_cookies: Callable[[], bool] | None = None) -> None:
        self._begin, self._has_cookies, self._lock = begin, has_cookies, threading.Lock()
        self._exchange: Exchange | None = None
        self._answered = False

    def begun(self) -> Exchange:
        if self._exchange is None:
            with self._lock:
                if self._exchange is None:
                    exchange = self._begin()
                    exchange.recorder.answered = self._answered
                    self._exchange = exchange
        return self._exchange

    @property
    def answered(self) -> bool:
        return self._answered

    @answered.setter
    def answered(self, answered: bool) -> None:
        self._answered = answered
        if self._exchange is not None:
            self._exchange.recorder.answered = answered

    @property
    def recorder(self) -> DeferredExchange:
        return self

    @property
    def pending(self) -> bool:
        return self._exchange is not None and self._exchange.recorder.pending

    @property
    def set_cookies(self) -> tuple[str, ...]:
        if self._exchange is None and self._has_cookies is not None and self._has_cookies():
            self.begun()
        return () if self._exchange is None else self._exchange.set_cookies

    @property
    def no_store(self) -> bool:
        return self._exchange is not None and self._exchange.no_store

    # For the flags; see `flags.Recorder`

    def track(self, metric: str, **arguments: Any) -> str | None:
        return self.begun().recorder.track(metric, **arguments)

    def identified_late(self) -> None:
        self.begun().recorder.identified_late()

    def mismatch(self, alias: str) -> None:
        self.begun().recorder.mismatch(alias)

    def save(self) -> bytes:
        return self.begun().recorder.save()


class _Pending:
    """Flags that are still to be decided.

    Args:
        tracks_decide: a track of a visitor without any cookie of a vendor decides, too.
    """

    def __init__(self, decider: DecidesExchanges, source: RequestExchange, *, tracks_decide: bool = False) -> None:
        self._decider, self._source, self._tracks_decide = decider, source, tracks_decide
        # Whether vendors are being asked.
        self._deciding = False

    @property
    def _exchange(self) -> Exchange:
        return self._source.begun()

    def identify(self, user_id: Any, data: Mapping[str, Any] | None) -> bool:
        """Set the visitor's identity; return whether that was in time."""
        if self._deciding:
            return False
        self._exchange.identify(user_id, data)
        return True

    def before_track(self, flags: Flags) -> None:
        if self._tracks_decide and self._can_wait() and not any(s.cookies for s in self._exchange.visitor.states):
            self.read(flags)

    def _can_wait(self) -> bool:
        return True

    def read(self, flags: Flags) -> None:
        raise NotImplementedError

    def _decide_by(self, decide: Callable[[Exchange], Flags | None], flags: Flags) -> bool:
        """Give *flags* the decision of *decide*; return whether there was one. Raises nothing."""
        try:
            decided = decide(self._exchange)
        except Exception as error:
            self._decider.internal_error(error)
            decided = self._exchange.undecided(ErrorCode.INTERNAL)
        if decided is None:
            return False
        self._adopt(flags, decided)
        return True

    def _adopt(self, flags: Flags, decided: Flags) -> None:
        adopt(flags, decided)
        self._exchange.watch(flags)


class InThread(_Pending):
    """Decide in the thread that reads, under the deadline."""

    def __init__(self, decider: DecidesExchanges, source: RequestExchange, *, tracks_decide: bool = False) -> None:
        super().__init__(decider, source, tracks_decide=tracks_decide)
        self._lock = threading.RLock()

    def read(self, flags: Flags) -> None:
        """Decide; of several threads that read at once, one does and the others wait."""
        with self._lock:
            if self._deciding:
                # This very thread, in a hook of the application that reads the flags.
                set_pending_code(flags, ErrorCode.NOT_LOADED)
            elif flags.is_pending:
                self._deciding = True
                try:
                    self._decide_by(self._decider.decide, flags)
                finally:
                    self._deciding = False

    async def load(self, flags: Flags) -> None:
        """Decide for a coroutine in a blocking server, without blocking its loop."""
        import asyncio

        await asyncio.to_thread(self.read, flags)


class OnLoop(_Pending):
    """Decide on the event loop that serves the request."""

    def __init__(
        self, decider: DecidesExchanges, source: RequestExchange, deadline_s: float, *, tracks_decide: bool = False
    ) -> None:
        import asyncio

        super().__init__(decider, source, tracks_decide=tracks_decide)
        self._loop = asyncio.get_running_loop()
        self._thread = threading.get_ident()
        self._wait_s = deadline_s + _BRIDGE_S
        self._loading: asyncio.Task[None] | None = None

    def _can_wait(self) -> bool:
        return threading.get_ident() != self._thread

    def read(self, flags: Flags) -> None:
        """Decide where that needs no waiting, or from a worker thread through the loop; else set `NOT_LOADED`."""
        if threading.get_ident() == self._thread:
            if self._deciding or not self._decide_by(self._decider.ready, flags):
                set_pending_code(flags, ErrorCode.NOT_LOADED)
            return
        import asyncio
        import concurrent.futures

        loading = self.load(flags)
        try:
            future = asyncio.run_coroutine_threadsafe(loading, self._loop)
        except RuntimeError:  # the loop is closed
            loading.close()
            set_pending_code(flags, ErrorCode.NOT_LOADED)
            return
        try:
            future.result(self._wait_s)
        except (concurrent.futures.TimeoutError, concurrent.futures.CancelledError, RuntimeError):
            future.cancel()
            set_pending_code(flags, ErrorCode.NOT_LOADED)

    async def load(self, flags: Flags) -> None:
        """Decide; coroutines that wait at the same time share one decision."""
        import asyncio

        if not flags.is_pending:  # decided while this was on its way to the loop
            return
        if self._loading is None:
            self._deciding = True
            self._loading = asyncio.get_running_loop().create_task(self._load(flags))
        # A coroutine that is cancelled leaves the decision to the others.
        await asyncio.shield(self._loading)

    async def _load(self, flags: Flags) -> None:
        try:
            decided = await self._decider.adecide(self._exchange)
        except Exception as error:
            self._decider.internal_error(error)
            decided = self._exchange.undecided(ErrorCode.INTERNAL)
        self._adopt(flags, decided)

"""Loading and saving of visitors' cookies, in a thread pool."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from flagmw._exchange.exchange import Exchange
from flagmw._exchange.stored_visitor import LoadStage, StoredVisitor
from flagmw._support.bounded_pool import BoundedPool
from flagmw._support.counters import Counters
from flagmw._support.deadline import Deadline
from flagmw._support.forksafe import PerProcess
from flagmw._support.log import Throttle
from flagmw._visitor_store.base import LIFE_S, VisitorStore
from flagmw.codes import ErrorCode

# A page waits no longer than this for its visitor to be saved; saving goes on after that.
SAVE_WAIT_S = 0.05
# The longest wait of a save for a thread while the store is slow.
_SAVE_S = 30.0
_UNLOADED = frozenset({ErrorCode.NO_CONSENT, ErrorCode.BOT})


class VisitorLoader:
    """Load and save visitors' cookies in a thread pool.

    While the store is failing, visitors are treated as new and nothing is saved.
    """

    def __init__(self, store: VisitorStore, counts: Counters, throttle: Throttle) -> None:
        self._store, self._counts, self._throttle = store, counts, throttle
        self._pool = PerProcess(lambda: BoundedPool("flagmw-visitors"))

    def must_load(self, exchange: Exchange) -> bool:
        """Say whether the visitor's cookies have to be loaded before anything is decided."""
        return exchange.visitor.kept_from is None and _stored(exchange).stage is LoadStage.NEW

    def load(self, exchange: Exchange, deadline: Deadline) -> None:
        """Load the visitor's cookies, from a thread."""
        began, future = time.monotonic(), self._begin_load(exchange, deadline)
        if future is not None:
            try:
                self._take(exchange, future.result(deadline.left(time.monotonic())))
            except Exception as error:
                self._missed(exchange, None if future.cancel() else error, began, deadline.at)

    async def aload(self, exchange: Exchange, deadline: Deadline) -> None:
        """As `load`, from an event loop."""
        began, future = time.monotonic(), self._begin_load(exchange, deadline)
        if future is not None:
            import asyncio

            try:
                value = await asyncio.wait_for(asyncio.wrap_future(future), deadline.left(time.monotonic()))
                self._take(exchange, value)
            except Exception as error:
                self._missed(exchange, None if future.cancelled() else error, began, deadline.at)

    def save(self, exchange: Exchange) -> None:
        """Save the visitor if anything has changed; wait for that up to `SAVE_WAIT_S`."""
        began, future = time.monotonic(), self._begin_save(exchange)
        if future is not None:
            try:
                future.result(SAVE_WAIT_S)
            except Exception as error:
                if not self._in_line(future):
                    self._failed(error, began, began + SAVE_WAIT_S)

    async def asave(self, exchange: Exchange) -> None:
        """As `save`, from an event loop."""
        began, future = time.monotonic(), self._begin_save(exchange)
        if future is not None:
            import asyncio

            try:
                await asyncio.wait_for(asyncio.shield(asyncio.wrap_future(future)), SAVE_WAIT_S)
            except Exception as error:
                if not self._in_line(future):
                    self._failed(error, began, began + SAVE_WAIT_S)

    def close(self) -> None:
        """End this process's threads and the store's connections; a later use starts anew."""
        pool = self._pool.take()
        if pool is not None:
            pool.close()
        close = getattr(self._store, "close", None)
        if callable(close):
            close()

    def _begin_load(self, exchange: Exchange, deadline: Deadline) -> Future[Any] | None:
        """Begin to load; None where there is nothing to load, or the store is failing."""
        stored, visitor = _stored(exchange), exchange.visitor
        if stored.stage is not LoadStage.NEW or visitor.kept_from in _UNLOADED or visitor.brings_cookies:
            return None
        stored.stage = LoadStage.LOADED
        key = stored.key()
        if key is None:
            stored.load(None)
            return None
        future = self._begin(deadline.at, self._store.load, key)
        if future is None:
            self._missed(exchange, None)
        return future

    def _begin_save(self, exchange: Exchange) -> Future[Any] | None:
        stored = _stored(exchange)
        if stored.stage is LoadStage.FAILED or exchange.visitor.brings_cookies:
            return None
        entry = stored.entry()
        if entry is None:
            return None
        saving = self._begin(time.monotonic() + _SAVE_S, self._store.save, *entry, LIFE_S)
        if saving is None:
            self._failed(None, 0.0, 0.0)
        return saving

    def _begin(self, until: float, work: Callable[..., Any], *arguments: Any) -> Future[Any] | None:
        """Do *work* in a thread when one is free; None if the breaker is open, or no thread is free in time."""
        return self._pool.get().submit(until, work, *arguments)

    def _in_line(self, future: Future[Any]) -> bool:
        """Say whether *future* is late because others were before it, and not because of the store."""
        return self._pool.get().is_held_up(future)

    def _take(self, exchange: Exchange, value: bytes | None) -> None:
        self._pool.get().succeeded()
        _stored(exchange).load(value)

    def _missed(self, exchange: Exchange, error: Exception | None, began: float = 0.0, due: float = 0.0) -> None:
        """Treat the visitor as new, and save nothing: that would overwrite the stored cookies."""
        _stored(exchange).fail()
        self._failed(error, began, due)

    def _failed(self, error: Exception | None, began: float, due: float) -> None:
        """Note that the store did not answer a call that began at *began*, and should have by *due*."""
        if error is not None:
            self._pool.get().failed(error, began, due)
        self._counts.add("visitor_store_failed")
        reason = "BREAKER_OPEN or no thread in time" if error is None else type(error).__name__
        self._throttle.log(logging.ERROR, "VISITOR_STORE", "the visitor store does not answer", error=reason)


def _stored(exchange: Exchange) -> StoredVisitor:
    stored = exchange.stored
    assert stored is not None, "made for every exchange where there is a visitor store"
    return stored

"""Fetch visitors' cookies from the site's own store and keep them there, without holding up a page."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from flagmw._decide.places import Places, in_turn
from flagmw._exchange.exchange import Exchange
from flagmw._support.counters import Counts
from flagmw._support.forksafe import PerProcess
from flagmw._support.limits import LATE_S, Breaker, Deadline
from flagmw._support.log import Throttle
from flagmw._visitor_store.base import LIFE_S, VisitorStore
from flagmw.codes import ErrorCode

# A page waits no longer than this for its visitor to be kept; that goes on meanwhile.
SAVE_WAIT_S = 0.05
# How long a visitor waits to be kept, and how many do, when the store is slow.
_SAVE_S = 30.0
_SAVES_WAITING = 1000
_THREADS = 4
_UNLOADED = frozenset({ErrorCode.NO_CONSENT, ErrorCode.BOT})


class VisitorLoader:
    """One store, asked in threads of its own. While it fails visitors are new ones, and it is not written to."""

    def __init__(self, store: VisitorStore, counts: Counts, throttle: Throttle) -> None:
        self._store, self._counts, self._throttle = store, counts, throttle
        self._crew = PerProcess(_Crew)

    def load(self, exchange: Exchange, deadline: Deadline) -> None:
        """Give *exchange* its visitor's cookies, from a thread."""
        began, asked = time.monotonic(), self._asked(exchange, deadline)
        if asked is not None:
            try:
                self._take(exchange, asked.result(deadline.left(time.monotonic())))
            except Exception as error:
                self._missed(exchange, None if asked.cancel() else error, began, deadline.at)

    async def aload(self, exchange: Exchange, deadline: Deadline) -> None:
        """As `load`, from an event loop."""
        began, asked = time.monotonic(), self._asked(exchange, deadline)
        if asked is not None:
            import asyncio

            try:
                found = await asyncio.wait_for(asyncio.wrap_future(asked), deadline.left(time.monotonic()))
                self._take(exchange, found)
            except Exception as error:
                self._missed(exchange, None if asked.cancelled() else error, began, deadline.at)

    def save(self, exchange: Exchange) -> None:
        """Keep what is new of the visitor; wait for that a moment only."""
        began, asked = time.monotonic(), self._kept(exchange)
        if asked is not None:
            try:
                asked.result(SAVE_WAIT_S)
            except Exception as error:
                if not self._in_line(asked):
                    self._failed(error, began, began + SAVE_WAIT_S)

    async def asave(self, exchange: Exchange) -> None:
        """As `save`, from an event loop."""
        began, asked = time.monotonic(), self._kept(exchange)
        if asked is not None:
            import asyncio

            try:
                await asyncio.wait_for(asyncio.shield(asyncio.wrap_future(asked)), SAVE_WAIT_S)
            except Exception as error:
                if not self._in_line(asked):
                    self._failed(error, began, began + SAVE_WAIT_S)

    def close(self) -> None:
        """End this process's threads and the store's connections; a later use starts anew."""
        self._crew.get().threads.shutdown(wait=False, cancel_futures=True)
        self._crew = PerProcess(_Crew)
        close = getattr(self._store, "close", None)
        if callable(close):
            close()

    def _asked(self, exchange: Exchange, deadline: Deadline) -> Future[Any] | None:
        """Begin to fetch; None where there is nothing to fetch, or nobody who could be asked."""
        if exchange.loaded or exchange.kept_from in _UNLOADED or exchange.brings_cookies:
            return None
        exchange.loaded = True
        key = exchange.stored_key()
        if key is None:
            exchange.stored(None)
            return None
        asked = self._begin(deadline.at, self._store.load, key)
        if asked is None:
            self._missed(exchange, None)
        return asked

    def _kept(self, exchange: Exchange) -> Future[Any] | None:
        if exchange.unkept or exchange.brings_cookies:
            return None
        kept = exchange.to_store()
        if kept is None:
            return None
        asked = None
        if self._crew.get().places.waiting < _SAVES_WAITING:
            asked = self._begin(time.monotonic() + _SAVE_S, self._store.save, *kept, LIFE_S)
        if asked is None:
            self._failed(None, 0.0, 0.0)
        return asked

    def _begin(self, until: float, work: Callable[..., Any], *arguments: Any) -> Future[Any] | None:
        """Have a thread do *work* when one is free; None where the store is away, or that comes too late."""
        crew = self._crew.get()
        if not crew.breaker.allow(time.monotonic()):
            return None
        asked = in_turn(crew.places, lambda: crew.threads.submit(work, *arguments), until, time.monotonic)
        if asked is None:
            crew.breaker.abandon()
        return asked

    def _in_line(self, asked: Future[Any]) -> bool:
        """Say whether *asked* goes on, and is late because others are before it rather than by the store's doing."""
        return not asked.done() and (not asked.running() or self._crew.get().places.waiting > 0)

    def _take(self, exchange: Exchange, value: bytes | None) -> None:
        self._crew.get().breaker.success(time.monotonic())
        exchange.stored(value)

    def _missed(self, exchange: Exchange, error: Exception | None, began: float = 0.0, due: float = 0.0) -> None:
        """Go on with a new visitor, who must not take the place of the one that is kept."""
        exchange.stored(None)
        exchange.unkept = True
        self._failed(error, began, due)

    def _failed(self, error: Exception | None, began: float, due: float) -> None:
        """Note that the store, asked at *began*, did not answer; that it should have by *due*."""
        if error is not None:
            breaker, now = self._crew.get().breaker, time.monotonic()
            if isinstance(error, TimeoutError) and now > due + LATE_S:
                breaker.abandon()  # this process stood still: it could not have noticed an answer
            else:
                breaker.failure(now, began=began)
        self._counts.add("visitor_store_failed")
        said = "BREAKER_OPEN or no thread in time" if error is None else type(error).__name__
        self._throttle.log(logging.ERROR, "VISITOR_STORE", "the visitor store does not answer", error=said)


class _Crew:
    """What one process asks with."""

    def __init__(self) -> None:
        self.threads = ThreadPoolExecutor(_THREADS, "flagmw-visitors")
        self.breaker, self.places = Breaker(), Places(_THREADS)

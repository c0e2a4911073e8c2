"""Threads for calls to a store, with a waiting line and a breaker."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from flagmw._support.breaker import Breaker
from flagmw._support.deadline import LATE_S
from flagmw._support.places import Places, in_turn

THREADS = 4
WAITING_MAX = 1000

T = TypeVar("T")


class BoundedPool:
    """Call a store in a few threads; no call while its breaker is open, and none that would come too late.

    A pool belongs to one process.

    Args:
        name: the prefix of the threads' names.
        threads: calls under way at once; further ones wait in line.
    """

    def __init__(self, name: str, threads: int = THREADS) -> None:
        self._executor = ThreadPoolExecutor(threads, name)
        self._breaker, self._places = Breaker(), Places(threads)
        self._answered_at = float("-inf")

    def submit(self, until: float, call: Callable[..., T], *arguments: object) -> Future[T] | None:
        """Begin *call*, now or when a thread is free; cancelling the future leaves the line.

        Args:
            until: the moment, in monotonic seconds, after which the result is of no use.

        Returns:
            None while the breaker is open, or if the line is so long that the result would come too late.
        """
        if not self._breaker.allow(time.monotonic()):
            return None
        future = None
        if self._places.waiting < WAITING_MAX:
            future = in_turn(self._places, lambda: self._executor.submit(call, *arguments), until, time.monotonic)
        if future is None:
            self._breaker.abandon()
        return future

    def succeeded(self) -> None:
        """Note that the store has answered."""
        self._answered_at = time.monotonic()
        self._breaker.success(self._answered_at)

    def failed(self, error: Exception, began: float, due: float) -> None:
        """Note that a call, begun at *began*, came to *error*; its result should have come by *due*."""
        now = time.monotonic()
        if isinstance(error, TimeoutError) and now > due + LATE_S:
            self._breaker.abandon()  # this process stood still: it could not have noticed an answer
        else:
            self._breaker.failure(now, began=began)

    def gave_up(self) -> None:
        """Note that a call ended without any sign of the store's health."""
        self._breaker.abandon()

    def is_held_up(self, future: Future[T]) -> bool:
        """Say whether *future* is late because calls are before it, and not because of the store."""
        return not future.done() and (not future.running() or self._places.waiting > 0)

    def answered_since(self, moment: float) -> bool:
        """Say whether the store has answered any call since *moment*."""
        return self._answered_at >= moment

    def close(self) -> None:
        """Let the threads end; calls that wait in line are cancelled."""
        self._executor.shutdown(wait=False, cancel_futures=True)

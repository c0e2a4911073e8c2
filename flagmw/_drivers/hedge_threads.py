"""Hedged calls with threads."""

from __future__ import annotations

import concurrent.futures
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future

from flagmw._drivers.hedge import Budget, good
from flagmw._support.daemon_threads import Workers
from flagmw._transports.attempt import Attempt
from flagmw.exceptions import TransportError
from flagmw.types import Reply


class Race:
    """One call, and perhaps its second; the first good answer counts and the other call is cut.

    The first runs where it would run without a race, so a want of threads costs no more than the second call.

    Args:
        ask: makes the call.
        workers: threads for second calls.
        clock: the clock of the attempts.
    """

    def __init__(
        self, ask: Callable[[Attempt], Reply], first: Attempt, workers: Workers, clock: Callable[[], float]
    ) -> None:
        self._ask, self._workers, self._clock = ask, workers, clock
        self._first, self._second = first, Attempt(first.started, first.at)
        self._lock = threading.Lock()
        self._twin: Future[Reply] | None = None
        self._over = False

    def watch(self, at: float, budget: Budget) -> None:
        """Wait in this thread until *at*; begin the second call then, if the first has no answer yet.

        The calls of one driver wait equally long, so one thread can watch them one after the other.
        """
        while not self._over and (left := at - self._clock()) > 0:
            time.sleep(left)
        with self._lock:
            if self._over or not budget.spend():
                return
            try:
                self._twin = self._workers.submit(self._ask_again)
            except RuntimeError:
                # No thread to be had: the first call goes on alone.
                return

    def run(self) -> Reply:
        """Make the call and return the answer that counts.

        Raises:
            TransportError: neither call was answered; the error is that of the first.
        """
        reply, error = None, None
        try:
            reply = self._ask(self._first)
        except TransportError as failure:
            error = failure
        finally:
            with self._lock:
                self._over, twin = True, self._twin
            if error is None and twin is not None and (reply is None or good(reply)):
                self._second.abort()
        if twin is not None and (reply is None or not good(reply)):
            try:
                other = twin.result(timeout=max(0.0, self._first.at - self._clock()))
            except (TransportError, concurrent.futures.TimeoutError):
                self._second.abort()
            else:
                reply = other if reply is None or good(other) else reply
        if reply is None:
            assert error is not None
            error.sent = error.sent or self._second.sent
            raise error
        return reply

    def _ask_again(self) -> Reply:
        reply = self._ask(self._second)
        if good(reply):
            self._first.abort()
        return reply

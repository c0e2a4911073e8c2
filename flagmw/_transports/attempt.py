"""One attempt of a call: its deadline, progress and cancellation."""

from __future__ import annotations

import threading
from collections.abc import Callable

from flagmw.codes import ErrorCode
from flagmw.exceptions import TransportError


class Attempt:
    """A transport's notes on one call.

    Args:
        started: when the call began, and
        at: when it ends, both on the driver's clock.

    Attributes:
        sent: bytes of the request may have left.
    """

    __slots__ = ("_cut", "_lock", "_over", "at", "sent", "started")

    def __init__(self, started: float, at: float) -> None:
        self.started, self.at = started, at
        self.sent = False
        self._lock = threading.Lock()
        self._cut: Callable[[], None] | None = None
        self._over = False

    def hold(self, cut: Callable[[], None]) -> None:
        """Say how the waiting for the answer is ended, for `abort`.

        Raises:
            TransportError: the call was aborted before it came so far.
        """
        with self._lock:
            self._cut = cut
            if not self._over:
                return
        raise TransportError(ErrorCode.RESET, sent=self.sent)

    def let_go(self) -> bool:
        """Say that nobody waits any more; return whether the answer is still wanted, and its connection fit for use."""
        with self._lock:
            self._cut = None
            return not self._over

    def abort(self) -> None:
        """Wake the thread that waits for the answer: another one came first."""
        with self._lock:
            self._over = True
            if self._cut is not None:
                self._cut()

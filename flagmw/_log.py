"""Quiet logging: a trouble that goes on is told once in a while, with how often it was not told."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable


class Throttle:
    """Log at most one line per code and *every_s* seconds; the next one says how many were held back.

    Safe from any thread. The fields are for enumerations, names from the configuration and counts; what a
    visitor or a vendor wrote has no place in them.

    Args:
        every_s: seconds of silence after a line of the same code.
        clock: seconds, monotonic.
    """

    def __init__(
        self, logger: logging.Logger, *, every_s: float = 10.0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._logger, self._every_s, self._clock = logger, every_s, clock
        self._lock = threading.Lock()
        self._said: dict[str, tuple[float, int]] = {}

    def log(self, level: int, code: str, message: str, **fields: object) -> bool:
        """Log *message* with *code* and *fields* unless it is too soon; return whether a line was written."""
        now = self._clock()
        with self._lock:
            last, held_back = self._said.get(code, (None, 0))
            # A clock that went back (a test's, a forked process's) must not silence anything for long.
            if last is not None and 0 <= now - last < self._every_s:
                self._said[code] = (last, held_back + 1)
                return False
            self._said[code] = (now, 0)
        if held_back:
            fields["suppressed"] = held_back
        self.change(level, code, message, **fields)
        return True

    def change(self, level: int, code: str, message: str, **fields: object) -> None:
        """Log a change of state, which is rare by nature, whatever was said before."""
        self._logger.log(level, "%s code=%s%s", message, code, "".join(f" {k}={v}" for k, v in fields.items()))

"""Rate-limited logging that counts the lines it holds back."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable

from flagmw._support.forksafe import Lock

_SAID_MAX = 1000
_TEXT_MAX = 300
_UNSAFE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


class Throttle:
    """Log at most one line per code, vendor and *every_s* seconds; the next one says how many were held back.

    Safe from any thread. The fields are for enumerations, names from the configuration and counts; what a
    visitor or a vendor wrote has no place in them. Errors of the site's functions alone come with their text.

    Args:
        every_s: seconds of silence after a line of the same code.
        clock: seconds, monotonic.
    """

    def __init__(
        self, logger: logging.Logger, *, every_s: float = 10.0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._logger, self._every_s, self._clock = logger, every_s, clock
        self._lock = Lock()
        self._said: dict[str, tuple[float, int]] = {}

    def log(self, level: int, code: str, message: str, **fields: object) -> bool:
        """Log *message* with *code* and *fields* unless it is too soon; return whether a line was written."""
        now, said = self._clock(), f"{code} {fields.get('vendor', '')}"
        with self._lock:
            last, held_back = self._said.get(said, (None, 0))
            # A clock that went back (a test's, a forked process's) must not silence anything for long.
            if last is not None and 0 <= now - last < self._every_s:
                self._said[said] = (last, held_back + 1)
                return False
            if len(self._said) >= _SAID_MAX:  # codes and vendors are few; if ever they are not, some are said again
                self._said.clear()
            self._said[said] = (now, 0)
        if held_back:
            fields["suppressed"] = held_back
        self.change(level, code, message, **fields)
        return True

    def failed(self, code: str, message: str, error: BaseException) -> None:
        """Log that a function of the site has failed: the error's text as ERROR, its traceback as DEBUG."""
        text = f"{type(error).__name__}: {error}"
        if self.log(logging.ERROR, code, message, error=text[:_TEXT_MAX]):
            self._logger.debug("%s code=%s", one_line(message), code, exc_info=error)

    def change(self, level: int, code: str, message: str, **fields: object) -> None:
        """Log a change of state without a rate limit: such changes are rare."""
        told = "".join(f" {name}={one_line(value)}" for name, value in fields.items())
        self._logger.log(level, "%s code=%s%s", one_line(message), code, told)


def one_line(value: object) -> str:
    """Return *value* as text that cannot forge another line or paint the terminal."""
    return _UNSAFE.sub(" ", str(value))


def own_words(error: BaseException) -> str:
    """Return an error's text if flagmw wrote it, else its type: other texts may quote a visitor's data."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    where = "" if trace is None else str(trace.tb_frame.f_globals.get("__name__", ""))
    return str(error) if where.startswith("flagmw.") else type(error).__name__

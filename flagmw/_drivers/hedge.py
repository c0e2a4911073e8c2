"""Rules for a second call when an answer is late. No I/O.

After J. Dean and L. A. Barroso, "The Tail at Scale" (CACM 56, 2013): hedged requests, and few of them.
"""

from __future__ import annotations

from flagmw._support.forksafe import Lock
from flagmw.types import Reply


class Budget:
    """Tokens for second calls: each call earns a part of one, so that they stay a small share of all calls.

    Args:
        calls: how many calls earn one second call; 10 makes it at most a tenth.
        most: how many are saved up at most, for a vendor that turns slow all at once.

    Attributes:
        spent: how many second calls were made.
    """

    def __init__(self, calls: int = 10, most: int = 10) -> None:
        self._calls, self._room = calls, calls * most
        self._saved = 0
        self._lock = Lock()
        self.spent = 0

    def earn(self) -> None:
        with self._lock:
            self._saved = min(self._saved + 1, self._room)

    def spend(self) -> bool:
        """Take a token; say whether there was one."""
        with self._lock:
            if self._saved < self._calls:
                return False
            self._saved -= self._calls
            self.spent += 1
            return True


def good(reply: Reply) -> bool:
    """Say whether *reply* ends the wait: a vendor that is overloaded or broken may answer the other call better."""
    return reply.status < 500 and reply.status != 429

"""A limit that several processes share through a Valkey server."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Generator
from typing import Any

from flagmw._support.forksafe import Lock
from flagmw._valkey.url import parse
from flagmw.admin.errors import ThrottledError, UnreachableError
from flagmw.admin.flow.effects import Effect, Sleep, Work

# A refused process looks again after this at the latest: another one may have given up its turn.
LONGEST_PAUSE_S = 5.0
SHORTEST_PAUSE_S = 0.002
# A call reaches the vendor some time after its turn was granted, and one call later than the next: the window is longer
# by this, so that the vendor sees no more calls in a second than are granted in one.
LATENESS_S = 0.05
ANSWER_S = 5.0

# Keeps the time of every turn, by the server's clock; returns for how many microseconds there is none, 0 for a turn.
_TAKE = """
local clock = redis.call('TIME')
local now = clock[1] * 1000000 + clock[2]
local window, limit, cost = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now - window)
local used = redis.call('ZCARD', KEYS[1])
if used + cost <= limit then
    for number = 1, cost do
        redis.call('ZADD', KEYS[1], now, ARGV[4] .. number)
    end
    redis.call('PEXPIRE', KEYS[1], math.ceil(window / 1000))
    return 0
end
local last = used + cost - limit - 1
local leaves = redis.call('ZRANGE', KEYS[1], last, last, 'WITHSCORES')[2]
return math.max(1, leaves + window - now)
"""


class SharedLimiter:
    """Allow *calls* calls in any *per_s* seconds, over all processes that name the same limit on the same server.

    The server's clock counts. A call that counts for more than the limit (a batch) takes its turns before it is made,
    not after it.

    Args:
        url: of the server, `valkey://host:6379/0`; a password may come from `FLAGMW_VALKEY_PASSWORD`.
        name: what the limit is for: a tenant, an organization.
        calls: how many.
        per_s: in how many seconds; whole ones.
        clock: seconds, to measure how long a call has waited.

    Raises:
        ConfigError: the URL cannot work.
        ImportError: the library is not installed.
    """

    def __init__(
        self, url: str, name: str, calls: int, per_s: int = 60, *, clock: Callable[[], float] = time.time
    ) -> None:
        try:
            import valkey  # noqa: F401 - used at the first call
        except ImportError:
            raise ImportError("a shared limit needs a library: pip install 'flagmw[admin,valkey]'") from None
        self._address = parse(url)
        self._name, self._calls, self._clock = name, calls, clock
        self._window_us = int((per_s + min(LATENESS_S, 0.05 * per_s)) * 1_000_000)
        self._key = f"{self._address.prefix}limit:{name}:{calls}:{per_s}"
        self._lock = Lock()
        self._script: Any = None

    def acquire(self, cost: int, max_wait_s: float) -> Generator[Effect, Any, float]:
        """Wait for *cost* calls; return how many seconds that took.

        Raises:
            ThrottledError: it would take longer than *max_wait_s*.
            UnreachableError: the server does not answer.
        """
        begun = self._clock()
        left = cost
        while left > 0:
            turn = min(left, self._calls)
            pause: float = yield Work(lambda turn=turn: self._take(turn))  # type: ignore[misc]
            if pause <= 0:
                left -= turn
                continue
            waited = self._clock() - begun
            if waited + pause > max_wait_s:
                text = f'the shared limit "{self._name}" is used up for longer than max_wait_s={max_wait_s:g}'
                raise ThrottledError(f"{text}; come again later", seconds=pause)
            yield Sleep(pause)
        return self._clock() - begun

    def _take(self, cost: int) -> float:
        """Take *cost* calls and return 0, or return how long to wait before the next try."""
        from valkey.exceptions import ValkeyError

        try:
            wait_us = self._opened()(keys=[self._key], args=[self._window_us, self._calls, cost, f"{uuid.uuid4()}:"])
        except ValkeyError:
            text = f"the server of the shared limit, {self._address.name}, does not answer; start it or drop limiter="
            raise UnreachableError(text) from None
        return min(max(wait_us / 1e6, SHORTEST_PAUSE_S), LONGEST_PAUSE_S) if wait_us else 0.0

    def _opened(self) -> Any:
        with self._lock:
            if self._script is None:
                from valkey import Valkey

                client = Valkey(**self._address.options(), socket_timeout=ANSWER_S, socket_connect_timeout=ANSWER_S)
                self._script = client.register_script(_TAKE)
            return self._script

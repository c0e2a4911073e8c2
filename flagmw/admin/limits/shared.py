"""A limit that several processes share through a Valkey server."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Generator
from typing import Any

from flagmw._support.forksafe import Lock
from flagmw._valkey.url import Address, parse
from flagmw.admin.errors import ThrottledError, UnreachableError
from flagmw.admin.flow.effects import Effect, Sleep, Work

# A refused process looks again after this at the latest: another one may have given up its turn.
LONGEST_PAUSE_S = 5.0
SHORTEST_PAUSE_S = 0.01


class SharedLimiter:
    """Allow *calls* calls in any *per_s* seconds, over all processes that name the same limit on the same server.

    A call that counts for more than the limit (a batch) takes its turns before it is made, not after it.

    Args:
        url: of the server, `valkey://host:6379/0`; a password may come from `FLAGMW_VALKEY_PASSWORD`.
        name: what the limit is for: a tenant, an organisation.
        calls: how many.
        per_s: in how many seconds; whole ones.
        clock: seconds since the epoch; the machines' clocks should agree.

    Raises:
        ConfigError: the URL cannot work.
        ImportError: the libraries are not installed.
    """

    def __init__(
        self, url: str, name: str, calls: int, per_s: int = 60, *, clock: Callable[[], float] = time.time
    ) -> None:
        try:
            import limits
            import valkey  # noqa: F401 - the library that limits uses
        except ImportError:
            raise ImportError("a shared limit needs two libraries: pip install 'flagmw[admin,valkey]'") from None
        self._address = parse(url)
        self._name, self._calls, self._per_s, self._clock = name, calls, per_s, clock
        self._item = limits.RateLimitItemPerSecond(calls, per_s, namespace=f"{self._address.prefix}limit")
        self._lock = Lock()
        self._strategy: Any = None

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
        from limits.errors import StorageError

        try:
            strategy = self._opened()
            if strategy.hit(self._item, self._name, cost=cost):
                return 0.0
            stats = strategy.get_window_stats(self._item, self._name)
        except StorageError:
            text = f"the server of the shared limit, {self._address.name}, does not answer; start it or drop limiter="
            raise UnreachableError(text) from None
        wait = float(stats.reset_time) - self._clock()
        return min(max(wait, SHORTEST_PAUSE_S), LONGEST_PAUSE_S) if math.isfinite(wait) else LONGEST_PAUSE_S

    def _opened(self) -> Any:
        with self._lock:
            if self._strategy is None:
                from limits.storage import storage_from_string
                from limits.strategies import MovingWindowRateLimiter

                storage = storage_from_string(_uri(self._address), wrap_exceptions=True, **_options(self._address))
                self._strategy = MovingWindowRateLimiter(storage)
            return self._strategy


def _uri(address: Address) -> str:
    host = f"[{address.host}]" if ":" in address.host else address.host
    return f"{'valkeys' if address.tls else 'valkey'}://{host}:{address.port}/{address.database}"


def _options(address: Address) -> dict[str, Any]:
    found: dict[str, Any] = {"socket_timeout": 5.0, "socket_connect_timeout": 5.0}
    return found | {
        name: value for name, value in address.options().items() if name not in ("host", "port", "db", "ssl")
    }

"""The circuit breaker of one vendor or store.

Pure state on a clock that is passed in (seconds, monotonic). It may be used from several threads; its lock is held for
a few instructions only.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Hashable
from typing import Literal

from flagmw._support.forksafe import Lock

BreakerState = Literal["closed", "open", "half-open"]


class Breaker:
    """Stop asking a vendor that keeps failing; let one probe through now and then.

    A failure counts only if its call began after the last counted failure was known, and once per visitor in *window_s*
    seconds. One cause may end many calls at once, or one visitor's calls again and again.

    Opens after evidence *streak* times in a row, with no success for *quiet_s* seconds, or when at least *sample* calls
    of the last *window_s* seconds failed by *ratio*. If every failed visitor sent something that may be the cause, the
    row of failures must last longer. Stays open for *open_s*, doubling with each failed probe up
    to *open_max_s*.
    """

    def __init__(
        self,
        *,
        streak: int = 5,
        quiet_s: float = 1.0,
        ratio: float = 0.5,
        sample: int = 20,
        window_s: float = 10.0,
        open_s: float = 2.0,
        open_max_s: float = 30.0,
    ) -> None:
        self._streak_limit, self._quiet_s = streak, quiet_s
        self._ratio, self._sample, self._window_s = ratio, sample, window_s
        self._open_s, self._open_max_s = open_s, open_max_s
        self._lock = Lock()
        # When each call ended, whether it failed, whose it was, and whether that may have been the cause.
        self._calls: deque[tuple[float, bool, Hashable | None, bool]] = deque()
        self._blamed: set[Hashable] = set()
        self._failures = 0
        self._past_calls = self._past_failures = 0.0
        self._streak = 0
        self._streak_since = 0.0
        self._doubtful = False
        self._good_at = self._known_at = self._opened_at = -math.inf
        self._open_until: float | None = None
        self._next_open_s = open_s
        self._probe_until: float | None = None

    def allow(self, now: float, *, probe_s: float = 5.0) -> bool:
        """Say whether a call may be made; after the open time exactly one caller at a time may probe.

        A probe whose result never comes gives its turn up after *probe_s* seconds.
        """
        if self._open_until is None:
            return True
        with self._lock:
            if self._open_until is None:
                return True
            if now < self._open_until or (self._probe_until is not None and now < self._probe_until):
                return False
            self._probe_until = now + probe_s
            return True

    def success(self, now: float) -> bool:
        """Note a good call; return whether this closed the breaker."""
        with self._lock:
            reopened, self._open_until = self._open_until is not None, None
            self._streak, self._probe_until, self._next_open_s = 0, None, self._open_s
            self._good_at = max(self._good_at, now)
            if reopened:
                self._forget(math.inf)
            self._note(now)
            return reopened

    def failure(
        self,
        now: float,
        hold_s: float | None = None,
        *,
        began: float | None = None,
        who: Hashable | None = None,
        doubtful: bool = False,
    ) -> bool:
        """Note a failed call; return whether this opened the breaker.

        Args:
            hold_s: the vendor's Retry-After in seconds: open at once, for at least that long, unless the vendor has
                just answered another visitor.
            began: when the call began; *now* if left out.
            who: the visitor of the call; None if unknown.
            doubtful: the visitor sent something that may be the cause.
        """
        with self._lock:
            began = now if began is None else began
            if self._open_until is not None:
                if began < self._opened_at or (self._probe_until is None and now < self._open_until):
                    return False  # a call that began before the breaker opened says nothing new
                self._probe_until = None
                self._next_open_s = min(self._next_open_s * 2, self._open_max_s)
                self._opened_at, self._open_until = now, now + max(self._next_open_s, hold_s or 0.0)
                return False
            self._forget(now)
            if began >= self._known_at and (who is None or who not in self._blamed):
                self._known_at = now
                if not self._streak:
                    self._streak_since, self._doubtful = now, True
                self._streak += 1
                self._doubtful = self._doubtful and doubtful
                self._note(now, failed=True, who=who, doubtful=doubtful)
                if self._fails_often(now) or (self._streak >= self._streak_limit and self._lasts(now)):
                    return self._open(now, hold_s)
            if hold_s and now - self._good_at >= self._quiet_s:
                return self._open(now, hold_s)
            return False

    def abandon(self) -> None:
        """End a probe without a result: the caller was cancelled, or the result says nothing about the vendor."""
        with self._lock:
            self._probe_until = None

    def fails_others(self, who: Hashable | None, now: float) -> bool:
        """Say whether calls of other visitors than *who* have failed lately."""
        with self._lock:
            self._forget(now)
            return self._failures > (who in self._blamed)

    def state(self, now: float) -> BreakerState:
        if self._open_until is None:
            return "closed"
        return "open" if now < self._open_until else "half-open"

    def open_for(self, now: float) -> float:
        """Return the seconds until the next probe, 0 when calls may be made."""
        until = self._open_until
        return 0.0 if until is None else max(0.0, until - now)

    def _open(self, now: float, hold_s: float | None) -> bool:
        self._opened_at, self._open_until = now, now + max(self._open_s, hold_s or 0.0)
        return True

    def _fails_often(self, now: float) -> bool:
        """Say whether more calls fail than usual: a constant share of failures may be caused by some visitors."""
        ratio = max(self._ratio, min(self._share_before() + _MORE, _MOST))
        if len(self._calls) < self._sample or self._failures < ratio * len(self._calls):
            return False
        failures = [(at, doubtful) for at, failed, _, doubtful in self._calls if failed]
        return not all(doubtful for _, doubtful in failures) or now - failures[0][0] >= self._quiet_s * _DOUBTFUL

    def _lasts(self, now: float) -> bool:
        """Say whether the last success is long enough ago; the time is longer if successes are rare."""
        since, parts = self._good_at, 1.0
        if self._doubtful:
            since, parts = max(since, self._streak_since), _DOUBTFUL
        good = len(self._calls) - self._failures
        if good >= _OFTEN * self._window_s:
            most = _QUIET_MOST if self._share_before() < _FLOOD else _QUIET_FLOODED
            parts = max(parts, min(_PAUSES * self._window_s / good, most))
        return now - since >= self._quiet_s * parts

    def _share_before(self) -> float:
        """Return the share of failures among the calls before the window; low while there were only a few."""
        return self._past_failures / (self._past_calls + self._sample)

    def _note(self, now: float, *, failed: bool = False, who: Hashable | None = None, doubtful: bool = False) -> None:
        self._calls.append((now, failed, who, doubtful))
        self._failures += failed
        if who is not None:
            self._blamed.add(who)
        self._forget(now)

    def _forget(self, now: float) -> None:
        while self._calls and self._calls[0][0] < now - self._window_s:
            _, failed, who, _ = self._calls.popleft()
            self._failures -= failed
            self._blamed.discard(who)
            self._past_calls += 1.0
            self._past_failures += failed
            if self._past_calls > _PAST_CALLS:
                self._past_calls /= 2
                self._past_failures /= 2


# Where a vendor answers once a second or more often, its silence has to last for so many of the usual pauses, but not
# longer than this times the usual quiet: a vendor that fails for everybody is left alone within two seconds.
_OFTEN = 1.0
_PAUSES = 6.0
_DOUBTFUL, _QUIET_MOST = 1.4, 1.8
# Where so many calls always fail, a little silence says less.
_FLOOD, _QUIET_FLOODED = 0.1, 4.0
# By how much the share of failures has to exceed that of the calls before, and what is too much whatever was before.
_MORE, _MOST = 0.35, 0.9
_PAST_CALLS = 1_000.0

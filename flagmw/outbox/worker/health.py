"""The health of a vendor, judged by different visitors' attempts."""

from __future__ import annotations

import math
from collections import OrderedDict

from flagmw._support.forksafe import Lock
from flagmw.codes import ErrorCode

STREAK = 5
"""So many visitors in a row whose events fail are an outage, if nothing else succeeded for `QUIET_S` seconds."""

QUIET_S = 1.0
PAUSE_S = 1.0  # the first pause of a vendor that fails; doubled with each failed probe
PAUSE_MAX_S = 3.0  # a backlog must not wait long for somebody to notice that the vendor is back
REFUSAL_S = 1.0  # the first rest of a vendor that refuses us: that may be a firewall's word on one event
DOUBT_S = 5.0  # so long after a failure old and new events take turns
ALIVE_S = 2.0  # so long after a success a vendor that does not answer others is alive
_SERVED_S = 60.0
_SUSPECT_S = 600.0
_SUSPECTS = 2_000


class Health:
    """One vendor's state: healthy, failing (pauses, then probes), or refusing the account.

    Times are on the monotonic clock. One visitor's events may fail because of their content, so a visitor counts once:
    a lane is down when several visitors in a row failed. An event that fails while others succeed is the cause itself.

    Attributes:
        suspended: why the vendor refuses us, None while it does not.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._streak: set[str] = set()
        self._suspects: OrderedDict[str, float] = OrderedDict()
        self._success_at = self._failure_at = self._down_since = -math.inf
        self._down_until: float | None = None
        self._pause_s = PAUSE_S
        self._held_until = -math.inf
        self._refusal_s = REFUSAL_S
        self._refused: set[str] = set()
        self._alone: OrderedDict[str, None] = OrderedDict()
        self._set_back: OrderedDict[str, float] = OrderedDict()
        self.suspended: ErrorCode | None = None

    def on_trial(self) -> bool:
        """True when one attempt has to show first that the vendor takes events again."""
        return self.suspended is not None or self._down_until is not None

    def doubtful(self, now: float) -> bool:
        """True when something failed lately, so that it matters whose event is tried next."""
        return self.on_trial() or self.refuses_some() or now - self._failure_at < DOUBT_S

    def refuses_some(self) -> bool:
        """True when the vendor refused somebody's event and has taken nobody's since."""
        return bool(self._refused)

    def alive(self, now: float) -> bool:
        """True when the vendor took somebody's event just now."""
        return now - self._success_at < ALIVE_S

    def rest_s(self, now: float) -> float:
        """Return the seconds until something may be sent, 0 when it may be now."""
        down_until = self._down_until
        return max(0.0, self._held_until - now, 0.0 if down_until is None else down_until - now)

    def is_suspect(self, visitor: str) -> bool:
        """True when the last attempt for *visitor* failed."""
        return visitor in self._suspects

    def suspected_at(self, visitor: str) -> float:
        """Return the time at which the last attempt for *visitor* failed."""
        return self._suspects.get(visitor, -math.inf)

    def set_back(self, visitor: str, until: float) -> None:
        """Let the events of *visitor*, of whom one has failed, wait until then."""
        with self._lock:
            self._set_back[visitor] = until
            self._set_back.move_to_end(visitor)
            while len(self._set_back) > _SUSPECTS:
                self._set_back.popitem(last=False)

    def set_back_s(self, visitor: str, now: float) -> float:
        """Return for how many seconds the events of *visitor* wait."""
        return max(0.0, self._set_back.get(visitor, now) - now)

    def allow(self, now: float) -> bool:
        """True when an attempt may begin; the caller must make it then, for it may be a probe.

        The next probe may begin after a pause even if this one hangs: it may be this event that hangs the vendor.
        """
        with self._lock:
            if self.rest_s(now) > 0:
                return False
            if self._down_until is not None:
                self._down_until = now + self._pause_s
            elif self.suspended is not None:
                self._held_until = now + self._pause_s
            return True

    def success(self, visitor: str, now: float) -> tuple[ErrorCode | None, bool]:
        """Note that the vendor took an event; return why it had refused us, and whether it had been down."""
        with self._lock:
            was, self.suspended = self.suspended, None
            if was is not None:
                self._held_until = -math.inf
            was_down, self._down_until = self._down_until is not None, None
            self._success_at, self._pause_s = now, PAUSE_S
            self._streak.clear()
            # Those were refused alone: when they are again it is their own.
            self._alone.update(dict.fromkeys(self._refused))
            self._refused.clear()
            self._alone.pop(visitor, None)
            while len(self._alone) > _SUSPECTS:
                self._alone.popitem(last=False)
            self._suspects.pop(visitor, None)
            self._set_back.pop(visitor, None)
            return was, was_down

    def failure(
        self, visitor: str, begun: float, now: float, hold_s: float = 0.0, *, costs_event: bool = False
    ) -> bool:
        """Note a failed attempt that began at *begun*; return whether the vendor is held to be down by that.

        Args:
            hold_s: the rest that the vendor asked for (Retry-After), during which it gets nothing at all.
            costs_event: whether the event is lost by that, as one that may not be sent twice; it shortens the patience.
        """
        with self._lock:
            self._failure_at = now
            self._suspect(visitor, now)
            self._streak.add(visitor)
            if hold_s > 0:
                self._held_until = max(self._held_until, now + hold_s)
            if self._down_until is not None:
                if begun >= self._down_since:
                    self._pause_s = min(self._pause_s * 2, PAUSE_MAX_S)
                    self._down_until = max(self._down_until, now + self._pause_s)
                return False
            quiet = now - self._success_at >= (QUIET_S / 4 if costs_event else QUIET_S)
            if hold_s <= 0 and not (len(self._streak) >= STREAK and quiet):
                return False
            self._down_since, self._down_until = now, now + self._pause_s
            return True

    def refusal(self, visitor: str, code: ErrorCode, rest_s: float, now: float) -> tuple[bool, bool]:
        """Note a refusal of us; return whether the vendor is held to refuse us by that, and whether just this event.

        It is the event's own when it was refused before and others' were taken since.

        Args:
            rest_s: the longest time until it is asked again; it is asked soon at first.
        """
        with self._lock:
            alone = visitor in self._alone
            self._suspect(visitor, now)
            self._refused.add(visitor)
            # A vendor that takes others' events may refuse one for what is in it, as firewalls do.
            others = now - self._success_at < _SERVED_S
            enough = len(self._refused) >= STREAK and now - self._success_at >= QUIET_S / 2
            if self.suspended is None and others and not enough:
                return False, alone
            news, self.suspended = self.suspended is None, code
            self._alone.clear()
            self._refusal_s = min(REFUSAL_S if news else self._refusal_s * 1.5, rest_s)
            self._held_until = max(self._held_until, now + self._refusal_s)
            return news, alone

    def _suspect(self, visitor: str, now: float) -> None:
        self._suspects[visitor] = now
        self._suspects.move_to_end(visitor)
        while len(self._suspects) > _SUSPECTS or next(iter(self._suspects.values())) < now - _SUSPECT_S:
            self._suspects.popitem(last=False)

"""One attempt at a vendor, and what its outcome says about the vendor: in service, failing, refusing us, unknown."""

from __future__ import annotations

import logging
import math
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import Protocol, TypeAlias, TypeGuard

from flagmw._guard import LATE_S, Breaker, Deadline
from flagmw._locks import Lock
from flagmw._log import Throttle
from flagmw.codes import ErrorCode
from flagmw.exceptions import ProtocolError, TransportError
from flagmw.outbox.base import Leased
from flagmw.outbox.pace import CONCURRENCY, RetryBudget, Width
from flagmw.outbox.policy import Policy
from flagmw.types import Ambiguous, Dead, Event, Flow, Outcome, Retry, Suspend


class Delivers(Protocol):
    """What delivery needs of a vendor."""

    def deliver(self, batch: Sequence[Event]) -> Flow[Sequence[Outcome]]: ...


Run: TypeAlias = Callable[[str, Flow[Sequence[Outcome]], Deadline], Sequence[Outcome]]
"""Drives a flow of the named vendor to its result in the calling thread; raises `TransportError` when the deadline,
a point on the monotonic clock, ends it."""

# Retries with one of these codes are trouble of the vendor or of the way there. All others are answers that
# make sense to the codec, so the vendor is in service.
FAILURES = frozenset(
    {
        ErrorCode.DEADLINE,
        ErrorCode.DNS,
        ErrorCode.CONNECT,
        ErrorCode.TLS,
        ErrorCode.RESET,
        ErrorCode.TRANSPORT,
        ErrorCode.TRUNCATED,
        ErrorCode.TOO_LARGE,
        ErrorCode.ENCODING,
        ErrorCode.REDIRECT,
        ErrorCode.HTTP_STATUS,
        ErrorCode.RATE_LIMITED,
        ErrorCode.EMPTY,
        ErrorCode.NOT_JSON,
        ErrorCode.SHAPE,
        ErrorCode.PROTOCOL,
    }
)
# How long a lane rests when its probe is under way elsewhere.
_PROBE_REST_S = 0.5


class Lanes:
    """The vendors as delivery sees them. All times are seconds on the monotonic clock. Safe from any thread.

    Args:
        concurrency: attempts at once at one vendor, as long as it is well.
    """

    def __init__(
        self,
        vendors: Mapping[str, Delivers],
        run: Run,
        breakers: Mapping[str, Breaker],
        policy: Policy,
        throttle: Throttle,
        *,
        attempt_timeout_s: float,
        monotonic: Callable[[], float],
        concurrency: int = CONCURRENCY,
    ) -> None:
        self._run, self._policy, self._throttle = run, policy, throttle
        self._attempt_timeout_s, self._monotonic = attempt_timeout_s, monotonic
        self._lanes = {
            name: _Lane(vendor, breakers.get(name) or Breaker(), Width(concurrency), getattr(vendor, "batch_max", 1))
            for name, vendor in vendors.items()
        }
        self._unknown: set[str] = set()

    @property
    def names(self) -> frozenset[str]:
        """The vendors that are configured."""
        return frozenset(self._lanes)

    def resting(self, now: float) -> dict[str, float]:
        """Return the vendors that get nothing now, and until when; `inf` for those that are not configured."""
        until = dict.fromkeys(list(self._unknown), math.inf)
        for name, lane in self._lanes.items():
            rest_s = max(lane.rest_until - now, lane.breaker.open_for(now))
            if rest_s > 0:
                until[name] = now + rest_s
        return until

    def reject(self, vendor: str) -> None:
        """Leave events of *vendor*, which is not configured, where they are from now on.

        It is most likely an older configuration's; its events may be another process's to deliver.
        """
        self._unknown.add(vendor)
        self._throttle.change(
            logging.ERROR, ErrorCode.NO_VENDOR, "events of a vendor that is not configured wait", vendor=vendor
        )

    def on_trial(self, vendor: str, now: float) -> bool:
        """Say whether one attempt has to show first that the vendor takes events again."""
        lane = self._lanes[vendor]
        return lane.suspended is not None or lane.breaker.state(now) != "closed"

    def width(self, vendor: str, now: float) -> int:
        """Return how many attempts may be under way at once."""
        return 1 if self.on_trial(vendor, now) else self._lanes[vendor].width.limit

    def batch_max(self, vendor: str) -> int:
        """Return how many events of one visitor the vendor takes at once."""
        return self._lanes[vendor].batch_max

    def may_repeat(self, vendor: str, events: int, now: float) -> bool:
        """Say whether the vendor's state leaves room for *events* more repeats."""
        return self._lanes[vendor].budget.allows(events, now)

    def allow(self, vendor: str, now: float) -> bool:
        """Say whether an attempt may be made now; the caller must make it then, for it may be the only probe."""
        lane = self._lanes[vendor]
        if lane.breaker.allow(now, probe_s=self._attempt_timeout_s):
            return True
        lane.rest_until = max(lane.rest_until, now + _PROBE_REST_S)
        return False

    def attempt(self, vendor: str, rows: Sequence[Leased]) -> list[Outcome]:
        """Deliver *rows*, events of one visitor, once; raise nothing, whatever the vendor's code does."""
        lane, now = self._lanes[vendor], self._monotonic()
        lane.begun.attempt = now, rows[0].event.visitor_key if rows else None
        deadline = Deadline.after(self._attempt_timeout_s, now)
        lane.budget.sent(len(rows), sum(row.attempts > 0 for row in rows), now)
        try:
            outcomes = list(self._run(vendor, lane.vendor.deliver([row.event for row in rows]), deadline))
            if len(outcomes) != len(rows) or not all(isinstance(outcome, Outcome) for outcome in outcomes):
                raise TypeError("not one outcome for each event")
        except TransportError as error:
            return [Ambiguous(error.code) if error.sent else Retry(error.code)] * len(rows)
        except ProtocolError as error:
            return [Ambiguous(error.code)] * len(rows)
        except Exception as error:
            # The text of the error may quote what the visitor sent: its type and place must do.
            self._throttle.log(
                logging.ERROR,
                ErrorCode.INTERNAL,
                "a delivery broke, its event is kept",
                vendor=vendor,
                error=type(error).__name__,
                at=_place(error),
            )
            # It may have broken after the vendor had answered, so it is not repeated for long: a few tries, then aside.
            return [
                Ambiguous(ErrorCode.INTERNAL) if row.event.at_most_once else Dead(ErrorCode.INTERNAL, verdict=False)
                for row in rows
            ]
        return outcomes

    def note(self, vendor: str, outcomes: Sequence[Outcome], now: float) -> None:
        """Learn from the *outcomes* of this thread's last attempt how the vendor is."""
        lane = self._lanes[vendor]
        began, who = getattr(lane.begun, "attempt", (now, None))
        refusal = next((outcome for outcome in outcomes if isinstance(outcome, Suspend)), None)
        troubles = [outcome for outcome in outcomes if _is_trouble(outcome)]
        if refusal is not None:
            lane.breaker.abandon()
            self._suspend(vendor, lane, refusal.code, now)
        elif troubles and now > began + self._attempt_timeout_s + LATE_S:
            lane.breaker.abandon()  # this process stood still: it could not have noticed an answer
        elif troubles:
            lane.width.failure()
            lane.budget.failed(len(troubles), now)
            rests = [
                self._policy.rest_s(outcome.after_s)
                for outcome in troubles
                if isinstance(outcome, Retry) and outcome.code is ErrorCode.RATE_LIMITED
            ]
            if lane.breaker.failure(now, max(rests, default=0.0) or None, began=began, who=who):
                self._throttle.change(logging.WARNING, troubles[0].code, "delivery fails and pauses", vendor=vendor)
        elif all(getattr(outcome, "code", None) is ErrorCode.INTERNAL for outcome in outcomes):
            lane.breaker.abandon()  # our own bug says nothing about the vendor
        else:
            lane.width.success()
            self._in_service(vendor, lane, reopened=lane.breaker.success(now))

    def health(self, now: float) -> dict[str, object]:
        """Return which vendors refuse us, which fail, and which are not configured."""
        open_for = {name: lane.breaker.open_for(now) for name, lane in self._lanes.items()}
        refusing = {name: lane.suspended for name, lane in self._lanes.items()}
        return {
            "suspended": {name: code.value for name, code in refusing.items() if code is not None},
            "paused_s": {name: round(left, 1) for name, left in open_for.items() if left > 0},
            "unknown": sorted(self._unknown),
            "width": {name: self.width(name, now) for name in self._lanes},
        }

    def _suspend(self, vendor: str, lane: _Lane, code: ErrorCode, now: float) -> None:
        with lane.lock:
            known, lane.suspended = lane.suspended is not None, code
            lane.rest_until = now + self._policy.suspend_probe_s
        if not known:
            self._throttle.change(logging.ERROR, code, "a vendor refuses us, its events wait", vendor=vendor)

    def _in_service(self, vendor: str, lane: _Lane, *, reopened: bool) -> None:
        with lane.lock:
            code, lane.suspended = lane.suspended, None
            if code is not None:
                lane.rest_until = 0.0
        if code is not None or reopened:
            lane.budget.clear()
        if code is not None:
            self._throttle.change(logging.WARNING, code, "a vendor takes our events again", vendor=vendor)
        elif reopened:
            self._throttle.change(logging.WARNING, ErrorCode.BREAKER_OPEN, "delivery works again", vendor=vendor)


@dataclass(slots=True)
class _Lane:
    """One vendor: how it is, and what that allows."""

    vendor: Delivers
    breaker: Breaker
    width: Width
    batch_max: int
    budget: RetryBudget = field(default_factory=RetryBudget)
    lock: threading.Lock = field(default_factory=Lock)
    suspended: ErrorCode | None = None
    rest_until: float = -math.inf
    begun: threading.local = field(default_factory=threading.local)


def _is_trouble(outcome: Outcome) -> TypeGuard[Ambiguous | Retry]:
    """Say whether *outcome* speaks of trouble at the vendor, or on the way there."""
    if isinstance(outcome, Ambiguous):
        return outcome.code is not ErrorCode.INTERNAL
    return isinstance(outcome, Retry) and outcome.code in FAILURES


def _place(error: BaseException) -> str:
    """Return file and line where *error* was raised."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return "?" if trace is None else f"{PurePath(trace.tb_frame.f_code.co_filename).name}:{trace.tb_lineno}"

"""One attempt at a vendor, and what its outcome says about the vendor: in service, failing, refusing us, unknown."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import PurePath
from typing import Protocol, TypeAlias

from flagmw._guard import Breaker, Deadline
from flagmw._log import Throttle
from flagmw.codes import ErrorCode
from flagmw.exceptions import ProtocolError, TransportError
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
    """The vendors as delivery sees them. All times are seconds on the monotonic clock.

    Used by one thread; `health` may be called by others.
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
    ) -> None:
        self._vendors, self._run, self._policy, self._throttle = vendors, run, policy, throttle
        self._breakers = {name: breakers.get(name) or Breaker() for name in vendors}
        self._attempt_timeout_s, self._monotonic = attempt_timeout_s, monotonic
        self._suspended: dict[str, ErrorCode] = {}
        self._rest_until: dict[str, float] = {}

    def resting(self, now: float) -> dict[str, float]:
        """Return the vendors that get nothing now, and until when; `inf` for those that are not configured."""
        until = {name: at for name, at in self._rest_until.items() if at > now}
        for name, breaker in self._breakers.items():
            open_s = breaker.open_for(now)
            if open_s > 0:
                until[name] = max(until.get(name, 0.0), now + open_s)
        return until

    def allow(self, vendor: str, now: float) -> bool:
        """Say whether an attempt may be made now; the caller must make it then, for it may be the only probe."""
        breaker = self._breakers.get(vendor)
        if breaker is None:
            # Most likely an older configuration's. Its events may be another process's to deliver, so they stay.
            self._rest_until[vendor] = math.inf
            self._throttle.change(
                logging.ERROR, ErrorCode.NO_VENDOR, "events of a vendor that is not configured wait", vendor=vendor
            )
            return False
        if breaker.allow(now, probe_s=self._attempt_timeout_s):
            return True
        self._rest_until[vendor] = now + _PROBE_REST_S
        return False

    def attempt(self, event: Event) -> Outcome:
        """Deliver *event* once; raise nothing, whatever the vendor's code does."""
        deadline = Deadline.after(self._attempt_timeout_s, self._monotonic())
        try:
            outcomes = self._run(event.vendor, self._vendors[event.vendor].deliver([event]), deadline)
            (outcome,) = outcomes
            if not isinstance(outcome, Outcome):
                raise TypeError("not an outcome")
        except TransportError as error:
            return Ambiguous(error.code) if error.sent else Retry(error.code)
        except ProtocolError as error:
            return Ambiguous(error.code)
        except Exception as error:
            # The text of the error may quote what the visitor sent: its type and place must do.
            self._throttle.log(
                logging.ERROR,
                ErrorCode.INTERNAL,
                "a delivery broke, its event is kept",
                vendor=event.vendor,
                error=type(error).__name__,
                at=_place(error),
            )
            # It may have broken after the vendor had answered, so it is not repeated for long: a few tries, then aside.
            return Ambiguous(ErrorCode.INTERNAL) if event.at_most_once else Dead(ErrorCode.INTERNAL, verdict=False)
        return outcome

    def note(self, vendor: str, outcome: Outcome, now: float) -> None:
        """Learn from *outcome* how the vendor is."""
        breaker = self._breakers[vendor]
        code = getattr(outcome, "code", None)
        if isinstance(outcome, Suspend):
            breaker.abandon()
            self._suspend(vendor, outcome.code, now)
        elif code is ErrorCode.INTERNAL:
            breaker.abandon()  # our own bug says nothing about the vendor
        elif isinstance(outcome, Ambiguous) or (isinstance(outcome, Retry) and code in FAILURES):
            rate_limited = isinstance(outcome, Retry) and code is ErrorCode.RATE_LIMITED
            hold_s = self._policy.rest_s(outcome.after_s) if rate_limited and isinstance(outcome, Retry) else 0.0
            if breaker.failure(now, hold_s or None):
                self._throttle.change(
                    logging.WARNING, code or ErrorCode.TRANSPORT, "delivery fails and pauses", vendor=vendor
                )
        else:
            self._in_service(vendor, reopened=breaker.success(now))

    def health(self, now: float) -> dict[str, object]:
        """Return which vendors refuse us, which fail, and which are not configured."""
        rest = dict(self._rest_until)
        open_for = {name: breaker.open_for(now) for name, breaker in self._breakers.items()}
        return {
            "suspended": {name: code.value for name, code in dict(self._suspended).items()},
            "paused_s": {name: round(left, 1) for name, left in open_for.items() if left > 0},
            "unknown": sorted(name for name, until in rest.items() if until == math.inf),
        }

    def _suspend(self, vendor: str, code: ErrorCode, now: float) -> None:
        self._rest_until[vendor] = now + self._policy.suspend_probe_s
        if vendor not in self._suspended:
            self._throttle.change(logging.ERROR, code, "a vendor refuses us, its events wait", vendor=vendor)
        self._suspended[vendor] = code

    def _in_service(self, vendor: str, *, reopened: bool) -> None:
        code = self._suspended.pop(vendor, None)
        if code is not None:
            self._throttle.change(logging.WARNING, code, "a vendor takes our events again", vendor=vendor)
        elif reopened:
            self._throttle.change(logging.WARNING, ErrorCode.BREAKER_OPEN, "delivery works again", vendor=vendor)


def _place(error: BaseException) -> str:
    """Return file and line where *error* was raised."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return "?" if trace is None else f"{PurePath(trace.tb_frame.f_code.co_filename).name}:{trace.tb_lineno}"

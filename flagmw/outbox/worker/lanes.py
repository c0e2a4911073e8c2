"""One lane per vendor: delivery attempts and the vendor's health."""

from __future__ import annotations

import logging
import math
import random
from collections.abc import Callable, Mapping, Sequence

from flagmw._support.deadline import LATE_S, Deadline
from flagmw._support.log import Throttle
from flagmw.codes import ErrorCode
from flagmw.outbox.base import Leased
from flagmw.outbox.policy import Policy
from flagmw.outbox.worker.attempt import Delivers, Run, outcomes_of
from flagmw.outbox.worker.batches import VisitorBatch
from flagmw.outbox.worker.lane import Lane
from flagmw.outbox.worker.pace import CONCURRENCY, CONCURRENCY_MAX, STUCK_MAX, Width
from flagmw.outbox.worker.rulings import is_trouble, with_waits
from flagmw.types import Ambiguous, Outcome, Retry, Suspend
from flagmw.vendors.base import batch_max_of

SLOW_S = 0.15
"""A vendor whose answers take longer than this gets no more than twice what comes in meanwhile."""

SLOW_FACTOR = 1.9  # a little less, for nobody measures it to the event
SLOW_RATE = 5.0
"""But so many events a second at least, lest what waits stay for ever when nothing comes in."""


class Lanes:
    """The lanes of all vendors. All times are seconds on the monotonic clock. Safe from any thread.

    Args:
        concurrency: attempts at once at one vendor, as long as it is well.
        concurrency_max: how many they may grow to while there is more to do.
    """

    def __init__(
        self,
        vendors: Mapping[str, Delivers],
        run: Run,
        policy: Policy,
        throttle: Throttle,
        *,
        attempt_timeout_s: float,
        monotonic: Callable[[], float],
        concurrency: int = CONCURRENCY,
        concurrency_max: int = CONCURRENCY_MAX,
    ) -> None:
        self._run, self._policy, self._throttle = run, policy, throttle
        self._attempt_timeout_s, self._monotonic = attempt_timeout_s, monotonic
        self._search_s = attempt_timeout_s / STUCK_MAX
        self._rng = random.Random()  # noqa: S311 - spreads retries, guards nothing
        self._lanes = {
            name: Lane(vendor, Width(concurrency, concurrency_max), batch_max_of(vendor))
            for name, vendor in vendors.items()
        }
        self._unknown: set[str] = set()

    @property
    def names(self) -> frozenset[str]:
        """The vendors that are configured."""
        return frozenset(self._lanes)

    @property
    def unknown(self) -> frozenset[str]:
        """The vendors whose events wait although they are not configured."""
        return frozenset(self._unknown)

    def under_way(self, vendor: str) -> int:
        """Return the number of attempts under way."""
        return len(self._lanes[vendor].begun)

    def resting(self, now: float) -> dict[str, float]:
        """Return the vendors that get nothing now, and until when; `inf` for those that are not configured."""
        until = dict.fromkeys(list(self._unknown), math.inf)
        for name, lane in self._lanes.items():
            rest_s = lane.health.rest_s(now)
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

    def on_trial(self, vendor: str) -> bool:
        """True when one attempt has to show first that the vendor takes events again."""
        return self._lanes[vendor].health.on_trial()

    def doubtful(self, vendor: str, now: float) -> bool:
        """True when something fails or hangs, so that it matters whose event is tried next."""
        lane = self._lanes[vendor]
        return lane.health.doubtful(now) or lane.stuck(now) > 0

    def least_suspect(self, vendor: str, queues: Sequence[VisitorBatch]) -> VisitorBatch:
        """Return the one of *queues* whose visitor's event is the likeliest to be taken."""
        health = self._lanes[vendor].health
        return min(queues, key=lambda queue: health.suspected_at(queue.visitor))

    def width(self, vendor: str) -> int:
        """Return the limit of attempts under way at once."""
        lane = self._lanes[vendor]
        return 1 if lane.health.on_trial() else lane.width.limit

    def places(self, vendor: str, now: float) -> int:
        """Return the limit of attempts under way now, those that seem to hang included."""
        lane = self._lanes[vendor]
        if lane.health.on_trial():
            return len(lane.begun) + 1
        if lane.health.refuses_some():
            return 1
        stuck = lane.stuck(now)
        if not stuck:
            return lane.width.limit
        # One at a time, so that there is a place left at any moment until the first of them is given up.
        oldest = min(list(lane.begun.values()), default=now)
        return lane.width.limit + min(stuck, STUCK_MAX, int((now - oldest) / self._search_s))

    def oldest_one_in(self, vendor: str, now: float) -> int:
        """Return the number of turns of which the oldest events have one, while something fails."""
        return 4 if self._lanes[vendor].stuck(now) else 2

    def picks_newest(self, vendor: str, now: float) -> bool:
        """True when the newest events are to have turns."""
        return not self.on_trial(vendor) and self.doubtful(vendor, now)

    def batch_max(self, vendor: str) -> int:
        """Return the number of events of one visitor that the vendor takes at once."""
        return self._lanes[vendor].batch_max

    def hold_s(self, vendor: str, rows: Sequence[Leased], now: float) -> float:
        """Return for how many seconds *rows*, which would be one attempt, must wait yet; 0 when they may be sent.

        Repeats wait while the vendor's state leaves no room for them, a visitor's events while one of them has just
        failed. A probe waits for neither.
        """
        lane = self._lanes[vendor]
        if lane.health.on_trial():
            return 0.0
        set_back_s = lane.health.set_back_s(rows[0].event.visitor_key, now)
        if set_back_s > 0:
            return set_back_s
        if rows[0].attempts and not lane.budget.take(now):
            return lane.turns.wait_s(now)
        return 0.0

    def book(self, vendor: str, events: int, now: float) -> float:
        """Return the time from which *events* may be sent: a vendor that answers slowly is not pressed."""
        return self._lanes[vendor].pace.book(events, now)

    def give_back(self, vendor: str, rows: Sequence[Leased]) -> None:
        """Note that *rows*, which were booked, are not sent after all."""
        lane = self._lanes[vendor]
        lane.pace.give_back(len(rows))
        if rows[0].attempts and not lane.health.on_trial():
            lane.budget.refund()

    def is_slow(self, vendor: str) -> bool:
        """True when the vendor takes long to answer."""
        return self._lanes[vendor].width.answer_s > SLOW_S

    def live(self, vendor: str, rate: float) -> None:
        """Take note that *rate* events a second come in for the vendor."""
        self._lanes[vendor].pace.rate = max(SLOW_RATE, SLOW_FACTOR * rate) if self.is_slow(vendor) else None

    def allow(self, vendor: str, now: float) -> bool:
        """True when an attempt may be made now; the caller must make it then, for it may be the only probe."""
        return self._lanes[vendor].health.allow(now)

    def attempt(self, vendor: str, rows: Sequence[Leased]) -> tuple[list[Outcome], list[Outcome]]:
        """Deliver *rows*, events of one visitor, once; raise nothing, whatever the vendor's code does.

        Return the outcomes, and the same as the store is to settle them.
        """
        lane, begun = self._lanes[vendor], self._monotonic()
        token = object()
        lane.begun[token] = begun
        try:
            outcomes = outcomes_of(
                self._run,
                vendor,
                lane.vendor,
                rows,
                Deadline.after(self._attempt_timeout_s, begun),
                self._throttle,
            )
        finally:
            del lane.begun[token]
        alone = self._note(vendor, lane, rows, outcomes, begun)
        return outcomes, self._ruled(lane, rows, outcomes, alone=alone)

    def _note(self, vendor: str, lane: Lane, rows: Sequence[Leased], outcomes: Sequence[Outcome], begun: float) -> bool:
        """Learn from the *outcomes* of one attempt how the vendor is; return whether it refuses just these events."""
        now, visitor, repeat = self._monotonic(), rows[0].event.visitor_key, rows[0].attempts > 0
        refusal = next((outcome for outcome in outcomes if isinstance(outcome, Suspend)), None)
        troubles = [outcome for outcome in outcomes if is_trouble(outcome)]
        failed = refusal is not None or any(isinstance(outcome, Retry | Ambiguous) for outcome in outcomes)
        alone = False
        if not repeat:
            lane.budget.first()
            if not (failed and lane.health.is_suspect(visitor)):
                lane.chance.note(failed=failed)
        elif not failed:
            lane.budget.refund()
        if refusal is not None:
            news, alone = lane.health.refusal(visitor, refusal.code, self._policy.suspend_probe_s, now)
            if news:
                self._throttle.change(
                    logging.ERROR, refusal.code, "a vendor refuses us, its events wait", vendor=vendor
                )
        elif troubles and now > begun + self._attempt_timeout_s + LATE_S:
            pass  # this process stood still: it could not have noticed an answer
        elif troubles:
            # What fails again, or hangs, while others are taken says nothing of how much the vendor can bear.
            claimable = lane.health.alive(now) and (repeat or now - begun > lane.stuck_after_s())
            if not claimable:
                lane.width.failure(now)
            rests = [
                self._policy.rest_s(outcome.after_s)
                for outcome in troubles
                if isinstance(outcome, Retry) and outcome.code is ErrorCode.RATE_LIMITED
            ]
            once = rows[0].event.at_most_once
            if lane.health.failure(visitor, begun, now, max(rests, default=0.0), costs_event=once):
                self._throttle.change(logging.WARNING, troubles[0].code, "delivery fails and pauses", vendor=vendor)
        elif any(getattr(outcome, "code", None) is not ErrorCode.INTERNAL for outcome in outcomes):
            lane.width.success(now - begun)
            refused, was_down = lane.health.success(visitor, now)
            if refused is not None or was_down:
                lane.budget.clear()
            if refused is not None:
                self._throttle.change(logging.WARNING, refused, "a vendor takes our events again", vendor=vendor)
            elif was_down:
                self._throttle.change(logging.WARNING, ErrorCode.BREAKER_OPEN, "delivery works again", vendor=vendor)
        return alone

    def _ruled(self, lane: Lane, rows: Sequence[Leased], outcomes: Sequence[Outcome], *, alone: bool) -> list[Outcome]:
        """Return *outcomes* with the wait of what failed, as the vendor's state asks for.

        An event's wait grows with those of its failures that the vendor's state does not explain: it is long for an
        event that fails while others are taken, and short while all have trouble, for then the lane itself rests.
        """
        unexplained = max(row.attempts for row in rows) + 1 - lane.chance.explains()
        own_s = self._policy.backoff_s(max(0.0, unexplained), self._rng)
        short_s = self._policy.backoff_s(0, self._rng)
        if all(is_trouble(outcome) or isinstance(outcome, Suspend) for outcome in outcomes):
            # Its visitor's other events would most likely fail, too; a short while, for they may be in order.
            lane.health.set_back(rows[0].event.visitor_key, self._monotonic() + min(own_s, short_s))
        return with_waits(rows, outcomes, self._policy, own_s=own_s, short_s=short_s, alone=alone)

    def health(self, now: float) -> dict[str, object]:
        """Return the vendors that refuse us, that fail, and that are not configured."""
        open_for = {
            name: lane.health.rest_s(now) for name, lane in self._lanes.items() if lane.health.suspended is None
        }
        refusing = {name: lane.health.suspended for name, lane in self._lanes.items()}
        return {
            "suspended": {name: code.value for name, code in refusing.items() if code is not None},
            "paused_s": {name: round(left, 1) for name, left in open_for.items() if left > 0},
            "unknown": sorted(self._unknown),
            "width": {name: self.width(name) for name in self._lanes},
        }

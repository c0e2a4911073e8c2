"""The health of one vendor, judged by its calls: breaker, suspects, reports."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Hashable

from flagmw._decide.single_flight import PendingCall, Question
from flagmw._decide.suspects import KNOWN, SUSPECT, Suspects, without_cookies
from flagmw._exchange.context import Context
from flagmw._exchange.exchange import failed
from flagmw._support.breaker import Breaker
from flagmw._support.deadline import LATE_S, Deadline
from flagmw.codes import ErrorCode
from flagmw.types import Decision, DecisionNote, Flow, Visit, VisitorState
from flagmw.vendors.base import VendorTraits

_NOT_ASKED = frozenset({ErrorCode.SHED, ErrorCode.BREAKER_OPEN})
# Failures that may be due to a process which stood still, rather than to the vendor.
_TIMED = frozenset(
    {
        ErrorCode.DEADLINE,
        ErrorCode.DNS,
        ErrorCode.CONNECT,
        ErrorCode.TLS,
        ErrorCode.RESET,
        ErrorCode.TRUNCATED,
        ErrorCode.TRANSPORT,
    }
)
_STILL_S = 0.05


class VendorHealth:
    """Judge each call of one vendor: whether it may be made, and whether a failure is the vendor's.

    Attributes:
        breaker: the vendor's circuit breaker.
    """

    def __init__(self, traits: VendorTraits, context: Context) -> None:
        self._traits, self._vendor, self._name = traits, traits.vendor, traits.vendor.name
        self._context, self._config = context, context.config
        self._counts, self._throttle = context.counts, context.throttle
        self.breaker, self._suspects = Breaker(), Suspects(context.shares.tracks)

    # Before a call

    def refusal(self) -> Decision | None:
        """Return why no call may be made, None if one may."""
        if self.breaker.allow(time.monotonic()):
            return None
        return failed(self._name, ErrorCode.BREAKER_OPEN)

    def shed(self) -> Decision:
        """Return the decision for a call that got no place before the deadline."""
        self.breaker.abandon()
        self._throttle.log(
            logging.WARNING, ErrorCode.SHED, "a call was not made: its turn would come too late", vendor=self._name
        )
        return failed(self._name, ErrorCode.SHED)

    def question(self, visit: Visit, state: VisitorState) -> Question:
        """Return the visitor of a call, and its time."""
        who: Hashable | None = None
        try:
            identity = self._traits.identity_of(state) if state.cookies else ""
            if identity or visit.user_id:
                who = hash((identity, visit.user_id))
        except Exception:
            who = None  # a vendor written elsewhere; its defect shows when it decides
        return Question(who, time.monotonic())

    def flow(self, question: Question, visit: Visit, state: VisitorState) -> Flow[Decision]:
        """Ask the vendor, without the visitor's cookies if these seem to cause failures."""
        question.started = time.monotonic()
        who = question.who
        if who is None or not state.cookies or self._suspects.failures(who, question.started) < SUSPECT:
            return (yield from self._vendor.decide(visit, state))
        if self.breaker.fails_others(who, question.started):
            return (yield from self._vendor.decide(visit, state))
        decision, question.visitors = yield from without_cookies(self._vendor, visit, state)
        return decision

    def is_suspect(self, question: Question) -> bool:
        """Say whether this visitor's cookies may make the vendor fail: a second call needs half of the deadline."""
        who = question.who
        return who is not None and self._suspects.failures(who, question.began) >= SUSPECT

    # After it

    def note(
        self,
        call: PendingCall,
        decision: Decision,
        elapsed_s: float,
        deadline: Deadline,
        still_since: Callable[[float], float],
    ) -> Decision:
        """Update breaker and suspects by *decision*, once for all pages that waited for it."""
        question = call.question
        name, now, who = self._name, time.monotonic(), question.who
        if call.noted:
            return decision
        if decision.error in _NOT_ASKED:
            return self.report(decision, elapsed_s)
        call.noted = True
        if decision.error is None or (not decision.trips and decision.error is not ErrorCode.INTERNAL):
            if who is not None:
                self._suspects.served(who)
            if question.visitors:
                self._counts.add("cookies_replaced", name)
            if self.breaker.success(now):
                self._throttle.change(logging.WARNING, "RECOVERED", "vendor answers again", vendor=name)
        elif decision.error is ErrorCode.DEADLINE and call.turn is not None and call.turn.waited:
            self.breaker.abandon()  # it was made late, because others were before it: that says nothing of the vendor
        elif self._is_own_fault(question, decision.error, deadline, still_since(question.began), now):
            self.breaker.abandon()
        else:
            if who is not None:
                self._suspects.failed(who, now)
            if who is not None and self._is_visitors_fault(who, now):
                self.breaker.abandon()
            elif self.breaker.failure(
                now, decision.retry_after_s, began=question.started or question.began, who=who, doubtful=who is not None
            ):
                self._throttle.change(logging.WARNING, decision.error, "vendor is left alone for a while", vendor=name)
        return self.report(decision, elapsed_s)

    def report(self, decision: Decision, elapsed_s: float) -> Decision:
        """Count and log *decision*, which took *elapsed_s* seconds, and pass it to `on_decision`; return it."""
        code, name = decision.error or decision.notice, self._name
        self._counts.add("decided" if code is None else "undecided", name, code or "")
        if decision.advice is not None and code is not None:
            level = logging.ERROR if decision.error else logging.WARNING
            self._throttle.log(level, f"{code}", decision.advice, vendor=name)
        if self._config.on_decision is not None:
            note = DecisionNote(
                vendor=name,
                decided=len(decision.variants),
                error=decision.error,
                notice=decision.notice,
                log=decision.log if self._config.debug else None,
                elapsed_s=elapsed_s,
            )
            try:
                self._config.on_decision(note)
            except Exception as error:
                self._throttle.log(logging.ERROR, "HOOK", "on_decision failed", error=type(error).__name__)
        return decision

    def defect(self, error: Exception) -> Decision:
        """Turn a defect of ours, or of a vendor written elsewhere, into a decision; its text may hold anything."""
        self._counts.add("internal_error", self._name, ErrorCode.INTERNAL)
        self._throttle.log(
            logging.ERROR, ErrorCode.INTERNAL, "a decision failed", vendor=self._name, error=type(error).__name__
        )
        return failed(self._name, ErrorCode.INTERNAL)

    def _is_visitors_fault(self, who: Hashable, now: float) -> bool:
        """Say whether the vendor fails for this visitor again and again, and for no other."""
        return self._suspects.failures(who, now) >= KNOWN and not self.breaker.fails_others(who, now)

    def _is_own_fault(
        self, question: Question, code: ErrorCode, deadline: Deadline, still_s: float, now: float
    ) -> bool:
        """Say whether *code* is due to this process and not to the vendor: a defect, a standstill, a late start."""
        if code not in _TIMED:
            return code is ErrorCode.INTERNAL
        if question.started is None or still_s > max(_STILL_S, (now - question.began) / 3):
            return True
        if code is not ErrorCode.DEADLINE:
            return False
        return now > deadline.at + LATE_S or deadline.at - question.started < self._config.deadline_ms / 3000

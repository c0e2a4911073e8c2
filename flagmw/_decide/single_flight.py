"""Single flight: concurrent requests of one visitor share one vendor call."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

from flagmw._exchange.remembered import Key
from flagmw._support.forksafe import Lock
from flagmw._support.places import Turn


class Question:
    """The visitor of one call, and its times on the monotonic clock: a failure may be due to either.

    Attributes:
        who: the visitor, as far as the vendor can tell visitors apart; None where it cannot.
        began: when the request asked for the call.
        started: when the call was made; None while it waits for a thread.
        visitors: whether the vendor fails because of this visitor's cookies.
    """

    __slots__ = ("began", "started", "visitors", "who")

    def __init__(self, who: Hashable | None, began: float) -> None:
        self.who, self.began = who, began
        self.started: float | None = None
        self.visitors = False


class PendingCall:
    """One call under way.

    Attributes:
        future: a thread's or a loop's; its result is the decision.
        key: the key under which the answer is remembered.
        late: whether it may outlast the page's deadline.
        where: the loop it belongs to, None for a thread's.
        waiting: how many wait for it.
        overdue: whether a page's deadline has passed.
        noted: whether its outcome was counted.
        at: the latest deadline of the pages that wait for it.
        turn: its place among the calls under way, or its wait for one.
        sent: whether the vendor was called, and not only waited for.
        question: the call's visitor and times.
    """

    __slots__ = ("at", "future", "key", "late", "noted", "overdue", "question", "sent", "turn", "waiting", "where")

    def __init__(
        self, future: Any, key: Key | None, late: bool, where: object = None, question: Question | None = None
    ) -> None:
        self.future, self.key, self.late, self.where = future, key, late, where
        self.question = question or Question(None, 0.0)
        self.waiting = 1
        self.overdue = self.noted = False
        self.at = float("-inf")
        self.turn: Turn | None = None
        self.sent = True


class SingleFlight:
    """The calls under way of one vendor, by the keys of their answers."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._under_way: dict[Key, PendingCall] = {}
        self._late = 0

    def join(self, key: Key | None, where: object = None, until: float = float("-inf")) -> PendingCall | None:
        """Return a call for *key* to wait for, None if there is none; an overdue one is not worth waiting for.

        Args:
            until: the deadline of the page that joins.
        """
        if key is None:
            return None
        with self._lock:
            call = self._under_way.get(key)
            if call is None or call.where is not where or call.overdue or call.future.done():
                return None
            call.waiting += 1
            call.at = max(call.at, until)
            return call

    def begin(self, call: PendingCall) -> PendingCall:
        """Let others join *call*."""
        if call.key is not None:
            with self._lock:
                self._under_way[call.key] = call
        return call

    def leave(self, call: PendingCall) -> bool:
        """Stop waiting for *call*; return whether no other page waits for it."""
        with self._lock:
            call.waiting -= 1
            return call.waiting <= 0

    def may_be_late(self, most: int) -> bool:
        """Take a place among the *most* calls that may outlast their deadline; return whether there was one.

        `landed` gives it back. It is taken at the start because a thread cannot be called off at the deadline.
        """
        with self._lock:
            if self._late >= most:
                return False
            self._late += 1
            return True

    def overdue(self, call: PendingCall) -> None:
        """Note that *call* has outlasted the deadline of a page that waited for it."""
        with self._lock:
            call.overdue = call.overdue or not call.future.done()

    def landed(self, call: PendingCall) -> None:
        """Note that *call* has ended."""
        with self._lock:
            if call.key is not None and self._under_way.get(call.key) is call:
                del self._under_way[call.key]
            if call.late:
                self._late -= 1

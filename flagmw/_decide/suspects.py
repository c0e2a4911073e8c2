"""Visitors whose own cookies seem to make a vendor fail."""

from __future__ import annotations

from collections.abc import Generator, Hashable
from dataclasses import replace

from cachetools import LRUCache

from flagmw._support.forksafe import Lock
from flagmw.exceptions import TransportError
from flagmw.types import Call, CookieChange, Decision, Flow, Reply, T, Visit, VisitorState
from flagmw.vendors.base import Vendor

SUSPECT = 2
"""After so many failures in a row a visitor is asked about without cookies, should these fail once more."""
KNOWN = 3
"""After so many, while calls for others succeed, the visitor's cookies are the cause."""
FORGET_S = 600.0


class Suspects:
    """Count each visitor's failures in a row, in bounded memory. Safe between threads."""

    def __init__(self, size: int = 10_000) -> None:
        self._lock = Lock()
        self._failures: LRUCache[Hashable, tuple[int, float]] = LRUCache(size)

    def failed(self, who: Hashable, now: float) -> None:
        with self._lock:
            self._failures[who] = self._count(who, now) + 1, now

    def served(self, who: Hashable) -> None:
        if self._failures:  # the usual case costs no lock
            with self._lock:
                self._failures.pop(who, None)

    def failures(self, who: Hashable, now: float) -> int:
        """Return how many times in a row the vendor has failed for *who*."""
        if not self._failures:
            return 0
        with self._lock:
            return self._count(who, now)

    def _count(self, who: Hashable, now: float) -> int:
        count, at = self._failures.get(who, (0, 0.0))
        return count if now - at < FORGET_S else 0


def without_cookies(vendor: Vendor, visit: Visit, state: VisitorState) -> Generator[Call, Reply, tuple[Decision, bool]]:
    """Ask with the visitor's cookies and, should that fail, without; return the decision and whether that helped.

    If it did, the cookies were to blame: those that the answer does not replace are deleted.
    """
    decision, calls = yield from _halved(vendor.decide(visit, state))
    # A vendor that was asked again without cookies by its own codec has had its one extra call.
    if decision.error is None or not decision.trips or calls > 1:
        return decision, False
    anew = yield from vendor.decide(visit, VisitorState())
    if anew.error is not None:
        return decision, False
    replaced = {change.name for change in anew.cookies}
    gone = tuple(
        CookieChange(name, "", 0) for name in state.cookies if name not in replaced and vendor.cookies.writes(name)
    )
    return replace(anew, cookies=(*gone, *anew.cookies)), True


def _halved(flow: Flow[T]) -> Generator[Call, Reply, tuple[T, int]]:
    """Run *flow* with half of the time that is left for each of its calls; return its result and the calls."""
    calls = 0
    try:
        call = next(flow)
        while True:
            calls += 1
            try:
                reply = yield replace(call, share=call.share / 2)
            except TransportError as error:
                call = flow.throw(error)
            else:
                call = flow.send(reply)
    except StopIteration as stop:
        return stop.value, calls
    finally:
        flow.close()

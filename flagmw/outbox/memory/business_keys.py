"""Business keys in memory, and what was settled lately."""

from __future__ import annotations

import time
from collections import OrderedDict
from typing import TypeAlias

from flagmw.outbox.policy import Policy
from flagmw.types import Event

Key: TypeAlias = tuple[str, str, str]
"""A business key with vendor and metric, for an order may be started and paid."""

_RESERVED_S = 60.0  # how long a business key is kept for an event that was not put yet


class Recent:
    """Ids and business keys of events that were settled lately, bounded by age and number."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self._settled_at: OrderedDict[str | Key, float] = OrderedDict()

    def __contains__(self, settled: str | Key) -> bool:
        return settled in self._settled_at

    def add(self, settled: str | Key, now: float) -> None:
        self._settled_at[settled] = now
        self._settled_at.move_to_end(settled)
        while len(self._settled_at) > self._policy.recent_max_rows:
            self._settled_at.popitem(last=False)

    def advance(self, now: float) -> None:
        """Forget what is past its age."""
        while self._settled_at and next(iter(self._settled_at.values())) <= now - self._policy.recent_max_age_s:
            self._settled_at.popitem(last=False)

    def clear(self) -> None:
        self._settled_at.clear()


class MemoryKeys:
    """The business keys of one process's events: of those that wait, that are reserved, and that were settled."""

    def __init__(self, recent: Recent) -> None:
        self._recent = recent
        self._waiting: set[Key] = set()
        self._reserved: OrderedDict[Key, tuple[str, float]] = OrderedDict()

    def taken(self, event: Event) -> bool:
        """True when another event that waits or was settled has the key of *event*."""
        key = business_key(event)
        return key is not None and (key in self._waiting or key in self._recent)

    def reserve(self, event: Event, *, known: bool) -> bool:
        """Keep the key of *event* for it, for a minute; return whether no other event has it.

        Args:
            known: the event itself waits already.
        """
        key = business_key(event)
        if key is None:
            return True
        beat = time.monotonic()
        while self._reserved and next(iter(self._reserved.values()))[1] <= beat - _RESERVED_S:
            self._reserved.popitem(last=False)
        holder, _ = self._reserved.get(key, (event.id, beat))
        if holder != event.id or (self.taken(event) and not known):
            return False
        self._reserved[key] = event.id, beat
        self._reserved.move_to_end(key)
        return True

    def hold(self, event: Event) -> None:
        """Note that *event* waits."""
        key = business_key(event)
        if key is not None:
            self._waiting.add(key)
            self._reserved.pop(key, None)

    def give_up(self, event: Event, now: float, *, remember: bool) -> None:
        """Note that *event* does not wait any more; its key stays taken for a while where it is to be *remember*-ed."""
        key = business_key(event)
        if key is not None:
            self._waiting.discard(key)
            if remember:
                self._recent.add(key, now)

    def clear(self) -> None:
        self._waiting.clear()
        self._reserved.clear()


def business_key(event: Event) -> Key | None:
    return None if event.track.key is None else (event.vendor, event.track.metric, event.track.key)

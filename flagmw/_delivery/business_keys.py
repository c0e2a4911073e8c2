"""Business keys of tracks: each key is reported once."""

from __future__ import annotations

import logging
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence, Set

from flagmw._support.counters import Counters
from flagmw._support.forksafe import Lock
from flagmw._support.log import Throttle
from flagmw.codes import ErrorCode
from flagmw.types import Event

Reserve = Callable[[Sequence[Event]], Set[str]]
_AGE_S = 86_400.0
_MOST = 10_000


class BusinessKeys:
    """Check keys in the outbox, and in this process's memory what the outbox cannot check."""

    def __init__(self, counts: Counters, throttle: Throttle) -> None:
        self._counts, self._throttle = counts, throttle
        self._lock = Lock()
        self._known: OrderedDict[tuple[str, str, str], tuple[str, float]] = OrderedDict()
        # Ids of events whose keys the store does not know.
        self._unshared: set[str] = set()

    def free(self, reserve: Reserve | None, events: Sequence[Event]) -> list[Event]:
        """Return those of *events* whose key no other event holds; count the others. Raises nothing.

        Args:
            reserve: asks the outbox for keys, and returns the ids of events whose key is taken; None if it cannot.
        """
        known = self._remember(events)
        taken = set(known)
        if reserve is not None:
            try:
                # The store must not give these keys to another event: it does not know that they are taken.
                taken = {id for id, holder in known.items() if holder in self._unshared}
                taken |= reserve([event for event in events if event.id not in taken])
            except Exception as error:
                # The error text of a foreign store may quote a visitor's data.
                taken = set(known)
                self._unshared.update(event.id for event in events)
                self._counts.add("key_unshared", events[0].vendor, ErrorCode.OUTBOX_FAILED, len(events))
                self._throttle.log(
                    logging.ERROR,
                    ErrorCode.OUTBOX_FAILED,
                    "business keys hold within this process only",
                    error=type(error).__name__,
                )
        for event in events:
            if event.id in taken:
                self._counts.add("track_dropped", event.vendor, ErrorCode.DUPLICATE_KEY)
        return [event for event in events if event.id not in taken]

    def _remember(self, events: Sequence[Event]) -> dict[str, str]:
        """Return those of *events* whose key this process has met lately, with its holder; other keys are theirs."""
        now, taken = time.monotonic(), dict[str, str]()
        with self._lock:
            for event in events:
                key = (event.vendor, event.track.metric, event.track.key or "")
                holder, since = self._known.get(key, (event.id, now))
                if holder != event.id and now - since < _AGE_S:
                    taken[event.id] = holder
                    continue
                self._known[key] = (event.id, now)
                self._known.move_to_end(key)
                if len(self._known) > _MOST:
                    _, (forgotten, _) = self._known.popitem(last=False)
                    self._unshared.discard(forgotten)
        return taken

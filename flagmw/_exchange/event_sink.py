"""The way of one request's events to the outbox."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from flagmw.types import Event

if TYPE_CHECKING:
    from concurrent.futures import Future


class EventSink:
    """Put events in the outbox at once.

    Args:
        put: stores events; returns a future while they are on their way, else None.

    Attributes:
        last: the latest future; None if everything is stored.
    """

    __slots__ = ("_put", "last")

    def __init__(self, put: Callable[[Sequence[Event]], Future[Any] | None]) -> None:
        self._put = put
        self.last: Future[Any] | None = None

    def __call__(self, events: Sequence[Event]) -> None:
        self.last = self._put(events) or self.last

    def take_last(self) -> Future[Any] | None:
        """Return `last` and forget it."""
        last, self.last = self.last, None
        return last

"""The limit of calls of the emulated management APIs."""

from __future__ import annotations


class Rate:
    """A bucket of calls that fills up evenly within a minute."""

    def __init__(self) -> None:
        self._left: dict[str, tuple[float, float]] = {}

    def clear(self) -> None:
        """Forget all calls."""
        self._left.clear()

    def take(self, client: str, per_minute: int, now: float, cost: int = 1) -> bool:
        """True when *cost* more calls are within the limit, and count them if so.

        More calls at once than the limit has, which only a batch makes, need a full bucket and leave it in debt.
        """
        if per_minute <= 0:
            return True
        left, at = self._left.get(client, (float(per_minute), now))
        left = min(float(per_minute), left + max(0.0, now - at) * per_minute / 60)
        # A bucket that has filled up to rounding errors is full.
        if left + 1e-6 < min(cost, per_minute):
            self._left[client] = (left, now)
            return False
        self._left[client] = (left - cost, now)
        return True

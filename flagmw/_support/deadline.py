"""The deadline of a request's calls, on the monotonic clock."""

from __future__ import annotations

from dataclasses import dataclass

LATE_S = 0.1
"""A deadline that is noticed later than this says nothing of who was asked: this process was not there to see it."""


@dataclass(frozen=True, slots=True)
class Deadline:
    """A point on the monotonic clock after which nobody waits any more."""

    at: float

    @classmethod
    def after(cls, seconds: float, now: float) -> Deadline:
        return cls(now + seconds)

    def left(self, now: float) -> float:
        """Return the seconds that are left, never below zero."""
        return max(0.0, self.at - now)

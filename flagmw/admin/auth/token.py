"""An access token and the moment at which it is renewed."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Token:
    """An access token.

    Attributes:
        obtained_at, expires_at: seconds since the epoch; *expires_at* is None for a token without an end.
    """

    value: str = field(repr=False)
    obtained_at: float = 0.0
    expires_at: float | None = None

    @property
    def renew_at(self) -> float | None:
        """Return the time at which a new one is due.

        At 90 % of its life or five minutes before the end, whichever is later, but at least a minute before the end.
        Of a token that lives for less than two minutes, at half of its life.
        """
        if self.expires_at is None:
            return None
        life = max(0.0, self.expires_at - self.obtained_at)
        after = min(max(0.9 * life, life - 300.0), max(life - 60.0, 0.5 * life))
        return self.obtained_at + after

    def due(self, now: float) -> bool:
        """True when a new one is due at *now*."""
        return self.renew_at is not None and now >= self.renew_at

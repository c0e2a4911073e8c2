"""One vendor's lane: its state, and the attempts that are under way."""

from __future__ import annotations

from dataclasses import dataclass, field

from flagmw.outbox.worker.attempt import Delivers
from flagmw.outbox.worker.health import Health
from flagmw.outbox.worker.pace import Chance, Pace, RetryBudget, Turns, Width

# An attempt that takes longer than this, and than several usual ones, leaves its place to another: it may be this event
# that hangs the vendor.
_STUCK_S = 0.5


@dataclass(slots=True)
class Lane:
    """One vendor's state, and the attempts that it allows.

    Attributes:
        begun: when the attempts that are under way began.
    """

    vendor: Delivers
    width: Width
    batch_max: int
    health: Health = field(default_factory=Health)
    budget: RetryBudget = field(default_factory=RetryBudget)
    chance: Chance = field(default_factory=Chance)
    turns: Turns = field(default_factory=Turns)
    pace: Pace = field(default_factory=lambda: Pace(None))
    begun: dict[object, float] = field(default_factory=dict)

    def stuck_after_s(self) -> float:
        """Return the seconds after which an attempt counts as hanging."""
        return max(_STUCK_S, 8 * self.width.answer_s)

    def stuck(self, now: float) -> int:
        """Return the number of attempts that seem to hang."""
        after_s = self.stuck_after_s()
        return sum(now - at > after_s for at in list(self.begun.values()))

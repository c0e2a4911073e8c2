"""Rules for events after an attempt: retry time, deletion or dead letter."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import TypeAlias

from flagmw.codes import ErrorCode
from flagmw.outbox.base import Leased
from flagmw.types import Ambiguous, Dead, Delivered, Dropped, Event, Outcome, Retry, Suspend


@dataclass(frozen=True, slots=True)
class Later(Retry):
    """A `Retry` with a wait that fits the state of the vendor.

    Attributes:
        wait_s: the seconds until it is due.
        counted: whether this was an attempt.
        refused: whether the vendor refused it, or what was sent with it, without a verdict.
    """

    wait_s: float = 0.0
    counted: bool = True
    refused: bool = False


@dataclass(frozen=True, slots=True)
class Settle:
    """The vendor has the event; *duplicate* if it had it before."""

    duplicate: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Requeue:
    """Keep the event for another attempt.

    Attributes:
        due_at: not before this, seconds since the epoch.
        aliases: what is still open when a part is settled, None for all.
        counted: whether this was an attempt.
        refused: whether this was a refusal without a verdict, of which a few in a row bury the event.
    """

    due_at: float
    aliases: tuple[str, ...] | None = None
    counted: bool = True
    refused: bool = False


@dataclass(frozen=True, slots=True)
class Bury:
    """Make the event a dead letter."""

    code: ErrorCode


@dataclass(frozen=True, slots=True)
class Discard:
    """Drop the event; it is counted under *code*."""

    code: ErrorCode


Disposition: TypeAlias = Settle | Requeue | Bury | Discard


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """Limits of age, waits and kept events. Attempts are not limited: an event loses its value with age.

    Attributes:
        max_age_s: an undelivered event of this age becomes a dead letter.
        backoff_base_s, backoff_max_s: the shortest and the longest wait after a failed attempt.
        retry_after_max_s: the longest pause that a vendor may ask for.
        refusals, refusals_over_s: the number of refusals without a verdict, over at least this time, that make an event
            a dead letter: one bad deployment at the vendor must not cost a day's data.
        suspend_probe_s: the pause before the next probe of a vendor that refuses the account.
        dead_max_rows, dead_max_bytes, dead_max_age_s: the limits of kept dead letters.
        recent_max_rows, recent_max_age_s: the limits of remembered ids and business keys of settled events.
        exposure_share: the part of a store's room that exposures may fill; the rest is for tracks.
    """

    max_age_s: float = 72 * 3600.0
    backoff_base_s: float = 1.0
    backoff_max_s: float = 900.0
    retry_after_max_s: float = 3600.0
    refusals: int = 3
    refusals_over_s: float = 600.0
    suspend_probe_s: float = 300.0
    dead_max_rows: int = 100_000
    dead_max_bytes: int = 64 * 1024 * 1024
    dead_max_age_s: float = 14 * 86400.0
    recent_max_rows: int = 100_000
    recent_max_age_s: float = 86400.0
    exposure_share: float = 0.8

    def rule(self, outcome: Outcome, row: Leased, now: float, rng: random.Random) -> Disposition:
        """Return the disposition of *row* after *outcome*.

        Raises:
            TypeError: *outcome* is none of the known ones.
        """
        match outcome:
            case Delivered():
                return Settle(outcome.duplicate)
            case Dropped():
                return Discard(outcome.code)
            case Suspend():
                return Requeue(due_at=now + self.suspend_probe_s, counted=False)
            case Ambiguous():
                return self.doubt(row, now, due_at=now + self.backoff_s(row.attempts, rng))
            case Later():
                return self._set(outcome, row, now)
            case Retry():
                return self._retry(outcome, row, now, rng)
            case Dead():
                return Bury(outcome.code) if outcome.verdict else self._refused(outcome.code, row, now, rng)
        raise TypeError(f"not an outcome: {type(outcome).__name__}")

    def doubt(self, row: Leased, now: float, due_at: float) -> Disposition:
        """Return the disposition of *row*, which the vendor may or may not have; also for a lease that ran out."""
        if row.event.at_most_once:
            return Discard(ErrorCode.AMBIGUOUS)
        return self._later(row, now, Requeue(due_at=due_at))

    def too_old(self, created: float, now: float) -> bool:
        """True when an event that was accepted at *created* is past the age limit."""
        return now - created >= self.max_age_s

    def backoff_s(self, attempts: float, rng: random.Random) -> float:
        """Return the wait after *attempts* earlier tries: any time up to a limit that doubles (full jitter)."""
        limit = self.backoff_base_s * 2.0 ** min(attempts + 1, 64)
        return min(rng.uniform(self.backoff_base_s, min(limit, self.backoff_max_s)), self.backoff_max_s)

    def rest_s(self, after_s: float | None) -> float:
        """Return the pause that a vendor asked for, within bounds; 0 for none and for an invalid one."""
        if not isinstance(after_s, int | float) or not 0 <= after_s < float("inf"):
            return 0.0
        return float(min(after_s, self.retry_after_max_s))

    def clamp(self, due_at: float, now: float) -> float:
        """Return *due_at*, at most the longest possible wait from *now*: a jumping clock may have left it far ahead."""
        longest = max(self.backoff_max_s, self.retry_after_max_s, self.suspend_probe_s, self.refusals_over_s)
        return min(due_at, now + longest)

    def _retry(self, outcome: Retry, row: Leased, now: float, rng: random.Random) -> Disposition:
        aliases = _open_aliases(outcome, row.event)
        if aliases == ():
            return Settle()
        rest_s = self.rest_s(outcome.after_s)
        wait_s = max(self.backoff_s(row.attempts, rng), rest_s)
        # No attempt is counted for an event that was not sent, or that the vendor asks for later.
        uncounted = outcome.code is ErrorCode.SHED or (outcome.code is ErrorCode.RATE_LIMITED and rest_s > 0)
        return self._later(row, now, Requeue(due_at=now + wait_s, aliases=aliases, counted=not uncounted))

    def _set(self, outcome: Later, row: Leased, now: float) -> Disposition:
        aliases = _open_aliases(outcome, row.event)
        if aliases == ():
            return Settle()
        due_at = now + outcome.wait_s
        requeue = Requeue(due_at=due_at, aliases=aliases, counted=outcome.counted, refused=outcome.refused)
        return self._later(row, now, requeue)

    def _refused(self, code: ErrorCode, row: Leased, now: float, rng: random.Random) -> Disposition:
        since = now if row.refused_at is None else row.refused_at
        if row.refusals + 1 >= self.refusals and now - since >= self.refusals_over_s:
            return Bury(code)
        # Equal steps with a little jitter: the last of the refusals comes just after the time they must cover.
        step_s = self.refusals_over_s / max(1, self.refusals - 1)
        return self._later(row, now, Requeue(due_at=now + step_s * rng.uniform(1.0, 1.2), refused=True))

    def _later(self, row: Leased, now: float, requeue: Requeue) -> Disposition:
        return Bury(ErrorCode.TOO_OLD) if self.too_old(row.created, now) else requeue


def _open_aliases(outcome: Retry, event: Event) -> tuple[str, ...] | None:
    """Return the event's open aliases, None for all, () when the vendor left none open."""
    if outcome.aliases is None or outcome.aliases == ():
        return outcome.aliases
    left = tuple(alias for alias in event.aliases if alias in outcome.aliases)
    # Only aliases that are none of the event's: a slip of the codec, which must not cost the event.
    return left or None

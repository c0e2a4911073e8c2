"""Rules from outcomes to the vendor's health and retry times."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeGuard

from flagmw.codes import ErrorCode
from flagmw.outbox.base import Leased
from flagmw.outbox.policy import Later, Policy
from flagmw.types import Ambiguous, Dead, Outcome, Retry, Suspend

# Retries with one of these codes are failures of the vendor or of the network. All others are answers that the codec
# understands, so the vendor works.
FAILURES = frozenset(
    {
        ErrorCode.DEADLINE,
        ErrorCode.DNS,
        ErrorCode.CONNECT,
        ErrorCode.TLS,
        ErrorCode.RESET,
        ErrorCode.TRANSPORT,
        ErrorCode.TRUNCATED,
        ErrorCode.TOO_LARGE,
        ErrorCode.ENCODING,
        ErrorCode.REDIRECT,
        ErrorCode.HTTP_STATUS,
        ErrorCode.RATE_LIMITED,
        ErrorCode.EMPTY,
        ErrorCode.NOT_JSON,
        ErrorCode.SHAPE,
        ErrorCode.PROTOCOL,
    }
)


def is_trouble(outcome: Outcome) -> TypeGuard[Ambiguous | Retry]:
    """True when *outcome* speaks of trouble at the vendor, or on the way there."""
    if isinstance(outcome, Ambiguous):
        return outcome.code is not ErrorCode.INTERNAL
    return isinstance(outcome, Retry) and outcome.code in FAILURES


def with_waits(
    rows: Sequence[Leased],
    outcomes: Sequence[Outcome],
    policy: Policy,
    *,
    own_s: float,
    short_s: float,
    alone: bool,
) -> list[Outcome]:
    """Return *outcomes* of one attempt as the store is to settle them. What failed together waits together.

    Args:
        own_s: the wait of an event that failed.
        short_s: the wait of events that failed together because of one of them, until each is tried alone.
        alone: whether a refusal of the account is treated as a refusal of these events.
    """
    return [
        _with_wait(row, outcome, policy, own_s, short_s, alone, many=len(rows) > 1)
        for row, outcome in zip(rows, outcomes, strict=True)
    ]


def _with_wait(
    row: Leased, outcome: Outcome, policy: Policy, own_s: float, short_s: float, alone: bool, *, many: bool
) -> Outcome:
    if isinstance(outcome, Suspend) and alone:
        outcome = Dead(outcome.code, verdict=False)
    match outcome:
        case Retry() if outcome.code not in (ErrorCode.SHED, ErrorCode.INTERNAL):
            rest_s = policy.rest_s(outcome.after_s)
            # No attempt is counted for an event that the vendor asks for later.
            counted = outcome.code is not ErrorCode.RATE_LIMITED or rest_s <= 0
            wait_s = max(own_s, rest_s)
            return Later(outcome.code, wait_s, outcome.aliases, wait_s=wait_s, counted=counted)
        case Suspend():
            return Later(outcome.code, short_s, wait_s=short_s, counted=False)
        case Ambiguous() if not row.event.at_most_once:
            return Later(outcome.code, own_s, wait_s=own_s)
        case Dead(verdict=False) if many:
            return Later(outcome.code, short_s, wait_s=short_s, refused=True)
    return outcome

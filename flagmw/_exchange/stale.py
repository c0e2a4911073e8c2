"""Stale decisions: remembered ones, served because the vendor failed."""

from __future__ import annotations

from dataclasses import replace

from flagmw._exchange.context import Context
from flagmw._exchange.remembered import RememberedDecision
from flagmw.codes import ErrorCode, Reason
from flagmw.types import Decision


def may_serve(context: Context, remembered: RememberedDecision | None, now: float) -> bool:
    """Say whether *remembered* may be served in place of a failure: for `stale_s`, and if it is no failure itself."""
    return remembered is not None and remembered.error is None and remembered.within(context.config.stale_s, now)


def stale_or_failed(context: Context, remembered: RememberedDecision | None, failure: Decision, now: float) -> Decision:
    """Return *remembered* as the decision in place of *failure*, or *failure* if it may not be served; count it."""
    assert failure.error is not None
    if remembered is None or not may_serve(context, remembered, now):
        return failure
    context.counts.add("stale", failure.vendor, failure.error)
    cookies = (*remembered.cookies, *failure.cookies)
    return replace(stale(remembered.decision, failure.error), cookies=cookies)


def stale(decision: Decision, code: ErrorCode) -> Decision:
    """Return *decision* with the reason `STALE`, because the vendor failed with *code*."""
    variants = {
        alias: replace(variant, reason=Reason.STALE, error_code=code) for alias, variant in decision.variants.items()
    }
    return replace(decision, variants=variants, error=code)

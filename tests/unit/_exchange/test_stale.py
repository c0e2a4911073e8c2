"""Stale decisions: which remembered decision is served in place of a failure."""

from __future__ import annotations

import logging

import pytest

from flagmw import Static
from flagmw._exchange.context import Context
from flagmw._exchange.remembered import RememberedDecision
from flagmw._exchange.stale import may_serve, stale_or_failed
from flagmw._support.counters import Counters
from flagmw._support.log import Throttle
from flagmw.codes import ErrorCode, Reason
from flagmw.config.config import build
from flagmw.types import CookieChange, Decision, Variant

NOW = 1_700_000_000.0
FAILURE = Decision(vendor="v", error=ErrorCode.DEADLINE, cookies=(CookieChange("new", "1", 60),))


def context(stale_s: float) -> Context:
    config = build({"vendors": [Static(flags={"a": "on"})], "stale_s": stale_s})
    return Context(config, Counters(), Throttle(logging.getLogger("flagmw")), lambda: NOW)


def remembered(error: ErrorCode | None = None) -> RememberedDecision:
    decision = Decision(
        vendor="v", variants={"a": Variant(alias="a", key="b")}, error=error, cookies=(CookieChange("old", "1", 60),)
    )
    return RememberedDecision(decision, NOW)


@pytest.mark.parametrize(
    ("stale_s", "age_s", "kept", "served"),
    [
        (3600, 3599, remembered(), True),
        (3600, 3600, remembered(), False),
        (0, 0, remembered(), False),
        (3600, 0, remembered(ErrorCode.CONNECT), False),
        (3600, 0, None, False),
    ],
)
def test_what_is_served(stale_s: float, age_s: float, kept: RememberedDecision | None, served: bool) -> None:
    """A decision that is young enough and no failure itself; the counter tells each time."""
    shared = context(stale_s)
    assert may_serve(shared, kept, NOW + age_s) is served
    decision = stale_or_failed(shared, kept, FAILURE, NOW + age_s)
    assert (decision is not FAILURE) is served
    assert shared.counts.total("stale", "v", ErrorCode.DEADLINE) == served


def test_a_stale_decision_names_the_failure() -> None:
    """Its variants are stale ones with the failure's code, and the cookies of both are set."""
    decision = stale_or_failed(context(3600), remembered(), FAILURE, NOW)
    assert (decision.error, decision.variants["a"].reason) == (ErrorCode.DEADLINE, Reason.STALE)
    assert decision.variants["a"].error_code is ErrorCode.DEADLINE
    assert [change.name for change in decision.cookies] == ["old", "new"]

"""Verdicts on the aliases of track requests. Pure.

Source: Webtrends OTS REST API guide, "Track requests" and its error codes. Each alias is judged on its own.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from flagmw.sandbox.webtrends.decide import Control
from flagmw.sandbox.webtrends.model import Account, Test, Variation

# The vendor allows spaces and underscores in metric names and no other special character.
_METRIC = re.compile(r"[A-Za-z0-9_ ]{1,255}")


@dataclass(frozen=True, slots=True)
class Converted:
    """The conversion counts for this variation."""

    test: Test
    variation: Variation


def metric_ok(metric: str | None) -> bool:
    """True when a metric has a name that the product can hold."""
    return metric is not None and _METRIC.fullmatch(metric) is not None and metric.strip() == metric


def judge(account: Account, alias: str, control: Control | None, *, already: bool) -> Converted | int:
    """Return the conversion's count, or the error code of a conversion that does not count.

    Args:
        control: what the visitor's control cookie says; None when it was not sent.
        already: whether the cookie that blocks repeats was sent.
    """
    project = account.project(alias)
    if project is None or not any(test.state not in ("pending", "archived") for test in project.tests):
        return 303
    if already:
        return 312
    if control is None:
        return 314
    if control.throttled:
        return 418
    if project.view_only:
        return 317
    test = next((test for test in project.tests if test.run_id == control.run_id), None)
    if test is None or test.state in ("pending", "archived"):
        return 315
    variation = test.experiment(control.experiment_id)
    if variation is None:
        return 305
    if test.state == "paused" and not account.track_paused:
        return 318
    return Converted(test, variation)

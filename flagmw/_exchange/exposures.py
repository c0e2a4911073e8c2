"""Exposures that were reported, so that each is reported once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol

from flagmw._support.cache import TwoGenerationCache
from flagmw._support.forksafe import Lock
from flagmw.types import Variant

# How far the times of two requests, processes or machines that report at the same moment may differ.
CLOCK_SLACK_S = 60.0


class ReportedExposures(Protocol):
    """Memory of reported exposures."""

    def first(self, vendor: str, visitor: str, alias: str, variant: str, ttl_s: float, now: float) -> bool:
        """Say whether this is the first report within *ttl_s* seconds, and remember it."""

    def close(self) -> None:
        """Close connections; a later use opens them again."""


class MemoryExposures:
    """Remember it in this process, the latest *size* reports."""

    def __init__(self, size: int = 100_000) -> None:
        self._lock = Lock()
        self._until: TwoGenerationCache[int, float] = TwoGenerationCache(size, lambda _: 1)

    def first(self, vendor: str, visitor: str, alias: str, variant: str, ttl_s: float, now: float) -> bool:
        # A hash takes a tenth of the room; of two that collide in 100,000, one report in 10^14 is missed.
        key = hash((vendor, visitor, alias, variant))
        with self._lock:
            until = self._until.get(key) or 0.0
            # A clock that went back must not silence a visitor for much longer than it would have. A request that
            # reads its clock a little earlier, and comes here later, is no such clock.
            if ttl_s > 0 and now < until <= now + ttl_s + CLOCK_SLACK_S:
                return False
            self._until.put(key, now + ttl_s)
            return True

    def close(self) -> None:
        """Keep everything: there is nothing to close."""


def visitor_of(variant: Variant, user_id: str | None, identity: str) -> str:
    """Return the visitor's constant name: their id, the vendor's id for them, or else its cookies."""
    return user_id or variant.ids.get("system_uid") or variant.ids.get("visitor") or identity


def stripped(variants: Sequence[Variant], prefix: str) -> tuple[Variant, ...]:
    """Return *variants* as the vendor knows them, and without content: a report needs but their identifiers."""
    return tuple(
        replace(variant, alias=variant.alias.removeprefix(prefix), payload=None, factors=()) for variant in variants
    )

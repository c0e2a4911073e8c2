"""Events and a clock for the tests of the outbox."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import pytest

from flagmw.types import Event, Track, Visit
from tests.contracts.outbox.rig import Rig, ScriptedVendor

MakeEvent = Callable[..., Event]


@dataclass
class Clock:
    """Seconds since the epoch that only a test moves."""

    now: float = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(scope="session")
def make_event() -> MakeEvent:
    """Return a function that builds events, each with an id and a visitor of its own unless told otherwise."""
    numbers = itertools.count(1)

    def make(
        id: str | None = None,
        *,
        vendor: str = "wt",
        visitor: str | None = None,
        kind: Literal["track", "exposure"] = "track",
        key: str | None = None,
        aliases: tuple[str, ...] = ("banner",),
        at_most_once: bool = False,
        url: str = "https://shop.example/basket",
    ) -> Event:
        number = next(numbers)
        return Event(
            id=id or f"event-{number}",
            vendor=vendor,
            kind=kind,
            track=Track(id=f"track-{number}", metric="purchase", key=key),
            aliases=aliases,
            visit=Visit(url=url, cookies={"_wt.user-1": "abc"}),
            visitor_key=visitor or f"visitor-{number}",
            at_most_once=at_most_once,
        )

    return make


@pytest.fixture
def rig(clock):
    """Return a function that builds rigs on the test's own clock (`real_time=True` for the machine's)."""
    rigs: list[Rig] = []

    def build(*script: object, vendors=None, real_time: bool = False, **options) -> Rig:
        rigs.append(Rig(None if real_time else clock, vendors or {"wt": ScriptedVendor(*script)}, **options))
        return rigs[-1]

    yield build
    for built in rigs:
        built.worker.close(2)
        assert built.stats.balanced()

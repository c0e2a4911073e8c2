"""The events that all benchmarks of outboxes store: 934 bytes each, every one of another visitor."""

from __future__ import annotations

import itertools
from typing import Any

import orjson

from flagmw._support.ids import uuid7
from flagmw.outbox.codec import to_bytes
from flagmw.types import Event, Track, Visit

EVENT_BYTES = 934
_numbers = itertools.count()


def event() -> Event:
    """Return an event that no other is equal to; events of one visitor would wait for each other."""
    return _event(next(_numbers), _FILLER)


def plain(one: Event) -> dict[str, Any]:
    """Return an event as a plain dictionary, as somebody would encode it by hand."""
    said: dict[str, Any] = orjson.loads(to_bytes(one))["event"]
    return said


def _event(number: int, filler: str) -> Event:
    visit = Visit(url="https://shop.example/", cookies={"_wt.user-1": filler}, now=1_800_000_000.0, fresh_id="0" * 32)
    return Event(
        id=uuid7(),
        vendor="wt",
        kind="track",
        track=Track(id="0" * 36, metric="purchase"),
        aliases=("ta_basket",),
        visit=visit,
        visitor_key=f"{number:024}",
    )


_FILLER = "x" * (EVENT_BYTES - len(to_bytes(_event(0, ""))))

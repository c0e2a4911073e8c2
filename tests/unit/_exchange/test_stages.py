"""Stages of one exchange, its sink, and its freedom from reference circles."""

from __future__ import annotations

import gc
import logging
import weakref
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from typing import Any

import pytest

from flagmw._exchange.context import Context
from flagmw._exchange.event_sink import EventSink
from flagmw._exchange.exchange import Exchange, Stage, failed
from flagmw._exchange.visitor import RequestVisitor
from flagmw._support.counters import Counters
from flagmw._support.log import Throttle
from flagmw.codes import ErrorCode, Reason
from flagmw.config import build
from flagmw.testing import FakeVendor
from flagmw.types import Decision, Event, Variant, Visit, VisitorState

NOW = 1_800_000_000.0


def make_exchange(**options: Any) -> Exchange:
    vendors = [FakeVendor({"a": "b"}, name=name, exposure="read") for name in ("one", "two")]
    context = Context(
        build({"vendors": vendors, **options}), Counters(), Throttle(logging.getLogger("test")), lambda: NOW
    )
    return Exchange(context, RequestVisitor(context, Visit(url="https://shop.test/", now=NOW), [VisitorState()] * 2))


def decision(vendor: str) -> Decision:
    variant = Variant(alias="a", key="b", vendor=vendor, reason=Reason.SPLIT)
    return Decision(vendor=vendor, variants={"a": variant})


def test_vendors_that_are_asked() -> None:
    """The vendors without a decision are asked, and the flags hold their answers."""
    exchange = make_exchange()
    assert exchange.stage is Stage.NEW and exchange.unknown == []
    exchange.ask([decision("one"), None])
    assert exchange.stage is Stage.ASKING and exchange.unknown == [1]
    exchange.resolve([decision("one"), decision("two")], [1])
    assert exchange.stage is Stage.DECIDED


@pytest.mark.parametrize("asked", [True, False])
def test_flags_without_a_vendor(asked: bool) -> None:
    """Remembered decisions, and none at all, need no vendor."""
    exchange = make_exchange()
    if asked:
        exchange.undecided(ErrorCode.EXCLUDED)
    else:
        exchange.resolve([decision("one"), failed("two", ErrorCode.DEADLINE)], ())
    assert exchange.stage is Stage.SERVED


def test_another_visitor_is_looked_up_again() -> None:
    """Decisions of a visitor without a name do not count for one who has just been named."""
    exchange = make_exchange()
    exchange.ask([None, None])
    exchange.identify("ada", None)
    assert exchange.stage is Stage.NEW and exchange.unknown == []


@pytest.fixture
def no_collector() -> Iterator[None]:
    gc.disable()
    yield
    gc.enable()


def test_no_circles(no_collector: None) -> None:
    """An exchange and its flags are freed with their last reference, without the collector."""
    exchange = make_exchange()
    flags = exchange.resolve([decision("one"), decision("two")])
    assert flags["a"] == "b"
    flags.track("seen")
    parts = [weakref.ref(part) for part in (exchange, exchange.visitor, exchange.recorder)]
    del exchange, flags
    assert [part() for part in parts] == [None] * 3


def test_one_sink_per_request() -> None:
    """The sink is opened once the response has begun, and only once; a future on its way is pending."""
    sinks: list[EventSink] = []
    stored: list[Event] = []
    way: Future[None] = Future()

    def put(events: Sequence[Event]) -> Future[None]:
        stored.extend(events)
        return way

    def open_sink() -> EventSink:
        sinks.append(EventSink(put))
        return sinks[-1]

    exchange = make_exchange()
    exchange._context.open_sink = open_sink
    flags = exchange.resolve([decision("one"), decision("two")])
    flags.track("before")
    assert not sinks and exchange.recorder.pending
    exchange.recorder.answered = True
    flags.track("after")
    flags.track("again")
    assert len(sinks) == 1 and len(stored) == 4 and exchange.recorder.open_sink() is sinks[0]
    assert len(exchange.recorder.drain(expose=False)) == 2
    assert exchange.recorder.pending and sinks[0].take_last() is way and not exchange.recorder.pending

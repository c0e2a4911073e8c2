"""What the Monetate Engine API is told of what visitors did, and what becomes of it."""

from __future__ import annotations

from typing import Any

import pytest

from flagmw.codes import ErrorCode
from flagmw.exceptions import TransportError
from flagmw.types import (
    Ambiguous,
    Dead,
    Delivered,
    Dropped,
    Event,
    Outcome,
    Retry,
    Suspend,
    Track,
    Variant,
    VisitorState,
)
from tests.unit.vendors.monetate.codec import ID, TOKEN, deliver, event, events_of, exposure, monetate, recorded, sample
from tests.unit.vendors.webtrends.codec import body_of, reply

KNOWN = VisitorState({"mt.v": ID})
LINE = {"sku": "SKU1", "pid": "PID1", "quantity": 2, "currency": "USD", "value": 24}
SENT_LINE = {"sku": "SKU1", "pid": "PID1", "quantity": 2, "currency": "USD", "value": "24.00"}
BANNER = Variant(alias="Banner", key="Blue", ids={"impression": TOKEN})
CONTROL = Variant(alias="Footer", key="control", ids={"impression": "3.b"})
COUNTED = Variant(alias="Hero", key="B")


def told(one: Event, **options: Any) -> list[Any]:
    """Return what is sent for one event."""
    outcomes, (call,) = deliver(monetate(**options), one, replies=(recorded(),))
    assert outcomes == [Delivered()]
    assert not call.replay_safe, "a repeat would count twice"
    events: list[Any] = body_of(call)["events"]
    return events


# Records


def test_a_track_is_a_page_event() -> None:
    """A track is recorded under its metric's name, with the identity and nothing of a page view."""
    wanted = sample("recorded")
    outcomes, (call,) = deliver(monetate(), event("myEvent"), replies=(wanted.reply,))
    assert outcomes == [Delivered()]
    assert (call.url, body_of(call)) == (wanted.call["url"], wanted.call["body"])


def test_a_page_event_may_be_called_differently() -> None:
    (record,) = told(event("Page_Checkout"), page_events={"Page_Checkout": "checkout"})
    assert record == {"eventType": "monetate:record:PageEvents", "pageEvents": ["checkout"]}


def test_a_purchase() -> None:
    """A track of this name with items is a purchase, under the business key; line totals are texts."""
    (record,) = told(event("purchase", key="1b2c3d", items=(LINE,)))
    assert record == {
        "eventType": "monetate:context:Purchase",
        "purchaseId": "1b2c3d",
        "purchaseLines": [SENT_LINE],
    }
    (record,) = told(event("purchase", items=(LINE,)))
    assert record["purchaseId"] == "t1", "without a key the track's own id names it"


@pytest.mark.parametrize(("metric", "kind"), [("cart", "Cart"), ("add_to_cart", "AddToCart")])
def test_carts(metric: str, kind: str) -> None:
    (record,) = told(event(metric, items=(LINE,)))
    assert record == {"eventType": f"monetate:context:{kind}", "cartLines": [SENT_LINE]}


@pytest.mark.parametrize("metric", ["purchase", "cart", "add_to_cart"])
def test_without_items_it_is_a_page_event(metric: str) -> None:
    """The engine takes no purchase and no cart without lines."""
    (record,) = told(event(metric, value=49.9))
    assert record["pageEvents"] == [metric]


def test_metrics_of_ones_own() -> None:
    (record,) = told(event("order", items=(LINE,)), purchase_metric="order")
    assert record["eventType"] == "monetate:context:Purchase"
    (record,) = told(event("purchase", items=(LINE,)), purchase_metric="order")
    assert record["eventType"] == "monetate:record:PageEvents"


@pytest.mark.parametrize(
    ("item", "line"),
    [
        ({"sku": "S"}, None),
        ({"sku": "S", "value": "24"}, {"sku": "S", "pid": "S", "quantity": 1, "value": "24.00"}),
        ({"pid": 7, "value": 0}, {"sku": "7", "pid": "7", "quantity": 1, "value": "0.00"}),
        ({"sku": "S", "price": 19.9, "quantity": "3"}, {"quantity": 3, "value": "59.70"}),
        ({"sku": "S", "price": 0.105, "quantity": 1}, {"value": "0.11"}),
        ({"sku": "S", "value": 1.005, "currency": "usd"}, {"value": "1.01", "currency": "USD"}),
        ({"sku": "S", "value": 999_999_999.99}, {"value": "999999999.99"}),
        ({"sku": "S", "value": 1e9}, None),
        ({"sku": "S", "price": 9e8, "quantity": 2}, None),
        ({"sku": "S", "value": 999_999_999.999}, None),
        ({"sku": "S", "value": -1}, None),
        ({"sku": "S", "value": "NaN"}, None),
        ({"sku": "S", "value": "many"}, None),
        ({"sku": "S", "value": True}, None),
        ({"sku": "S", "value": 1, "quantity": 0}, None),
        ({"sku": "S", "value": 1, "quantity": 1.5}, None),
        ({"sku": "S", "value": 1, "quantity": "two"}, None),
        ({"sku": "S", "value": 1, "currency": "euro"}, None),
        ({"sku": "S", "value": 1, "currency": 978}, None),
        ({"value": 1}, None),
        ({"sku": True, "value": 1}, None),
        ({"sku": "\ud800", "value": 1}, None),
    ],
)
def test_lines(item: dict[str, Any], line: dict[str, Any] | None) -> None:
    """A line has what the engine requires, or the track is refused at once and not at delivery."""
    track = Track(id="t", metric="purchase", items=(item,), currency="EUR")
    vendor = monetate()
    if line is None:
        with pytest.raises(ValueError, match=r"items\[0\]"):
            vendor.participation(track, KNOWN)
        assert deliver(vendor, event("purchase", items=(item,), currency="EUR"), replies=())[0] == [
            Dead(ErrorCode.BAD_DATA)
        ]
        return
    assert vendor.participation(track, KNOWN).aliases == ("purchase",)
    (record,) = told(event("purchase", items=(item,), currency="EUR"))
    sent = record["purchaseLines"][0]
    assert sent.items() >= line.items()
    assert sent.keys() == {"sku", "pid", "quantity", "currency", "value"}


def test_a_line_without_currency() -> None:
    with pytest.raises(ValueError, match="currency"):
        monetate().participation(Track(id="t", metric="cart", items=({"sku": "S", "value": 1},)), KNOWN)


# Who takes part


def test_only_a_visitor_whom_the_engine_knows_takes_part() -> None:
    """Without an id the engine would name a stranger, for whom nothing counts."""
    vendor, track = monetate(), Track(id="t", metric="signup")
    assert vendor.participation(track, KNOWN).cookies == {"mt.v": ID}
    assert vendor.participation(track, VisitorState({"mt.v": f'"{ID}"'})).cookies == {"mt.v": ID}
    for nobody in ({}, {"mt.v": "junk"}):
        assert vendor.participation(track, VisitorState(nobody)).aliases == ()


def test_aliases_do_not_narrow_a_page_event() -> None:
    """The engine finds itself what a page event counts for; a track for other vendors' aliases alone is not ours."""
    vendor = monetate()
    assert vendor.participation(Track(id="t", metric="m", aliases=("Hero",)), KNOWN).aliases == ("Hero",)
    assert vendor.participation(Track(id="t", metric="m", aliases=()), KNOWN).aliases == ()


def test_a_device_takes_part_without_a_cookie() -> None:
    vendor = monetate(user_id_as="device")
    assert vendor.participation(Track(id="t", metric="m"), VisitorState({})).aliases == ("m",)
    _, (call,) = deliver(vendor, event("m", cookies={}, user_id="d1"), replies=(recorded(),))
    assert body_of(call)["deviceId"] == "d1" and "monetateId" not in body_of(call)
    assert deliver(vendor, event("m", cookies={}), replies=())[0] == [Dropped(ErrorCode.NOT_IN_TEST)]


# Impressions


def test_managed_impressions_are_reported_for_controls_too() -> None:
    """Without its controls an experiment has nothing to be compared with."""
    (record,) = told(exposure(BANNER, CONTROL, COUNTED, BANNER), exposure="read")
    assert record == {"eventType": "monetate:record:Impressions", "impressionIds": [TOKEN, "3.b"]}


def test_what_the_engine_has_counted_is_not_reported() -> None:
    """To report an impression that the engine counted at the decision would count it twice."""
    vendor = monetate(exposure="read")
    part = vendor.exposes([BANNER, CONTROL, COUNTED], KNOWN)
    assert (part.aliases, part.cookies) == (("Banner", "Footer"), {"mt.v": ID})
    assert vendor.exposes([COUNTED], KNOWN).aliases == ()
    assert vendor.exposes([BANNER], VisitorState({})).aliases == ()
    assert deliver(vendor, exposure(COUNTED), replies=())[0] == [Dropped(ErrorCode.NOT_IN_TEST)]


def test_nothing_is_reported_where_nothing_shall_be() -> None:
    assert monetate(exposure="off").exposes([BANNER], KNOWN).aliases == ()


# Requests


def test_the_visitors_own_client_goes_along() -> None:
    """Without these the engine would take our server's address and agent for the visitor's."""
    events = told(event("m", user_agent="Mozilla/5.0", client_ip="192.0.2.0", language="de", referer="https://x.test/"))
    assert [one["eventType"] for one in events] == [
        "monetate:context:UserAgent", "monetate:context:IpAddress", "monetate:record:PageEvents"
    ]  # fmt: skip


def test_events_of_one_visitor_share_a_request() -> None:
    vendor = monetate()
    batch = (event("a"), event("b"), event("purchase", items=(LINE,)), exposure(BANNER))
    outcomes, (call,) = deliver(vendor, *batch, replies=(recorded(),))
    assert outcomes == [Delivered()] * 4
    assert [one["pageEvents"] for one in events_of(call, "record:PageEvents")] == [["a"], ["b"]]
    assert len(events_of(call, "context:Purchase")) == len(events_of(call, "record:Impressions")) == 1


@pytest.mark.parametrize(
    "other",
    [
        event("b", cookies={"mt.v": "2.1.2"}),
        event("b", user_agent="Other"),
        event("b", client_ip="198.51.100.0"),
        event("b", user_id="u"),
    ],
)
def test_another_situation_is_another_request(other: Event) -> None:
    """One request describes one visitor in one situation."""
    outcomes, calls = deliver(monetate(), event("a"), other, replies=(recorded(), recorded()))
    assert (outcomes, len(calls)) == ([Delivered()] * 2, 2)


def test_two_purchases_are_two_requests() -> None:
    """Two contexts of one kind would contradict each other; the order of events stays."""
    batch = (event("purchase", items=(LINE,)), event("a"), event("purchase", items=(LINE,)))
    _, calls = deliver(monetate(), *batch, replies=(recorded(), recorded()))
    assert [len(body_of(call)["events"]) for call in calls] == [2, 1]


def test_a_refused_batch_is_made_again_one_by_one() -> None:
    """One event that the engine does not take must not take the others with it; a refusal has counted nothing."""
    refusal = sample("refused").reply
    outcomes, calls = deliver(
        monetate(), event("a"), event("b"), event("c"), replies=(refusal, recorded(), refusal, recorded())
    )
    assert len(calls) == 4
    assert outcomes == [Delivered(), Dead(ErrorCode.HTTP_STATUS), Delivered()]


def test_what_was_not_tried_waits() -> None:
    """When the vendor goes away, what was on its way is in doubt, and what was not yet sent is not."""
    batch = (event("a"), event("b", user_agent="Other"), event("c", user_agent="Third"))
    gone = TransportError(ErrorCode.RESET)
    outcomes, calls = deliver(monetate(), *batch, replies=(recorded(), gone))
    assert len(calls) == 2
    assert outcomes == [Delivered(), Ambiguous(ErrorCode.RESET), Retry(ErrorCode.RESET)]


# Verdicts


@pytest.mark.parametrize(
    ("given", "once", "again"),
    [
        (recorded(), Delivered(), Delivered()),
        (recorded(code="200"), Delivered(), Delivered()),
        (reply({"data": {"responses": []}}), Delivered(), Delivered()),
        (recorded(warnings=[{}]), Delivered(code=ErrorCode.WARNED), Delivered(code=ErrorCode.WARNED)),
        (recorded(errors=[{}]), Dead(ErrorCode.REFUSED), Dead(ErrorCode.REFUSED)),
        (recorded(code=400), Dead(ErrorCode.HTTP_STATUS), Dead(ErrorCode.HTTP_STATUS)),
        (recorded(code=500), Ambiguous(ErrorCode.HTTP_STATUS), Retry(ErrorCode.HTTP_STATUS)),
        (recorded(code=503), Retry(ErrorCode.HTTP_STATUS), Retry(ErrorCode.HTTP_STATUS)),
        (recorded(code=429), Retry(ErrorCode.RATE_LIMITED), Retry(ErrorCode.RATE_LIMITED)),
        (recorded(code=401), Suspend(ErrorCode.UNAUTHORIZED), Suspend(ErrorCode.UNAUTHORIZED)),
        (recorded(code=204), Ambiguous(ErrorCode.PROTOCOL), Ambiguous(ErrorCode.PROTOCOL)),
        (reply(b"no", 400), Dead(ErrorCode.HTTP_STATUS, verdict=False), Dead(ErrorCode.HTTP_STATUS, verdict=False)),
        (reply(b"no", 500), Ambiguous(ErrorCode.HTTP_STATUS), Retry(ErrorCode.HTTP_STATUS)),
        (reply(b""), Ambiguous(ErrorCode.EMPTY), Ambiguous(ErrorCode.EMPTY)),
        (reply(b"<html>"), Ambiguous(ErrorCode.NOT_JSON), Ambiguous(ErrorCode.NOT_JSON)),
        (reply({}), Ambiguous(ErrorCode.SHAPE), Ambiguous(ErrorCode.SHAPE)),
        (TransportError(ErrorCode.CONNECT, sent=False), Retry(ErrorCode.CONNECT), Retry(ErrorCode.CONNECT)),
        (TransportError(ErrorCode.RESET), Ambiguous(ErrorCode.RESET), Ambiguous(ErrorCode.RESET)),
        (TransportError(ErrorCode.TLS, sent=False), Suspend(ErrorCode.TLS), Suspend(ErrorCode.TLS)),
    ],
)
def test_V17_verdicts(given: Any, once: Outcome, again: Outcome) -> None:
    """What may have counted is not sent again unless that was asked for; what surely has not is."""
    for at_most_once, verdict in ((True, once), (False, again)):
        outcomes, _ = deliver(monetate(), event(at_most_once=at_most_once), replies=(given,))
        assert outcomes == [verdict]


def test_errors_in_an_answer_to_several() -> None:
    """Which of them it means is not documented, so all are in doubt."""
    outcomes, _ = deliver(monetate(), event("a"), event("b"), replies=(recorded(errors=[{}]),))
    assert outcomes == [Ambiguous(ErrorCode.REFUSED)] * 2

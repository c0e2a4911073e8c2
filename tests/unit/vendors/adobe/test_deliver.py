"""What becomes of events that were sent to Adobe Target: displays as notifications, conversions as mboxes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from flagmw.codes import ErrorCode
from flagmw.exceptions import TransportError
from flagmw.types import Ambiguous, Call, Dead, Delivered, Event, Outcome, Retry, Suspend, Track, VisitorState
from flagmw.vendors.adobe.request import PAGE_LOAD
from tests.unit.vendors.adobe.codec import (
    DEVICE,
    NOW,
    RETURNING,
    SESSION,
    adobe,
    answer,
    body_of,
    box,
    conversion,
    decide,
    deliver,
    exposure,
    host,
    query,
    reply,
    sample,
    seen,
    visit,
)

VENDOR = adobe(exposure="read")


def sent(call: Call) -> list[dict[str, Any]]:
    """Return the notifications in *call*."""
    return list(body_of(call)["notifications"])


def ids_of(*batch: Event) -> list[str]:
    """Return the ids that the notifications for *batch* have."""
    _, (call,) = deliver(VENDOR, batch, reply(b"", 204))
    return [one["id"] for one in sent(call)]


def taken(*ids: str) -> Any:
    return reply({"status": 200, "notifications": [{"id": one} for one in ids]})


# Displays


def test_a_display() -> None:
    """A view is told with the tokens and the state that the prefetch gave, on behalf of the same session."""
    event = exposure(seen("hero", "tok==", state="T0s="))
    (own,) = ids_of(event)
    vendor = adobe(exposure="read")
    decide(vendor, sample("prefetch").reply)  # which names the cluster
    outcomes, (call,) = deliver(vendor, [event], taken(own))
    assert outcomes == [Delivered()]
    assert sent(call) == [
        {
            "id": own,
            "impressionId": own,
            "type": "display",
            "timestamp": NOW * 1000,
            "tokens": ["tok=="],
            "mbox": {"name": "hero", "state": "T0s="},
        }
    ]
    assert body_of(call)["id"] == {"tntId": f"{DEVICE}.28_20"}
    assert (query(call)["sessionId"], host(call)) == (SESSION, "mboxedge28.tt.omtrdc.net")
    assert not {"execute", "prefetch"} & body_of(call).keys()
    assert len(own) <= 200


def test_what_a_decision_brought_is_what_a_display_tells() -> None:
    """The ids of a decided variant are all that the display needs."""
    vendor = adobe(exposure="read")
    decision, _ = decide(vendor, sample("prefetch").reply)
    _, (call,) = deliver(vendor, [exposure(decision.variants["hero"])], reply(b"", 204))
    (one,) = sent(call)
    assert (one["tokens"], one["mbox"]) == (["vGp7Q=="], {"name": "hero", "state": "T0s="})


def test_flags_of_one_offer_are_one_display() -> None:
    """Attributes that came with one token were seen together: they are told of once, and settled together."""
    variants = [seen(alias, "tok", mbox="hero") for alias in ("button", "size")]
    event = exposure(*variants, replace(seen("other", "tok2"), ids={"mbox": "footer", "event_token": "tok2"}))
    ids = ids_of(event)
    assert len(set(ids)) == 2
    outcomes, _ = deliver(VENDOR, [event], taken(ids[1]))
    assert outcomes == [Retry(ErrorCode.NOT_LISTED, aliases=("button", "size"))]


def test_the_page_s_load_has_a_field_of_its_own() -> None:
    _, (call,) = deliver(VENDOR, [exposure(seen(PAGE_LOAD))], reply(b"", 204))
    (one,) = sent(call)
    assert one["pageLoad"] == {} and "mbox" not in one


def test_many_displays_are_one_request() -> None:
    """Exposures of one visitor go out together, up to fifty, each with an id of its own."""
    batch = [exposure(seen(f"m{n}"), id=f"e{n}") for n in range(60)]
    outcomes, calls = deliver(VENDOR, batch, reply(b"", 204), reply(b"", 204))
    assert outcomes == [Delivered()] * 60
    assert [len(sent(call)) for call in calls] == [50, 10]
    assert len({one["id"] for call in calls for one in sent(call)}) == 60
    assert VENDOR.batch_max == 50


def test_V18_only_the_missing_ids_are_sent_again_with_the_same_ids() -> None:
    """An answer lists what was processed; what is missing stays in the event, and keeps its id on the retry."""
    event = exposure(seen("a"), seen("b"), seen("c"))
    ids = dict(zip("abc", ids_of(event), strict=True))
    outcomes, _ = deliver(VENDOR, [event], taken(ids["c"], ids["a"], "of-somebody-else"))
    assert outcomes == [Retry(ErrorCode.NOT_LISTED, aliases=("b",))]
    again = replace(event, aliases=("b",))
    assert ids_of(again) == [ids["b"]]
    assert deliver(VENDOR, [again], taken(ids["b"]))[0] == [Delivered()]


@pytest.mark.parametrize("listed", [[], None, "x", [None, "x", {"id": 3}], {"id": "x"}])
def test_V18_nothing_listed(listed: Any) -> None:
    """A success that lists nothing has processed nothing."""
    event = exposure(seen("a"))
    assert deliver(VENDOR, [event], reply({"status": 200, "notifications": listed}))[0] == [Retry(ErrorCode.NOT_LISTED)]


def test_V18_events_of_a_batch_are_judged_one_by_one() -> None:
    batch = [exposure(seen("a"), id="e1"), exposure(seen("b"), id="e2")]
    ids = ids_of(*batch)
    assert deliver(VENDOR, batch, taken(ids[1]))[0] == [Retry(ErrorCode.NOT_LISTED), Delivered()]


def test_one_bad_token_does_not_cost_the_others() -> None:
    """Tokens are validated all or nothing: a refused request is sent again one by one."""
    batch = [exposure(seen("a"), seen("b"), id="e1"), exposure(seen("c"), id="e2")]
    a, _, c = ids_of(*batch)
    refused = reply({"status": 400, "message": "invalid token"}, 400)
    outcomes, calls = deliver(VENDOR, batch, refused, taken(a), refused, taken(c))
    assert outcomes == [Delivered(), Delivered()], "what is refused for good is not what keeps an event open"
    assert [len(sent(call)) for call in calls] == [3, 1, 1, 1]
    assert deliver(VENDOR, [exposure(seen("b"))], refused)[0] == [Dead(ErrorCode.VENDOR_400)]


def test_a_batch_that_is_too_large_is_taken_apart() -> None:
    batch = [exposure(seen("a"), id="e1"), exposure(seen("b"), id="e2")]
    a, b = ids_of(*batch)
    assert deliver(VENDOR, batch, reply(b"", 413), taken(a), taken(b))[0] == [Delivered()] * 2


def test_nobody_there_is_asked_once() -> None:
    """When a request finds nobody, the rest of the batch waits, so that the order holds and the dead are left alone."""
    batch = [exposure(seen("a"), id="e1"), conversion(id="e2"), exposure(seen("b"), id="e3")]
    down = TransportError(ErrorCode.CONNECT, sent=False)
    assert deliver(VENDOR, batch, down)[0] == [Retry(ErrorCode.CONNECT)] * 3
    assert deliver(VENDOR, batch, reply(b"", 401))[0] == [
        Suspend(ErrorCode.UNAUTHORIZED),
        Retry(ErrorCode.UNAUTHORIZED),
        Retry(ErrorCode.UNAUTHORIZED),
    ]
    refused = reply(b"", 400)
    batch = [exposure(seen(name), id=name) for name in "abc"]
    outcomes, calls = deliver(VENDOR, batch, refused, reply(b"", 500))
    assert outcomes == [Retry(ErrorCode.HTTP_STATUS)] * 3 and len(calls) == 2


def test_other_visits_are_other_requests() -> None:
    """Events go out together only under the same cookies and user id; their order is kept."""
    other = replace(exposure(seen("b"), id="e2"), visit=visit(cookies={"mbox": f"session#other#{NOW + 9}"}))
    user = replace(exposure(seen("c"), id="e3"), visit=visit(cookies=RETURNING, user_id="u"))
    _, calls = deliver(
        adobe(exposure="read", third_party_id=True),
        [exposure(seen("a")), other, user],
        *[reply(b"", 204)] * 3,
    )
    assert [query(call)["sessionId"] for call in calls] == [SESSION, "other", SESSION]
    assert body_of(calls[2])["id"]["thirdPartyId"] == "u"


def test_a_view_without_a_token_is_counted_by_showing_the_mbox() -> None:
    """A decision that was not prefetched has no token: the mbox is shown, and another experience is told of."""
    event = exposure(seen("hero", None))
    outcomes, (call,) = deliver(VENDOR, [event], answer("hero"))
    assert outcomes == [Delivered()]
    assert body_of(call)["execute"] == {"mboxes": [{"index": 0, "name": "hero"}]}
    other = {"experience.id": 2, "experience.name": "C"}
    shown = answer(execute={"mboxes": [box("hero", responseTokens=other)]})
    assert deliver(VENDOR, [event], shown)[0] == [Delivered(code=ErrorCode.VARIANT_CHANGED)]
    assert deliver(VENDOR, [event], answer(execute={"mboxes": [{"name": "hero"}]}))[0] == [Delivered()]


# Conversions


def converted(call: Call) -> dict[str, Any]:
    (mbox,) = body_of(call)["execute"]["mboxes"]
    return dict(mbox)


def test_a_purchase_is_an_mbox_with_an_order() -> None:
    event = conversion(
        key="o-1",
        value=49.9,
        currency="EUR",
        data={"coupon": "x", "orderId": "forged", "units": 2},
        items=({"id": "p1"}, {"sku": "p2", "price": 1.0}, {"name": "nothing"}, {"id": "x" * 51}),
    )
    outcomes, (call,) = deliver(VENDOR, [event], answer("purchase"))
    assert outcomes == [Delivered()]
    assert converted(call) == {
        "index": 0,
        "name": "purchase",
        "parameters": {"coupon": "x", "units": "2", "currency": "EUR"},
        "order": {"id": "o-1", "total": 49.9, "purchasedProductIds": ["p1", "p2"], "time": "2027-01-15T08:00:00Z"},
    }
    assert body_of(call)["id"] == {"tntId": f"{DEVICE}.28_20"}


@pytest.mark.parametrize(
    ("track", "order"),
    [
        ({}, None),
        ({"key": "k"}, {"id": "k"}),
        ({"value": 3.0}, {"id": "t1", "total": 3.0}),
        ({"value": 0.0}, {"id": "t1", "total": 0.0}),
        ({"value": -3.0}, None),
        ({"items": ({"product_id": 7},)}, {"id": "t1", "purchasedProductIds": ["7"]}),
        ({"items": ({"pid": "p7"},)}, {"id": "t1", "purchasedProductIds": ["p7"]}),
    ],
)
def test_orders(track: dict[str, Any], order: Any) -> None:
    """An order has an id, so that a repeat is known as one, and its time; no negative total leaves us."""
    if order is not None:
        order = {**order, "time": "2027-01-15T08:00:00Z"}
    _, (call,) = deliver(VENDOR, [conversion(**track)], answer("purchase"))
    assert converted(call).get("order") == order


def test_products_stay_within_the_limit_of_all_together() -> None:
    _, (call,) = deliver(VENDOR, [conversion(items=tuple({"id": "p" * 49} for _ in range(9)))], answer("purchase"))
    products = converted(call)["order"]["purchasedProductIds"]
    assert len(products) == 5 and len(",".join(products)) <= 250


def test_metrics_may_be_counted_at_another_mbox() -> None:
    vendor = adobe(conversions={"purchase": "orderConfirmPage"}, profile_params={"tier": "gold"})
    outcomes, (call,) = deliver(vendor, [conversion()], answer("orderConfirmPage"))
    assert outcomes == [Delivered()]
    assert converted(call) == {"index": 0, "name": "orderConfirmPage", "profileParameters": {"tier": "gold"}}


def test_several_conversions_are_one_request_but_never_one_mbox_twice() -> None:
    batch = [conversion("view", "e1"), conversion("cart", "e2"), conversion("view", "e3")]
    outcomes, calls = deliver(VENDOR, batch, answer("cart", "view"), answer("view"))
    assert outcomes == [Delivered()] * 3
    names = [[mbox["name"] for mbox in body_of(call)["execute"]["mboxes"]] for call in calls]
    assert names == [["view", "cart"], ["view"]]


def test_a_display_and_a_conversion_keep_their_order() -> None:
    event = exposure(seen("hero"), id="e1")
    (own,) = ids_of(event)
    outcomes, calls = deliver(VENDOR, [event, conversion(id="e2")], taken(own), answer("purchase"))
    assert outcomes == [Delivered(), Delivered()]
    assert ["notifications" in body_of(call) for call in calls] == [True, False]


def test_a_repeated_request_is_the_same_request() -> None:
    """Ids of request, impression and order are made of the event: a repeat of it can be known as one."""
    calls = [deliver(VENDOR, [conversion(value=1.0)], answer("purchase"))[1][0] for _ in range(2)]
    assert calls[0] == calls[1]
    assert not calls[0].replay_safe, "a repeat is the outbox's to make, and to mark"
    other = deliver(VENDOR, [conversion(id="e2", value=1.0)], answer("purchase"))[1][0]
    assert body_of(other)["requestId"] != body_of(calls[0])["requestId"]


def test_a_conversion_that_the_answer_does_not_show() -> None:
    assert deliver(VENDOR, [conversion()], answer("other"))[0] == [Ambiguous(ErrorCode.SHAPE)]


def test_an_error_status_inside_a_success() -> None:
    """The status in the body counts before that of HTTP."""
    for status, outcome in ((400, Dead(ErrorCode.VENDOR_400)), (403, Suspend(ErrorCode.UNAUTHORIZED))):
        assert deliver(VENDOR, [conversion()], reply({"status": status, "message": "x"}))[0] == [outcome]


def test_a_metric_that_is_no_mbox_any_more() -> None:
    """An event of a time with other `conversions` is laid aside, and the rest of the batch goes out."""
    outcomes, _ = deliver(VENDOR, [conversion("two words"), conversion(id="e2")], answer("purchase"))
    assert outcomes == [Dead(ErrorCode.BAD_METRIC), Delivered()]


# No envelope


@pytest.mark.parametrize(
    ("answered", "expected", "once"),
    [
        (reply(b""), Ambiguous(ErrorCode.EMPTY), None),
        (reply(b"<html>"), Ambiguous(ErrorCode.NOT_JSON), None),
        (reply(b"[]"), Ambiguous(ErrorCode.PROTOCOL), None),
        (reply({"requestId": "another's"}), Ambiguous(ErrorCode.PROTOCOL), None),
        (reply(b"", 204), Delivered(), None),
        (reply(b"", 302), Dead(ErrorCode.REDIRECT, verdict=False), None),
        (sample("invalid_property").reply, Dead(ErrorCode.VENDOR_400), None),
        (reply(b"", 401), Suspend(ErrorCode.UNAUTHORIZED), None),
        (reply(b"", 403), Suspend(ErrorCode.UNAUTHORIZED), None),
        (reply(b"", 404), Dead(ErrorCode.HTTP_STATUS, verdict=False), None),
        (reply(b"", 413), Dead(ErrorCode.HTTP_STATUS, verdict=False), None),
        (sample("too_many_requests").reply, Retry(ErrorCode.RATE_LIMITED), None),
        (reply(b"", 429, retry_after="9"), Retry(ErrorCode.RATE_LIMITED, 9.0), None),
        (reply(b"", 500), Retry(ErrorCode.HTTP_STATUS), Ambiguous(ErrorCode.HTTP_STATUS)),
        (reply(b"", 503, retry_after="9"), Retry(ErrorCode.HTTP_STATUS, 9.0), None),
        (TransportError(ErrorCode.RESET), Ambiguous(ErrorCode.RESET), None),
        (TransportError(ErrorCode.CONNECT, sent=False), Retry(ErrorCode.CONNECT), None),
        (TransportError(ErrorCode.TLS, sent=False), Suspend(ErrorCode.TLS), None),
    ],
)
def test_U10_U11_U12_U13_U17_answers_to_events(answered: Any, expected: Outcome, once: Outcome | None) -> None:
    """What surely did not arrive is tried again, what may have is in doubt, what is refused is laid aside."""
    assert deliver(VENDOR, [conversion()], answered)[0] == [expected]
    assert deliver(VENDOR, [conversion(at_most_once=True)], answered)[0] == [once or expected]
    assert deliver(VENDOR, [exposure(seen("hero"))], answered)[0] == [expected]


def test_parts_that_are_settled_leave_the_event() -> None:
    """Of an event's displays some are taken and some wait: what is open stays, with the pause that was asked for."""
    event = exposure(seen("a"), seen("b", None))
    (own,) = ids_of(exposure(seen("a")))
    assert deliver(VENDOR, [event], taken(own), reply(b"", 429, retry_after="9"))[0] == [
        Retry(ErrorCode.RATE_LIMITED, 9.0, aliases=("b",))
    ]
    assert deliver(VENDOR, [event], taken(own), reply(b"", 401))[0] == [Retry(ErrorCode.UNAUTHORIZED, aliases=("b",))]


def test_an_empty_batch() -> None:
    assert deliver(VENDOR, []) == ([], [])


def test_an_event_without_a_session() -> None:
    """A visitor whose session cannot be read has one of the event's own, the same on every try."""
    event = replace(conversion(), visit=visit(cookies={"mbox": "garbage"}))
    calls = [deliver(VENDOR, [event], answer("purchase"))[1][0] for _ in range(2)]
    assert len(query(calls[0])["sessionId"]) == 32 and calls[0].url == calls[1].url


# Who can convert


def test_participation() -> None:
    """Whoever has Target's cookie can convert: it knows itself which activities the visitor is in."""
    vendor = adobe("a", "b", page_load=True)
    track, state = Track(id="t", metric="purchase"), VisitorState({**RETURNING, "mboxEdgeCluster": "28"})
    part = vendor.participation(track, state)
    assert part.aliases == ("a", "b", PAGE_LOAD) and part.cookies == state.cookies
    assert vendor.participation(replace(track, aliases=("b", "x")), state).aliases == ("b",)
    assert vendor.participation(replace(track, aliases=("x",)), state).aliases == ()
    assert vendor.participation(track, VisitorState({"mboxEdgeCluster": "28"})).aliases == ()
    assert vendor.participation(track, VisitorState()).aliases == ()
    keys = adobe("a", aliases="attributes")
    assert keys.participation(replace(track, aliases=("button",)), state).aliases == ("button",)


@pytest.mark.parametrize("metric", ["two words", "x" * 251, "hero-clicked", "ü", 'a"b', "a'b", "a<b"])
def test_metrics_that_cannot_be_an_mbox(metric: str) -> None:
    track = Track(id="t", metric=metric)
    with pytest.raises(ValueError, match="metric must be"):
        adobe().participation(track, VisitorState(RETURNING))
    assert adobe(conversions={metric: "ok"}).participation(track, VisitorState(RETURNING)).aliases == ("hero",)


def test_exposes() -> None:
    """All that was shown to a visitor with Target's cookie can be told."""
    shown = [seen("hero"), seen("x")]
    assert VENDOR.exposes(shown, VisitorState(RETURNING)).aliases == ("hero", "x")
    assert VENDOR.exposes(shown, VisitorState()).aliases == ()

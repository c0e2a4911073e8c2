"""What the Monetate Engine API is asked and told: identity, context, question."""

from __future__ import annotations

import json
from typing import Any

import pytest

import flagmw
from flagmw.exceptions import ConfigError
from flagmw.types import VisitorState
from flagmw.vendors.monetate import ACTION_TYPES, BASE_URL, Monetate
from tests.unit.vendors.monetate.codec import CHANNEL, ID, REQUEST, answer, decide, events_of, monetate, sample
from tests.unit.vendors.webtrends.codec import body_of, run, visit

KNOWN = {"mt.v": ID}


@pytest.mark.parametrize("case", ["decision", "known_visitor"])
def test_the_documented_request(case: str) -> None:
    """The whole request is what the description's fields make of a plain visit."""
    wanted = sample(case)
    cookies = {"mt.v": wanted.call["body"]["monetateId"]} if case == "known_visitor" else {}
    _, call = decide(monetate(), wanted.reply, cookies=cookies)
    assert (call.method, call.url) == (wanted.call["method"], wanted.call["url"])
    assert body_of(call) == wanted.call["body"]
    assert call.headers == {
        "content-type": "application/json", "accept": "application/json", "accept-encoding": "gzip"
    }  # fmt: skip


def test_everything_known_of_the_visit_is_context() -> None:
    """User agent, address, language, referrer, page, cart and custom variables go out, each as its own event."""
    line = {"sku": "S1", "pid": "P1", "quantity": "2", "currency": "EUR", "price": 19.9}
    _, call = decide(
        monetate(data={"tier": "gold", "vip": False}),
        answer(),
        user_agent="Mozilla/5.0",
        client_ip="192.0.2.0",
        language="de-DE,de;q=0.9,en;q=0.8",
        referer="https://search.test/",
        data={
            "pageType": "pdp", "categories": "shoes| sale", "breadcrumbs": "home|shoes", "cart": json.dumps([line]),
            "vip": True, "age": 41,
        },
    )  # fmt: skip
    events = body_of(call)["events"]
    assert events[:-1] == [
        {"eventType": "monetate:context:UserAgent", "userAgent": "Mozilla/5.0"},
        {"eventType": "monetate:context:IpAddress", "ipAddress": "192.0.2.0"},
        {"eventType": "monetate:context:Language", "language": "de-DE"},
        {"eventType": "monetate:context:Referrer", "referrer": "https://search.test/"},
        {
            "eventType": "monetate:context:PageView",
            "url": "https://www.mysite.com/checkout",
            "pageType": "pdp",
            "categories": ["shoes", "sale"],
            "breadcrumbs": ["home", "shoes"],
        },
        {
            "eventType": "monetate:context:Cart",
            "cartLines": [{"sku": "S1", "pid": "P1", "quantity": 2, "currency": "EUR", "value": "39.80"}],
        },
        {
            "eventType": "monetate:context:CustomVariables",
            "customVariables": [
                {"variable": "tier", "value": "gold"},
                {"variable": "vip", "value": True},
                {"variable": "age", "value": 41},
            ],
        },
    ]
    assert events[-1]["eventType"] == "monetate:decision:DecisionRequest"


def test_a_cart_may_take_several_values() -> None:
    """Values of `data` are limited in length, so that a cart may be spread over `cart.1`, `cart.2` and so on."""
    lines = {f"cart.{n}": json.dumps({"sku": f"S{n}", "currency": "EUR", "value": n}) for n in (1, 2)}
    _, call = decide(monetate(), answer(), data=lines)
    (cart,) = events_of(call, "context:Cart")
    assert [(line["sku"], line["value"]) for line in cart["cartLines"]] == [("S1", "1.00"), ("S2", "2.00")]
    assert events_of(call, "context:CustomVariables") == []


@pytest.mark.parametrize(
    "cart", ["3", "[1]", '[{"sku": "S"}]', "[", '{"sku": "S", "currency": "EUR", "value": "x"}', 3]
)
def test_what_is_no_cart_is_a_variable(cart: Any) -> None:
    """A `cart` that has no lines Monetate could take is an attribute like any other."""
    _, call = decide(monetate(), answer(), data={"cart": cart})
    assert events_of(call, "context:Cart") == []
    assert events_of(call, "context:CustomVariables")[0]["customVariables"] == [{"variable": "cart", "value": cart}]


@pytest.mark.parametrize("language", ["*", "", "de_DE", "d\x00e", "x" * 9, "de-;"])
def test_language_that_is_no_tag(language: str) -> None:
    _, call = decide(monetate(), answer(), language=language)
    assert events_of(call, "context:Language") == []


def test_broken_unicode_is_left_out() -> None:
    """What JSON cannot carry never keeps the question from being asked."""
    bad = "a\ud800b"
    _, call = decide(
        monetate(),
        answer(),
        url=f"https://www.mysite.com/{bad}",
        host="www.mysite.com",
        path="/",
        user_agent=bad,
        user_id=bad,
        referer=bad,
        data={"pageType": bad, bad: 1, "text": bad, "nan": float("nan"), "huge": 1 << 70, "fine": 1.5},
    )
    assert body_of(call)["customerId"] == "ab"
    assert events_of(call, "context:PageView")[0]["url"] == "https://www.mysite.com/ab"
    assert events_of(call, "context:CustomVariables")[0]["customVariables"] == [{"variable": "fine", "value": 1.5}]


# The question


def test_action_types_and_reporting_are_always_asked_for() -> None:
    """Without a list of types one redirect experience would take the place of every flag."""
    _, call = decide(monetate(), answer())
    (question,) = events_of(call, "decision:DecisionRequest")
    assert question == {
        "eventType": "monetate:decision:DecisionRequest",
        "requestId": REQUEST,
        "includeReporting": True,
        "actionTypes": [f"monetate:action:{kind}" for kind in ACTION_TYPES],
    }


def test_slots_and_types_of_ones_own() -> None:
    vendor = monetate(slots=["hero", "footer"], action_types=["monetate:action:OpenAction", "OmnichannelJson"])
    _, call = decide(vendor, answer())
    (question,) = events_of(call, "decision:DecisionRequest")
    assert question["slots"] == ["hero", "footer"]
    assert question["actionTypes"] == ["monetate:action:OpenAction", "monetate:action:OmnichannelJson"]


@pytest.mark.parametrize(
    ("exposure", "record", "managed"),
    [("decide", True, None), ("decide", False, True), ("read", True, True), ("read", False, True), ("off", True, True)],
)
def test_what_the_decision_counts(exposure: str, record: bool, managed: bool | None) -> None:
    """Only in mode "decide", and for a visit that may be recorded, is counting left to the engine."""
    _, call = decide(monetate(exposure=exposure), answer(), record=record)
    (question,) = events_of(call, "decision:DecisionRequest")
    assert question.get("manageImpressions") is managed
    assert call.replay_safe is (managed is True)
    assert not call.hedge_safe


def test_a_preview_comes_from_an_override_alone() -> None:
    """The token of a preview is sent for this vendor's own name, never for another's."""
    vendor = monetate(name="shop")
    _, call = decide(vendor, answer(), preview={"shop": {"preview": "t0k"}, "monetate": {"preview": "other"}})
    assert body_of(call)["preview"] == "t0k"
    _, call = decide(vendor, answer(), preview={"shop": {"preview": 1}})
    assert "preview" not in body_of(call)


# Identity


@pytest.mark.parametrize("value", [ID, f'"{ID}"'])
def test_the_cookies_id_is_sent(value: str) -> None:
    """A site with the vendor's tag must hand on what the tag has set; some clients add quotes."""
    vendor = monetate()
    _, call = decide(vendor, answer(), cookies={"mt.v": value})
    assert body_of(call)["monetateId"] == ID
    assert vendor.identity(VisitorState({"mt.v": value})) == ID


@pytest.mark.parametrize(
    "junk",
    ["", "null", "1", "1.2", "1.2.3.4", "2.x.3", "-1.2.3", " 2.1.2", "2.1.2\n", "٢.1.2", "2.1." + "9" * 70, '"', '""',
     "2..3", "%32.1.2", "<script>", "2.1.2; Domain=evil"],
)  # fmt: skip
def test_junk_in_the_cookie_counts_as_nobody(junk: str) -> None:
    """An `mt.v` that can be no id is never sent on; the engine names the visitor anew."""
    vendor = monetate()
    _, call = decide(vendor, answer(), cookies={"mt.v": junk})
    assert "monetateId" not in body_of(call) and "deviceId" not in body_of(call)
    assert vendor.identity(VisitorState({"mt.v": junk})) == ""
    assert not vendor.cookies.value_ok(junk.strip('"')) or junk == ""


def test_user_as_customer_goes_beside_the_cookies_id() -> None:
    _, call = decide(monetate(), answer(), cookies=KNOWN, user_id="u1")
    assert (body_of(call)["monetateId"], body_of(call)["customerId"]) == (ID, "u1")


def test_user_as_device_takes_the_place_of_the_cookies_id() -> None:
    """One identity per request: a device id is never sent beside a monetateId, and gets no cookie."""
    vendor = monetate(user_id_as="device")
    decision, call = decide(vendor, answer(monetateId="2.5.6"), cookies=KNOWN, user_id="d1")
    body = body_of(call)
    assert body["deviceId"] == "d1" and not {"monetateId", "customerId"} & body.keys()
    assert decision.cookies == () and decision.hints == {}
    _, call = decide(vendor, answer(), cookies=KNOWN)
    assert body_of(call)["monetateId"] == ID


def test_user_kept_to_oneself() -> None:
    _, call = decide(monetate(user_id_as="off"), answer(), cookies=KNOWN, user_id="u1")
    assert "customerId" not in body_of(call)


def test_an_id_of_our_own_making() -> None:
    """With `mint_id_locally` a new visitor has an id before the first call, and keeps it."""
    seen = visit()
    decision, (call,) = run(monetate(mint_id_locally=True).decide(seen, VisitorState()), answer(request=seen.fresh_id))
    made = body_of(call)["monetateId"]
    assert made.split(".")[::2] == ["2", "1800000000000"] and int(made.split(".")[1]) < 1 << 31
    assert [change.value for change in decision.cookies] == [made]
    _, call = decide(monetate(mint_id_locally=True), answer(), cookies=KNOWN)
    assert body_of(call)["monetateId"] == ID


# Options


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"retailer": ""}, "retailer"),
        ({"retailer": "a/../b"}, "retailer"),
        ({"retailer": 1}, "retailer"),
        ({"channel": "shop"}, "channel"),
        ({"channel": "a/p/"}, "channel"),
        ({"channel": "a/p/shop.test/x"}, "channel"),
        ({"channel": "a/p/shop test"}, "channel"),
        ({"channel": None}, "channel"),
        ({"base_url": "ftp://x"}, "base_url"),
        ({"exposure": "sometimes"}, "exposure"),
        ({"prefix": 1}, "prefix"),
        ({"slots": "hero"}, "slots"),
        ({"slots": [1]}, "slots"),
        ({"action_types": []}, "redirect replace all flags"),
        ({"action_types": ["OmnichannelRedirect"]}, "OmnichannelRedirect"),
        ({"action_types": ["Omnichanneljson"]}, "Omnichanneljson"),
        ({"action_types": None}, "action_types"),
        ({"flag_map": ["a"]}, "flag_map"),
        ({"flag_map": {"a": ""}}, "flag_map"),
        ({"page_events": {"a": 1}}, "page_events"),
        ({"data": {"a": []}}, "data"),
        ({"user_id_as": "both"}, "user_id_as"),
        ({"mint_id_locally": "false"}, "mint_id_locally"),
        ({"at_most_once": 1}, "at_most_once"),
        ({"purchase_metric": ""}, "purchase_metric"),
        ({"cart_metric": "purchase"}, "must differ"),
    ],
)
def test_wrong_options_are_named(options: dict[str, Any], named: str) -> None:
    with pytest.raises(ConfigError, match=named):
        monetate(**options)


def test_made_from_a_table() -> None:
    """A table of type "monetate" takes the same options, from the environment too."""
    fm = flagmw.Flagmw.from_mapping(
        {"vendors": [{"type": "monetate", "name": "mo", "retailer": "acme", "channel": "x/y/z"}]},
        environ={
            "FLAGMW_VENDORS__MO__CHANNEL": CHANNEL,
            "FLAGMW_VENDORS__MO__SLOTS": "a, b",
            "FLAGMW_VENDORS__MO__FLAG_MAP": '{"12": "ta_Hero"}',
            "FLAGMW_VENDORS__MO__AT_MOST_ONCE": "false",
        },
    )
    (vendor,) = fm.config.vendors
    assert isinstance(vendor, Monetate) and vendor.channel == CHANNEL and not vendor.at_most_once
    assert vendor.base_url == BASE_URL and vendor.batch_max > 1
    assert monetate().at_most_once, "the engine counts every repeat"
    assert repr(vendor) == f"Monetate(name='mo', retailer='acme', channel={CHANNEL!r})"

"""What Adobe Target's answers come to: variants, misses, faults, and whose they are."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flagmw._cookies.header import octets_ok
from flagmw.codes import ErrorCode, Reason
from flagmw.exceptions import TransportError
from tests.unit.vendors.adobe.codec import (
    DEVICE,
    RETURNING,
    adobe,
    answer,
    body_of,
    box,
    decide,
    query,
    reply,
    sample,
)

BAD, NONE = ErrorCode.BAD_VARIANT, ErrorCode.NOT_IN_TEST


def of(case: str, **options: Any) -> Any:
    decision, calls = decide(adobe(**options), sample(case).reply)
    assert len(calls) == 1
    return decision


def offered(*options: Any, **more: Any) -> Any:
    """Return the decision on one mbox with these options."""
    decision, _ = decide(adobe(), answer(execute={"mboxes": [{"name": "hero", "options": list(options), **more}]}))
    return decision


# Samples


def test_a_json_offer() -> None:
    """The experience's name is the variant, the content its payload, the response tokens its ids."""
    variant = of("execute_json").variants["hero"]
    assert (variant.key, variant.payload) == ("B", {"title": "Summer", "discount": 20})
    assert (variant.vendor, variant.reason, variant.error_code) == ("adobe_target", Reason.SPLIT, None)
    assert (variant.name, variant.experiment_id, variant.test_id) == ("Hero test", "1", "302740")
    assert variant.ids["geo.country"] == "germany"
    assert variant.ids["profile.categoryAffinities"] == "shoes,hats"
    assert "event_token" not in variant.ids


def test_an_html_offer() -> None:
    variant = of("execute_html").variants["hero"]
    assert (variant.key, variant.payload) == ("B", "<b>hi</b>")


def test_a_prefetched_offer_keeps_what_its_display_needs() -> None:
    ids = of("prefetch", exposure="read").variants["hero"].ids
    assert (ids["mbox"], ids["event_token"], ids["click_token"], ids["state"]) == ("hero", "vGp7Q==", "cl1ck==", "T0s=")


@pytest.mark.parametrize("case", ["no_options", "empty_options"])
def test_no_options_is_the_default_and_no_failure(case: str) -> None:
    """No activity matched, or the property is another one: the default, with a hint, and no count against Target."""
    decision = of(case)
    assert (dict(decision.variants), dict(decision.misses)) == ({}, {"hero": NONE})
    assert (decision.error, decision.trips, decision.notice) == (None, False, NONE)
    assert "property_token" in (decision.advice or "")
    assert decision.cookies, "the visitor's ids are kept all the same"


@pytest.mark.parametrize("case", ["redirect", "actions", "dynamic", "unknown_type"])
def test_offers_that_are_no_flag(case: str) -> None:
    """What only a page can carry out gives the default, is counted, and is there for the page as a hint."""
    decision = of(case)
    assert (dict(decision.variants), dict(decision.misses)) == ({}, {"hero": BAD})
    assert (decision.error, decision.notice, decision.rejected) == (None, BAD, (BAD,))
    (offer,) = decision.hints["bootstrap"]["hero"]["offers"]
    assert offer["type"] == json.loads(sample(case).reply.body)["execute"]["mboxes"][0]["options"][0]["type"]
    json.dumps(dict(decision.hints))


def test_a_redirect_beside_a_flag() -> None:
    """The first offer that can be a flag is the variant."""
    tokens = {"experience.name": "B"}
    decision = offered(
        {"type": "redirect", "content": "https://x"}, {"type": "html", "content": "y", "responseTokens": tokens}
    )
    assert decision.variants["hero"].payload == "y"
    assert decision.hints["bootstrap"]["hero"]["offers"] == [{"type": "redirect", "content": "https://x"}]


def test_json_content_as_text() -> None:
    """Text that is JSON is parsed; text that is none stays text."""
    assert of("json_as_text").variants["hero"].payload == {"title": "Summer"}
    assert (
        offered({"type": "json", "content": "{x", "responseTokens": {"experience.name": "B"}}).variants["hero"].payload
        == "{x"
    )


def test_default_content_is_a_variant() -> None:
    """An experience that leaves the page as it is has no content, and counts as decided."""
    variant = of("default_content").variants["hero"]
    assert (variant.key, variant.payload) == ("A", None)


def test_without_response_tokens() -> None:
    """A word of content is the variant then; markup cannot be, and the advice says which token to switch on."""
    assert of("no_tokens").variants["hero"].key == "blue"
    assert offered({"type": "json", "content": {"a": 1}}).variants["hero"].key == '{"a":1}'
    assert offered({"type": "json", "content": True}).variants["hero"].key == "true"
    decision = offered({"type": "html", "content": "<p>\n</p>"})
    assert decision.misses == {"hero": BAD} and "experience.name" in (decision.advice or "")


@pytest.mark.parametrize(
    ("tokens", "key"),
    [
        ({"experience.name": "B", "offer.name": "o", "experience.id": 3}, "B"),
        ({"offer.name": "o", "experience.id": 3}, "o"),
        ({"experience.id": 3}, "3"),
        ({"experience.name": "", "offer.name": ["x", "y"]}, "x,y"),
        ({"experience.name": "bad\nname"}, "content"),
        ({"experience.name": {"no": 1}}, "content"),
        ("no object", "content"),
        (None, "content"),
    ],
)
def test_names_of_variants(tokens: Any, key: str) -> None:
    assert offered({"type": "html", "content": "content", "responseTokens": tokens}).variants["hero"].key == key


def test_targeting_is_told_where_the_answer_tells_it() -> None:
    tokens = {"experience.name": "B", "activity.type": "xt"}
    assert (
        offered({"type": "html", "content": "", "responseTokens": tokens}).variants["hero"].reason == "TARGETING_MATCH"
    )


def test_a_page_s_analytics_are_a_hint() -> None:
    """With client-side logging the page tells Analytics; it needs what the answer gives for that."""
    payload = {"pe": "tnt", "tnta": "33333:1:0|2|1"}
    decision = offered(*box()["options"], analytics={"payload": payload})
    assert decision.hints == {"bootstrap": {"hero": {"analytics": payload}}}
    huge = offered(*box()["options"], analytics={"payload": {"x": "y" * 5000}})
    assert huge.hints == {}


# Several mboxes


def test_each_mbox_on_its_own() -> None:
    mixed = {"mboxes": [box("a"), {"name": "b"}, {"name": "c", "options": [{"type": "redirect", "content": "x"}]}]}
    decision, _ = decide(adobe("a", "b", "c", "d"), answer(execute=mixed))
    assert list(decision.variants) == ["a"]
    assert decision.misses == {"b": NONE, "c": BAD, "d": NONE}
    assert (decision.notice, decision.advice) == (None, None)


def test_an_mbox_that_nobody_asked_for() -> None:
    decision, _ = decide(adobe("a"), answer("a", "b", "sessionid"))
    assert list(decision.variants) == ["a"]
    assert decision.rejected == (ErrorCode.BAD_ALIAS, ErrorCode.BAD_ALIAS)


@pytest.mark.parametrize(
    "document",
    [
        {"execute": {"mboxes": [None, 1, "x", {"name": ["hero"]}, {"name": "hero", "options": {"type": "json"}}]}},
        {"execute": {"mboxes": [{"name": "hero", "options": [None, 3, {}, {"type": 3}, {"type": "html"}]}]}},
        {"execute": {"mboxes": [{"name": "hero", "options": [{"type": "html", "content": {"a": 1}}]}]}},
        {"id": {"tntId": None}, "edgeHost": {"x": 1}, "prefetch": [1], "execute": {"mboxes": [{"name": "hero"}]}},
    ],
)
def test_odd_shapes_decide_nothing_and_break_nothing(document: Any) -> None:
    decision, _ = decide(adobe(), reply(document))
    assert (dict(decision.variants), decision.error) == ({}, None)


@pytest.mark.parametrize(
    "document",
    [
        {"execute": None},
        {"execute": {"mboxes": None}},
        {"id": None, "edgeHost": 3},
        {"id": {"tntId": None}, "edgeHost": {"x": 1}, "prefetch": [1]},
    ],
)
def test_odd_shapes_without_the_asked_mboxes_are_failures(document: Any) -> None:
    decision, _ = decide(adobe(), reply(document))
    assert (decision.error, decision.trips, decision.cookies) == (ErrorCode.SHAPE, True, ())


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=12) | st.sampled_from(["hero", "html"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    "execute",
                    "prefetch",
                    "mboxes",
                    "pageLoad",
                    "name",
                    "options",
                    "type",
                    "content",
                    "responseTokens",
                    "id",
                ]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@settings(max_examples=150, deadline=None)
@given(document=JSON, mbox=st.text(max_size=60), aliases=st.sampled_from(["mboxes", "attributes"]))
def test_whatever_is_answered_and_carried_is_a_decision(document: Any, mbox: str, aliases: str) -> None:
    """No answer and no cookie raises, and what is written passes as a cookie."""
    decision, _ = decide(adobe(aliases=aliases), reply(document), cookies={"mbox": mbox, "mboxEdgeCluster": mbox})
    for change in decision.cookies:
        assert octets_ok(change.value)


@pytest.mark.parametrize("nth", range(9))
def test_attributes_that_cannot_be_sent_do_not_stop_the_question(nth: int) -> None:
    value = (None, [1], {"a": 1}, 10**5000, float("nan"), float("inf"), b"x", "\ud800", object())[nth]
    data = {"x": value, "geo.latitude": value, "clientHints.model": value, "profile.y": value, "ok": "1"}
    decision, (call,) = decide(adobe(), answer("hero"), data=data, client_ip="\ud800")
    assert list(decision.variants) == ["hero"]
    assert body_of(call)["execute"]["mboxes"][0]["parameters"] == {"ok": "1"}


# Attributes


def attributes(*replies: Any, mboxes: tuple[str, ...] = ("a", "b")) -> Any:
    decision, _ = decide(adobe(*mboxes, aliases="attributes"), *replies)
    return decision


def test_attributes_are_flags() -> None:
    """Each key of the JSON offers is a flag; a later mbox's wins, as in the official clients' `getAttributes`."""
    one = {"button": "red", "size": 3, "on": True, "nested": {"x": [1]}, "nothing": None, "empty": "", "bad\n": 1}
    two = {"button": "blue"}
    decision = attributes(answer(execute={"mboxes": [box("a", content=one), box("b", content=two, type="json")]}))
    assert {alias: variant.key for alias, variant in decision.variants.items()} == {
        "button": "blue",
        "size": "3",
        "on": "true",
        "nested": '{"x":[1]}',
    }
    assert decision.variants["nested"].payload == {"x": [1]}
    assert (decision.variants["button"].ids["mbox"], decision.variants["size"].ids["mbox"]) == ("b", "a")
    assert sorted(decision.rejected) == sorted([BAD, BAD, ErrorCode.BAD_ALIAS])
    assert decision.misses == {}


def test_attributes_of_prefetch_come_before_those_of_execute() -> None:
    document = {
        "prefetch": {"mboxes": [box("a", content={"x": "prefetched", "y": "p"})]},
        "execute": {"mboxes": [box("b", content={"x": "executed"})]},
    }
    keys = {alias: variant.key for alias, variant in attributes(reply(document)).variants.items()}
    assert keys == {"x": "executed", "y": "p"}


def test_attributes_of_other_offers() -> None:
    decision = attributes(answer(execute={"mboxes": [box("a", type="html", content="x"), box("b", content=[1])]}))
    assert (dict(decision.variants), decision.notice) == ({}, NONE)


# Faults


@pytest.mark.parametrize(
    ("case", "code", "trips"),
    [
        ("invalid_property", ErrorCode.VENDOR_400, False),
        ("too_many_mboxes", ErrorCode.VENDOR_400, False),
        ("too_many_requests", ErrorCode.RATE_LIMITED, False),
        ("server_error", ErrorCode.HTTP_STATUS, True),
        ("illegal_json", ErrorCode.NOT_JSON, True),
    ],
)
def test_documented_errors(case: str, code: ErrorCode, trips: bool) -> None:
    """Each is asked once; what the account or the session is at fault for opens no breaker."""
    decision = of(case)
    assert (decision.error, decision.trips, dict(decision.variants)) == (code, trips, {})
    assert decision.cookies == ()
    assert (decision.advice is not None) is not trips


@pytest.mark.parametrize(
    ("answered", "code", "trips"),
    [
        (reply(b"", 401), ErrorCode.UNAUTHORIZED, False),
        (reply(b"<html>", 403), ErrorCode.UNAUTHORIZED, False),
        (reply(b"", 404), ErrorCode.HTTP_STATUS, False),
        (reply(b"", 413), ErrorCode.HTTP_STATUS, False),
        (reply(b"", 429, retry_after="7"), ErrorCode.RATE_LIMITED, True),
        (reply(b"", 502), ErrorCode.HTTP_STATUS, True),
        (reply(b"", 503, retry_after="7"), ErrorCode.HTTP_STATUS, True),
        (reply(b"", 504), ErrorCode.HTTP_STATUS, True),
        (reply(b"", 302), ErrorCode.REDIRECT, True),
        (reply(b""), ErrorCode.EMPTY, True),
        (reply(b"", 204), ErrorCode.EMPTY, True),
        (reply(b"<html>"), ErrorCode.NOT_JSON, True),
        (reply(b"[]"), ErrorCode.SHAPE, True),
        (reply(b'"x"'), ErrorCode.SHAPE, True),
        (reply(b"[" * 50 + b"]" * 50), ErrorCode.SHAPE, True),
        (reply({"execute": {}, "requestId": "another"}), ErrorCode.PROTOCOL, True),
        (TransportError(ErrorCode.RESET), ErrorCode.RESET, True),
        (TransportError(ErrorCode.DEADLINE), ErrorCode.DEADLINE, True),
    ],
)
def test_U10_U11_U12_U13_U14_U15_U17_faults(answered: Any, code: ErrorCode, trips: bool) -> None:
    decision, calls = decide(adobe(), answered, cookies=RETURNING)
    assert (decision.error, decision.trips, decision.cookies) == (code, trips, ())
    assert decision.retry_after_s == (7.0 if getattr(answered, "headers", {}).get("retry-after") else None)
    assert len(calls) == 1, "a failed decision is not asked for again"


BLAMES = [
    reply({"status": 400, "message": "tntId is invalid"}, 400),
    reply({"status": 400, "message": "Invalid sessionId"}, 400),
]


@pytest.mark.parametrize("blame", BLAMES)
def test_ids_that_target_refuses_are_dropped_once(blame: Any) -> None:
    """The visitor is asked about once more as a new one, under a new session, and gets new ids."""
    new = "feedfacefeedface.35_1"
    decision, (first, second) = decide(adobe(), blame, answer("hero", device=new), cookies=RETURNING)
    assert body_of(first)["id"] == {"tntId": f"{DEVICE}.28_20"} and "id" not in body_of(second)
    assert query(second)["sessionId"] == "00112233445566778899aabbccddeeff"
    assert body_of(first)["requestId"] != body_of(second)["requestId"]
    assert list(decision.variants) == ["hero"]
    assert f"PC#{new}#" in decision.cookies[0].value


def test_ids_that_are_refused_again() -> None:
    """A second refusal ends it: one more call at most, and the cookies stay."""
    decision, calls = decide(adobe(), *BLAMES, cookies=RETURNING)
    assert (decision.error, decision.cookies, len(calls)) == (ErrorCode.VENDOR_400, (), 2)


@pytest.mark.parametrize("body", [b"", b"<html>session", b"[]", b'{"message": ["session"]}', b'{"message": "size"}'])
def test_other_refusals_are_not_asked_again(body: bytes) -> None:
    _, calls = decide(adobe(), reply(body, 400), cookies=RETURNING)
    assert len(calls) == 1


def test_a_new_visitor_s_refusal_is_not_asked_again() -> None:
    decision, (_,) = decide(adobe(), BLAMES[0])
    assert decision.error is ErrorCode.VENDOR_400


# Whose answer it is


def test_V20_an_answer_to_another_request() -> None:
    """Where Target echoes the request's id, another one gives the default and changes no cookie."""
    decision, _ = decide(adobe(), answer("hero", requestId="somebody-else-s"), cookies=RETURNING)
    assert (decision.error, decision.cookies, dict(decision.variants)) == (ErrorCode.PROTOCOL, (), {})


def test_V20_an_answer_for_another_visitor() -> None:
    """Another device than the one that was sent is another visitor's answer; another suffix is not."""
    decision, _ = decide(adobe(), answer("hero", device="another.28_20"), cookies=RETURNING)
    assert (decision.error, decision.cookies, dict(decision.variants)) == (ErrorCode.PROTOCOL, (), {})
    decision, _ = decide(adobe(), answer("hero", device=f"{DEVICE}.1_1"), cookies=RETURNING)
    assert decision.error is None


def test_V20_profiles_that_target_joins_may_change_the_device() -> None:
    """With the site's own id two devices become one visitor, whose tntId may be the other one's."""
    vendor = adobe(third_party_id=True)
    decision, _ = decide(vendor, answer("hero", device="another.28_20"), cookies=RETURNING, user_id="u")
    assert decision.error is None and "PC#another.28_20#" in decision.cookies[0].value

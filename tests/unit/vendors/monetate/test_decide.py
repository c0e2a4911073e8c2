"""What becomes of the actions that the Monetate Engine API decides on."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flagmw.codes import ErrorCode, Reason
from flagmw.exceptions import TransportError
from flagmw.types import Decision
from tests.unit.vendors.monetate.codec import (
    ID,
    NEW_ID,
    TOKEN,
    action,
    answer,
    decide,
    deliver,
    event,
    monetate,
    sample,
)
from tests.unit.vendors.webtrends.codec import reply

KNOWN = {"mt.v": ID}


def decided(case: str, **options: Any) -> Decision:
    return decide(monetate(**options), sample(case).reply)[0]


def keys(decision: Decision) -> dict[str, str]:
    return {alias: variant.key for alias, variant in decision.variants.items()}


# Samples


def test_a_json_action() -> None:
    """The component is the flag, the label of the variant its key, and the JSON its payload."""
    decision = decided("decision")
    (variant,) = decision.variants.values()
    assert (variant.alias, variant.key, variant.payload) == (
        "HomepageHero", "New Arrivals", {"replacementImage": "example.jpg"}
    )  # fmt: skip
    assert (variant.experiment_id, variant.vendor, variant.reason) == ("1", "monetate", Reason.SPLIT)
    assert variant.name == "Homepage Hero Replacement"
    assert "impression" not in variant.ids, "this one is counted by the engine"
    assert (decision.error, decision.notice, decision.rejected) == (None, None, ())


def test_a_variant_selector() -> None:
    """Without a component the experience's label is the flag, without reporting its number."""
    assert keys(decided("variant_selector")) == {"Checkout_Layout": "Two steps", "experience-101": "201"}


def test_controls() -> None:
    """Control is a flag with key "control" and no content, however the engine says it; the impression stays due."""
    decision = decided("controls")
    assert keys(decision) == {"Search_Ranking": "control", "Banner": "control", "AA_Check": "A"}
    assert [variant.payload for variant in decision.variants.values()] == [None, None, None]
    assert decision.variants["Banner"].ids["impression"] == TOKEN
    assert decision.variants["Banner"].ids["label"] == "Control"


def test_a_managed_impression_is_kept_with_the_variant() -> None:
    decision = decided("managed")
    assert decision.variants["Banner"].ids["impression"] == TOKEN
    assert decision.variants["Banner"].payload == {"text": "Hello"}
    assert "impression" not in decision.variants["HomepageHero"].ids


def test_odd_actions_leave_the_others_alone() -> None:
    """Redirects and unknown types are ignored, what has no name is counted, and the first of a name wins."""
    decision = decided("odd_actions")
    assert keys(decision) == {"Labelled_Test": "B", "HomepageHero": "variation"}
    assert decision.variants["HomepageHero"].payload == ["any", "json"]
    assert decision.rejected == (ErrorCode.BAD_ALIAS, ErrorCode.BAD_ALIAS)
    assert decision.error is None


def test_numbers_and_booleans_as_texts() -> None:
    decision = decided("string_numbers", flag_map={"12": "by_number"})
    assert keys(decision) == {"by_number": "B", "experience-13": "14", "Truth_Test": "control"}
    assert decision.variants["by_number"].ids["action_id"] == "4711"
    assert decision.variants["experience-13"].ids["action_id"] == "4712"
    assert decision.variants["by_number"].payload == {"size": "40"}


def test_nothing_matches() -> None:
    """No experience for this visit is an answer, no failure."""
    decision = decided("nothing")
    assert (decision.variants, decision.error, decision.notice, decision.trips) == ({}, None, ErrorCode.EMPTY, False)


@pytest.mark.parametrize("case", ["refused", "refused_in_200"])
def test_V17_a_refusal(case: str) -> None:
    """`meta.code` says that it failed, whatever the HTTP status; the vendor's health is not to blame."""
    decision = decided(case)
    assert (decision.error, decision.trips, decision.variants) == (ErrorCode.HTTP_STATUS, False, {})
    assert decision.advice is not None and "channel" in decision.advice


# Names


def test_mapped_names_come_first() -> None:
    found = decide(
        monetate(flag_map={1: "by_number", "Hero": "by_component"}),  # a number may be written as one
        answer(action("Hero"), action("Hero", impressionReporting=[])),
    )[0]
    assert list(found.variants) == ["by_number", "by_component"]


@pytest.mark.parametrize("component", ["", " ", None, 7, "a\nb", "x" * 251, ["Hero"]])
def test_a_component_that_can_be_no_name(component: Any) -> None:
    """A missing or unusable component falls back on the experience's label."""
    assert keys(decide(monetate(), answer(action(component)))[0]) == {"label": "B"}


@pytest.mark.parametrize("reporting", [None, {}, [], [None], ["x"], "text", [{}], [{"variant_label": ""}]])
def test_reporting_of_another_shape(reporting: Any) -> None:
    """An action that the engine gives no label for has been given all the same: it is no control."""
    assert keys(decide(monetate(), answer(action(impressionReporting=reporting)))[0]) == {"Hero": "variation"}


@pytest.mark.parametrize("label", ["a\x00b", "x" * 9000, "\x9f"])
def test_a_label_that_can_be_no_key(label: str) -> None:
    decision, _ = decide(monetate(), answer(action(variant=label), action("Other")))
    assert keys(decision) == {"Other": "B"}
    assert decision.rejected == (ErrorCode.BAD_VARIANT,)


@pytest.mark.parametrize("token", ["", "  ", 7, None, "a\nb", "x" * 5000])
def test_a_token_that_cannot_be_reported(token: Any) -> None:
    """The engine takes no blank token: such an action counts as one without."""
    decision, _ = decide(monetate(), answer(action(impressionId=token)))
    assert "impression" not in decision.variants["Hero"].ids


@pytest.mark.parametrize(
    ("kind", "fields", "payload"),
    [
        ("OmnichannelHtml", {"html": "<b>"}, "<b>"),
        ("OmnichannelRecommendation", {"items": [{"id": "s"}]}, [{"id": "s"}]),
        ("OpenAction", {"data": "opaque"}, "opaque"),
        ("GlobalApiAction", {"data": {"a": 1}}, {"a": 1}),
        ("OmnichannelJson", {"json": {"flags": {"a": "b"}}}, {"flags": {"a": "b"}}),
        ("VariantSelector", {}, None),
    ],
)
def test_content_of_other_types(kind: str, fields: dict[str, Any], payload: Any) -> None:
    """Types that are asked for bring what their documentation calls their content, as it is."""
    made = action(kind=kind, json=None) | fields
    assert decide(monetate(action_types=[kind]), answer(made))[0].variants["Hero"].payload == payload


def test_everyone_gets_it() -> None:
    made = [{"experience_id": 1, "variant_label": "B", "experience_type": "100% Experience"}]
    assert (
        decide(monetate(), answer(action(impressionReporting=made)))[0].variants["Hero"].reason
        is Reason.TARGETING_MATCH
    )


def test_too_many_actions() -> None:
    decision, _ = decide(monetate(), answer(*(action(f"c{n}") for n in range(300))))
    assert len(decision.variants) == 200
    assert decision.rejected == (ErrorCode.TOO_MANY,)


# The envelope


@pytest.mark.parametrize(
    ("given", "error", "trips"),
    [
        (answer(action(), code=400), ErrorCode.HTTP_STATUS, False),
        (answer(action(), code="400"), ErrorCode.HTTP_STATUS, False),
        (answer(action(), code=404), ErrorCode.HTTP_STATUS, False),
        (answer(action(), code=401), ErrorCode.UNAUTHORIZED, False),
        (answer(action(), code=429), ErrorCode.RATE_LIMITED, True),
        (answer(action(), code=500), ErrorCode.HTTP_STATUS, True),
        (answer(action(), code=204), ErrorCode.PROTOCOL, True),
        (answer(action(), code=0), ErrorCode.HTTP_STATUS, True),
        (answer(action(), request="somebody-else"), ErrorCode.SHAPE, True),
        (answer(errors=[{"message": "no"}]), ErrorCode.REFUSED, False),
        (answer(request="other", errors=["no"]), ErrorCode.REFUSED, False),
        (reply({}), ErrorCode.SHAPE, True),
        (reply([]), ErrorCode.SHAPE, True),
        (reply(None), ErrorCode.SHAPE, True),
        (reply({"meta": {"code": 200}}), ErrorCode.SHAPE, True),
        (reply({"meta": None, "data": None}), ErrorCode.SHAPE, True),
        (reply({"data": {"responses": "r1"}}), ErrorCode.SHAPE, True),
        (reply({"data": {"responses": [{"requestId": "r1", "actions": None}]}}), ErrorCode.SHAPE, True),
        (reply(b""), ErrorCode.EMPTY, True),
        (reply(b"<html>"), ErrorCode.NOT_JSON, True),
        (reply(b"<html>", 503), ErrorCode.HTTP_STATUS, True),
        (reply(b"no", 404), ErrorCode.HTTP_STATUS, False),
        (reply(b"", 302), ErrorCode.REDIRECT, True),
        (reply(b"[" * 40 + b"]" * 40), ErrorCode.SHAPE, True),
        (TransportError(ErrorCode.CONNECT, sent=False), ErrorCode.CONNECT, True),
    ],
)
def test_answers_that_decide_nothing(given: Any, error: ErrorCode, trips: bool) -> None:
    """Each failure is a decision that says so; only what speaks against the vendor's health counts for the breaker."""
    decision, _ = decide(monetate(), given, cookies=KNOWN)
    assert (decision.error, decision.trips, decision.variants) == (error, trips, {})
    assert decision.cookies == ()


@pytest.mark.parametrize("code", [200, "200", None, True, "x"])
def test_V17_meta_code_counts_over_the_status(code: Any) -> None:
    """An answer that says of itself that it succeeded did so; without a code the status says it."""
    assert keys(decide(monetate(), answer(action(), code=code))[0]) == {"Hero": "B"}
    error = decide(monetate(), answer(action(), code=code, status=500))[0].error
    assert error is (None if str(code) == "200" else ErrorCode.HTTP_STATUS)


def test_seconds_that_the_engine_asks_for() -> None:
    """No Retry-After is documented; one that comes is kept to."""
    limited = replace(answer(code=429), headers={"retry-after": "7"})
    assert decide(monetate(), limited)[0].retry_after_s == 7.0


@pytest.mark.parametrize("meta", [{"warnings": [{"message": "x"}]}, {"errors": ["x"]}])
def test_warnings_are_counted(meta: dict[str, Any]) -> None:
    """An answer with warnings, or with errors beside what it decided, is used and counted."""
    decision, _ = decide(monetate(), answer(action(), **meta))
    assert keys(decision) == {"Hero": "B"}
    assert decision.rejected == (ErrorCode.WARNED,)


def test_the_answer_is_found_by_its_id() -> None:
    """V20: answers to other questions are passed over, wherever they stand."""
    document = {
        "meta": {"code": 200},
        "data": {"responses": [None, {"requestId": "r0", "actions": [action("Wrong")]},
                               {"requestId": "r1", "actions": [action("Right")]}]},
    }  # fmt: skip
    assert keys(decide(monetate(), reply(document))[0]) == {"Right": "B"}


# The cookie


def test_a_new_visitor_gets_the_engines_id() -> None:
    """The engine cannot set the cookie, so we do: for a year, on this host, open to the page's own tag."""
    decision, _ = decide(monetate(), answer(action(), monetateId=NEW_ID))
    (change,) = decision.cookies
    assert (change.name, change.value, change.max_age_s, change.domain) == ("mt.v", NEW_ID, 31_536_000, None)
    assert not monetate().cookies.http_only
    assert decision.hints == {"monetateId": NEW_ID}


def test_a_known_visitor_keeps_theirs() -> None:
    decision, _ = decide(monetate(), answer(), cookies=KNOWN)
    assert [change.value for change in decision.cookies] == [ID]


def test_another_id_in_the_answer_is_taken() -> None:
    """The engine may name a visitor anew at any time."""
    decision, _ = decide(monetate(), answer(monetateId=NEW_ID), cookies=KNOWN)
    assert [change.value for change in decision.cookies] == [NEW_ID]


@pytest.mark.parametrize("junk", ["2.1", "2.1.2; Path=/evil", "2.1.2\r\nX: y", "2.1." + "9" * 8000, 7, ["2.1.2"], {}])
def test_an_id_that_can_be_none_is_not_given_on(junk: Any) -> None:
    decision, _ = decide(monetate(), answer(action(), monetateId=junk))
    assert decision.cookies == () and decision.hints == {}
    assert decision.rejected == (ErrorCode.COOKIE_VALUE,)
    assert keys(decision) == {"Hero": "B"}


# Anything at all

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(1 << 60), 1 << 60) | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
ACTIONS = st.fixed_dictionaries(
    {"actionType": st.sampled_from(["monetate:action:OmnichannelJson", "monetate:action:NoAction"]) | JSON},
    optional=dict.fromkeys(("component", "json", "impressionId", "isControl", "variantInfo", "actionId"), JSON)
    | {
        "impressionReporting": st.lists(
            st.dictionaries(
                st.sampled_from(
                    ["experience_id", "experience_label", "experience_name", "variant_label", "is_control"]
                ),
                JSON,
            ),
            max_size=2,
        )
    },
)
METAS = st.dictionaries(st.sampled_from(["code", "errors", "warnings", "monetateId"]), JSON | st.just(200))
DOCUMENTS = JSON | st.builds(
    lambda meta, actions: {"meta": meta, "data": {"responses": [{"requestId": "r1", "actions": actions}]}},
    JSON | METAS,
    JSON | st.lists(ACTIONS, max_size=4),
)


@given(DOCUMENTS, st.sampled_from([200, 204, 302, 400, 429, 500]))
def test_no_answer_is_too_odd(document: Any, status: int) -> None:
    """Whatever JSON comes, there is a decision with sound names, keys and ids, and a verdict on an event."""
    decision, _ = decide(monetate(), reply(document, status))
    for alias, variant in decision.variants.items():
        assert alias == variant.alias and 1 <= len(alias) <= 250 and alias.isprintable()
        assert variant.key and all(isinstance(text, str) for text in variant.ids.values())
    assert all(monetate().cookies.value_ok(change.value) for change in decision.cookies)
    outcomes, _ = deliver(monetate(), event(), replies=(reply(document, status),))
    assert len(outcomes) == 1

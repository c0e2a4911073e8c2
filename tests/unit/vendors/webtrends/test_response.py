"""Answers of Webtrends Optimize: what is taken from them and what is not."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flagmw._cookies.header import writable
from flagmw.codes import ErrorCode, Reason
from flagmw.types import CookieChange, Decision, Factor, Reply
from flagmw.vendors.webtrends.response import ALIAS, MAX_ELEMENTS, VALUE_CHARS
from tests.unit.vendors.webtrends.codec import (
    DOMAIN_ID,
    MODE,
    SAMPLES,
    USER,
    control,
    converted,
    decide,
    deliver,
    error,
    event,
    reply,
    sample,
    success,
    webtrends,
)

DAY_90 = 90 * 86400


def decided(case: str, **options: Any) -> Decision:
    """Return the decision that a sample makes for a visitor without cookies."""
    decision, calls = decide(webtrends(**options), sample(case).reply)
    assert len(calls) == 1
    return decision


def keys(decision: Decision) -> dict[str, str]:
    return {alias: variant.key for alias, variant in decision.variants.items()}


def cookies(decision: Decision) -> dict[str, CookieChange]:
    return {change.name: change for change in decision.cookies}


# The vendor's own samples


def test_documented_single_answer() -> None:
    """The documented answer of one test gives its variant, its ids and its three cookies."""
    decision = decided("single")
    assert keys(decision) == {"ta_Project1": "control"}
    variant = decision.variants["ta_Project1"]
    assert (variant.vendor, variant.reason, variant.error_code) == ("webtrends", Reason.SPLIT, None)
    assert (variant.experiment_id, variant.run_id, variant.test_id) == ("2490702", "2490701", "2490694")
    assert variant.ids == {
        "guid": "2490593-ta_Project1-2490701-2490702",
        "tracking_guid": "1-2490593-2490694-2490701-2490702",
        "system_uid": "4844778836920124930",
        "type": "AB",
    }
    assert variant.factors == (Factor("[data-wt-id='head'], #wt-page-level-js", "control", 3),)
    made = cookies(decision)
    assert {name: change.max_age_s for name, change in made.items()} == {
        control("ta_Project1"): DAY_90,
        MODE: None,
        USER: DAY_90,
    }
    assert {change.domain for change in made.values()} == {".mysite.com"}
    assert all(change.value.startswith("WT3") for change in made.values())
    assert (decision.error, decision.notice, decision.trips) == (None, None, False)


def test_documented_no_test_answer() -> None:
    """The documented "no test" answer, trailing comma and all, is a notice for its alias; its cookies apply."""
    decision = decided("no_test", project="ta_Project1")
    assert keys(decision) == {}
    assert decision.misses == {"ta_Project1": ErrorCode.VENDOR_303}
    assert (decision.notice, decision.error, decision.trips) == (ErrorCode.VENDOR_303, None, False)
    assert set(cookies(decision)) == {MODE, USER}
    assert decision.advice is not None and "alias" in decision.advice


def test_documented_answer_of_several_tests() -> None:
    """The documented answer of two tests, comments and all, gives both; of a repeated cookie the last value counts."""
    decision = decided("array")
    assert keys(decision) == {"ta_Project1": "variation", "ta_Project2": "control"}
    made = cookies(decision)
    assert list(made) == [control("ta_Project1"), MODE, USER, control("ta_Project2")]
    assert made[USER].value.startswith("WT3w2cVRdTngJZ77")
    assert len(decision.cookies) == 4
    assert {change.domain for change in made.values()} == {".webtrends-optimize.com"}


@pytest.mark.parametrize("case", sorted(path.name for path in SAMPLES.iterdir()))
def test_every_sample(case: str) -> None:
    """Every sample says where it is from, and makes a decision and an outcome without an exception."""
    recorded = json.loads((SAMPLES / case / "reply.json").read_text("utf-8"))
    assert recorded["source"] and recorded["how"]
    assert set(sample(case).call) == {"method", "url", "body"}
    for options in ({}, {"encrypted": False, "session_cookies": "timeout", "serve_paused": True}):
        decision, _ = decide(webtrends(**options), sample(case).reply)
        assert isinstance(decision, Decision)
        deliver(webtrends(**options), event(), sample(case).reply)


# What is no decision


@pytest.mark.parametrize(
    ("case", "code"),
    [
        ("html", ErrorCode.NOT_JSON),
        ("truncated", ErrorCode.NOT_JSON),
        ("truncated_in_comment", ErrorCode.NOT_JSON),
        ("single_quotes", ErrorCode.NOT_JSON),
        ("nan", ErrorCode.NOT_JSON),
        ("infinity", ErrorCode.NOT_JSON),
        ("utf16", ErrorCode.NOT_JSON),
        ("utf16_without_bom", ErrorCode.NOT_JSON),
        ("latin1", ErrorCode.NOT_JSON),
        ("text", ErrorCode.SHAPE),
        ("array_of_texts", ErrorCode.SHAPE),
        ("empty_object", ErrorCode.SHAPE),
    ],
)
def test_U15_U17_U19_U20_U21_V2_no_answer(case: str, code: ErrorCode) -> None:
    """An answer that is none of this API's is a failure that counts against the vendor's health, in whole."""
    assert decided(case) == Decision(vendor="webtrends", error=code, trips=True)


def test_U21_half_a_character() -> None:
    """A value that is nothing but half a character is no variant; the rest of the answer counts."""
    decision = decided("lone_surrogate")
    assert (dict(decision.variants), decision.error, decision.rejected) == ({}, None, (ErrorCode.BAD_VARIANT,))
    assert len(decision.cookies) == 3


@pytest.mark.parametrize("case", ["empty", "white_space", "null", "empty_array"])
def test_U14_V1_nothing_decided(case: str) -> None:
    """An answer without elements is no error: nothing is decided, and the vendor is well."""
    assert decided(case) == Decision(vendor="webtrends", notice=ErrorCode.EMPTY)


@pytest.mark.parametrize(("status", "code"), [(204, ErrorCode.EMPTY), (200, ErrorCode.EMPTY)])
def test_U14_no_content(status: int, code: ErrorCode) -> None:
    """A success without content is an empty answer."""
    assert decide(webtrends(), reply(b"", status))[0].notice is code


@pytest.mark.parametrize(
    ("status", "code", "trips"),
    [
        (400, ErrorCode.HTTP_STATUS, False),
        (401, ErrorCode.UNAUTHORIZED, False),
        (403, ErrorCode.UNAUTHORIZED, False),
        (404, ErrorCode.HTTP_STATUS, False),
        (408, ErrorCode.HTTP_STATUS, True),
        (410, ErrorCode.HTTP_STATUS, False),
        (425, ErrorCode.HTTP_STATUS, True),
        (429, ErrorCode.RATE_LIMITED, True),
        (500, ErrorCode.HTTP_STATUS, True),
        (502, ErrorCode.HTTP_STATUS, True),
        (503, ErrorCode.HTTP_STATUS, True),
        (302, ErrorCode.REDIRECT, True),
        (101, ErrorCode.HTTP_STATUS, True),
    ],
)
@pytest.mark.parametrize("document", [b"", b"<html>", b"null", b"{}"])
def test_U9_U11_U12_U13_statuses(status: int, code: ErrorCode, trips: bool, document: bytes) -> None:
    """Without an envelope the status counts: how we ask is no matter of the vendor's health, but one of advice."""
    decision, _ = decide(webtrends(), reply(document, status))
    assert (decision.error, decision.trips, decision.variants) == (code, trips, {})
    assert (decision.advice is not None) is (not trips)


@pytest.mark.parametrize(("status", "rest"), [(429, 30.0), (503, 30.0), (500, None)])
def test_U10_rest(status: int, rest: float | None) -> None:
    """The rest that a vendor asks for is handed on."""
    assert decide(webtrends(), reply(b"", status, retry_after="30"))[0].retry_after_s == rest


@pytest.mark.parametrize("status", [200, 201, 400, 403, 404, 429, 500, 503])
def test_U16_the_envelope_counts(status: int) -> None:
    """Where there is an envelope it counts, whatever the status line and the content type say."""
    answer = Reply(status=status, headers={"content-type": "text/html"}, body=orjson.dumps(success()))
    assert keys(decide(webtrends(), answer)[0]) == {"ta_Project1": "variation"}
    decision, _ = decide(webtrends(), reply(error(303), status))
    assert (decision.notice, decision.error) == (ErrorCode.VENDOR_303, None)


@pytest.mark.parametrize(
    ("case", "value"),
    [("bom", "control"), ("duplicate_keys", "control"), ("trailing_commas", 'a,} b,] ",}')],
)
def test_U18_U20_U22_tolerated(case: str, value: str) -> None:
    """A byte order mark, trailing commas and repeated keys do no harm; of a repeated key the last counts."""
    assert keys(decided(case)) == {"ta_Project1": value}


def test_U18_comments() -> None:
    """Comments do no harm, and values with slashes in them stay as they are."""
    assert keys(decided("comments")) == {"ta_Project1": 'https://cdn.mysite.com/a//b /* kept */ " // kept \\'}


def test_bom_before_a_repaired_answer() -> None:
    """A byte order mark does not keep an answer from being repaired."""
    assert decided("bom_and_comma").notice is ErrorCode.VENDOR_303


# Objects and arrays


def test_V2_an_object_is_an_array_of_one() -> None:
    """One element decides the same, alone or in an array, however it was asked for."""
    for options in ({}, {"project": "ta_Project1"}):
        alone, _ = decide(webtrends(**options), reply(success()))
        listed, _ = decide(webtrends(**options), reply([success()]))
        assert alone == listed


def test_V3_a_mixed_array() -> None:
    """Of a mixed array the good are used; a "no" applies its cookies, an error does not."""
    decision = decided("mixed")
    assert keys(decision) == {"ta_Project1": "variation"}
    assert decision.misses == {
        "ta_Project2": ErrorCode.VENDOR_302,
        "ta_Project 3": ErrorCode.VENDOR_417,
        "ta_Project4": ErrorCode.VENDOR_304,
    }
    made = cookies(decision)
    assert made[USER].value == "WT3miss~"
    assert made[control("ta_Project 3")].value == "WT3throttled~"
    assert (decision.error, decision.notice, decision.trips) == (None, None, False)


def test_V3_only_errors() -> None:
    """Of an array without a single decision the first error is the decision's, before any notice."""
    decision, _ = decide(webtrends(), reply([error(302), error(0), error(105)]))
    assert (decision.error, decision.trips, decision.notice) == (ErrorCode.VENDOR_0, True, None)


def test_V6_the_same_alias_twice() -> None:
    """Of one alias twice the last wins, as its cookie does."""
    decision = decided("same_alias_twice")
    assert keys(decision) == {"ta_Project1": "variation"}
    assert cookies(decision)[control("ta_Project1")].value == "WT3second"


@pytest.mark.parametrize(
    ("count", "more"), [(MAX_ELEMENTS - 1, False), (MAX_ELEMENTS, False), (MAX_ELEMENTS + 1, True)]
)
def test_number_of_elements(count: int, more: bool) -> None:
    """200 elements are taken, and that there were more is noted."""
    decision, _ = decide(webtrends(), reply([success(f"t{n}") for n in range(count)]))
    assert len(decision.variants) == min(count, MAX_ELEMENTS)
    assert decision.rejected == ((ErrorCode.TOO_MANY,) if more else ())
    assert control("t200") not in cookies(decision)


# Aliases and values


def test_V4_V7_unusable_elements() -> None:
    """Elements that cannot be used are left out one by one; the good one among them counts."""
    decision = decided("unusable")
    assert keys(decision) == {"ta_Good": "variation"}
    assert decision.rejected.count(ErrorCode.BAD_ALIAS) == 10
    assert decision.rejected.count(ErrorCode.BAD_VARIANT) == 11
    assert decision.misses == {} and decision.error is None


def test_V7_values_verbatim() -> None:
    """A value is the key as it is, up to 8 KiB; only JSON text may be laid out in lines."""
    decision = decided("json_values")
    assert keys(decision) == {
        "object": '{\n\t"title": "Hello"\n}',
        "array": "[1,\r\n2]",
        "long": "x" * VALUE_CHARS,
        "__class__": "__class__",
        "html": "<b>bold</b>",
        "ta_Project 1": "variation",
    }
    assert decision.rejected == (ErrorCode.BAD_VARIANT, ErrorCode.BAD_VARIANT)


@pytest.mark.parametrize(
    ("alias", "good"),
    [
        ("a", True),
        ("a" * 128, True),
        ("a" * 129, False),
        ("a b", True),
        ("a" + " " * 126 + "b", True),
        (" a", False),
        ("a ", False),
        ("", False),
        ("a,b", False),
        ("a;b", False),
        ("a=b", False),
        ('a"b', True),
        ("a/b\\c", True),
        ("a\tb", False),
        ("a\n", False),
        ("a\x7f", False),
        ("é", False),
    ],
)
def test_aliases(alias: str, good: bool) -> None:
    """An alias is 1 to 128 printable ASCII characters without `, ; =`, and without spaces at its ends."""
    assert (ALIAS.fullmatch(alias) is not None) is good
    decision, _ = decide(webtrends(), reply(success(alias)))
    assert keys(decision) == ({alias: "variation"} if good else {})


@pytest.mark.parametrize("number", [7, 2490593])
def test_V4_an_alias_that_is_a_number(number: int) -> None:
    """An alias that comes as a number is its digits."""
    decision, _ = decide(webtrends(), reply(success(number)))  # type: ignore[arg-type]
    assert keys(decision) == {str(number): "variation"}


@pytest.mark.parametrize(
    "changed",
    [
        {"opcode": None},
        {"opcode": "conversion"},
        {"opcode": "PROCESS"},
        {"opcode": ["process"]},
        {"body": None},
        {"body": []},
        {"params": None},
        {"params": []},
    ],
)
def test_what_a_decision_needs(changed: dict[str, Any]) -> None:
    """Without opcode, body or alias nothing is decided, whatever `opstatus` says."""
    decision, _ = decide(webtrends(), reply([{**success(), **changed}, success("ta_Good")]))
    assert keys(decision) == {"ta_Good": "variation"}


def test_V5_unknown_fields() -> None:
    """Fields and kinds that are not documented yet are passed over."""
    new = success(r_type="bandit", r_runState="WARM", newField={"deep": [1]}, r_paused="maybe")
    new |= {"metadata": "outside", "opstatus": "fine", "extra": [{}]}
    assert keys(decide(webtrends(), reply(new))[0]) == {"ta_Project1": "variation"}


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("AB", Reason.SPLIT),
        ("target", Reason.TARGETING_MATCH),
        ("TARGET", Reason.TARGETING_MATCH),
        (None, Reason.SPLIT),
        (5, Reason.SPLIT),
    ],
)
def test_reasons(kind: Any, reason: Reason) -> None:
    """A target was matched, everything else is a share of the traffic."""
    assert decide(webtrends(), reply(success(r_type=kind)))[0].variants["ta_Project1"].reason is reason


# Factors


def test_multivariate() -> None:
    """Of several factors the page-level container is the key, and all are there to be read."""
    variant = decided("mvt").variants["ta_Mvt"]
    assert variant.key == '{"hero": "b"}'
    assert [(f.name, f.value, f.operation) for f in variant.factors] == [
        (".hero h1", "Headline B", 3),
        (".hero img", "", 1),
        ("[data-wt-id='head'], #wt-page-level-js", '{"hero": "b"}', 3),
    ]


@pytest.mark.parametrize(
    ("factors", "key"),
    [
        ([("a", "1"), ("b", "2")], "1"),
        ([("a", ""), ("b", "2")], "2"),
        ([("a", "1"), ("#wt-page-level-js", "2")], "2"),
        ([("a", "1"), ("#wt-page-level-js", "")], "1"),
        ([("#wt-page-level-js", "1"), ("x #wt-page-level-js", "2")], "1"),
        ([("anything", "1")], "1"),
        ([(None, "1"), ("b", 2)], "1"),
        ([("a", None), ("b", 2), ("c", "3")], "3"),
        ([("a", ""), ("b", "")], None),
    ],
)
def test_which_factor(factors: list[tuple[Any, Any]], key: str | None) -> None:
    """The page-level container first, else the first factor with a value."""
    element = success()
    element["body"]["factors"] = [{"name": name, "value": value} for name, value in factors]
    assert keys(decide(webtrends(), reply(element))[0]) == ({} if key is None else {"ta_Project1": key})


# Paused tests


def test_V8_paused() -> None:
    """A paused test decides nothing, unless its variants are asked for; its cookies stay."""
    decision = decided("paused")
    assert (keys(decision), decision.misses) == ({}, {"ta_Project1": ErrorCode.VENDOR_318})
    assert control("ta_Project1") in cookies(decision)
    assert (decision.error, decision.trips) == (None, False)
    assert keys(decided("paused", serve_paused=True)) == {"ta_Project1": "variation"}


@pytest.mark.parametrize(
    ("word", "paused"),
    [
        ("true", True),
        ("TRUE", True),
        (True, True),
        ("false", False),
        (False, False),
        (None, False),
        (1, False),
        ("", False),
    ],
)
def test_V8_how_paused_is_written(word: Any, paused: bool) -> None:
    """Text and boolean mean the same."""
    assert ("ta_Project1" in decide(webtrends(), reply(success(r_paused=word)))[0].misses) is paused


# Cookies


def test_V9_V10_cookie_lies() -> None:
    """Of an answer full of cookies that no client may set, the two good ones can be written and no others."""
    decision = decided("cookie_lies")
    rule = webtrends().cookies
    good = [change.name for change in decision.cookies if writable(change.name, change.value, rule) is None]
    assert good == [USER, control("ta_Project1")]
    assert not [change for change in decision.cookies if change.name.startswith("_wt.conversion-")]


@pytest.mark.parametrize(("sessions", "session_age"), [("browser", None), ("timeout", 300)])
def test_V11_lifetimes(sessions: str, session_age: int | None) -> None:
    """Milliseconds become seconds, rounded up, within 400 days; none left is a deletion; junk is the session's."""
    made = cookies(decided("lifetimes", session_cookies=sessions))
    limit = 400 * 86400
    expected = {
        "days90": DAY_90,
        "days14": 1_210_000,
        "ms1": 1,
        "ms1001": 2,
        "float": 2,
        "zero": 0,
        "negative": 0,
        "huge": limit,
        "float_huge": limit,
        "text": None,
        "null": None,
        "bool": None,
        "list": None,
        "session": session_age,
        "session_zero": 0,
        "other": None,
        "no_type": None,
    }
    assert {name: made[control(name)].max_age_s for name in expected} == expected


def test_first_party_cookies_off() -> None:
    """An account whose cookies are not the site's gets none written, and decides all the same."""
    decision = decided("first_party_off")
    assert keys(decision) == {"ta_Project1": "variation"}
    assert decision.cookies == ()


@pytest.mark.parametrize("flag", [True, None, "false", 0])
def test_first_party_cookies_on(flag: Any) -> None:
    """Only a plain `false` switches cookies off."""
    assert decide(webtrends(), reply(success(use1stPartyCookies=flag)))[0].cookies


def test_plain_cookies_are_encoded() -> None:
    """Plain values are percent-encoded for the browser, and come back decoded."""
    vendor = webtrends(encrypted=False)
    decision, _ = decide(vendor, sample("plain_cookies").reply)
    made = cookies(decision)
    value = made[control("ta_Project1")].value
    assert all(writable(change.name, change.value, vendor.cookies) is None for change in made.values())
    _, (call,) = decide(vendor, reply([]), cookies={control("ta_Project1"): value})
    sent = orjson.loads(call.body)["cookies"][control("ta_Project1")]["value"]
    assert sent == '{"runid": 1, "testid": 3, "throttleR": "0,1; %"}'


@pytest.mark.parametrize("domain", [None, 5, "", [".mysite.com"], {}])
def test_no_domain(domain: Any) -> None:
    """A domain that is no text is none."""
    made = decide(webtrends(), reply({**success(), "params": {**success()["params"], "cookieDomain": domain}}))[
        0
    ].cookies
    assert made and {change.domain for change in made} <= {None, "5"}


# The log


def test_debug_log() -> None:
    """The vendor's log is kept apart, at the top or in the body, and does not show in a repr."""
    assert (decided("debug_log").log or "").startswith("[SERVER LOG]")
    element = success()
    element["body"]["log"] = "[SERVER LOG] : x"
    decision, _ = decide(webtrends(), reply(element))
    assert decision.log == "[SERVER LOG] : x"
    assert "SERVER LOG" not in repr(decision)
    assert decide(webtrends(), reply({**success(), "log": ["x"]}))[0].log is None


# All at once

JUNK = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=6,
)
GROUND: list[Any] = [
    [
        success("ta_a", "variation"),
        error(302, "guid 2490593-ta_b", {USER: {"timeout": 1, "type": "session", "value": "x"}}),
    ],
    error(102, testAlias="ta_a"),
    [error(315, "Test with guid 2490593-ta_a, is not"), error(303)],
    [converted(testAlias="ta_Project1"), error(316), converted()],
    json.loads((SAMPLES / "single" / "body").read_text()),
]


def places(node: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the paths to all values in *node*."""
    found = [path]
    children = node.items() if isinstance(node, Mapping) else enumerate(node) if isinstance(node, list) else ()
    for key, child in children:
        found += places(child, (*path, key))
    return found


def put(node: Any, path: tuple[Any, ...], value: Any) -> Any:
    """Return a copy of *node* with *value* at *path*."""
    if not path:
        return value
    copy = dict(node) if isinstance(node, Mapping) else list(node)
    copy[path[0]] = put(copy[path[0]], path[1:], value)
    return copy


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """Return an answer with up to three of its values replaced by junk, or by another of its values."""
    document = draw(st.sampled_from(GROUND))
    for _ in range(draw(st.integers(0, 3))):
        path = draw(st.sampled_from(places(document)))
        document = put(document, path, draw(JUNK | st.sampled_from(["a\r\nb", "x" * 9000, 303, "process", -1, 10**17])))
    return orjson.dumps(document)


SENT = {USER: "WT3u~", MODE: "WT3m~", control("ta_a"): "WT3a~"}


def sound(decision: Decision) -> None:
    """Assert that a decision keeps all limits."""
    rule = webtrends().cookies
    for alias, variant in decision.variants.items():
        assert ALIAS.fullmatch(alias) and variant.alias == alias
        assert 0 < len(variant.key) <= VALUE_CHARS
        variant.key.encode()
        controls = [char for char in variant.key if ord(char) < 32 or 127 <= ord(char) < 160]
        assert not controls or isinstance(json.loads(variant.key), list | dict)
    assert all(ALIAS.fullmatch(alias) for alias in decision.misses)
    for change in decision.cookies:
        assert change.max_age_s is None or 0 <= change.max_age_s <= 400 * 86400
        assert not change.name.startswith("_wt.conversion-")
        if writable(change.name, change.value, rule) is None:
            assert change.name in (USER, MODE) or change.name.startswith(control(""))
    assert len({change.name for change in decision.cookies}) == len(decision.cookies)


@settings(max_examples=150)
@given(mutated(), mutated(), st.booleans())
def test_mutated_answers(first: bytes, second: bytes, encrypted: bool) -> None:
    """Whatever an answer holds, and the next, deciding raises nothing, asks at most twice and keeps all limits."""
    vendor = webtrends(encrypted=encrypted)
    sound(decide(vendor, reply(first))[0])
    flow = vendor.decide(event().visit, type("State", (), {"cookies": SENT})())
    next(flow)
    try:
        flow.send(reply(first))
        flow.send(reply(second))
    except StopIteration as stop:
        sound(stop.value)
    else:
        raise AssertionError("a third call")
    deliver(vendor, event("ta_a", "ta_b"), reply(first))


@given(st.binary(max_size=200), st.integers(100, 599))
def test_arbitrary_bodies(body: bytes, status: int) -> None:
    """Any bytes with any status make a decision and an outcome."""
    decision, _ = decide(webtrends(), reply(body, status))
    assert decision.variants == {}
    deliver(webtrends(), event(), reply(body, status))


def test_a_large_answer_takes_no_time() -> None:
    """Two hundred projects with their accumulated cookies, half a megabyte, are read in a moment."""
    jar: dict[str, Any] = {}
    elements = []
    for n in range(60):
        jar[control(f"t{n}")] = {"timeout": 7776000000, "type": "persisted", "value": "WT3" + "c" * 200}
        element = success(f"t{n}")
        element["body"]["cookies"] = dict(jar)
        elements.append(element)
    body = orjson.dumps(elements)
    assert 450_000 < len(body) < 600_000
    start = time.thread_time()
    decision, _ = decide(webtrends(), reply(body))
    assert time.thread_time() - start < 0.25
    assert len(decision.variants) == 60 and len(decision.cookies) == 60


def test_a_crowd_of_cookies_is_cut() -> None:
    """An answer within its size limit may name thousands of cookies; 250 are looked at, and it is told."""
    cookies = {
        f"_wt.control-{DOMAIN_ID}-ta_{n}": {"value": "WT3x", "type": "persisted", "timeout": 1} for n in range(9000)
    }
    document = {
        "opcode": "process",
        "params": {"testAlias": "ta_0"},
        "body": {"cookies": cookies, "factors": [{"name": "f", "value": "b"}]},
    }
    decision, _ = decide(webtrends(), reply(document))
    assert len(decision.cookies) == 250
    assert decision.rejected == (ErrorCode.TOO_MANY,)
    assert decision.variants["ta_0"].key == "b"

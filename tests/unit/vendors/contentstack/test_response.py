"""What a manifest of Contentstack Personalize decides."""

from __future__ import annotations

from typing import Any

import pytest

from flagmw.codes import ErrorCode, Reason
from flagmw.exceptions import TransportError
from flagmw.types import CookieChange
from tests.unit.vendors.contentstack.codec import (
    BASE,
    MANIFEST,
    PROJECT,
    UID,
    USER,
    answer,
    contentstack,
    cookies_of,
    decide,
    manifest,
    sample,
)


def keys(decision: Any) -> dict[str, str]:
    return {alias: variant.key for alias, variant in decision.variants.items()}


@pytest.mark.parametrize("case", ["manifest", "experiences_only"])
def test_documented_manifest(case: str) -> None:
    """Active variants are flags, those without one are misses, and the order of priority is kept."""
    decision, _ = decide(contentstack(), sample(case).reply)
    assert keys(decision) == {"exp:b": "0", "exp:0": "1"}
    assert decision.misses == {"exp:a": ErrorCode.NOT_IN_TEST}
    assert (decision.error, decision.notice, decision.rejected) == (None, None, ())
    variant = decision.variants["exp:0"]
    assert (variant.vendor, variant.reason, variant.experiment_id) == ("contentstack", Reason.TARGETING_MATCH, "0")
    assert variant.ids == {"experience": "0", "variant": "1", "alias": "cs_personalize_0_1", "priority": "1"}


def test_hints_for_the_cms_and_the_page() -> None:
    """Aliases come in order of priority without those that have no variant; the page gets its client's cookies."""
    decision, _ = decide(contentstack(), sample("manifest").reply)
    assert decision.hints["variant_param"] == "b_0,0_1"
    assert decision.hints["variant_aliases"] == ["cs_personalize_b_0", "cs_personalize_0_1"]
    assert decision.hints["bootstrap"] == {
        "project_uid": PROJECT,
        "edge_url": BASE,
        "cookies": cookies_of(decision),
    }
    empty, _ = decide(contentstack(), manifest(("a", None)))
    assert (empty.hints["variant_param"], empty.hints["variant_aliases"]) == ("", [])


def test_older_map_alone_is_read_too() -> None:
    decision, _ = decide(contentstack(), sample("map_only").reply)
    assert keys(decision) == {"exp:b": "0", "exp:0": "1"}


def test_experiences_win_over_the_older_map() -> None:
    decision, _ = decide(contentstack(), manifest(("b", "0"), activeVariants={"b": "1", "z": "9"}))
    assert keys(decision) == {"exp:b": "0"}


def test_aliases_of_the_site_s_own() -> None:
    decision, _ = decide(contentstack(aliases={"b": "hero", "a": "banner"}), sample("manifest").reply)
    assert keys(decision) == {"hero": "0", "exp:0": "1"}
    assert set(decision.misses) == {"banner"}


def test_no_experience_is_no_error() -> None:
    decision, _ = decide(contentstack(), sample("no_experience").reply)
    assert (decision.error, decision.notice, decision.variants) == (None, ErrorCode.EMPTY, {})


@pytest.mark.parametrize("body", [b"", b" ", b"null"])
def test_U14_an_answer_without_a_manifest_is_a_failure(body: bytes) -> None:
    decision, _ = decide(contentstack(), answer(body))
    assert (decision.error, decision.trips, decision.variants) == (ErrorCode.EMPTY, True, {})


# Lies


@pytest.mark.parametrize(
    ("pair", "code"),
    [
        ((None, "0"), ErrorCode.BAD_ALIAS),
        (("", "0"), ErrorCode.BAD_ALIAS),
        (("a_b", "0"), ErrorCode.BAD_ALIAS),
        (("a,b", "0"), ErrorCode.BAD_ALIAS),
        (("null", "0"), ErrorCode.BAD_ALIAS),
        (("x" * 65, "0"), ErrorCode.BAD_ALIAS),
        ((["a"], "0"), ErrorCode.BAD_ALIAS),
        (("a", "null"), ErrorCode.BAD_VARIANT),
        (("a", ""), ErrorCode.BAD_VARIANT),
        (("a", "0_1"), ErrorCode.BAD_VARIANT),
        (("a", "\r\n"), ErrorCode.BAD_VARIANT),
        (("a", True), ErrorCode.BAD_VARIANT),
        (("a", {"0": 1}), ErrorCode.BAD_VARIANT),
    ],
)
def test_an_experience_that_cannot_be_is_left_out(pair: Any, code: ErrorCode) -> None:
    """One bad entry costs only itself."""
    entries = [
        {"shortUid": pair[0], "activeVariantShortUid": pair[1]},
        {"shortUid": "ok", "activeVariantShortUid": "1"},
    ]
    decision, _ = decide(contentstack(), answer({"experiences": entries}))
    assert keys(decision) == {"exp:ok": "1"}
    assert decision.rejected == (code,)


def test_entries_of_another_shape_are_left_out() -> None:
    decision, _ = decide(contentstack(), answer({"experiences": ["a", None, 7, {"shortUid": "ok"}]}))
    assert decision.rejected == (ErrorCode.BAD_ALIAS,) * 3
    assert decision.misses == {"exp:ok": ErrorCode.NOT_IN_TEST}


PAIRS = [("0", "0"), ("00", "01"), (7, 3)]


def test_short_uids_are_texts_also_where_they_look_like_numbers() -> None:
    """A "0" is a variant like any other; a number is taken for its digits, as the vendor's client does."""
    entries = [{"shortUid": short, "activeVariantShortUid": variant} for short, variant in PAIRS]
    decision, _ = decide(contentstack(), answer({"experiences": entries}))
    assert keys(decision) == {"exp:0": "0", "exp:00": "01", "exp:7": "3"}


def test_same_experience_twice_is_that_of_the_higher_priority() -> None:
    decision, _ = decide(contentstack(), answer({"experiences": [
        {"shortUid": "b", "activeVariantShortUid": "0"}, {"shortUid": "b", "activeVariantShortUid": "1"},
    ]}))  # fmt: skip
    assert keys(decision) == {"exp:b": "0"}
    assert decision.hints["variant_param"] == "b_0"


def test_more_experiences_than_any_project_has() -> None:
    decision, _ = decide(contentstack(), manifest(*((f"e{n}", "0") for n in range(501))))
    assert (len(decision.variants), decision.rejected) == (500, (ErrorCode.TOO_MANY,))


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"<html>", ErrorCode.NOT_JSON),
        (b'{"experiences": [', ErrorCode.NOT_JSON),
        (b"[]", ErrorCode.SHAPE),
        (b'"text"', ErrorCode.SHAPE),
        (b"{}", ErrorCode.SHAPE),
        (b'{"experiences": null, "activeVariants": null}', ErrorCode.SHAPE),
        (b'{"experiences": ' + b"[" * 40 + b"]" * 40 + b"}", ErrorCode.SHAPE),
    ],
)
def test_answers_that_are_no_manifest(body: bytes, code: ErrorCode) -> None:
    """They count against the vendor's health, and change no cookie."""
    decision, _ = decide(contentstack(), answer(body), {USER: UID})
    assert (decision.error, decision.trips, decision.cookies) == (code, True, ())


# Statuses


def test_403_for_robots_is_no_decision_and_no_failure() -> None:
    decision, _ = decide(contentstack(), sample("forbidden").reply)
    assert (decision.error, decision.notice, decision.trips) == (None, ErrorCode.UNAUTHORIZED, False)
    assert decision.advice and "robot" in decision.advice


def test_project_not_found_is_a_matter_of_configuration() -> None:
    decision, _ = decide(contentstack(), sample("project_not_found").reply)
    assert (decision.error, decision.trips) == (ErrorCode.PROJECT_NOT_FOUND, False)
    assert decision.advice and "project_uid" in decision.advice


@pytest.mark.parametrize(
    ("status", "code", "trips"),
    [
        (400, ErrorCode.HTTP_STATUS, False),
        (401, ErrorCode.UNAUTHORIZED, False),
        (404, ErrorCode.HTTP_STATUS, False),
        (408, ErrorCode.HTTP_STATUS, True),
        (429, ErrorCode.RATE_LIMITED, True),
        (302, ErrorCode.REDIRECT, True),
        (500, ErrorCode.HTTP_STATUS, True),
        (503, ErrorCode.HTTP_STATUS, True),
    ],
)
def test_statuses(status: int, code: ErrorCode, trips: bool) -> None:
    """A refusal is about how we ask; everything else counts against the vendor's health."""
    decision, _ = decide(contentstack(), answer(b"<html>no</html>", status, retry_after="7"))
    assert (decision.error, decision.trips) == (code, trips)
    assert decision.retry_after_s == (7.0 if status in (429, 503) else None)


def test_no_answer() -> None:
    decision, _ = decide(contentstack(), TransportError(ErrorCode.RESET, sent=True))
    assert (decision.error, decision.trips) == (ErrorCode.RESET, True)


# Cookies


def test_cookies_as_the_vendor_s_client_writes_them() -> None:
    """The manifest is raw compact JSON, its keys in the order that JavaScript gives them."""
    decision, _ = decide(contentstack(), manifest(("b", "0"), ("10", "1"), ("2", None)))
    text = (
        '{"activeVariants":{"2":null,"10":"1","b":"0"},"experiences":['
        '{"shortUid":"b","activeVariantShortUid":"0"},{"shortUid":"10","activeVariantShortUid":"1"},'
        '{"shortUid":"2","activeVariantShortUid":null}]}'
    )
    assert decision.cookies == (
        CookieChange(name=USER, value=UID, max_age_s=31_536_000),
        CookieChange(name=MANIFEST, value=text, max_age_s=None),
    )


def test_manifest_of_75_experiences_is_decided_but_not_kept() -> None:
    """A browser would drop so large a cookie; the one that is out of date is deleted."""
    pairs = [(f"{n}", "0") for n in range(75)]
    decision, _ = decide(contentstack(), manifest(*pairs), {USER: UID, MANIFEST: "{}"})
    assert len(decision.variants) == 75
    assert decision.cookies[1:] == (CookieChange(name=MANIFEST, value="", max_age_s=0),)
    assert set(decision.hints["bootstrap"]["cookies"]) == {USER}
    first, _ = decide(contentstack(), manifest(*pairs))
    assert [change.name for change in first.cookies] == [USER]


@pytest.mark.parametrize(("size", "kept"), [(3800, True), (3801, False)])
def test_cap_of_the_manifest_cookie(size: int, kept: bool) -> None:
    bare = len('{"experiences":[],"x":""}')
    decision, _ = decide(contentstack(), answer({"experiences": [], "x": "x" * (size - bare)}))
    assert (MANIFEST in cookies_of(decision)) is kept


@pytest.mark.parametrize("text", ["a=b", "a;b", "Zürich", "日本"])
def test_manifest_that_the_page_s_client_could_not_read_back_is_not_kept(text: str) -> None:
    """It takes a cookie up to the next "=" and knows of no encoding."""
    decision, _ = decide(contentstack(), manifest(("b", "0"), note=text))
    assert keys(decision) == {"exp:b": "0"}
    assert set(cookies_of(decision)) == {USER}


def test_manifest_cookie_switched_off() -> None:
    vendor = contentstack(manifest_cookie=False)
    decision, _ = decide(vendor, manifest(("b", "0")))
    assert set(cookies_of(decision)) == {USER}
    assert not vendor.cookies.reads(MANIFEST) and not vendor.cookies.writes(MANIFEST)

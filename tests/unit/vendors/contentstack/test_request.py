"""What goes over the wire to Contentstack Personalize for a decision, and whom it is about."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flagmw._cookies import header as cookie_header
from flagmw.codes import ErrorCode
from flagmw.exceptions import ConfigError, TransportError
from flagmw.types import Call, CookieChange, Reply, VisitorState
from flagmw.vendors.contentstack.request import LIVE_ATTRIBUTES_MAX_BYTES, live_attributes
from tests.unit.vendors.contentstack.codec import (
    BASE,
    MANIFEST,
    PROJECT,
    UID,
    USER,
    contentstack,
    cookies_of,
    decide,
    manifest,
    matches,
    sample,
)


def ask(vendor: Any = None, cookies: dict[str, str] | None = None, **more: Any) -> Call:
    """Return the call of one decision."""
    return decide(vendor or contentstack(), manifest(), cookies, **more)[1]


def test_documented_request() -> None:
    matches(ask(cookies={USER: UID}), sample("manifest").call)


def test_what_the_edge_is_told_of_the_visit() -> None:
    call = ask(
        url="https://shop.example/?utm_campaign=BF",
        referer="https://search.example/",
        user_agent="Mozilla/5.0 (iPhone)",
        client_ip="203.0.113.0",
        data={"age": 20, "vip": True, "score": 1.5, "plan": "gold"},
    )
    assert dict(call.headers) == {
        "x-project-uid": PROJECT,
        "x-user-agent": "flagmw",
        "accept": "application/json",
        "accept-encoding": "gzip",
        "x-page-url": "https://shop.example/?utm_campaign=BF",
        "referer": "https://search.example/",
        "user-agent": "Mozilla/5.0 (iPhone)",
        "x-forwarded-for": "203.0.113.0",
        "x-live-attributes": '{"age":20,"vip":true,"score":1.5,"plan":"gold"}',
    }


def test_what_is_not_known_is_not_sent() -> None:
    assert set(ask().headers) == {"x-project-uid", "x-user-agent", "accept", "accept-encoding", "x-page-url"}


def test_tags_keep_their_brackets_and_encode_the_rest() -> None:
    call = ask(contentstack(tags=["env:production", "beta"]))
    assert call.url == f"{BASE}/manifest?tags[]=env%3Aproduction&tags[]=beta"


def test_a_manifest_counts_nothing_and_may_be_asked_twice_for_a_known_visitor() -> None:
    """A newcomer would become two visitors, so only a broken connection is tried again for them."""
    new, known = ask(), ask(cookies={USER: UID})
    assert (new.replay_safe, new.hedge_safe) == (True, False)
    assert (known.replay_safe, known.hedge_safe) == (True, True)
    assert ask(cookies={USER: UID}, record=False) == known


# Who


@pytest.mark.parametrize("uid", ["null", "undefined", "", '""', "a b", "a=b", "ü", "a;b", "x" * 129, "a\r\nb", "a%20b"])
def test_V19_odd_uids_are_nobody(uid: str) -> None:
    """From the visitor's cookie they are not sent on, from the vendor's header they are not kept."""
    assert "x-cs-personalize-user-uid" not in ask(cookies={USER: uid}).headers
    decision, _ = decide(contentstack(), manifest(("b", "0"), uid=uid))
    assert {alias: variant.key for alias, variant in decision.variants.items()} == {"exp:b": "0"}
    assert decision.cookies == (), "a manifest of nobody would make the page's client report for nobody"
    odd = uid not in ("", "null", "undefined")
    assert decision.rejected == ((ErrorCode.COOKIE_VALUE,) if odd else ())
    assert contentstack().identity(VisitorState({USER: uid})) == ""


@pytest.mark.parametrize("uid", ["0", "known-1", "a.b_c-d", "x" * 128, "Null", "00000000-0000-0000-0000-000000000000"])
def test_uids_are_opaque(uid: str) -> None:
    assert ask(cookies={USER: uid}).headers["x-cs-personalize-user-uid"] == uid
    assert ask(cookies={USER: f'"{uid}"'}).headers["x-cs-personalize-user-uid"] == uid
    decision, _ = decide(contentstack(), manifest(uid=uid))
    assert cookies_of(decision)[USER] == uid
    assert contentstack().identity(VisitorState({USER: uid, MANIFEST: "{}"})) == uid


def test_decisions_hold_for_the_uid_and_its_audiences_at_lytics() -> None:
    """Another page's manifest is the same visitor's; where Lytics tells audiences, others make other decisions."""
    state = VisitorState({USER: "u1", MANIFEST: "{}", "cs-lytics-audiences": "a,b"})
    assert contentstack().identity(state) == "u1"
    assert contentstack(lytics=True).identity(state) == "u1; a,b"
    assert contentstack(lytics=True).identity(VisitorState({"cs-lytics-audiences": "a,b"})) == ""


@pytest.mark.parametrize("part", ["url", "path", "site"])
def test_decides_by(part: str) -> None:
    assert (contentstack().decides_by, contentstack(decides_by=part).decides_by) == ("url", part)


def test_decides_by_something_else() -> None:
    with pytest.raises(ConfigError, match='decides_by must be one of "site", "path", "url"'):
        contentstack(decides_by="page")


def test_V19_changed_uid_is_counted_and_the_newest_kept() -> None:
    decision, _ = decide(contentstack(), manifest(uid="newer"), {USER: "older"})
    assert cookies_of(decision)[USER] == "newer"
    assert decision.rejected == (ErrorCode.IDENTITY_CHANGED,)


@pytest.mark.parametrize("uid", [None, "null", ""])
def test_answer_without_a_uid_leaves_the_visitor_who_they_were(uid: str | None) -> None:
    decision, _ = decide(contentstack(), manifest(uid=uid), {USER: UID})
    assert (cookies_of(decision)[USER], decision.rejected) == (UID, ())
    nobody, _ = decide(contentstack(), manifest(uid=uid), {MANIFEST: "{}"})
    assert nobody.cookies == (CookieChange(name=MANIFEST, value="", max_age_s=0),)


def test_known_users() -> None:
    """The site's own id names the visitor where that is asked for and the id can be one; else the cookie does."""
    vendor = contentstack(known_users=True)
    assert ask(vendor, {USER: UID}, user_id="known-1").headers["x-cs-personalize-user-uid"] == "known-1"
    assert ask(vendor, {USER: UID}, user_id="me@shop.example").headers["x-cs-personalize-user-uid"] == UID
    assert ask(vendor, {USER: UID}).headers["x-cs-personalize-user-uid"] == UID
    assert ask(cookies={USER: UID}, user_id="known-1").headers["x-cs-personalize-user-uid"] == UID


# Live attributes


def test_live_attributes_outside_latin_1_are_escaped() -> None:
    """The vendor's own client raises for them."""
    header = ask(data={"city": "Zürich", "name": "日本", "mood": "😀", "line": "a\r\nb"}).headers["x-live-attributes"]
    assert header.isascii() and header.isprintable()
    assert json.loads(header) == {"city": "Zürich", "name": "日本", "mood": "😀", "line": "a\r\nb"}


def test_live_attributes_of_the_project_yield_to_the_visit_s() -> None:
    vendor = contentstack(data={"site": "shop", "plan": "none"})
    assert json.loads(ask(vendor, data={"plan": "gold"}).headers["x-live-attributes"]) == {
        "site": "shop",
        "plan": "gold",
    }


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1 << 63, "\ud800", None, ["a"], {"a": 1}, b"a"])
def test_values_that_cannot_be_attributes_are_left_out(value: Any) -> None:
    decision, call = decide(contentstack(), manifest(), data={"bad": value, "good": 1})
    assert call.headers["x-live-attributes"] == '{"good":1}'
    assert decision.rejected == (ErrorCode.BAD_DATA,)


def test_live_attributes_past_the_cap_are_left_out() -> None:
    decision, call = decide(contentstack(), manifest(), data={f"k{n}": "x" * 250 for n in range(50)})
    header = call.headers["x-live-attributes"]
    assert 7800 < len(header) <= LIVE_ATTRIBUTES_MAX_BYTES
    assert list(json.loads(header)) == [f"k{n}" for n in range(len(json.loads(header)))]
    assert decision.rejected == (ErrorCode.BAD_DATA,)


@given(st.dictionaries(st.text(max_size=20), st.text(max_size=60) | st.integers() | st.floats() | st.booleans()))
def test_live_attributes_always_fit_a_header(data: dict[str, Any]) -> None:
    header, _ = live_attributes(data)
    assert header.isascii() and (not header or header.isprintable()) and len(header) <= LIVE_ATTRIBUTES_MAX_BYTES
    assert (json.loads(header) if header else {}).items() <= data.items()


def test_texts_that_no_header_can_carry_are_not_sent() -> None:
    """A visit made by hand is not cleaned; nothing of it may break out of its line."""
    call = ask(user_agent="a\r\nx: 1", referer="https://é/", client_ip="1\n2", url="https://shop.example/\r\n")
    assert not {"user-agent", "referer", "x-forwarded-for", "x-page-url"} & set(call.headers)


# Lytics


def test_lytics_cookies_are_passed_on_only_when_asked_for() -> None:
    jar = {"cs-lytics-audiences": "|aud_a|aud_b|", "seerid": "u123"}
    call = ask(contentstack(lytics=True), jar, data={"age": 1})
    assert json.loads(call.headers["x-live-attributes"]) == {"__lytics_audiences": "|aud_a|aud_b|", "age": 1}
    assert (call.headers["x-lytics-id-field"], call.headers["x-lytics-id-value"]) == ("_uid", "u123")
    assert (
        ask(contentstack(lytics=True), jar, data={"__lytics_audiences": "|mine|"}).headers["x-live-attributes"]
        == '{"__lytics_audiences":"|mine|"}'
    )
    plain = contentstack()
    assert not {"x-live-attributes", "x-lytics-id-value"} & set(ask(plain, jar).headers)
    assert not plain.cookies.reads("seerid") and not contentstack(lytics=True).cookies.writes("seerid")


# Cookies through the gates


def test_cookies_survive_the_way_to_the_visitor_and_back() -> None:
    """The raw JSON of the manifest passes in both directions, beside the site's own cookies."""
    vendor = contentstack()
    decision, _ = decide(vendor, sample("manifest").reply)
    jar = cookies_of(decision)
    for name, value in jar.items():
        assert cookie_header.writable(name, value, vendor.cookies) is None
    header = f"site=1; {MANIFEST}={jar[MANIFEST]}; {USER}={jar[USER]}; last=2"
    found = cookie_header.read([header], [vendor.cookies])
    assert found.own == [jar] and not found.rejected
    line = cookie_header.format_set_cookie(
        MANIFEST, jar[MANIFEST], max_age_s=None, domain=None, secure=True, http_only=False
    )
    assert line == f"{MANIFEST}={jar[MANIFEST]}; Path=/; Secure; SameSite=Lax"
    line = cookie_header.format_set_cookie(USER, UID, max_age_s=31_536_000, domain=None, secure=True, http_only=False)
    assert line == f"{USER}={UID}; Max-Age=31536000; Path=/; Secure; SameSite=Lax"


@pytest.mark.parametrize("octet", ["\r", "\n", "\0", "\x7f", ";", "é", "="])
def test_octets_that_never_pass(octet: str) -> None:
    rule = contentstack().cookies
    assert cookie_header.writable(MANIFEST, f'{{"a":"{octet}"}}', rule) is ErrorCode.COOKIE_VALUE
    if octet != "=":  # which the codec keeps out of a uid
        assert cookie_header.writable(USER, f"a{octet}b", rule) is ErrorCode.COOKIE_VALUE
    if octet != ";":  # which ends a cookie
        assert cookie_header.read([f'{MANIFEST}={{"a":"{octet}"}}'], [rule]).own == [{}]


def test_manifest_cookie_past_the_cap_is_not_taken_from_a_visitor() -> None:
    value = "{" + " " * 3799 + "}"
    found = cookie_header.read([f"{MANIFEST}={value}; {USER}={UID}"], [contentstack().cookies])
    assert (found.own, found.rejected) == ([{USER: UID}], [ErrorCode.COOKIE_SIZE])


def test_other_cookies_of_the_site_are_left_alone() -> None:
    rule = contentstack().cookies
    assert cookie_header.read(["cs-personalize-other=1; seerid=2; session=3"], [rule]).own == [{}]
    assert cookie_header.writable("session", "x", rule) is ErrorCode.COOKIE_NAME


# Options


@pytest.mark.parametrize(
    ("region", "host"),
    [
        ("aws-na", "personalize-edge.contentstack.com"),
        ("AWS-EU", "eu-personalize-edge.contentstack.com"),
        ("aws-au", "au-personalize-edge.contentstack.com"),
        ("azure-na", "azure-na-personalize-edge.contentstack.com"),
        ("AZURE-EU", "azure-eu-personalize-edge.contentstack.com"),
        ("gcp-na", "gcp-na-personalize-edge.contentstack.com"),
        ("gcp-eu", "gcp-eu-personalize-edge.contentstack.com"),
    ],
)
def test_regions(region: str, host: str) -> None:
    assert ask(contentstack(region=region)).url == f"https://{host}/manifest"


def test_base_url_without_its_trailing_slash() -> None:
    assert ask(contentstack(base_url="https://edge.example/")).url == "https://edge.example/manifest"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"project_uid": "abc"}, "24 hex digits"),
        ({"project_uid": 1}, "24 hex digits"),
        ({"region": "mars"}, "region must be one of"),
        ({"region": None}, "region must be one of"),
        ({"base_url": "edge.example"}, "base_url"),
        ({"exposure": "decide"}, "exposure must be one of"),
        ({"tags": "a"}, "list of texts"),
        ({"tags": ["a"] * 11}, "takes 10"),
        ({"tags": ["a b"]}, "tags must each be"),
        ({"data": {"a": [1]}}, "texts, numbers and booleans"),
        ({"data": {"a": "x" * 9000}}, "8 KiB"),
        ({"data": [1]}, "mapping"),
        ({"aliases": {"b": ""}}, "printable"),
        ({"aliases": {"b_0": "hero"}}, "no short uid"),
        ({"aliases": {1: "hero"}}, "no short uid"),
        ({"aliases": {"a": "hero", "b": "hero"}}, "the same name"),
        ({"aliases": {"b": "exp:a"}}, "for experiences without an entry"),
        ({"aliases": ["a"]}, "mapping"),
        ({"manifest_cookie": "no"}, "True or False"),
        ({"known_users": 1}, "True or False"),
        ({"lytics": None}, "True or False"),
        ({"prefix": "\n"}, "prefix"),
    ],
)
def test_wrong_options_are_refused_with_the_cure(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        contentstack(**options)


# A user who logs out


def test_B3_after_the_log_out_the_visitor_is_a_new_one() -> None:
    """The id of a user is marked, so that the next person in this browser is not that user."""
    vendor = contentstack(known_users=True)
    seen, _ = decide(vendor, manifest(uid="known-1"), {}, user_id="known-1")
    jar = cookies_of(seen)
    assert jar[USER] == "known-1"
    assert "x-cs-personalize-user-uid" not in ask(vendor, jar).headers
    assert ask(vendor, jar, user_id="known-2").headers["x-cs-personalize-user-uid"] == "known-2"
    after, _ = decide(vendor, manifest(uid="fresh"), jar)
    assert cookies_of(after)[USER] == "fresh"
    assert ask(vendor, cookies_of(after)).headers["x-cs-personalize-user-uid"] == "fresh"


@pytest.mark.parametrize("reply", [Reply(status=500, headers={}, body=b""), TransportError(ErrorCode.TRANSPORT)])
def test_B3_a_failure_does_not_keep_the_user(reply: Reply | TransportError) -> None:
    """Where the vendor does not answer, the user's id goes all the same; a user who is there keeps it."""
    vendor = contentstack(known_users=True)
    jar = cookies_of(decide(vendor, manifest(uid="known-1"), {}, user_id="known-1")[0])
    after, _ = decide(vendor, reply, jar)
    assert after.error is not None
    assert {change.name for change in after.cookies if change.max_age_s == 0} >= {USER}
    assert decide(vendor, reply, jar, user_id="known-1")[0].cookies == ()


def test_B3_an_answer_without_a_uid_does_not_keep_the_user() -> None:
    vendor = contentstack(known_users=True)
    jar = cookies_of(decide(vendor, manifest(uid="known-1"), {}, user_id="known-1")[0])
    after, _ = decide(vendor, manifest(uid=None), jar)
    assert all(change.max_age_s == 0 for change in after.cookies)

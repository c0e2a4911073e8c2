"""Answers that parse but lie, through both edges: what the page shows, what the browser keeps, what is counted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson
import pytest

from tests.contracts.edges.driver import DOMAIN, Edge, Make, webtrends
from tests.faults.catalogue.rows import (
    DAY_S,
    MODE,
    USER,
    Counted,
    control,
    decided,
    eventually,
    page,
    persisted,
    refused,
    without_deliveries,
)
from tests.support.raw_vendor import RawVendor, always, http

# Where nothing else is said the host is www.mysite.com, over https, and a visitor has no cookies.
DAYS_90 = f"Max-Age={90 * DAY_S}; Path=/; Secure; SameSite=Lax"
SESSION = "Path=/; Secure; SameSite=Lax"
B = "b SPLIT -"
DECIDED: Counted = {("decided", "wt", ""): 1}
SKIPPED: Counted = {("track_skipped", "", "SKIPPED"): 1}


@dataclass(frozen=True)
class Row:
    """One lie.

    Attributes:
        answer: what the vendor says.
        shown: the flags that the page reads, each as "key reason code".
        kept: the cookies that the response sets, by name: "value; attributes".
        counted: all counters after the page, apart from the one for a track that counts for nothing.
    """

    answer: Any
    shown: Mapping[str, str]
    kept: Mapping[str, str] = field(default_factory=dict)
    counted: Counted = field(default_factory=lambda: DECIDED)
    host: str = "www.mysite.com"


def undecided(code: str) -> Counted:
    return {("undecided", "wt", code): 1}


def rejected(code: str, what: str = "answer_rejected", times: int = 1) -> Counted:
    return {**DECIDED, (what, "wt", code): times}


def nothing(code: str) -> dict[str, str]:
    """Return what the page shows when the vendor fails as a whole."""
    return {"ta_A": f"control ERROR {code}"}


def left_out(element: Any, code: str) -> Row:
    """Return the row of an element that is not used, with a good one beside it."""
    shown = {"ta_A": "control DEFAULT FLAG_NOT_FOUND", "ta_B": B}
    return Row([element, decided("ta_B")], shown, counted=rejected(code))


def lie(name: str, value: str, code: str) -> Row:
    """Return the row of a cookie that is not set."""
    return Row(cookie(name, value), {"ta_A": B}, counted=rejected(code, "cookie_rejected"))


def default(code: str) -> dict[str, str]:
    """Return what the page shows when the vendor has nothing for the flag, and all is well."""
    return {"ta_A": f"control DEFAULT {code}"}


def cookie(name: str, value: str = "WT3x~", *, domain: str | None = None, **more: Any) -> list[dict[str, Any]]:
    """Return an answer that sets one cookie."""
    params = {} if domain is None else {"cookieDomain": domain}
    return [decided(cookies={name: {**persisted(value), **more}}, **params)]


def lives(timeout: Any, kind: Any = "persisted") -> list[dict[str, Any]]:
    """Return an answer whose cookie has this lifetime."""
    return cookie(USER, timeout=timeout, type=kind)


def foreign(domain: str, host: str = "www.mysite.com") -> Row:
    """Return the row of a domain that the host may not use: the cookie is the host's alone."""
    counted = rejected("COOKIE_DOMAIN", "cookie_rejected")
    return Row(cookie(USER, domain=domain), {"ta_A": B}, kept=KEPT, counted=counted, host=host)


def taken(domain: str, written: str, host: str = "www.mysite.com") -> Row:
    """Return the row of a domain that is set as *written*."""
    line = f"WT3x~; Max-Age={90 * DAY_S}; Path=/; Domain={written}; Secure; SameSite=Lax"
    return Row(cookie(USER, domain=domain), {"ta_A": B}, kept={USER: line}, host=host)


KEPT = {USER: f"WT3x~; {DAYS_90}"}
CROWD = {control(f"ta_{n:02}"): persisted("WT3" + "c" * 17) for n in range(60)}

ROWS: dict[str, Row] = {
    "V1_empty_array": Row([], default("EMPTY"), counted=undecided("EMPTY")),
    "V2_array_of_one": Row([decided()], {"ta_A": B}),
    "V2_bare_object": Row(decided(), {"ta_A": B}),
    "V2_array_of_texts": Row(["a", "b"], nothing("SHAPE"), counted=undecided("SHAPE")),
    "V2_array_of_arrays": Row([[decided()]], nothing("SHAPE"), counted=undecided("SHAPE")),
    "V2_empty_object": Row({}, nothing("SHAPE"), counted=undecided("SHAPE")),
    "V2_null": Row(None, default("EMPTY"), counted=undecided("EMPTY")),
    "V2_text": Row("no", nothing("SHAPE"), counted=undecided("SHAPE")),
    "V2_number": Row(7, nothing("SHAPE"), counted=undecided("SHAPE")),
    "V3_success_and_errors": Row(
        [
            decided(cookies={control("ta_A"): persisted("WT3a~")}),
            refused(303, "ta_B", cookies={MODE: {"value": "WT3m~", "type": "session"}}),
            refused(403, "ta_C", cookies={control("ta_C"): persisted("WT3c~"), USER: persisted("WT3u~")}),
        ],
        {"ta_A": B, "ta_B": "control DEFAULT VENDOR_303", "ta_C": "control DEFAULT VENDOR_403"},
        # The cookies of a mere "no" apply, those of a failure do not.
        kept={control("ta_A"): f"WT3a~; {DAYS_90}", MODE: f"WT3m~; {SESSION}"},
    ),
    "V3_errors_only": Row(
        [refused(303, "ta_A"), refused(403, "ta_B", cookies={USER: persisted("WT3u~")})],
        {"ta_A": "control DEFAULT VENDOR_303", "ta_B": "control ERROR VENDOR_403", "ta_C": "control ERROR VENDOR_403"},
        counted=undecided("VENDOR_403"),
    ),
    "V4_nulls": left_out({"opcode": "process", "body": None, "params": None}, "BAD_ALIAS"),
    "V4_factors_missing": left_out({"opcode": "process", "body": {}, "params": {"testAlias": "ta_A"}}, "BAD_VARIANT"),
    "V4_factors_of_the_wrong_type": left_out(
        {"opcode": "process", "body": {"factors": {"value": "b"}}, "params": {"testAlias": "ta_A"}}, "BAD_VARIANT"
    ),
    "V4_value_of_the_wrong_type": left_out(decided("ta_A", {"a": 1}), "BAD_VARIANT"),
    "V4_alias_of_the_wrong_type": left_out(decided([1]), "BAD_ALIAS"),
    "V4_cookies_of_the_wrong_type": Row([decided(cookies=["a", 1])], {"ta_A": B}),
    "V4_cookie_that_is_a_text": Row([decided(cookies={USER: "WT3u~", MODE: {"value": 5}})], {"ta_A": B}),
    "V4_error_code_as_text": Row([refused("303", "ta_A")], default("VENDOR_303"), counted=undecided("VENDOR_303")),
    "V4_error_code_that_is_none": Row([refused([3], "ta_A")], nothing("VENDOR_0"), counted=undecided("VENDOR_0")),
    "V5_unknown_fields": Row(
        {**decided(r_type="MultiArmedBandit", r_new=[1, {"a": None}], r_paused="perhaps"), "version": 9},
        {"ta_A": B},
    ),
    "V5_new_opcode_beside": Row([{"opcode": "observe", "body": {}, "params": {}}, decided()], {"ta_A": B}),
    "V6_same_alias_twice": Row(
        # The last wins, as its cookie does: both speak of the same variant.
        [
            decided("ta_A", "a", cookies={control("ta_A"): persisted("WT3one~")}),
            decided("ta_A", "b", cookies={control("ta_A"): persisted("WT3two~")}),
        ],
        {"ta_A": B},
        kept={control("ta_A"): f"WT3two~; {DAYS_90}"},
    ),
    "V7_alias_with_line_ends": left_out(decided("ta_A\r\nX: y"), "BAD_ALIAS"),
    "V7_alias_with_bidi_marks": left_out(decided("ta_\u202eA"), "BAD_ALIAS"),
    "V7_alias_of_10_KB": left_out(decided("a" * 10_240), "BAD_ALIAS"),
    "V7_alias_empty": left_out(decided(""), "BAD_ALIAS"),
    "V7_alias_of_pythons_own": Row([decided("__class__"), decided("items")], {"__class__": B, "items": B}),
    "V7_alias_of_html": Row([decided("<b>A</b>")], {"<b>A</b>": B}),
    "V7_variant_with_line_ends": left_out(decided("ta_A", "b\r\nX: y"), "BAD_VARIANT"),
    "V7_variant_empty": left_out(decided("ta_A", ""), "BAD_VARIANT"),
    "V7_variant_of_10_KB": left_out(decided("ta_A", "b" * 10_240), "BAD_VARIANT"),
    "V7_variant_of_html": Row([decided("ta_A", "<script>b</script>")], {"ta_A": "<script>b</script> SPLIT -"}),
    "V7_201_aliases": Row(
        [decided(f"ta_{n}") for n in range(201)],
        {"ta_0": B, "ta_199": B, "ta_200": "control DEFAULT FLAG_NOT_FOUND"},
        counted=rejected("TOO_MANY"),
    ),
    "V8_paused": Row([decided(r_paused="true"), decided("ta_B")], {"ta_A": "control DEFAULT VENDOR_318", "ta_B": B}),
    "V8_paused_alone": Row([decided(r_paused="true")], default("VENDOR_318")),
    "V8_code_318": Row([refused(318, "ta_A")], default("VENDOR_318"), counted=undecided("VENDOR_318")),
    "V9_session_of_the_site": lie("sessionid", "WT3x~", "COOKIE_NAME"),
    "V9_csrf_token": lie("csrftoken", "WT3x~", "COOKIE_NAME"),
    "V9_host_prefix": lie("__Host-x", "WT3x~", "COOKIE_NAME"),
    "V9_another_account": lie("_wt.user-999", "WT3x~", "COOKIE_NAME"),
    "V9_name_with_line_ends": lie(f"{USER}\r\nX-Evil: 1", "WT3x~", "COOKIE_NAME"),
    "V9_name_with_attributes": lie(control("ta; Domain=evil.test"), "WT3x~", "COOKIE_NAME"),
    "V9_empty_name": lie("", "WT3x~", "COOKIE_NAME"),
    **{
        f"V10_{name}": lie(USER, f"a{character}b", "COOKIE_VALUE")
        for name, character in {
            "carriage_return": "\r",
            "line_feed": "\n",
            "header": "\r\nSet-Cookie: sessionid=1\r\n",
            "null": "\0",
            "delete": "\x7f",
            "semicolon": "; Domain=evil.test; a=",
            "comma": ",",
            "quote": '"',
            "backslash": "\\",
            "space": " ",
            "latin_1": "é",
            "line_separator": "\u2028",
        }.items()
    },
    "V10_longer_than_1024": lie(USER, "x" * 1025, "COOKIE_SIZE"),
    "V10_the_others_are_set": Row(
        [decided(cookies={USER: persisted("a\r\nb"), MODE: persisted("WT3m~")})],
        {"ta_A": B},
        kept={MODE: f"WT3m~; {DAYS_90}"},
        counted=rejected("COOKIE_VALUE", "cookie_rejected"),
    ),
    "V11_milliseconds": Row(lives(5400), {"ta_A": B}, kept={USER: "WT3x~; Max-Age=6; Path=/; Secure; SameSite=Lax"}),
    "V11_negative": Row(lives(-5), {"ta_A": B}),  # a deletion of what the visitor does not have
    "V11_zero": Row(lives(0), {"ta_A": B}),
    "V11_huge": Row(
        lives(1 << 62), {"ta_A": B}, kept={USER: f"WT3x~; Max-Age={400 * DAY_S}; Path=/; Secure; SameSite=Lax"}
    ),
    "V11_float": Row(lives(1000.5), {"ta_A": B}, kept={USER: "WT3x~; Max-Age=2; Path=/; Secure; SameSite=Lax"}),
    "V11_text": Row(lives("7776000000"), {"ta_A": B}, kept={USER: f"WT3x~; {SESSION}"}),
    "V11_boolean": Row(lives(True), {"ta_A": B}, kept={USER: f"WT3x~; {SESSION}"}),
    "V11_missing": Row(lives(None), {"ta_A": B}, kept={USER: f"WT3x~; {SESSION}"}),
    "V11_unknown_kind": Row(lives(60_000, "eternal"), {"ta_A": B}, kept={USER: f"WT3x~; {SESSION}"}),
    "V12_foreign": foreign(".evil.example"),
    "V12_sibling": foreign("shop.mysite.com"),
    "V12_suffix_of_the_name": foreign("site.com"),
    "V12_with_an_attribute": foreign("mysite.com; Secure"),
    "V13_com": foreign("com"),
    "V13_co_uk": foreign("co.uk", host="www.mysite.co.uk"),
    "V13_github_io": foreign("github.io", host="me.github.io"),
    "V14_leading_dot": taken(".mysite.com", "mysite.com"),
    "V14_upper_case": taken("MySite.COM", "mysite.com"),
    "V14_trailing_dot": taken("mysite.com.", "mysite.com"),
    "V14_the_host_itself": taken("www.mysite.com", "www.mysite.com", host="WWW.mysite.com:443"),
    "V14_idn": taken(".bücher.example", "xn--bcher-kva.example", host="www.xn--bcher-kva.example"),
    "V14_with_a_port": foreign("mysite.com:443"),
    "V14_address": Row(cookie(USER, domain="127.0.0.1"), {"ta_A": B}, kept=KEPT, host="127.0.0.1:8000"),
    "V14_ipv6": Row(cookie(USER, domain="[::1]"), {"ta_A": B}, kept=KEPT, host="[::1]:8000"),
    "V14_localhost": Row(cookie(USER, domain="localhost"), {"ta_A": B}, kept=KEPT, host="localhost"),
    "V15_60_cookies": Row(
        [
            *(decided(f"ta_{n:02}") for n in range(60)),
            decided(cookies={**CROWD, USER: persisted("WT3u~"), MODE: persisted("WT3m~")}),
        ],
        # First who the visitor is, then the first of the tests; a test whose cookie has no room is not shown.
        {"ta_00": B, "ta_37": B, "ta_38": "control DEFAULT COOKIE_BUDGET", "ta_59": "control DEFAULT COOKIE_BUDGET"},
        kept={
            **{control(f"ta_{n:02}"): f"WT3{'c' * 17}; {DAYS_90}" for n in range(38)},
            USER: f"WT3u~; {DAYS_90}",
            MODE: f"WT3m~; {DAYS_90}",
        },
        counted=rejected("COOKIE_BUDGET", "cookie_rejected", 22),
    ),
    "V15_more_than_the_room": Row(
        [decided(f"ta_{n}", cookies={control(f"ta_{n}"): persisted("x" * 1000)}) for n in range(10)],
        {"ta_0": B, "ta_4": B, "ta_5": "control DEFAULT COOKIE_BUDGET", "ta_9": "control DEFAULT COOKIE_BUDGET"},
        kept={control(f"ta_{n}"): f"{'x' * 1000}; {DAYS_90}" for n in range(5)},
        counted=rejected("COOKIE_BUDGET", "cookie_rejected", 5),
    ),
}


@pytest.mark.parametrize("name", ROWS)
def test_answer(edge: Edge, make: Make, name: str) -> None:
    """The page is whole and shows what can be believed; only sound cookies are set; everything else is counted."""
    row = ROWS[name]
    with RawVendor(always(orjson.dumps(row.answer))) as raw:
        fm = make(vendors=[webtrends(raw.url)])
        got = edge.get(edge.mount(page(row.shown), fm), host=row.host)
        assert (got.status, orjson.loads(got.body)) == (200, row.shown)
        assert dict(line.split("=", 1) for line in got.values("set-cookie")) == row.kept  # type: ignore[misc]
        assert {name for name, _ in got.headers} == {"Content-Type", "cache-control", "vary"} | (
            {"set-cookie"} if row.kept else set()
        )
        enrolled = any(name.startswith("_wt.control-") for name in row.kept)
        assert without_deliveries(fm.counts()) == {**row.counted, **({} if enrolled else SKIPPED)}
        stats = fm.outbox_stats()
        assert stats.accepted == enrolled and stats.balanced()
        assert fm.health()["vendors"]["wt"]["breaker"] == "closed"


TRACKED = {
    # code: what is counted, and where the event is at the end.
    "V16_312_already_converted": (312, ("delivery_delivered", "wt", ""), "delivered"),
    "V16_302_not_in_test": (302, ("delivery_dropped", "wt", "NOT_IN_TEST"), "dropped"),
    "V16_303_no_such_test": (303, ("delivery_dropped", "wt", "NOT_IN_TEST"), "dropped"),
    "V16_318_paused": (318, ("delivery_dropped", "wt", "NOT_IN_TEST"), "dropped"),
    "V16_418_bot": (418, ("delivery_dropped", "wt", "NOT_IN_TEST"), "dropped"),
    "V16_201_bad_metric": (201, ("delivery_dead", "wt", "VENDOR_201"), "dead"),
    "V16_105_bad_token": (105, ("delivery_suspend", "wt", "VENDOR_105"), "queued"),
    "V16_999_unknown": (999, ("delivery_retry", "wt", "VENDOR_OTHER"), "queued"),
}


@pytest.mark.parametrize("name", TRACKED)
def test_answer_to_a_track(edge: Edge, make: Make, name: str) -> None:
    """What can never count is not sent again, what may is kept; the visitor's page has no part in it."""
    code, label, where = TRACKED[name]
    control_answer = http(orjson.dumps(decided(cookies={control("ta_A"): persisted("WT3c~")})))
    track_answer = http(orjson.dumps([refused(code, "ta_A")]))

    def act(connection: Any) -> None:
        while True:
            asked = connection.read_request().head.split(" ")[1]
            connection.send(track_answer if f"/track/{DOMAIN}-ta_A" in asked else control_answer)

    with RawVendor(act) as raw:
        fm = make(vendors=[webtrends(raw.url)])
        got = edge.get(edge.mount(page(["ta_A"]), fm))
        assert (got.status, orjson.loads(got.body)) == (200, {"ta_A": B})
        settled = fm.flush(2.0 if where != "queued" else 0.3)
        assert eventually(lambda: fm.counts().get(label) == 1) and settled is (where != "queued")
        stats = fm.outbox_stats()
        ends: Sequence[int] = (stats.delivered, sum(stats.dropped.values()), stats.dead, stats.queued)
        assert dict(zip(("delivered", "dropped", "dead", "queued"), ends, strict=True))[where] == stats.accepted == 1
        assert stats.balanced() and stats.duplicates == (code == 312)
        assert sum(f"/track/{DOMAIN}-ta_A" in request.head for request in raw.requests) == 1

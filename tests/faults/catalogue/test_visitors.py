"""What visitors send to harm, through both edges: what the vendor is told of it, what is counted, what is kept."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson
import pytest

from flagmw import Webtrends
from flagmw.testing import FakeVendor
from tests.contracts.edges.driver import DOMAIN, TOKEN, Answer, Edge, Make, Seen, Sent, webtrends
from tests.faults.catalogue.rows import (
    MODE,
    USER,
    Counted,
    control,
    decided,
    eventually,
    page,
    persisted,
    without_deliveries,
)
from tests.faults.load.cookies import JUNK, extra_ms
from tests.support.raw_vendor import RawVendor, Received, always

B = "b SPLIT -"
HOST = "https://www.mysite.com"
SECRET = "s3cret"
A_COOKIE = {USER: "WT3u~", control("ta_A"): "WT3c~"}
PROXY = {"trusted_proxies": ["10.0.0.0/8"], "client_ip": "full"}


@dataclass(frozen=True)
class Row:
    """One request.

    Attributes:
        told: of what the vendor is told, the parts that matter here; no entry for a request that asks no vendor.
        counted: counters beside those of a decision and of a track that counts for nothing.
        shown: the flag that the page reads, as "key reason code".
        deleted: the cookie that is given up, because the site's own leave no room in the header.
    """

    sent: Sent
    told: Mapping[str, Any] | None = field(default_factory=dict)
    counted: Counted = field(default_factory=dict)
    shown: str = B
    deleted: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)


def cookies(*headers: str) -> Sent:
    return Sent(headers=[("cookie", header) for header in headers])


def forged(value: str, code: str) -> Row:
    """Return the row of a cookie that no vendor wrote: it is left out, and the one beside it is not."""
    return Row(cookies(f"{USER}={value}; {MODE}=WT3m~"), {"cookies": {MODE: "WT3m~"}}, bad_cookie(code))


def bad_cookie(code: str, times: int = 1) -> Counted:
    return {("visitor_cookie_rejected", "", code): times}


def from_proxy(forwarded: str) -> Sent:
    return Sent(peer="10.0.0.1", headers=[("x-forwarded-for", forwarded)])


def padded(length: int, cookie: str, *, first: bool) -> Sent:
    """Return a request with a cookie header of *length*, the vendor's cookie at its start or at its end."""
    filler = "x=" + "y" * (length - len(cookie) - 4)
    return cookies(f"{cookie}; {filler}" if first else f"{filler}; {cookie}")


# The site's own cookies leave no room for ours.
FULL: Counted = {("cookie_rejected", "wt", "COOKIE_BUDGET"): 1}
NONE: Mapping[str, Any] = {"cookies": {}}

ROWS: dict[str, Row] = {
    "I1_space": forged("a b", "COOKIE_VALUE"),
    "I1_backslash": forged("a\\b", "COOKIE_VALUE"),
    "I1_null": forged("a\0b", "COOKIE_VALUE"),
    "I1_line_ends": forged("a\r\nX-Evil: 1", "COOKIE_VALUE"),
    "I1_latin_1": forged("é", "COOKIE_VALUE"),
    "I1_too_long": forged("a" * 1025, "COOKIE_SIZE"),
    "I1_truncated": Row(cookies(USER), NONE),
    "I1_empty": Row(cookies(f"{USER}="), {"cookies": {USER: ""}}),
    # What is made of cookie octets is the vendor's to judge: its values are opaque.
    "I1_wrong_prefix": Row(cookies(f"{USER}=XYZ"), {"cookies": {USER: "XYZ"}}),
    "I2_another_account": Row(cookies("_wt.user-999=WT3a~; _wt.control-999-ta_A=WT3c~"), NONE),
    "I2_longer_number": Row(cookies(f"{USER}1=WT3a~"), NONE),
    "I2_not_ours_to_send": Row(cookies(f"_wt.conversion-{DOMAIN}-ta_A=1; _wt.project-{DOMAIN}=1"), NONE),
    # By nature: flags are no authorisation.
    "I3_replay": Row(Sent(cookies=A_COOKIE, peer="203.0.113.9"), {"cookies": A_COOKIE}),
    "I4_twice": Row(cookies(f"{USER}=one; {USER}=two"), {"cookies": {USER: "one"}}, bad_cookie("COOKIE_DUPLICATE")),
    "I4_twice_in_two_headers": Row(
        cookies(f"{USER}=one", f"{USER}=two; {USER}=three"),
        {"cookies": {USER: "one"}},
        bad_cookie("COOKIE_DUPLICATE", 2),
    ),
    "I4_a_bad_one_in_front": Row(
        cookies(f"{USER}=a b; {USER}=two"), {"cookies": {USER: "two"}}, bad_cookie("COOKIE_VALUE")
    ),
    "I5_16_KB_at_the_end": Row(
        padded(16_384, f"{USER}=WT3u~", first=False), {"cookies": {USER: "WT3u~"}}, FULL, deleted=USER
    ),
    "I5_16_KB_and_a_byte": Row(padded(16_385, f"{USER}=WT3u~", first=False), NONE),
    "I5_140_KB_at_the_start": Row(
        padded(140_000, f"{USER}=WT3u~", first=True), {"cookies": {USER: "WT3u~"}}, FULL, deleted=USER
    ),
    "I5_140_KB_at_the_end": Row(padded(140_000, f"{USER}=WT3u~", first=False), NONE),
    "I6_quotes_in_ours": Row(
        cookies(f"{USER}={JUNK[:4000]}; {MODE}=WT3m~"), {"cookies": {MODE: "WT3m~"}}, bad_cookie("COOKIE_SIZE")
    ),
    "I6_quotes_in_another": Row(cookies(f"{USER}=WT3u~; a={JUNK}"), {"cookies": {USER: "WT3u~"}}, FULL, deleted=USER),
    "I7_8000_cookies": Row(cookies("; ".join(f"c{n}=1" for n in range(8000)) + f"; {USER}=WT3u~"), NONE),
    "I7_the_200th": Row(cookies("a=1; " * 199 + f"{USER}=WT3u~"), {"cookies": {USER: "WT3u~"}}),
    "I7_nameless": Row(cookies(f"=x; ; =; novalue; {USER}=WT3u~"), {"cookies": {USER: "WT3u~"}}),
    "I7_another_case": Row(cookies(f"{USER.upper()}=a; __HOST-{USER}=b; _Wt.mode-{DOMAIN}=c"), NONE),
    "I7_controls_in_a_name": Row(
        cookies(f"{control('ta_A')}\x01=a; {USER}=WT3u~"),
        {"cookies": {USER: "WT3u~"}},
    ),
    "I8_override_parameter": Row(Sent(query="flag=c&ta_A=c&flagmw=ta_A:c&flagmw.override=ta_A=c"), NONE),
    "I8_override_header": Row(Sent(headers=[("x-flagmw", "ta_A=c"), ("x-flagmw-override", "ta_A=c")]), NONE),
    "I10_debug_in_the_query": Row(
        Sent(query="_wt.debug=true&debug=true&s_mode=staging&_wt.mode=staging&wt_debug=1"),
        {"fields": {"keyToken", "url", "_wt.encrypted", "_wt.track"}},
    ),
    "I10_debug_in_cookies": Row(
        cookies("_wt.debug=true; s_mode=staging; _wm_debug=1"),
        {"fields": {"keyToken", "url", "_wt.encrypted", "_wt.track"}, "cookies": {}},
    ),
    "I11_forwarded_for": Row(Sent(headers=[("x-forwarded-for", "6.6.6.6")]), {"address": "198.51.100.0"}),
    "I11_others": Row(
        Sent(
            headers=[
                ("forwarded", "for=6.6.6.6"),
                ("x-real-ip", "6.6.6.6"),
                ("true-client-ip", "6.6.6.6"),
                ("cf-connecting-ip", "6.6.6.6"),
                ("x-client-ip", "6.6.6.6"),
            ]
        ),
        {"address": "198.51.100.0"},
    ),
    "I11_in_front_of_a_proxy": Row(
        from_proxy("6.6.6.6, 203.0.113.9, 10.0.0.7"), {"address": "203.0.113.9"}, options=PROXY
    ),
    "I12_nothing_between_commas": Row(from_proxy(" , ,"), {"address": "10.0.0.1"}, options=PROXY),
    "I12_unknown": Row(from_proxy("unknown"), {"address": "10.0.0.1"}, options=PROXY),
    "I12_port": Row(from_proxy("203.0.113.9:80"), {"address": "203.0.113.9"}, options=PROXY),
    "I12_zone": Row(from_proxy("fe80::1%eth0"), {"address": "fe80::1"}, options=PROXY),
    "I12_4_KB": Row(from_proxy("1" * 4096), {"address": "10.0.0.1"}, options=PROXY),
    "I12_4_KB_of_commas": Row(from_proxy("," * 4096), {"address": "10.0.0.1"}, options=PROXY),
    "I14_evil_host": Row(Sent(host="evil.test"), {"url": f"{HOST}/"}),
    "I14_host_with_a_path": Row(Sent(host="a/?x="), {"url": f"{HOST}/"}),
    "I14_host_with_a_user": Row(Sent(host="www.mysite.com@evil.test"), {"url": f"{HOST}/"}),
    "I14_two_slashes": Row(Sent("//evil.test/a"), {"url": f"{HOST}//evil.test/a"}),
    "I14_at_sign": Row(Sent("/@evil.test"), {"url": f"{HOST}/@evil.test"}),
    "I14_question_mark": Row(Sent("/a%3Fb=1%23c"), {"url": f"{HOST}/a%3Fb=1%23c"}),
    "I15_agent_of_10_KB": Row(Sent(agent="x" * 10_240), {"agent": "x" * 512}),
    "I15_controls_in_the_agent": Row(Sent(agent="a\x1b[31m\x00b\xe9"), {"agent": "a[31mb?"}),
    "I15_controls_in_the_language": Row(Sent(headers=[("accept-language", "de\x1b[31m"), ("referer", "\x00" * 9000)])),
    "I16_query": Row(Sent("/reset", query=f"token={SECRET}&mail={SECRET}@a.test"), {"url": f"{HOST}/reset"}),
    "I16_referer": Row(Sent(headers=[("referer", f"https://www.mysite.com/reset?token={SECRET}")])),
    "I31_head": Row(Sent(method="HEAD"), None, shown="control ERROR EXCLUDED"),
    "I31_preflight": Row(
        Sent(method="OPTIONS", headers=[("origin", "https://a.test"), ("access-control-request-method", "PUT")]),
        None,
        shown="control ERROR EXCLUDED",
    ),
}


def told(request: Received) -> dict[str, Any]:
    """Return what a request to the vendor says."""
    body = orjson.loads(request.body)
    return {
        "cookies": {name: cookie["value"] for name, cookie in body.get("cookies", {}).items()},
        "fields": set(body),
        "url": body["url"],
        "agent": request.headers.get("user-agent"),
        "address": request.headers.get("x-forwarded-for"),
    }


@pytest.mark.parametrize("name", ROWS)
def test_request(edge: Edge, make: Make, name: str) -> None:
    """The page is served as if the visitor had been honest; the vendor is told what is sound; the rest is counted."""
    row = ROWS[name]
    with RawVendor(always(orjson.dumps(decided()))) as raw:
        vendor = Webtrends(DOMAIN, TOKEN, f"{HOST}{{path}}", name="wt", base_url=f"{raw.url}/api")
        fm = make(vendors=[vendor], **row.options)
        got = edge.call(edge.mount(page(["ta_A"]), fm), row.sent)
        assert (got.status, json.loads(got.body)) == (200, {"ta_A": row.shown})
        assert {line.partition("=")[0] for line in got.values("set-cookie")} == {row.deleted} - {None}
        assert all(line.startswith(f"{row.deleted}=; Max-Age=0; Path=/;") for line in got.values("set-cookie"))
        asked = [request for request in raw.requests if "/track/" not in request.head]
        counted = dict(row.counted)
        enrolled = False
        if row.told is not None:
            (request,) = asked
            assert request.head.split("\r\n")[0] == f"POST /api/control/{DOMAIN} HTTP/1.1"
            assert request.headers["host"] == f"127.0.0.1:{raw.port}"
            seen = told(request)
            assert {part: seen[part] for part in row.told} == row.told
            assert SECRET.encode() not in request.raw
            enrolled = control("ta_A") in seen["cookies"]
            counted["decided", "wt", ""] = 1
        else:
            assert asked == []
        if not enrolled:
            counted["track_skipped", "", "SKIPPED"] = 1
        assert without_deliveries(fm.counts()) == counted
        stats = fm.outbox_stats()
        assert stats.accepted == enrolled and stats.balanced()


def test_I6_quoted_junk_costs_no_time(edge: Edge, make: Make) -> None:
    """32 KB of escaped quotes in a cookie, which stall other parsers for a second, cost less than a millisecond."""
    fm = make(vendors=[webtrends("http://127.0.0.1:9")], paths=["/decided"])
    took_ms = extra_ms(edge, edge.mount(lambda seen: Answer(), fm))
    print(f"{edge.name}: {took_ms:.3f} ms for 32 KB of quoted junk")
    assert took_ms < 1.0


@pytest.mark.parametrize(("status", "read"), [(304, False), (304, True)])
def test_I19_no_cookie_on_304(edge: Edge, make: Make, status: int, read: bool) -> None:
    """A 304 gets no cookie: it would freshen what a cache keeps for others. The next page sets it."""
    answer = orjson.dumps(decided(cookies={USER: persisted("WT3u~")}))

    def view(seen: Seen) -> Answer:
        if read or seen.path == "/page":
            assert seen.flags["ta_A"] == "b"
        return Answer(b"", status, []) if seen.path == "/" else Answer()

    with RawVendor(always(answer)) as raw:
        fm = make(vendors=[webtrends(raw.url)])
        app = edge.mount(view, fm)
        got = edge.get(app)
        assert (got.status, got.headers) == (304, [])
        assert edge.get(app, "/page").values("set-cookie") != []
        assert fm.counts() == {("decided", "wt", ""): 2}


SPLITTING: dict[str, dict[str, Any]] = {
    "metric": {"metric": "a\r\nX-Evil: 1"},
    "metric_of_the_vendors_alphabet": {"metric": "a/../b?c"},
    "data_key": {"metric": "a", "data": {"k\r\n": 1}},
    "data_value": {"metric": "a", "data": {"k": "v\r\nSet-Cookie: a=b"}},
    "alias": {"metric": "a", "aliases": ["ta_A\r\n"]},
    "key": {"metric": "a", "key": "order\n1"},
    "currency": {"metric": "a", "currency": "E\r\n"},
}


FITTED = {
    "metric": "DETAIL_CLEANED",
    "data_key": "DETAIL_CLEANED",
    "data_value": "DETAIL_CLEANED",
    "alias": "NAMES_DROPPED",
    "key": "KEY_DIGEST",
    "currency": "CURRENCY_DROPPED",
}


@pytest.mark.parametrize("debug", [False, True], ids=["production", "debug"])
@pytest.mark.parametrize("name", SPLITTING)
def test_I20_splitting_through_the_application(edge: Edge, make: Make, name: str, debug: bool) -> None:
    """What an application passes on from its visitors ends no line: made fit and counted, or an error in debug."""
    taken: list[Any] = []

    def view(seen: Seen) -> Answer:
        try:
            taken.append(seen.flags.track(**SPLITTING[name]))
        except ValueError as error:
            taken.append(str(error))
        return Answer(seen.flags["ta_A"].encode())

    with RawVendor(always(orjson.dumps(decided(cookies={control("ta_A"): persisted("WT3c~")})))) as raw:
        fm = make(vendors=[webtrends(raw.url)], debug=debug)
        got = edge.get(edge.mount(view, fm))
        assert (got.status, got.body) == (200, b"b")
        assert {header for header, _ in got.headers} == {"Content-Type", "cache-control", "vary", "set-cookie"}
        (said,) = taken
        kept = not debug and "metric" not in name and name != "alias"
        assert (said is None) is (not debug and not kept) and "X-Evil" not in str(said)
        assert fm.counts().get(("track_dropped", "wt", "BAD_METRIC"), 0) == (not debug and "metric" in name)
        assert fm.counts().get(("track_skipped", "", "SKIPPED"), 0) == (not debug and name == "alias")
        fitted = [label[2] for label in fm.counts() if label[0] == "track_fitted"]
        assert fitted == ([] if debug or name == "metric_of_the_vendors_alphabet" else [FITTED[name]])
        assert fm.outbox_stats().accepted == kept and fm.outbox_stats().balanced()
        until = time.monotonic() + 5
        while kept and not any("/track/" in request.head for request in raw.requests) and time.monotonic() < until:
            time.sleep(0.01)
        sent = [request.body for request in raw.requests if "/track/" in request.head]
        assert len(sent) == kept and not any(escape in body for body in sent for escape in (rb"\r", rb"\n"))


@pytest.mark.parametrize(
    ("alias", "path"),
    [
        ("../../evil", "..%2F..%2Fevil"),
        ("a/b", "a%2Fb"),
        ("a?b#c", "a%3Fb%23c"),
        ("a b", "a%20b"),
        ("%2e%2e", "%252e%252e"),
        ("@localhost:9", "%40localhost%3A9"),
    ],
)
def test_I29_alias_in_a_path(edge: Edge, make: Make, alias: str, path: str) -> None:
    """The alias that a forged cookie names stands encoded in the path of the conversion, and chooses nothing else."""
    with RawVendor(always(orjson.dumps(decided()))) as raw:
        fm = make(vendors=[webtrends(f"{raw.url}/api")])
        got = edge.get(edge.mount(page(["ta_A"]), fm), cookies={control(alias): "WT3c~"})
        assert got.status == 200
        assert eventually(lambda: len(raw.requests) == 2)
        assert raw.requests[1].head.split("\r\n")[0] == f"POST /api/track/{DOMAIN}-{path} HTTP/1.1"
        assert raw.requests[1].headers["host"] == f"127.0.0.1:{raw.port}"
        assert without_deliveries(fm.counts()) == {("decided", "wt", ""): 1}
        assert fm.outbox_stats().accepted == 1 and fm.outbox_stats().balanced()


def test_I23_secrets_of_a_request_have_no_repr(edge: Edge, make: Make) -> None:
    """What holds a visitor's cookies shows none of them when a debugger or an error report prints it."""
    shown: list[str] = []

    def view(seen: Seen) -> Answer:
        flags = seen.flags
        shown.extend(
            [
                repr(flags),
                str(flags),
                repr(flags.variant("ta_A")),
                repr(vars(flags) if hasattr(flags, "__dict__") else ""),
            ]
        )
        return Answer()

    fm = make(vendors=[FakeVendor({"ta_A": "b"}), webtrends("http://127.0.0.1:9")])
    edge.get(edge.mount(view, fm), cookies={USER: SECRET, "sid": SECRET})
    assert shown and SECRET not in "".join(shown) + repr(fm) + repr(fm.config)

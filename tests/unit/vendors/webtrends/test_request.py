"""What goes over the wire to Webtrends Optimize."""

from __future__ import annotations

import gzip
import json
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flagmw.codes import ErrorCode
from flagmw.exceptions import ConfigError, TransportError
from flagmw.types import Call, Dead, Retry
from flagmw.vendors.webtrends import Webtrends
from flagmw.vendors.webtrends import request as requests
from flagmw.vendors.webtrends.request import flatten
from tests.unit.vendors.webtrends.codec import (
    MODE,
    TOKEN,
    URL,
    USER,
    body_of,
    control,
    converted,
    decide,
    deliver,
    error,
    event,
    reply,
    run,
    sample,
    success,
    visit,
    webtrends,
)

BASE = "https://ots.webtrends-optimize.com/ots/api/rest-1.2"


def ask(vendor: Webtrends, **more: Any) -> Call:
    """Return the one call of a decision."""
    _, (call,) = decide(vendor, reply([]), **more)
    return call


def matches(call: Call, wanted: Any) -> None:
    assert (call.method, call.url) == (wanted["method"], wanted["url"])
    # As text, so that 1 is not True and "true" is not true.
    assert json.dumps(body_of(call), sort_keys=True) == json.dumps(wanted["body"], sort_keys=True)


@pytest.mark.parametrize(("case", "options"), [("single", {}), ("array", {}), ("no_test", {"project": "ta_Project1"})])
def test_documented_control_requests(case: str, options: dict[str, Any]) -> None:
    """A control request is the documented one, to the type of each field."""
    matches(ask(webtrends(**options)), sample(case).call)


def test_unencrypted_control_request() -> None:
    """`_wt.encrypted` is a JSON boolean."""
    matches(ask(webtrends(encrypted=False)), sample("plain_cookies").call)


def test_documented_track_request() -> None:
    """A track request is the documented one: aliases in the URL, cookies for each, data and metric in the body."""
    vendor = Webtrends(2392083, TOKEN, URL)
    one = event("ta_Project 1", "ta_Project2", metric="Page_Checkout_Step1", data={"revenue": 49.9, "units": 2})
    cookies = {"_wt.control-2392083-ta_Project 1": "WT3a~", "_wt.control-2392083-ta_Project2": "WT3b~"}
    wanted = sample("track")
    outcomes, (call,) = run(
        vendor.deliver([type(one)(**{**_fields(one), "visit": visit(cookies=cookies)})]), wanted.reply
    )
    matches(call, wanted.call)
    assert len(outcomes) == 1


def _fields(one: Any) -> dict[str, Any]:
    return {name: getattr(one, name) for name in one.__dataclass_fields__}


def test_types_on_the_wire() -> None:
    """`_wt.track` is a text and `_wt.encrypted` a boolean, on every request."""
    for vendor in (webtrends(), webtrends(exposure="off", encrypted=False)):
        for call in (ask(vendor), deliver(vendor, event(), reply(converted()))[1][0]):
            body = body_of(call)
            assert type(body["_wt.track"]) is str and type(body["_wt.encrypted"]) is bool
            assert body["keyToken"] == TOKEN


@pytest.mark.parametrize(("exposure", "track", "safe"), [("decide", "true", False), ("off", "false", True)])
def test_views(exposure: str, track: str, safe: bool) -> None:
    """A decision counts a view or not, and may be repeated by the driver only where it does not."""
    call = ask(webtrends(exposure=exposure))
    assert body_of(call)["_wt.track"] == track
    assert call.replay_safe is safe
    assert deliver(webtrends(exposure=exposure), event(), reply(converted()))[1][0].replay_safe is False


# URLs


@pytest.mark.parametrize(
    ("alias", "path"),
    [
        ("ta_Project1", "ta_Project1"),
        ("ta_Project 1", "ta_Project%201"),
        ("a-b.c~d", "a-b.c~d"),
        ("a/b", "a%2Fb"),
        ("../x", "..%2Fx"),
        ("a?b#c", "a%3Fb%23c"),
        ("a%2Fb", "a%252Fb"),
        ("a+b&c", "a%2Bb%26c"),
        ("a:b@c", "a%3Ab%40c"),
    ],
)
def test_I29_aliases_in_paths(alias: str, path: str) -> None:
    """An alias cannot leave its place in the path."""
    assert ask(webtrends(project=alias)).url == f"{BASE}/control/2490593-{path}"
    _, (call,) = deliver(webtrends(), event(alias, "ta_b"), reply(converted()))
    assert call.url == f"{BASE}/track/2490593-{path},ta_b"


def test_another_server() -> None:
    """`base_url` moves every request and nothing else."""
    vendor = webtrends(base_url="https://pat.example/ots/api/rest-1.2/")
    assert ask(vendor).url == "https://pat.example/ots/api/rest-1.2/control/2490593"
    assert deliver(vendor, event(), reply(converted()))[1][0].url.startswith(
        "https://pat.example/ots/api/rest-1.2/track/"
    )


@pytest.mark.parametrize(
    ("url", "sent"),
    [
        ("https://www.mysite.com", "https://www.mysite.com"),
        ("flags.com/", "flags.com/"),
        ("HTTPS://Flags.com/A", "HTTPS://Flags.com/A"),
        ("flags.com{path}", "flags.com/shop/%C3%A9"),
        ("flags.com/{path}", "flags.com/shop/%C3%A9"),
        ("flags.com/{page}?p={path}", "flags.com/{page}?p=/shop/%C3%A9"),
    ],
)
def test_url(url: str, sent: str) -> None:
    """The URL for locations goes out as it is configured; the page's path takes the place of `{path}`."""
    vendor = webtrends(url=url)
    assert body_of(ask(vendor, path="/shop/%C3%A9"))["url"] == sent
    assert vendor.base_url == BASE


# Headers


def test_headers() -> None:
    """The visitor's own user agent and address go along, or none; never a library's."""
    plain = ask(webtrends())
    assert plain.headers == {
        "content-type": "application/json",
        "accept": "application/json",
        "accept-encoding": "gzip",
    }
    told = ask(webtrends(), user_agent="Browser/1.0", client_ip="203.0.113.0")
    assert told.headers["user-agent"] == "Browser/1.0"
    assert told.headers["x-forwarded-for"] == "203.0.113.0"


def test_I22_tokens_are_in_bodies_only() -> None:
    """Neither URL, headers nor repr of a call hold the token or a cookie."""
    call = ask(webtrends(), cookies={USER: "WT3canary"})
    shown = f"{call!r} {call.url} {call.headers} {webtrends()!r}"
    assert TOKEN not in shown and "canary" not in shown


# Cookies


def test_cookies() -> None:
    """Cookies go along by name with their value alone, one pair of quotes taken off."""
    sent = {USER: '"WT3u~"', MODE: "WT3m", control("ta_Project 1"): "WT3c"}
    assert body_of(ask(webtrends(), cookies=sent))["cookies"] == {
        USER: {"value": "WT3u~"},
        MODE: {"value": "WT3m"},
        control("ta_Project 1"): {"value": "WT3c"},
    }


def test_no_cookies() -> None:
    """Without cookies there is no such field."""
    assert "cookies" not in body_of(ask(webtrends()))


def test_unsound_cookies_are_not_sent() -> None:
    """A cookie that got past the edge, from a saved visitor, is not sent either."""
    sent = {USER: "\ud800", MODE: "a b", control("a"): "WT3c"}
    assert body_of(ask(webtrends(), cookies=sent))["cookies"] == {control("a"): {"value": "WT3c"}}


def test_plain_cookies_are_decoded() -> None:
    """Plain values, percent-encoded at the visitor, are sent as the vendor made them."""
    sent = {USER: "%7B%22a%22%3A%20%22%C3%BC%22%7D", MODE: "%FF%ED%A0%80"}
    cookies = body_of(ask(webtrends(encrypted=False), cookies=sent))["cookies"]
    assert cookies[USER] == {"value": '{"a": "ü"}'}
    assert set(cookies[MODE]["value"]) == {"\ufffd"}
    assert body_of(ask(webtrends(), cookies=sent))["cookies"][USER] == {"value": sent[USER]}


# Data and further fields


@pytest.mark.parametrize(
    ("data", "flat"),
    [
        ({"a": 1, "b": 1.5, "c": "x", "d": ""}, {"a": 1, "b": 1.5, "c": "x", "d": ""}),
        ({"a": True, "b": False}, {"a": "true", "b": "false"}),
        ({"a": None, "b": [None], "c": {"d": None}}, {}),
        ({"a": {"b": {"c": 1}}}, {"a.b.c": 1}),
        ({"arr": ["x", 2, [3]]}, {"arr[0]": "x", "arr[1]": 2, "arr[2][0]": 3}),
        ({"a": {"b": [{"c": True}]}}, {"a.b[0].c": "true"}),
        ({"a": (1, 2)}, {"a[0]": 1, "a[1]": 2}),
        ({"a": {}, "b": []}, {}),
        ({1: 2}, {"1": 2}),
        ({"a": object(), "b": {1, 2}, "c": b"x"}, {}),
        ({"a": float("nan"), "b": float("inf"), "c": 1 << 63, "d": -(1 << 63) + 1}, {"d": -(1 << 63) + 1}),
        ({"a": "\ud800", "\ud800": 1, "b": 1}, {"b": 1}),
    ],
)
def test_flatten(data: dict[Any, Any], flat: dict[str, Any]) -> None:
    """Data is made one level deep of texts and numbers; what JSON cannot carry is left out."""
    assert flatten(data) == flat
    assert orjson.loads(orjson.dumps(flatten(data))) == flat


def test_data() -> None:
    """The account's data and the visit's go along, the visit's first; none of it on a track."""
    vendor = webtrends(data={"tier": {"name": "gold"}, "n": 1})
    call = ask(vendor, data={"n": 2, "vip": True})
    assert body_of(call)["data"] == {"tier.name": "gold", "n": 2, "vip": "true"}
    assert "data" not in body_of(ask(webtrends()))
    assert "data" not in body_of(deliver(vendor, event(), reply(converted()))[1][0])


def test_track_data() -> None:
    """A track's data goes along flat; its value and currency beside it, unless the data has such fields."""
    call = deliver(
        webtrends(), event(data={"sku": "A1", "gift": True}, value=49.9, currency="EUR"), reply(converted())
    )[1][0]
    assert body_of(call)["data"] == {"sku": "A1", "gift": "true", "revenue": 49.9, "currency": "EUR"}
    assert body_of(call)["conversionPoint"] == "purchase"
    call = deliver(
        webtrends(), event(data={"revenue": 1, "currency": "x"}, value=2, currency="EUR"), reply(converted())
    )[1][0]
    assert body_of(call)["data"] == {"revenue": 1, "currency": "x"}


def test_staging() -> None:
    """Staging is asked for by the account or by the application for one visit, never by itself."""
    assert "s_mode" not in body_of(ask(webtrends()))
    assert body_of(ask(webtrends(staging=True)))["s_mode"] == "staging"
    assert body_of(ask(webtrends(), staging=True))["s_mode"] == "staging"


def test_debug() -> None:
    """The debug switch is a text, and only there when asked for."""
    assert "debug" not in body_of(ask(webtrends()))
    assert body_of(ask(webtrends(debug=True)))["debug"] == "true"


def test_extra_params() -> None:
    """Further fields are sent as they are, on every request."""
    vendor = webtrends(extra_params={"testGroup": "shared", "nested": {"a": [1]}}, staging=True)
    for call in (ask(vendor), deliver(vendor, event(), reply(converted()))[1][0]):
        body = body_of(call)
        assert (body["testGroup"], body["nested"], body["s_mode"]) == ("shared", {"a": [1]}, "staging")


@pytest.mark.parametrize("field", ["keyToken", "_wt.track", "debug", "cookies", "s_mode", "conversionPoint"])
def test_extra_params_cannot_take_the_protocols_place(field: str) -> None:
    """What has an option of its own cannot be slipped in: neither a secret that would show, nor the debug switch."""
    with pytest.raises(ConfigError, match=field):
        webtrends(extra_params={field: "x"})


# Compression


def unpacked(call: Call) -> Any:
    assert call.headers["content-encoding"] == "gzip"
    return orjson.loads(gzip.decompress(call.body))


def test_gzip() -> None:
    """A compressed request says so and holds the same body; by default none is compressed."""
    plain, packed = ask(webtrends()), ask(webtrends(gzip_request=True))
    assert "content-encoding" not in plain.headers
    assert unpacked(packed) == body_of(plain)


@pytest.mark.parametrize(
    "refusal",
    [
        reply(b"", 400),
        reply(b"<html>", 415),
        reply(error(200)),
        reply(error(202)),
        reply(error(300)),
        reply(error(0), 400),
    ],
)
def test_gzip_is_given_up(refusal: Any) -> None:
    """After an answer of one who cannot read it no request is compressed any more, decisions and tracks alike."""
    vendor = webtrends(gzip_request=True)
    _, (first,) = decide(vendor, refusal)
    assert "content-encoding" in first.headers
    assert "content-encoding" not in ask(vendor).headers
    vendor = webtrends(gzip_request=True)
    outcome, (first,) = deliver(vendor, event(), refusal)
    assert "content-encoding" in first.headers
    assert outcome == Retry(ErrorCode.ENCODING)
    _, (second,) = deliver(vendor, event(), reply(converted()))
    assert "content-encoding" not in second.headers


@pytest.mark.parametrize(
    "other", [reply(success()), reply(error(303)), reply(b"", 500), reply(b"<html>"), TransportError(ErrorCode.RESET)]
)
def test_gzip_is_kept(other: Any) -> None:
    """Any other answer says nothing about compression."""
    vendor = webtrends(gzip_request=True)
    decide(vendor, other)
    assert "content-encoding" in ask(vendor).headers


def test_a_refusal_without_compression() -> None:
    """Where nothing was compressed a refusal is what it says."""
    assert deliver(webtrends(), event(), reply(b"", 400))[0] == Dead(ErrorCode.HTTP_STATUS, verdict=False)
    assert deliver(webtrends(), event(), reply(error(202)))[0] == Dead(ErrorCode.VENDOR_202)


# All at once

JSONISH = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.binary(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.text(max_size=5) | st.integers(), JSONISH, max_size=4), st.text(max_size=40), st.text())
def test_any_visit_can_be_sent(data: dict[Any, Any], value: str, path: str) -> None:
    """Whatever data, cookies and path a visit has, the request is sound JSON of texts and numbers."""
    call = ask(webtrends(url="flags.com{path}"), data=data, cookies={USER: value}, path=path or "/")
    sent = body_of(call).get("data", {})
    assert all(type(item) in (str, int, float) for item in sent.values())
    assert call.url == f"{BASE}/control/2490593"


def test_a_path_with_broken_unicode() -> None:
    """A path that a job made up of anything does not keep a decision from being asked for."""
    assert body_of(ask(webtrends(url="flags.com{path}"), path="/a\ud800b"))["url"] == "flags.com/ab"


@given(st.lists(st.from_regex(r"\A[!-+\--:<>-~]([ -+\--:<>-~]{0,20}[!-+\--:<>-~])?\Z"), min_size=1, max_size=4))
def test_I29_any_alias_stays_in_its_place(aliases: list[str]) -> None:
    """However aliases are spelt, the path has one more segment, with one comma between two."""
    url = requests.endpoint(BASE, "track", "1", aliases)
    tail = url.removeprefix(f"{BASE}/track/1-")
    assert len(tail.split(",")) == len(aliases)
    assert not set(tail) - set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~%,")

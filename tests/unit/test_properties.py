"""What holds for every input: octets by the RFC, aliases on their way into cookies and paths, data, headers."""

from __future__ import annotations

import string
from http.cookies import SimpleCookie
from typing import Any
from urllib.parse import unquote

import orjson
from hypothesis import given
from hypothesis import strategies as st

from flagmw._cookies.header import format_set_cookie, octets_ok, read, writable
from flagmw.flags.track import DATA_BYTES, DATA_KEYS, KEY_CHARS, VALUE_CHARS, checked_data
from flagmw.types import VisitorState
from flagmw.vendors.webtrends.request import endpoint, flatten
from flagmw.vendors.webtrends.response import ALIAS
from tests.unit._web.test_inbound import Request
from tests.unit._web.test_inbound import visit as visit_of
from tests.unit.vendors.webtrends.codec import USER, control, decide, reply, success, webtrends

# RFC 6265 section 4.1.1: cookie-octet is US-ASCII without controls, white space, quote, comma, semicolon, backslash.
OCTETS = frozenset(chr(n) for n in range(0x21, 0x7F)) - set('",;\\')
# What an alias is made of: printable ASCII without what ends a name, a pair or a list.
IN_ALIAS = frozenset(string.printable[:95]) - set(",;=")
ANY = st.text(max_size=40) | st.text(st.sampled_from(sorted(OCTETS | set('",; \\\r\n\0é☃'))), max_size=40)
RULE = webtrends().cookies


@given(ANY)
def test_a_value_is_written_only_of_cookie_octets(value: str) -> None:
    """A vendor's value is set exactly when the RFC allows it, and then it stands in the line as it is."""
    sound = set(value) <= OCTETS
    assert octets_ok(value) is sound
    assert (writable(USER, value, RULE) is None) is sound
    if sound:
        line = format_set_cookie(USER, value, max_age_s=None, domain=None, secure=False, http_only=False)
        assert line == f"{USER}={value}; Path=/; SameSite=Lax"


@given(ANY)
def test_a_value_is_read_only_of_cookie_octets(value: str) -> None:
    """What a visitor sends is taken exactly when the vendor could have written it; one pair of quotes is forgiven."""
    sent = value.partition(";")[0].strip(" \t")
    bare = sent[1:-1] if len(sent) > 1 and sent[0] == sent[-1] == '"' else sent
    found = read([f"{USER}={value}"], [RULE])
    assert found.own == ([{USER: sent}] if set(bare) <= OCTETS else [{}])
    assert len(found.rejected) == (not set(bare) <= OCTETS)


@given(st.dictionaries(st.sampled_from([USER, control("ta_A"), control("ta_B")]), st.text(sorted(OCTETS), min_size=1)))
def test_another_parser_reads_what_is_written(cookies: dict[str, str]) -> None:
    """The standard library, which is none of our making, finds the same names and values in our lines."""
    for name, value in cookies.items():
        line = format_set_cookie(name, value, max_age_s=60, domain="mysite.com", secure=True, http_only=True)
        (morsel,) = SimpleCookie(line).values()
        assert (morsel.key, morsel.coded_value) == (name, value)
        assert (morsel["path"], morsel["max-age"], morsel["domain"]) == ("/", "60", "mysite.com")
        assert morsel["secure"] and morsel["httponly"] and morsel["samesite"] == "Lax"


@given(st.text(max_size=140) | st.text(st.sampled_from(sorted(IN_ALIAS) + list(",;=\r\n\0é")), max_size=140))
def test_an_alias_by_the_book(alias: str) -> None:
    """An alias is 1 to 128 characters that fit a cookie's name and a path, and is no blank at either end."""
    sound = 0 < len(alias) <= 128 and set(alias) <= IN_ALIAS and alias == alias.strip(" ")
    assert bool(ALIAS.fullmatch(alias)) is sound
    decision, _ = decide(webtrends(), reply(success(alias, "b")))
    assert list(decision.variants) == ([alias] if sound else [])


@given(st.lists(st.text(sorted(IN_ALIAS), min_size=1, max_size=30).filter(lambda a: a == a.strip(" ")), min_size=1))
def test_an_alias_survives_cookie_and_path(aliases: list[str]) -> None:
    """What was decided for comes back in the visitor's cookies, and stands in the path as one segment each."""
    header = "; ".join(f"{control(alias)}=WT3c~" for alias in dict.fromkeys(aliases))
    assert {RULE.alias_of(name) for name in read([header], [RULE]).own[0]} == set(aliases)
    base, _, listed = endpoint("https://vendor.test/api", "track", "1", aliases).partition("/track/1-")
    assert base == "https://vendor.test/api" and not set(listed) & set("/?#@ ")
    assert [unquote(part) for part in listed.split(",")] == aliases


SCALARS = st.text(max_size=12) | st.integers() | st.floats() | st.booleans() | st.none() | st.decimals() | st.binary()


@given(st.dictionaries(st.text(max_size=8) | st.integers(), SCALARS, max_size=60))
def test_data_is_in_bounds_or_refused(data: dict[Any, Any]) -> None:
    """Data that is taken keeps all limits, and is JSON on its way; all else is a ValueError on one line."""
    try:
        taken = checked_data("data", data)
    except ValueError as error:
        assert str(error).isprintable()
        return
    assert len(taken) <= DATA_KEYS and set(taken) == {name for name, value in data.items() if value is not None}
    assert all(0 < len(name) <= KEY_CHARS and name.isprintable() | (not name.isascii()) for name in taken)
    assert all(len(value) <= VALUE_CHARS for value in taken.values() if isinstance(value, str))
    assert sum(len(name.encode()) + len(str(value).encode()) for name, value in taken.items()) <= DATA_BYTES
    assert set(orjson.loads(orjson.dumps(flatten(taken)))) == set(taken)


LATIN = st.text(st.characters(max_codepoint=0xFF), max_size=60)


@given(agent=LATIN, forwarded=LATIN, host=LATIN, path=LATIN, peer=st.none() | st.just("10.0.0.1") | LATIN)
def test_headers_to_the_vendor_are_sound(agent: str, forwarded: str, host: str, path: str, peer: str | None) -> None:
    """Whatever a request's headers hold, a call's are of a closed set, printable ASCII, and its URL is the vendor's."""
    sent = {"user-agent": agent, "x-forwarded-for": forwarded, "host": host}
    inbound = Request(sent, raw_path="/" + path, peer=peer)
    made = visit_of(inbound, trusted_proxies=["10.0.0.0/8"], client_ip="full")
    call = next(webtrends(url="https://www.mysite.com{path}").decide(made, VisitorState()))
    assert set(call.headers) <= {"content-type", "accept", "accept-encoding", "user-agent", "x-forwarded-for"}
    assert all(value.isascii() and value.isprintable() for value in call.headers.values())
    assert call.url == f"{webtrends().base_url}/control/2490593"
    assert orjson.loads(call.body)["url"].startswith("https://www.mysite.com/")

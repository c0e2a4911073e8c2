"""What a response's headers become."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flagmw._web.response import Header, edit, shared_cacheable

COOKIE = "_wt.user-1=WT3u; Path=/; SameSite=Lax"
SECOND = "_wt.mode-1=WT3m; Path=/; SameSite=Lax"


def cc(value: str) -> list[Header]:
    return [("Cache-Control", value)]


def values(headers: list[Header] | None, wanted: str) -> list[str]:
    assert headers is not None
    return [value for name, value in headers if name.lower() == wanted]


@pytest.mark.parametrize(
    ("headers", "shared"),
    [
        ([], False),
        (cc("public"), True),
        (cc("PUBLIC"), True),
        (cc("public, max-age=60"), True),
        (cc("max-age=60"), True),
        (cc("max-age=0"), False),
        (cc('max-age="60"'), True),
        (cc("max-age=60, must-revalidate"), True),
        (cc("s-maxage=60"), True),
        (cc("s-maxage=0"), False),
        (cc("s-maxage=60, private"), False),
        (cc("private"), False),
        (cc("private, max-age=60"), False),
        (cc('private="x-user", max-age=60'), True),
        (cc("no-store"), False),
        (cc("public, no-store"), False),
        (cc("no-cache"), False),
        (cc("no-cache, max-age=60"), True),
        (cc("must-revalidate"), False),
        (cc("max-age=\xb2"), False),
        (cc("max-age=abc"), False),
        (cc("max-age="), False),
        (cc("max-age"), False),
        (cc("max-age=" + "9" * 5000), True),
        (cc(",,;=;,"), False),
        ([("cache-control", "no-cache"), ("CACHE-CONTROL", "public")], True),
        ([("Expires", "Fri, 01 Jan 2100 00:00:00 GMT")], True),
        ([("Expires", "0")], False),
        ([("Expires", "-1")], False),
        ([("Expires", "Fri, 01 Jan 2100 00:00:00 GMT"), *cc("private")], False),
        ([("Expires", "Fri, 01 Jan 2100 00:00:00 GMT"), *cc("max-age=0")], False),
        ([("Surrogate-Control", "max-age=60"), *cc("private")], True),
        ([("CDN-Cache-Control", "max-age=60"), *cc("no-store")], True),
        ([("Cloudflare-CDN-Cache-Control", "public"), *cc("private")], True),
        ([("X-Accel-Expires", "60"), *cc("private")], True),
        ([("CDN-Cache-Control", "no-store"), *cc("private")], False),
        ([("Surrogate-Control", "no-store")], False),
        ([("Surrogate-Control", "max-age=0")], False),
        ([("X-Accel-Expires", "0")], False),
    ],
)
def test_I17_shared_cacheable(headers: list[Header], shared: bool) -> None:
    """A response is shared where the application says so, to all caches or to those in front of it."""
    assert shared_cacheable(headers) is shared
    untouched = edit(headers, 200, [COOKIE], touched=False)
    assert (untouched is None) is shared
    if untouched is not None:
        assert values(untouched, "set-cookie") == [COOKIE]
        assert not shared_cacheable(untouched)


@pytest.mark.parametrize("touched", [True, False])
@pytest.mark.parametrize("status", [100, 101, 103, 199, 304])
def test_I19_no_cookie_on_304_and_1xx(status: int, touched: bool) -> None:
    """A 304 and interim answers stay as they are."""
    assert edit(cc("max-age=60"), status, [COOKIE], touched=touched) is None


@pytest.mark.parametrize("status", [200, 204, 206, 301, 302, 303, 307, 400, 404, 500, 503])
def test_other_statuses(status: int) -> None:
    """Every other answer takes cookies, errors and redirects too."""
    assert values(edit([], status, [COOKIE], touched=False), "set-cookie") == [COOKIE]


def test_nothing_to_do() -> None:
    """A response for which nobody looked at flags, with no cookie due, stays as it is."""
    for headers in ([], cc("public, max-age=60"), cc("private"), [("Vary", "Accept")]):
        assert edit(headers, 200, [], touched=False) is None


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (None, "private"),
        ("", "private"),
        ("public", "private"),
        ("public, max-age=60", "private, max-age=60"),
        ("max-age=60, s-maxage=600", "private, max-age=60"),
        ("S-MaxAge=600, Public, Max-Age=60", "private, Max-Age=60"),
        ("private", "private"),
        ("Private, max-age=60", "private, max-age=60"),
        ("max-age=60, private", "private, max-age=60"),
        ('private="x-user", max-age=60', "private, max-age=60"),
        ("no-store", "no-store"),
        ("no-store, private", "private, no-store"),
        ("public, no-store", "no-store"),
        ("NO-STORE", "NO-STORE"),
        ("no-cache", "private, no-cache"),
        ('no-cache="set-cookie"', 'private, no-cache="set-cookie"'),
        ("no-cache, must-revalidate, max-age=0", "private, no-cache, must-revalidate, max-age=0"),
        ("stale-while-revalidate=60, public", "private"),
        ("max-age=60, immutable", "private, max-age=60, immutable"),
        ('ext="a, public"', 'private, ext="a, public"'),
        ("garbage;;, ,=", "private, garbage"),
    ],
)
def test_touched_becomes_private(before: str | None, after: str) -> None:
    """A response for which flags were looked at is the visitor's own; what is stricter or for browsers stays."""
    headers = [] if before is None else cc(before)
    edited = edit(headers, 200, [], touched=True)
    assert values(edited, "cache-control") == [after]
    assert not shared_cacheable(edited or [])


def test_untouched_with_cookies_becomes_private() -> None:
    """A response that takes cookies is private, without varying by them."""
    edited = edit([("Vary", "Accept"), *cc("no-cache")], 200, [COOKIE], touched=False)
    assert values(edited, "cache-control") == ["private, no-cache"]
    assert values(edited, "vary") == ["Accept"]


def test_I17_no_cache_in_front_is_invited() -> None:
    """Fields that let caches in front store over the head of Cache-Control go; those that forbid it stay."""
    shared = [("CDN-Cache-Control", "max-age=600"), ("Surrogate-Control", "max-age=600"), ("X-Accel-Expires", "600")]
    strict = [("CDN-Cache-Control", "no-store"), ("Surrogate-Control", "max-age=0"), ("X-Accel-Expires", "0")]
    assert edit(shared, 200, [COOKIE], touched=True) == [
        ("cache-control", "private"),
        ("vary", "Cookie"),
        ("set-cookie", COOKIE),
    ]
    edited = edit(strict, 200, [], touched=True)
    assert edited is not None and edited[:3] == strict


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ([], ["Cookie"]),
        (["Accept"], ["Accept, Cookie"]),
        (["Accept", "Accept-Encoding"], ["Accept, Accept-Encoding, Cookie"]),
        (["cookie"], ["cookie"]),
        (["Accept,COOKIE"], ["Accept,COOKIE"]),
        (["*"], ["*"]),
        (["Accept, *"], ["Accept, *"]),
        (["", " , "], ["Cookie"]),
        (["Set-Cookie"], ["Set-Cookie, Cookie"]),
    ],
)
def test_vary(before: list[str], after: list[str]) -> None:
    """A response that depends on flags varies by cookie, once, beside what it varied by."""
    edited = edit([("Vary", value) for value in before], 200, [], touched=True)
    assert values(edited, "vary") == after


def test_the_applications_cookies_stay() -> None:
    """Cookies are appended after the application's own, each in a header of its own."""
    headers = [
        ("Content-Type", "text/html"),
        ("Set-Cookie", "session=1; HttpOnly"),
        ("Set-Cookie", "a=1"),
        ("ETag", "x"),
    ]
    edited = edit(headers, 200, [COOKIE, SECOND], touched=False)
    assert edited is not None
    assert edited[:4] == headers
    assert values(edited, "set-cookie") == ["session=1; HttpOnly", "a=1", COOKIE, SECOND]


@pytest.mark.parametrize(
    ("own", "kept"),
    [("_wt.user-1=app", [SECOND]), (" _wt.user-1 =app; Path=/", [SECOND]), ("_wt.USER-1=app", [COOKIE, SECOND])],
)
def test_the_applications_cookie_of_that_name_wins(own: str, kept: list[str]) -> None:
    """A cookie that the application sets itself is not set again by us."""
    edited = edit([("set-cookie", own)], 200, [COOKIE, SECOND], touched=False)
    assert values(edited, "set-cookie") == [own, *kept]


def test_all_lines_of_a_cookie_go_out() -> None:
    """A deletion in two places is two lines of one name; both are sent."""
    lines = ["a=; Path=/; Max-Age=0", "a=; Path=/; Max-Age=0; Domain=mysite.com"]
    assert values(edit([], 200, lines, touched=False), "set-cookie") == lines


def test_the_applications_list_is_not_changed() -> None:
    """The list of headers that was given stays as it was."""
    headers = [("Cache-Control", "public"), ("Vary", "Accept")]
    edit(headers, 200, [COOKIE], touched=True)
    assert headers == [("Cache-Control", "public"), ("Vary", "Accept")]


NAMES = st.sampled_from(
    ["cache-control", "Vary", "set-cookie", "expires", "CDN-Cache-Control", "x-accel-expires", "etag"]
)
TEXTS = st.text(st.characters(max_codepoint=255), max_size=40) | st.sampled_from(
    ["public", "max-age=60", 'private="a', 'x="\\', "s-maxage=²", "*", "cookie", "no-store, public"]
)


@given(st.lists(st.tuples(NAMES, TEXTS), max_size=6), st.booleans(), st.lists(st.sampled_from([COOKIE, SECOND])))
def test_never_shared_with_a_cookie(headers: list[Header], touched: bool, cookies: list[str]) -> None:
    """Whatever the application's headers say, what leaves with a cookie of ours or a flag in it is not shared."""
    edited = edit(headers, 200, cookies, touched=touched)
    if edited is None:
        assert not touched
        assert not cookies or shared_cacheable(headers)
        return
    assert not shared_cacheable(edited)
    (cache_control,) = values(edited, "cache-control")
    assert re.search(r"\b(private|no-store)\b", cache_control, re.I)
    untouched_names = [header for header in headers if header[0] in ("set-cookie", "etag", "expires")]
    assert [header for header in edited if header in untouched_names] == untouched_names

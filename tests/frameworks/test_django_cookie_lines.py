"""Set-Cookie lines through Django's response, in the two ways in which its versions write them."""

from __future__ import annotations

import pickle

import pytest

from flagmw.django.response import CookieLine

LINES = [
    "_wt.control-2490593-ta_Project 1=WT3abc~; Max-Age=7776000; Path=/; Domain=mysite.com; Secure; SameSite=Lax",
    'cs-personalize-manifest={"a":1,"b":[2]}; Path=/; SameSite=Lax',
    "mbox=session#1#2|PC#3#4; Max-Age=10; Path=/; HttpOnly; SameSite=Lax",
    "n=; Max-Age=0; Path=/shop; SameSite=Lax",
]


@pytest.mark.parametrize("line", LINES)
def test_B4_byte_for_byte(line: str) -> None:
    """Up to 6.0 Django calls `output(header="")`, from 6.1 on `OutputString()`; a cached page comes out of a pickle."""
    for cookie in (CookieLine(line), pickle.loads(pickle.dumps(CookieLine(line)))):
        assert cookie.output(header="").strip() == line
        assert cookie.OutputString() == line
        assert cookie.output() == f"Set-Cookie: {line}"


def test_B4_what_somebody_changed_leaves_changed() -> None:
    """Middleware that makes all cookies HttpOnly is heard in both ways."""
    cookie = CookieLine("mt.v=2.1.3; Path=/; SameSite=Lax")
    cookie["httponly"] = True
    assert "HttpOnly" in cookie.OutputString() and "HttpOnly" in cookie.output(header="")


def test_pages_that_an_earlier_version_cached_are_read() -> None:
    """Its pickles name the function as a part of the middleware's module."""
    line = LINES[0]
    stored = pickle.dumps(CookieLine(line), protocol=0).replace(
        b"flagmw.django.response\nrestored", b"flagmw.django.middleware\n_restored"
    )
    assert b"middleware" in stored
    assert pickle.loads(stored).OutputString() == line

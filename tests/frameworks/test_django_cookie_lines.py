"""Set-Cookie lines through Django's response, in the two ways in which its versions write them."""

from __future__ import annotations

import pickle

import pytest

from flagmw.django.middleware import _Cookie

LINES = [
    "_wt.control-2490593-ta_Project 1=WT3abc~; Max-Age=7776000; Path=/; Domain=mysite.com; Secure; SameSite=Lax",
    'cs-personalize-manifest={"a":1,"b":[2]}; Path=/; SameSite=Lax',
    "mbox=session#1#2|PC#3#4; Max-Age=10; Path=/; HttpOnly; SameSite=Lax",
    "n=; Max-Age=0; Path=/shop; SameSite=Lax",
]


@pytest.mark.parametrize("line", LINES)
def test_B4_byte_for_byte(line: str) -> None:
    """Up to 6.0 Django calls `output(header="")`, from 6.1 on `OutputString()`; a cached page comes out of a pickle."""
    for cookie in (_Cookie(line), pickle.loads(pickle.dumps(_Cookie(line)))):
        assert cookie.output(header="").strip() == line
        assert cookie.OutputString() == line
        assert cookie.output() == f"Set-Cookie: {line}"


def test_B4_what_somebody_changed_leaves_changed() -> None:
    """Middleware that makes all cookies HttpOnly is heard in both ways."""
    cookie = _Cookie("mt.v=2.1.3; Path=/; SameSite=Lax")
    cookie["httponly"] = True
    assert "HttpOnly" in cookie.OutputString() and "HttpOnly" in cookie.output(header="")

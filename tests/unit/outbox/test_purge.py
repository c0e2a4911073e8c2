"""Whose an event is: by user id, by the cookie that tells visitors apart, or by a vendor's word."""

from __future__ import annotations

from dataclasses import replace

import pytest

from flagmw.outbox.purge import is_of
from flagmw.types import Event
from flagmw.vendors.static import Static
from flagmw.vendors.webtrends import Webtrends

WT = Webtrends(1, "7a32f9364bd1ea68668a0e50bd815e79109a03720951", "https://www.mysite.com", name="wt")
STATIC = Static(flags={"a": "b"}, name="static")
USER, CONTROL = "_wt.user-1", "_wt.control-1-x"


def of(make_event, *, user_id: str | None = None, vendor: str = "wt", **cookies: str) -> Event:
    event = make_event(vendor=vendor)
    return replace(event, visit=replace(event.visit, user_id=user_id, cookies=cookies))


def known(**by):
    return is_of([WT, STATIC], **({"user_ids": [], "saved": {}, "cookies": {}} | by))


@pytest.mark.parametrize(
    ("by", "found"),
    [
        ({"user_ids": ["u-1"]}, {"same user"}),
        ({"saved": {USER: "ann", CONTROL: "same"}}, {"same cookie"}),
        ({"cookies": {CONTROL: "same"}}, {"same control"}),
        ({"user_ids": ["u-1"], "cookies": {USER: "bob"}}, {"same user", "same control"}),
        ({"user_ids": ["ann"]}, set()),
    ],
)
def test_a_visitor_is_found_by_what_they_are_known_by(make_event, by, found):
    """By user id, by the cookie that tells visitors apart, or by a cookie that the operator names; nobody else is."""
    events = {
        "same user": of(make_event, user_id="u-1"),
        "same cookie": of(make_event, **{USER: "ann", CONTROL: "other"}),
        "same control": of(make_event, **{USER: "bob", CONTROL: "same"}),
        "nothing": of(make_event),
    }
    matches = known(**by)
    assert {name for name, event in events.items() if matches(event)} == found


def test_a_vendor_that_names_no_cookie_is_asked_for_its_identity(make_event):
    """Two events are then of one visitor when the vendor says the same of both."""
    name = next(iter(STATIC.cookies.prefixes))
    matches = known(saved={name: "visitor-1"})
    assert matches(of(make_event, vendor="static", **{name: "visitor-1"}))
    assert not matches(of(make_event, vendor="static", **{name: "visitor-2"}))
    assert not matches(of(make_event, vendor="gone", **{name: "visitor-1"}))


def test_somebody_must_be_meant():
    """A saved visitor without any telling cookie is refused instead of matching everybody."""
    with pytest.raises(ValueError, match="identifies no visitor"):
        known(saved={CONTROL: "same"})

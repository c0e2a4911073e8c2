"""Identifiers of events, and the key that keeps a visitor's events in order."""

from __future__ import annotations

import uuid

from hypothesis import given
from hypothesis import strategies as st

from flagmw._support.ids import uuid7, visitor_key


def test_uuid7() -> None:
    """An id is a version 7 UUID of the RFC's variant that begins with the milliseconds."""
    made = uuid.UUID(uuid7(1_800_000_000.123))
    assert made.version == 7
    assert made.variant == uuid.RFC_4122
    assert made.int >> 80 == 1_800_000_000_123


def test_ids_are_ordered_by_time() -> None:
    """Later ids sort behind earlier ones, and no two are the same."""
    ids = [uuid7(1_800_000_000 + n / 1000) for n in range(100)]
    assert ids == sorted(ids)
    assert len({uuid7(0.0) for _ in range(1000)}) == 1000
    assert uuid.UUID(uuid7()).version == 7


def test_visitor_keys() -> None:
    """A visitor is their id where they have one, else their cookies in any order; every vendor has keys of its own."""
    key = visitor_key("wt", None, {"a": "1", "b": "2"})
    assert key == visitor_key("wt", None, {"b": "2", "a": "1"})
    assert len({key, visitor_key("wt", None, {"a": "1"}), visitor_key("x", None, {"a": "1", "b": "2"})}) == 3
    assert visitor_key("wt", "u-1", {}) == visitor_key("wt", "u-1", {"a": "1"}) != visitor_key("wt", "u-2", {})


@given(st.text(), st.none() | st.text(), st.dictionaries(st.text(), st.text(), max_size=3))
def test_visitor_keys_say_nothing(vendor: str, user_id: str | None, cookies: dict[str, str]) -> None:
    """Any visitor has a short key of hexadecimal digits."""
    key = visitor_key(vendor, user_id, cookies)
    assert len(key) == 24 and int(key, 16) >= 0
    visitor_key("\ud800", "\ud800", {"\ud800": "\udfff"})

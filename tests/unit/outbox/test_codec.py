"""Events as bytes: everything survives, nothing damaged or newer is mistaken for an event."""

from __future__ import annotations

import json
from dataclasses import replace
from types import MappingProxyType

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flagmw._support.encryption import Unreadable
from flagmw.codes import ErrorCode, Reason
from flagmw.outbox.codec import from_bytes, to_bytes
from flagmw.types import Event, Factor, Track, Variant, Visit

TEXT = st.text(max_size=20)
SCALARS = st.text(max_size=10) | st.integers(-(2**63), 2**63) | st.floats(allow_nan=False, allow_infinity=False)
MAPS = st.dictionaries(TEXT, SCALARS | st.booleans(), max_size=4).map(MappingProxyType)
TIMES = st.floats(0, 4e9)

TRACKS = st.builds(
    Track,
    id=TEXT,
    metric=TEXT,
    data=MAPS,
    aliases=st.none() | st.lists(TEXT, max_size=3).map(tuple),
    vendors=st.none() | st.lists(TEXT, max_size=3).map(tuple),
    key=st.none() | TEXT,
    value=st.none() | st.floats(allow_nan=False, allow_infinity=False),
    currency=st.none() | TEXT,
    items=st.lists(MAPS, max_size=2).map(tuple),
    occurred_at=TIMES,
)
VISITS = st.builds(
    Visit,
    url=st.just("https://shop.example/a"),
    client_ip=st.none() | TEXT,
    user_agent=st.none() | TEXT,
    user_id=st.none() | TEXT,
    cookies=st.dictionaries(TEXT, TEXT, max_size=3),
    site_cookie_bytes=st.integers(0, 9_000),
    data=MAPS,
    staging=st.booleans(),
    record=st.booleans(),
    preview=st.dictionaries(TEXT, st.dictionaries(TEXT, TEXT, max_size=2), max_size=2),
    now=TIMES,
)
VARIANTS = st.builds(
    Variant,
    alias=TEXT,
    key=TEXT,
    payload=st.none() | st.dictionaries(TEXT, st.booleans(), max_size=2),
    reason=st.sampled_from(Reason),
    error_code=st.none() | st.sampled_from(ErrorCode),
    factors=st.lists(st.builds(Factor, TEXT, TEXT, st.none() | st.integers(0, 9)), max_size=2).map(tuple),
    ids=st.dictionaries(TEXT, TEXT, max_size=2),
)
EVENTS = st.builds(
    Event,
    id=TEXT,
    vendor=TEXT,
    kind=st.sampled_from(["track", "exposure"]),
    track=TRACKS,
    aliases=st.lists(TEXT, max_size=3).map(tuple),
    visit=VISITS,
    visitor_key=TEXT,
    exposed=st.lists(VARIANTS, max_size=2).map(tuple),
    at_most_once=st.booleans(),
)


@given(EVENTS)
def test_every_field_survives(event):
    """What is read back equals what was written, whatever its texts and numbers are."""
    assert from_bytes(to_bytes(event)) == event


@given(EVENTS)
def test_no_field_is_forgotten(event):
    """The document, which is written out field by field, says what the encoder would find by itself."""
    found = orjson.dumps(
        {"v": 1, "event": event}, default=lambda value: value._asdict() if isinstance(value, Factor) else dict(value)
    )
    assert orjson.loads(to_bytes(event)) == orjson.loads(found)


def test_an_empty_host_is_read_as_it_is_made(make_event):
    """A visit without host and path, as other code may write it, takes both from its url."""
    event = make_event(url="https://shop.example/a")
    document = orjson.loads(to_bytes(event))
    document["event"]["visit"] |= {"host": "", "path": ""}
    assert from_bytes(orjson.dumps(document)) == event


def test_text_that_is_no_unicode_survives(make_event):
    """Half a surrogate pair, as a server's decoding of strange headers leaves, is kept as it is."""
    event = make_event(url="https://shop.example/\udc80")
    assert from_bytes(to_bytes(event)) == event
    seen = replace(event, exposed=(Variant(alias="ta_A", key="b", factors=(Factor("f", "v", 3), Factor("g", "w"))),))
    assert from_bytes(to_bytes(seen)) == seen


def test_data_without_a_form_is_refused_without_being_quoted(make_event):
    """An object that is no data is an error of its maker, and no secret shows in it."""
    event = make_event()
    bad = replace(event, track=replace(event.track, data={"a": object(), "secret": "hunter2"}))
    with pytest.raises(ValueError, match="cannot be stored") as caught:
        to_bytes(bad)
    assert "hunter2" not in str(caught.value)


def test_P25_fields_of_later_versions_are_passed_over(make_event):
    """A later version of this code may add fields: an event with more of them is read all the same."""
    event = make_event()
    document = orjson.loads(to_bytes(event))
    document["later"] = document["event"]["later"] = {"x": 1}
    document["event"]["visit"]["later"] = document["event"]["track"]["later"] = [1]
    assert from_bytes(orjson.dumps(document)) == event


@pytest.mark.parametrize(
    "change", [{"v": 2}, {"kind": "impression"}, {"exposed": [{"reason": "LATER"}]}, {"aliases": None}, {"visit": None}]
)
def test_P25_what_this_code_does_not_know_is_unreadable(make_event, change):
    """A newer version and an unknown word are told apart from events."""
    document = orjson.loads(to_bytes(make_event()))
    (document if "v" in change else document["event"]).update(change)
    with pytest.raises(Unreadable):
        from_bytes(orjson.dumps(document))


@given(EVENTS, st.data())
def test_P10_damaged_bytes_are_an_event_or_unreadable(event, data):
    """Cut and changed bytes bring no other error, and never a value of a type that the vendors do not expect."""
    raw = bytearray(to_bytes(event))
    for _ in range(data.draw(st.integers(1, 3))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    del raw[data.draw(st.integers(1, len(raw))) :]
    try:
        read = from_bytes(bytes(raw))
    except Unreadable:
        return
    assert isinstance(read.visit.url, str) and isinstance(read.track.metric, str)
    assert to_bytes(read)


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(), lambda inner: st.lists(inner), max_leaves=9))
def test_P10_other_json_is_unreadable(value):
    """JSON that is no event at all is told apart too."""
    with pytest.raises(Unreadable):
        from_bytes(json.dumps(value).encode())

"""What `track()` takes, and what it refuses without saying what it was."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from decimal import Decimal
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flagmw.flags.track import (
    DATA_BYTES,
    DATA_KEYS,
    ITEMS,
    KEY_CHARS,
    METRIC_CHARS,
    ORDER_KEY_CHARS,
    VALUE_CHARS,
    checked_data,
    checked_id,
    make_track,
)
from flagmw.types import Track

CANARY = "s3cr3t-c4n4ry"


class Metric(str, enum.Enum):  # noqa: UP042 - the kind of enumeration whose str() is not its value
    PURCHASE = "purchase"


def make(metric: Any = "purchase", **more: Any) -> Track:
    nothing = dict.fromkeys(("data", "aliases", "vendors", "key", "value", "currency", "items"))
    return make_track(metric, **{**nothing, "now": 1_800_000_000.5, **more})


def refused(match: str, metric: Any = "purchase", **more: Any) -> None:
    with pytest.raises(ValueError, match=match) as caught:
        make(metric, **more)
    assert type(caught.value) is ValueError


def test_everything() -> None:
    """What is given comes out as it is, with an id of its own and the time."""
    track = make(
        data={"revenue": 49.9, "units": 2, "member": True, "sku": "A1", "note": "", "gone": None},
        aliases=["ta_a", "ta_b", "ta_a"],
        vendors=("wt",),
        key="order-1",
        value=Decimal("49.90"),
        currency="EUR",
        items=[{"sku": "A1", "n": 2}, {}],
    )
    assert track.data == {"revenue": 49.9, "units": 2, "member": True, "sku": "A1", "note": ""}
    assert (track.aliases, track.vendors, track.key) == (("ta_a", "ta_b"), ("wt",), "order-1")
    assert (track.value, track.currency) == (49.9, "EUR")
    assert track.items == ({"sku": "A1", "n": 2}, {})
    assert track.occurred_at == 1_800_000_000.5
    assert make().id != make().id


def test_nothing_but_the_metric() -> None:
    """A metric is enough."""
    track = make()
    assert (track.data, track.aliases, track.vendors, track.key) == ({}, None, None, None)
    assert (track.value, track.currency, track.items) == (None, None, ())


def test_members_of_enumerations_are_their_values() -> None:
    """A metric, alias or value given as an enumeration's member is sent as its text."""
    track = make(Metric.PURCHASE, data={"kind": Metric.PURCHASE}, aliases=[Metric.PURCHASE])
    assert (track.metric, track.data, track.aliases) == ("purchase", {"kind": "purchase"}, ("purchase",))
    assert {type(track.metric), type(track.data["kind"])} == {str}


def test_data_is_copied() -> None:
    """Later changes of the caller's mapping do not reach the track; any mapping will do."""
    data = {"a": 1}
    track = make(data=MappingProxyType(data))
    data["a"] = 2
    assert track.data == {"a": 1}


@pytest.mark.parametrize(("key", "kept"), [("A-1", "A-1"), (17, "17"), (Decimal("17"), "17")])
def test_business_keys(key: Any, kept: str) -> None:
    """An order number need not be text."""
    assert make(key=key).key == kept


@pytest.mark.parametrize(
    ("field", "limit", "build"),
    [
        ("metric", METRIC_CHARS, lambda n: {"metric": "m" * n}),
        ("key", ORDER_KEY_CHARS, lambda n: {"key": "k" * n}),
        ("a key of data", KEY_CHARS, lambda n: {"data": {"k" * n: 1}}),
        ("data", VALUE_CHARS, lambda n: {"data": {"k": "v" * n}}),
        ("data", DATA_KEYS, lambda n: {"data": {f"k{i}": i for i in range(n)}}),
        ("data", DATA_BYTES, lambda n: {"data": sized(n)}),
        ("items", ITEMS, lambda n: {"items": [{"a": 1}] * n}),
        ("items", DATA_KEYS, lambda n: {"items": [{f"k{i}": i for i in range(n)}]}),
        ("aliases", 250, lambda n: {"aliases": ["a" * n]}),
        ("vendors", 250, lambda n: {"vendors": ["a" * n]}),
    ],
)
def test_limits(field: str, limit: int, build: Any) -> None:
    """Each limit holds to the character: one below and the limit itself pass, one above is refused by name."""
    make(**build(limit - 1))
    make(**build(limit))
    refused(field, **build(limit + 1))


def sized(total: int) -> dict[str, str]:
    """Return data of *total* bytes in all, within every other limit."""
    data: dict[str, str] = {}
    for n in range(total // 260):
        data[f"k{n:03}"] = "v" * 256
    rest = total - sum(len(k) + len(v) for k, v in data.items())
    return {**data, "x": "y" * (rest - 1)} if rest > 1 else data


def test_size_counts_bytes_not_characters() -> None:
    """The total is in bytes of UTF-8."""
    make(data={f"k{n:02}": "ü" * 125 for n in range(32)})
    refused("bytes", data={f"k{n:02}": "ü" * 128 for n in range(32)})


@pytest.mark.parametrize(
    ("field", "arguments"),
    [
        ("metric", {"metric": ""}),
        ("metric", {"metric": None}),
        ("metric", {"metric": b"purchase"}),
        ("metric", {"metric": "a\r\nb"}),
        ("metric", {"metric": "\ud800"}),
        ("metric", {"metric": "a\u2028b"}),
        ("data", {"data": 5}),
        ("data", {"data": "a=1"}),
        ("data", {"data": [("a", 1)]}),
        ("a key of data|data has a key", {"data": {"": 1}}),
        ("data has a key", {"data": {1: 1}}),
        ("a key of data", {"data": {"a\n": 1}}),
        ("data", {"data": {"a": {"b": 1}}}),
        ("data", {"data": {"a": [1]}}),
        ("data", {"data": {"a": b"x"}}),
        ("data", {"data": {"a": float("nan")}}),
        ("data", {"data": {"a": float("-inf")}}),
        ("data", {"data": {"a": Decimal("NaN")}}),
        ("data", {"data": {"a": Decimal("sNaN")}}),
        ("data", {"data": {"a": 1 << 63}}),
        ("data", {"data": {"a": -(1 << 63)}}),
        ("data", {"data": {"a": "x\x1b[31m"}}),
        ("data", {"data": {"a": "\udfff"}}),
        ("aliases", {"aliases": "ta_a"}),
        ("aliases", {"aliases": b"ta_a"}),
        ("aliases", {"aliases": 5}),
        ("a name in aliases", {"aliases": [5]}),
        ("a name in aliases", {"aliases": [""]}),
        ("vendors", {"vendors": "wt"}),
        ("vendors", {"vendors": object()}),
        ("key", {"key": ""}),
        ("key", {"key": "a\x00"}),
        ("value", {"value": "49.90"}),
        ("value", {"value": True}),
        ("value", {"value": float("inf")}),
        ("value", {"value": 1 << 1100}),
        ("value", {"value": Decimal("sNaN")}),
        ("currency", {"currency": "eur"}),
        ("currency", {"currency": "EURO"}),
        ("currency", {"currency": 978}),
        ("currency", {"currency": "EU\n"}),
        ("items", {"items": "abc"}),
        ("items", {"items": {"sku": 1}}),
        ("items", {"items": iter([{"a": 1}])}),
        ("items", {"items": 5}),
        (r"items\[1\]", {"items": [{}, 7]}),
        (r"items\[0\]", {"items": [{"a": [1]}]}),
    ],
)
def test_refusals(field: str, arguments: dict[str, Any]) -> None:
    """What cannot be sent is a ValueError that names the argument."""
    refused(f"^({field})", **arguments)


@pytest.mark.parametrize(("number", "kept"), [((1 << 63) - 1, True), (1 << 63, False), (1 - (1 << 63), True)])
def test_integers_of_64_bits(number: int, kept: bool) -> None:
    """Integers go out to the last bit, or not at all."""
    if kept:
        assert make(data={"n": number}).data == {"n": number}
    else:
        refused("64 bits", data={"n": number})


@pytest.mark.parametrize(
    "arguments",
    [
        {"metric": CANARY + "\n"},
        {"metric": CANARY * 20},
        {"data": {"a": CANARY + "\x00"}},
        {"data": {"a": CANARY * 50}},
        {"data": {"a": [CANARY]}},
        {"data": CANARY},
        {"data": {"a": "\ud800" + CANARY}},
        {"aliases": CANARY},
        {"aliases": [CANARY + "\n"]},
        {"vendors": [CANARY * 30]},
        {"key": CANARY * 20},
        {"value": CANARY},
        {"currency": CANARY},
        {"items": [{"a": CANARY + "\r"}]},
        {"items": CANARY},
    ],
)
def test_I22_texts_never_contain_the_value(arguments: dict[str, Any]) -> None:
    """The text of a refusal names the argument and the rule, never what was in it."""
    with pytest.raises(ValueError) as caught:
        make(**arguments)
    assert CANARY not in str(caught.value)


def test_I20_keys_are_shown_safely() -> None:
    """A key of data that is named in a text has passed its own check first."""
    with pytest.raises(ValueError) as caught:
        make(data={"bad\r\nkey": object()})
    assert "\n" not in str(caught.value)


JUNK = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.binary(max_size=8)
    | st.decimals()
    | st.complex_numbers(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5) | st.integers(), inner, max_size=3),
    max_leaves=8,
)


@given(JUNK, JUNK, JUNK, JUNK, JUNK, JUNK)
def test_nothing_but_value_errors(metric: Any, data: Any, aliases: Any, key: Any, value: Any, items: Any) -> None:
    """Whatever is given, it is either taken or a ValueError; what is taken can be stored and sent."""
    try:
        track = make(metric, data=data, aliases=aliases, key=key, value=value, items=items)
    except ValueError:
        return
    for mapping in (track.data, *track.items):
        assert isinstance(mapping, Mapping)
        for name, scalar in mapping.items():
            assert isinstance(scalar, str | int | float | bool)
            f"{name}{scalar}".encode()
    f"{track.metric}{track.key}{track.aliases}".encode()


@pytest.mark.parametrize(
    ("given_id", "kept"),
    [
        (None, None),
        ("", None),
        ("u-1", "u-1"),
        (17, "17"),
        (0, "0"),
        ("x" * 256, "x" * 256),
        (Metric.PURCHASE, "purchase"),
    ],
)
def test_visitor_ids(given_id: Any, kept: str | None) -> None:
    """A visitor's id is text, a number's digits, or none."""
    assert checked_id("user_id", given_id) == kept


@pytest.mark.parametrize("given_id", ["x" * 257, "a\n", "\ud800", True, 1.5, b"x", ["x"], 1 << 300])
def test_no_visitor_ids(given_id: Any) -> None:
    """What is no id is refused by name."""
    with pytest.raises(ValueError, match=r"^user_id"):
        checked_id("user_id", given_id)


def test_empty_data() -> None:
    """No data, and data of nothing but None, is empty."""
    assert checked_data("data", None) == checked_data("data", {}) == checked_data("data", {"a": None}) == {}

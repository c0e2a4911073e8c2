"""Details of tracks that cannot be sent as they are: the track stays, the detail is changed or left out."""

from __future__ import annotations

import datetime
import enum
import ipaddress
import pathlib
import uuid
from collections import OrderedDict
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flagmw import ErrorCode as E
from flagmw._support.list_text import ListText
from flagmw.flags.fit import Changes, fit_items, fit_track
from flagmw.flags.track import DATA_BYTES, DATA_KEYS, ITEMS, make_track
from flagmw.types import Track
from tests.unit.flags.test_track import JUNK

UNSAFE = "a\tb\r\nc"


class Size(enum.Enum):
    SMALL = "small"
    ONE = 1
    ODD = object()


class Currency(str, enum.Enum):  # noqa: UP042 - the kind of enumeration whose str() is not its value
    EUR = "EUR"


def fit(metric: Any = "purchase", **more: Any) -> tuple[Track, dict[E, int]]:
    """Return the track that is made of the arguments, and how often each code was noted."""
    nothing = dict.fromkeys(("data", "aliases", "vendors", "key", "value", "currency", "items"))
    changes = Changes()
    track = fit_track(metric, changes, **{**nothing, "now": 1_800_000_000.5, **more})
    noted: dict[E, int] = {}
    for (code, _), times in changes.items():
        noted[code] = noted.get(code, 0) + times
    # What was changed or left out is fit.
    asked = {name: getattr(track, name) for name in nothing}
    make_track(track.metric, now=1.0, **{**asked, "items": track.items[:ITEMS]})
    return track, noted


@pytest.mark.parametrize(
    ("value", "kept", "code"),
    [
        (datetime.datetime(2026, 5, 4, 3, 2, 1, tzinfo=datetime.UTC), "2026-05-04T03:02:01+00:00", E.DETAIL_CONVERTED),
        (datetime.date(2026, 5, 4), "2026-05-04", E.DETAIL_CONVERTED),
        (datetime.time(3, 2), "03:02:00", E.DETAIL_CONVERTED),
        (datetime.timedelta(minutes=1), "60.0", E.DETAIL_CONVERTED),
        (uuid.UUID(int=1), "00000000-0000-0000-0000-000000000001", E.DETAIL_CONVERTED),
        (ipaddress.ip_address("::1"), "::1", E.DETAIL_CONVERTED),
        (pathlib.PurePosixPath("a/b"), "a/b", E.DETAIL_CONVERTED),
        (Size.SMALL, "small", E.DETAIL_CONVERTED),
        (Size.ONE, "1", E.DETAIL_CONVERTED),
        (Size.ODD, "ODD", E.DETAIL_CONVERTED),
        (b"text", "text", E.DETAIL_CONVERTED),
        (1 << 70, str(1 << 70), E.DETAIL_CONVERTED),
        (Decimal("49.90"), "49.90", None),
        (["a", 1, True, None, Size.SMALL, {}], "a,1,true,small", E.DETAIL_JOINED),
        (("x",), "x", E.DETAIL_JOINED),
        ({"b", "a"}, "a,b", E.DETAIL_JOINED),
        (UNSAFE, "a b c", E.DETAIL_CLEANED),
        ("end\n", "end", E.DETAIL_CLEANED),
        ("\ud800x", "\ufffdx", E.DETAIL_CLEANED),
        ("x" * 257, "x" * 256, E.DETAIL_CUT),
        (float("nan"), None, E.DETAIL_DROPPED),
        (Decimal("-Infinity"), None, E.DETAIL_DROPPED),
        (b"\xff", None, E.DETAIL_DROPPED),
        ({"nested": 1}, None, E.DETAIL_DROPPED),
        ([], None, E.DETAIL_DROPPED),
        (object(), None, E.DETAIL_DROPPED),
        (None, None, None),
    ],
)
def test_values_of_data(value: Any, kept: Any, code: E | None) -> None:
    """A value of a common type is sent as text; what has no text is left out. The others stay, in data and in lines."""
    expected = {"a": 1, "b": True} if kept is None else {"a": 1, "x": kept, "b": True}
    for field in ("data", "items"):
        entries = {"a": 1, "x": value, "b": True}
        track, noted = fit(**{field: entries if field == "data" else [entries]})
        got = track.data if field == "data" else track.items[0]
        assert got == expected
        assert noted == ({} if code is None else {code: 1})


def test_data_beyond_its_limits() -> None:
    """The first 50 entries stay, as far as 8 KiB reach; odd names are made fit."""
    track, noted = fit(data={f"k{i}": i for i in range(60)})
    assert list(track.data) == [f"k{i}" for i in range(DATA_KEYS)]
    assert noted == {E.DETAIL_DROPPED: 10}
    track, noted = fit(data={f"k{i:02}": "ü" * 256 for i in range(20)} | {"last": 1})
    assert len(track.data) == 16 and track.data["last"] == 1
    assert sum(len(k.encode()) + len(str(v).encode()) for k, v in track.data.items()) <= DATA_BYTES
    assert noted == {E.DETAIL_DROPPED: 5}
    track, noted = fit(data={1: "one", "a\nb": 2, "": 3, None: 4, "n" * 70: 5, "n" * 71: 6})
    assert track.data == {"1": "one", "a b": 2, "n" * 64: 5}
    assert noted == {E.DETAIL_CONVERTED: 1, E.DETAIL_CLEANED: 1, E.DETAIL_DROPPED: 3, E.DETAIL_CUT: 2}


def test_long_keys_stay_two() -> None:
    """Keys up to 250 characters are sent as they are; longer ones end in a digest, always the same."""
    checkout = "cs_test_a1" + "B" * 56
    assert fit(key=checkout)[0].key == checkout
    assert fit(key="k" * 250)[0].key == "k" * 250
    first, second = fit(key="k" * 250 + "1"), fit(key="k" * 250 + "2")
    assert first[0].key != second[0].key and first[0].key == fit(key="k" * 250 + "1")[0].key
    assert len(first[0].key or "") == 250 and first[1] == {E.KEY_DIGEST: 1}
    lines = {fit(key=key)[0].key for key in ("a\nb", "a b", "a\tb", "a\ud800b")}
    assert len(lines) == 4 and not any("\n" in (key or "") for key in lines)


@pytest.mark.parametrize(
    ("arguments", "kept", "codes"),
    [
        ({"key": uuid.UUID(int=2)}, {"key": "00000000-0000-0000-0000-000000000002"}, {}),
        ({"key": Currency.EUR}, {"key": "EUR"}, {}),
        ({"key": b"o-1"}, {"key": "o-1"}, {E.DETAIL_CONVERTED: 1}),
        ({"key": ""}, {"key": None}, {E.KEY_DROPPED: 1}),
        ({"key": object()}, {"key": None}, {E.KEY_DROPPED: 1}),
        ({"currency": "eur"}, {"currency": "EUR"}, {E.CURRENCY_CASE: 1}),
        ({"currency": " gbp\n"}, {"currency": "GBP"}, {E.CURRENCY_CASE: 1}),
        ({"currency": Currency.EUR}, {"currency": "EUR"}, {E.CURRENCY_CASE: 1}),
        ({"currency": "€"}, {"currency": None}, {E.CURRENCY_DROPPED: 1}),
        ({"currency": 978}, {"currency": None}, {E.CURRENCY_DROPPED: 1}),
        ({"value": "49.90"}, {"value": 49.9}, {E.VALUE_CONVERTED: 1}),
        ({"value": "49,90"}, {"value": None}, {E.VALUE_DROPPED: 1}),
        ({"value": "1e999"}, {"value": None}, {E.VALUE_DROPPED: 1}),
        ({"value": float("nan")}, {"value": None}, {E.VALUE_DROPPED: 1}),
        ({"value": True}, {"value": None}, {E.VALUE_DROPPED: 1}),
        ({"aliases": "a"}, {"aliases": ("a",)}, {E.DETAIL_CONVERTED: 1}),
        ({"aliases": ["a", 5, "b\n", "", "x" * 251]}, {"aliases": ("a",)}, {E.NAMES_DROPPED: 4}),
        ({"aliases": 5}, {"aliases": None}, {E.NAMES_DROPPED: 1}),
        ({"vendors": {"wt"}}, {"vendors": ("wt",)}, {}),
        ({"items": {"sku": "A"}}, {"items": ({"sku": "A"},)}, {E.DETAIL_CONVERTED: 1}),
        ({"items": iter([{"sku": "A"}])}, {"items": ({"sku": "A"},)}, {E.DETAIL_CONVERTED: 1}),
        ({"items": [{"sku": "A"}, 5]}, {"items": ({"sku": "A"},)}, {E.ITEM_DROPPED: 1}),
        ({"items": "abc"}, {"items": ()}, {E.DETAIL_DROPPED: 1}),
        ({"data": [("a", 1)]}, {"data": {}}, {E.DETAIL_DROPPED: 1}),
        ({"metric": "buy\nnow"}, {"metric": "buy now"}, {E.DETAIL_CLEANED: 1}),
        ({"metric": "m" * 130}, {"metric": "m" * 128}, {E.DETAIL_CUT: 1}),
        ({"metric": Size.SMALL}, {"metric": "small"}, {}),
    ],
)
def test_arguments(arguments: dict[str, Any], kept: dict[str, Any], codes: dict[E, int]) -> None:
    """Every argument is made fit by itself, with its code."""
    track, noted = fit(**arguments)
    assert {name: getattr(track, name) for name in kept} == kept
    assert noted == codes


@pytest.mark.parametrize("metric", ["", None, b"", "\n", object(), [], True])
def test_no_metric(metric: Any) -> None:
    """Only a track without any metric is refused."""
    with pytest.raises(ValueError, match="metric"):
        fit(metric)


def test_lines_beyond_the_limit() -> None:
    """The last line stands for all further ones where the vendor has such a line; else they are cut."""
    track, _ = fit(items=[{"sku": f"S{i}", "value": i} for i in range(130)])
    assert len(track.items) == 130
    changes = Changes()
    summed = fit_items(track, lambda lines, currency: {"n": len(lines)}, changes)
    assert summed.items == (*track.items[: ITEMS - 1], {"n": 31})
    cut = fit_items(track, None, changes)
    assert cut.items == fit_items(track, lambda lines, currency: None, changes).items == track.items[:ITEMS]
    assert changes == {(E.ITEMS_SUMMED, "items"): 1, (E.ITEMS_CUT, "items"): 2}


def test_list_texts() -> None:
    """A list's text keeps its entries, also in a copy of another process."""
    import pickle

    text = ListText(["a", "b,c"])
    assert text == "a,b,c"
    assert pickle.loads(pickle.dumps(text)).parts == ("a", "b,c")


class Raising(Mapping[Any, Any]):
    """A mapping of the application that breaks in the middle."""

    def __getitem__(self, name: Any) -> Any:
        raise RuntimeError(name)

    def __iter__(self) -> Any:
        yield "a"
        raise RuntimeError

    def __len__(self) -> int:
        return 2


def test_mappings_that_raise() -> None:
    """What can be read of it is kept."""
    track, noted = fit(data=Raising(), items=[Raising(), OrderedDict(a=1)])
    assert (track.data, track.items) == ({}, ({}, {"a": 1}))
    assert noted == {E.DETAIL_DROPPED: 2}


@given(JUNK, JUNK, JUNK, JUNK, JUNK, JUNK, st.none() | st.text(max_size=4))
def test_anything_else_is_kept(
    data: Any, aliases: Any, vendors: Any, key: Any, value: Any, items: Any, currency: Any
) -> None:
    """With a metric, whatever the details are, there is a track that can be sent."""
    track, _ = fit(data=data, aliases=aliases, vendors=vendors, key=key, value=value, items=items, currency=currency)
    assert track.metric == "purchase"

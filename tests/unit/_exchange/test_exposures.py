"""Which variants are reported as seen: each once for a visitor within the time."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flagmw._exchange.exposures import MemoryExposures, stripped, visitor_of
from flagmw.types import Factor, Variant

NOW = 1_800_000_000.0
ONE = ("wt", "ada", "ta_A", "1")


def test_first_within_the_time() -> None:
    """Once reported, a view is reported again only when the time is over, and then holds as long again."""
    seen = MemoryExposures()
    told = [seen.first(*ONE, 60, NOW + after) for after in (0, 1, 59.9, 60, 61, 119, 120)]
    assert told == [True, False, False, True, False, False, True]


@pytest.mark.parametrize("place", range(4))
def test_every_part_counts(place: int) -> None:
    """Another vendor, visitor, alias or variant is another view."""
    seen = MemoryExposures()
    assert seen.first(*ONE, 60, NOW)
    other = [*ONE]
    other[place] += "x"
    assert seen.first(*other, 60, NOW)  # type: ignore[call-arg]
    assert not seen.first(*ONE, 60, NOW)


def test_clock_that_goes_back() -> None:
    """A clock that is set back by an hour silences nobody for an hour."""
    seen = MemoryExposures()
    assert seen.first(*ONE, 60, NOW)
    assert seen.first(*ONE, 60, NOW - 3600)
    assert not seen.first(*ONE, 60, NOW - 3599)


@pytest.mark.parametrize("earlier_s", [1e-6, 0.5, 30])
def test_request_that_began_earlier_and_reads_later(earlier_s: float) -> None:
    """Of two requests of one visitor, the one with the earlier time may come second: one view, not two."""
    seen = MemoryExposures()
    assert seen.first(*ONE, 60, NOW)
    assert not seen.first(*ONE, 60, NOW - earlier_s)
    assert not seen.first(*ONE, 60, NOW + 59)
    assert seen.first(*ONE, 60, NOW + 60)


def test_no_time_at_all() -> None:
    """With a time of nothing every read is a view."""
    seen = MemoryExposures()
    assert [seen.first(*ONE, 0, NOW) for _ in range(3)] == [True] * 3


def test_bounded() -> None:
    """What is remembered is bounded: the oldest view may be reported once more, never the latest."""
    seen = MemoryExposures(100)
    for n in range(1000):
        assert seen.first("wt", str(n), "ta_A", "1", 60, NOW)
    assert not seen.first("wt", "999", "ta_A", "1", 60, NOW)
    assert seen.first("wt", "0", "ta_A", "1", 60, NOW)


@given(st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from("xy"), st.floats(0, 10)), max_size=30))
def test_never_twice_within_the_time(reads: list[tuple[str, str, float]]) -> None:
    """Whatever the order, two reports of one view are at least the time apart."""
    seen, now = MemoryExposures(), NOW
    last: dict[tuple[str, str], float] = {}
    for visitor, alias, pause in reads:
        now += pause
        if seen.first("wt", visitor, alias, "1", 15, now):
            assert now - last.get((visitor, alias), 0) >= 15
            last[visitor, alias] = now
        else:
            assert now - last[visitor, alias] < 15


@pytest.mark.parametrize(
    ("ids", "user_id", "who"),
    [
        ({"system_uid": "s"}, "ada", "ada"),
        ({"system_uid": "s", "visitor": "v"}, None, "s"),
        ({"visitor": "v"}, None, "v"),
        ({}, None, "cookies"),
    ],
)
def test_who_has_seen_it(ids: dict[str, str], user_id: str | None, who: str) -> None:
    """By what stays the same: the site's id, the vendor's, or else its cookies."""
    assert visitor_of(Variant(alias="a", key="k", ids=ids), user_id, "cookies") == who


def test_stripped() -> None:
    """A report has the vendor's own alias and identifiers, and no content."""
    whole = Variant(
        alias="x:x:a",
        key="k",
        payload={"big": 1},
        vendor="v",
        experiment_id="1",
        factors=(Factor("f", "v"),),
        ids={"i": "1"},
    )
    (told,) = stripped([whole], "x:")
    assert told == Variant(alias="x:a", key="k", vendor="v", experiment_id="1", ids={"i": "1"})

"""Pages by links, while others add and delete rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flagmw.admin.errors import AnswerError
from flagmw.admin.paging.confirmed import MAX_PAGES, ConfirmedPager
from flagmw.admin.paging.page import Page

Change = tuple[int, str, int]  # before which call, "add" or "delete", at which place


class Vendor:
    """A list whose pages are counted by position, and that changes between calls."""

    def __init__(self, size: int, changes: list[Change], page_size: int) -> None:
        self.rows = list(range(1, size + 1))
        self.next_id, self.page_size, self.calls = 1000, page_size, 0
        self.changes = changes
        self.always = set(self.rows)

    def fetch(self, address: str | None) -> Iterator[Any]:
        for _, kind, place in [one for one in self.changes if one[0] == self.calls]:
            if kind == "add":
                self.rows.insert(place % (len(self.rows) + 1), self.next_id)
                self.next_id += 1
            elif self.rows:
                self.always.discard(self.rows.pop(place % len(self.rows)))
        self.calls += 1
        number = int(address or 1)
        begin = (number - 1) * self.page_size
        rows = [{"id": own} for own in self.rows[begin : begin + self.page_size]]
        more = begin + self.page_size < len(self.rows)
        yield from ()
        return Page(rows, next=str(number + 1) if more else None)


def read(pager: ConfirmedPager) -> list[int]:
    """Return the ids of all rows."""
    found: list[int] = []
    while (page := finished(pager.next_page())) is not None:
        found += [row["id"] for row in page]
    return found


def finished(flow: Any) -> Any:
    """Return the result of a flow that asks for nothing."""
    try:
        while True:
            next(flow)
    except StopIteration as end:
        return end.value


def changes(*kinds: str, most: int = 12) -> Any:
    """Return lists of changes of these kinds."""
    one = st.tuples(st.integers(0, 30), st.sampled_from(kinds), st.integers(0, 60))
    return st.lists(one, max_size=most)


@settings(max_examples=300, deadline=None)
@given(st.integers(0, 40), st.integers(1, 9), st.one_of(changes("add"), changes("delete")))
def test_every_row_comes_once(size: int, page_size: int, planned: list[Change]) -> None:
    """Rows that others only add, or only delete, hide none that is there throughout."""
    vendor = Vendor(size, planned, page_size)
    found = read(ConfirmedPager(vendor.fetch))
    assert len(found) == len(set(found))
    assert vendor.always <= set(found)


@settings(max_examples=500, deadline=None)
@given(st.integers(0, 40), st.integers(1, 9), changes("add", "delete", most=2))
def test_a_missed_row_is_reported(size: int, page_size: int, planned: list[Change]) -> None:
    """A row that is added before and one that is deleted: what may be missing is counted."""
    vendor = Vendor(size, planned, page_size)
    pager = ConfirmedPager(vendor.fetch)
    found = read(pager)
    assert len(found) == len(set(found))
    assert vendor.always <= set(found) or pager.shifted


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 40), st.integers(1, 9), st.integers(0, 45))
def test_a_list_at_rest(size: int, page_size: int, limit: int) -> None:
    """Order and limit hold, nothing is reported, one page takes one call."""
    vendor = Vendor(size, [], page_size)
    pager = ConfirmedPager(vendor.fetch, limit=limit)
    assert read(pager) == list(range(1, min(size, limit) + 1))
    assert pager.shifted == 0
    if size <= page_size and limit:
        assert vendor.calls == 1


def test_a_shift_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """A row that is deleted between two pages: the one that it hid is found, and the log says so."""
    vendor = Vendor(6, [(1, "delete", 0)], 2)
    pager = ConfirmedPager(vendor.fetch)
    assert read(pager) == [1, 2, 3, 4, 5, 6]
    assert pager.shifted == 1 and "changed while it was read" in caplog.text


@pytest.mark.parametrize("following", [lambda at: "again", lambda at: f"{int(at or 0) + 1}"])
def test_a_list_without_an_end(following: Callable[[str | None], str]) -> None:
    """A page that names one before, or pages that never end, are an error."""
    calls = 0

    def fetch(address: str | None) -> Iterator[Any]:
        nonlocal calls
        calls += 1
        yield from ()
        return Page(({"id": 1},), next=following(address))

    with pytest.raises(AnswerError, match="cannot be read in pages"):
        read(ConfirmedPager(fetch))
    assert calls <= 2 * MAX_PAGES


def test_rows_without_a_key() -> None:
    """Rows that have no such field are compared as a whole."""
    pages = {None: Page(({"a": 1}, {"a": 2}), next="2"), "2": Page(({"a": 2}, {"a": [3]}))}

    def fetch(address: str | None) -> Iterator[Any]:
        yield from ()
        return pages[address]

    rows: list[Any] = []
    pager = ConfirmedPager(fetch, key="id")
    while (page := finished(pager.next_page())) is not None:
        rows += page
    assert rows == [{"a": 1}, {"a": 2}, {"a": [3]}]

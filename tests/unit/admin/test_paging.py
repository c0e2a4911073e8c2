"""Lists that change while they are read: every row that stays comes exactly once, or a shift is reported."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flagmw.admin import AnswerError, InvalidError
from flagmw.admin.flow.effects import Flow
from flagmw.admin.paging.linked import LinkedPager
from flagmw.admin.paging.ordered import OrderedPager
from flagmw.admin.paging.page import Page
from flagmw.admin.paging.unordered import UnorderedPager
from tests.support.http_vendor import Answer, HttpVendor, Request, answer
from tests.unit.admin.adobe import async_client, client


def pages(pager: Any) -> Iterator[Any]:
    """Read all pages; nothing in these flows asks a driver for anything."""
    while True:
        flow = pager.next_page()
        try:
            next(flow)
        except StopIteration as end:
            if end.value is None:
                return
            yield end.value


class Listed:
    """A list of rows that somebody changes between two pages."""

    def __init__(self, ids: list[int], *, descending: bool = False) -> None:
        self.ids = set(ids)
        self.stayed = set(ids)
        self.descending = descending
        self.changes: Iterator[tuple[str, int]] = iter(())
        self.calls = 0

    def fetch(self, offset: int, limit: int) -> Flow[Page]:
        self.calls += 1
        ordered = sorted(self.ids, reverse=self.descending)
        rows = [{"id": number, "name": f"n{number}"} for number in ordered[offset : offset + limit]]
        for _ in range(3):
            self.change()
        return Page(rows, len(ordered), limit)
        yield  # type: ignore[unreachable]

    def change(self) -> None:
        what, number = next(self.changes, ("", 0))
        if what == "add":
            self.ids.add(number)
        elif what == "delete" and number in self.ids:
            self.ids.discard(number)
            self.stayed.discard(number)


CHANGES = st.lists(st.tuples(st.sampled_from(["add", "delete"]), st.integers(0, 300)), max_size=150)


@settings(max_examples=150)
@given(st.sets(st.integers(0, 300), max_size=120), CHANGES, st.integers(2, 12), st.booleans())
def test_rows_that_stay_come_exactly_once(
    ids: set[int], changes: list[tuple[str, int]], page_size: int, descending: bool
) -> None:
    """Whatever is added and deleted between the pages, in either direction."""
    listed = Listed(sorted(ids), descending=descending)
    listed.changes = iter(changes)
    pager = OrderedPager(listed.fetch, "id", descending=descending, page_size=page_size)
    found = [row["id"] for page in pages(pager) for row in page]
    assert len(found) == len(set(found))
    assert listed.stayed <= set(found)
    assert found == sorted(found, reverse=descending)
    assert pager.shifted == 0


def test_a_hundred_thousand_rows() -> None:
    """A large list under constant change is read whole, in few more pages than it has."""
    chance = random.Random(7)
    listed = Listed(list(range(0, 200_000, 2)))
    listed.changes = iter(
        [("delete" if chance.random() < 0.5 else "add", chance.randrange(200_000)) for _ in range(2_000)]
    )
    found = [row["id"] for page in pages(OrderedPager(listed.fetch, "id", page_size=2_000)) for row in page]
    assert len(found) == len(set(found))
    assert listed.stayed <= set(found)
    assert listed.calls < 120


@given(st.sets(st.integers(0, 300), max_size=120), CHANGES, st.integers(2, 12))
def test_other_orders_report_what_they_may_have_missed(
    ids: set[int], changes: list[tuple[str, int]], page_size: int
) -> None:
    """In an order that is not the key's no row comes twice, and none is missing without a shift being counted."""
    listed = Listed(sorted(ids))
    listed.changes = iter(changes)
    pager = UnorderedPager(listed.fetch, "id", page_size=page_size)
    found = [row["id"] for page in pages(pager) for row in page]
    assert len(found) == len(set(found))
    assert pager.shifted or listed.stayed <= set(found)


@pytest.mark.parametrize("limit", [0, 1, 5, 6, 7, 25, 26])
def test_limit(limit: int) -> None:
    """No more rows than asked for are returned, nor many more read."""
    listed = Listed(list(range(25)))
    pager = OrderedPager(listed.fetch, "id", page_size=6, limit=limit)
    assert [row["id"] for page in pages(pager) for row in page] == list(range(min(limit, 25)))
    assert listed.calls <= -(-min(limit, 25) // 5) + 1


def test_a_vendor_that_caps_pages() -> None:
    """A page that is shorter than asked for, because the vendor allows no more, is not the last one."""

    def fetch(offset: int, limit: int) -> Flow[Page]:
        rows = [{"id": number} for number in range(20)][offset : offset + min(limit, 4)]
        return Page(rows, 20, min(limit, 4))
        yield  # type: ignore[unreachable]

    assert sum(len(page) for page in pages(OrderedPager(fetch, "id", page_size=1000))) == 20


def test_a_vendor_that_does_not_sort() -> None:
    """A list that is not sorted by its key is read all the same; one that stops to be sorted is an error."""
    unsorted = [{"id": number} for number in (3, 1, 2, 9, 7, 8)]

    def fetch(offset: int, limit: int) -> Flow[Page]:
        return Page(unsorted[offset : offset + limit], 6, limit)
        yield  # type: ignore[unreachable]

    assert [row["id"] for page in pages(OrderedPager(fetch, "id", page_size=3)) for row in page] == [3, 1, 2, 9, 7, 8]
    unsorted[:] = [{"id": number} for number in (1, 2, 3, 9, 7, 8)]
    with pytest.raises(AnswerError, match="sort_by"):
        list(pages(OrderedPager(fetch, "id", page_size=3)))
    unsorted[:] = [{"name": "a"}]
    with pytest.raises(AnswerError, match="whole number"):
        list(pages(OrderedPager(fetch, "id", page_size=3)))


def linked(addresses: dict[str | None, Page], base: str = "https://api.example.com/v1/rows?page_size=2") -> LinkedPager:
    def fetch(address: str | None) -> Flow[Page]:
        return addresses[address]
        yield  # type: ignore[unreachable]

    return LinkedPager(fetch, base)


def test_links_to_the_next_page() -> None:
    """Pages that name the next one are followed on the same host, and only there."""
    second = "https://api.example.com/v1/rows?page=2"
    pager = linked({None: Page([{"id": 1}], 2, next="/v1/rows?page=2"), second: Page([{"id": 2}], 2)})
    assert [row["id"] for page in pages(pager) for row in page] == [1, 2]
    with pytest.raises(AnswerError, match=r"evil\.example"):
        list(pages(linked({None: Page([{"id": 1}], next="https://evil.example/x")})))
    with pytest.raises(AnswerError, match="never end"):
        list(pages(linked({None: Page([], next=second), second: Page([], next=second)})))


def offers(request: Request) -> Answer:
    begin, limit = int(request.query["offset"]), int(request.query["limit"])
    rows = [{"id": number} for number in range(25)][begin : begin + limit]
    return answer({"total": 25, "offset": begin, "limit": limit, "offers": rows})


def test_lists_are_read_while_they_are_used() -> None:
    """A page is asked for when the one before is used up; each begins with the last row of the page before."""
    with HttpVendor(offers) as vendor, client(vendor.url) as admin:
        rows = admin.offers.list(page_size=10)
        assert (next(rows)["id"], rows.total, len(vendor.requests)) == (0, 25, 1)
        assert [row["id"] for row in rows] == list(range(1, 25))
        assert [(one.query["offset"], one.query["sortBy"]) for one in vendor.requests] == [
            ("0", "id"),
            ("9", "id"),
            ("18", "id"),
        ]


async def test_lists_are_read_asynchronously() -> None:
    """The same pages are read by `async for`."""
    with HttpVendor(offers) as vendor:
        async with async_client(vendor.url) as admin:
            assert [row["id"] async for row in admin.offers.list(page_size=10, limit=12)] == list(range(12))
    assert len(vendor.requests) == 2


def test_a_page_without_rows_of_the_right_kind() -> None:
    """A list whose answer has no list, or other things in it, is an error that names it."""
    for broken in ({"total": 1}, {"offers": {}}, {"offers": [1]}):
        with HttpVendor(lambda _, broken=broken: answer(broken)) as vendor:  # type: ignore[misc]
            admin = client(vendor.url)
            with admin, pytest.raises(AnswerError, match='no list "offers"'):
                list(admin.offers.list())


@pytest.mark.parametrize("wrong", [{"limit": -1}, {"sort_by": ("a b",)}, {"name": "!x"}, {"id": []}])
def test_wrong_filters_are_refused_before_the_first_page(wrong: dict[str, Any]) -> None:
    """What cannot be asked for is refused when the list is made."""
    with HttpVendor(offers) as vendor, client(vendor.url) as admin:
        with pytest.raises(InvalidError):
            admin.offers.list(**wrong)
        assert vendor.requests == []


@pytest.mark.parametrize("kind", [OrderedPager, UnorderedPager])
def test_a_vendor_without_pages(kind: Any) -> None:
    """A vendor that ignores limit and offset is read whole; one that ignores the offset alone is an error."""

    def everything(offset: int, limit: int) -> Flow[Page]:
        return Page([{"id": number} for number in range(50)], 50)
        yield  # type: ignore[unreachable]

    def first_page(offset: int, limit: int) -> Flow[Page]:
        return Page([{"id": number} for number in range(limit)], 500)
        yield  # type: ignore[unreachable]

    assert sum(len(page) for page in pages(kind(everything, "id", page_size=10))) == 50
    with pytest.raises(AnswerError, match="same page"):
        list(pages(kind(first_page, "id", page_size=10)))

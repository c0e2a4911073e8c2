"""Offset paging by a unique key: every remaining row exactly once."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from flagmw.admin.errors import AnswerError
from flagmw.admin.flow.effects import Flow
from flagmw.admin.paging.page import Fetch, Page, Row
from flagmw.admin.paging.unordered import UnorderedPager

# So many pages in a row with nothing new and the same first row come from a vendor that ignores the offset.
IDLE_PAGES = 5


class OrderedPager:
    """Read a list that is sorted by *key*, ascending or descending.

    Rows may be added and deleted while it is read. Each page begins with the last row of the page before. When
    another row stands there, rows before it were deleted: the reader steps back until a row that it knows, or one
    that comes before it, leads the page. From there on everything is new.

    Args:
        fetch: returns a page, sorted by *key*.
        key: a field that no two rows share.
        page_size: rows per page.
        limit: how many rows to return at most, None for all.
    """

    def __init__(
        self, fetch: Fetch, key: str, *, descending: bool = False, page_size: int = 1000, limit: int | None = None
    ) -> None:
        self._fetch, self._key, self._descending = fetch, key, descending
        self._page_size, self._left = page_size, limit
        self._offset = 0
        self._begin = 0
        self._leads: int | None = None
        self._idle = 0
        self._last: int | None = None
        self._unordered: UnorderedPager | None = None
        self._over = limit == 0
        self.total: int | None = None
        self.shifted = 0

    def next_page(self) -> Flow[Sequence[Row] | None]:
        """Return the next rows, None after the last."""
        if self._unordered is not None:
            return (yield from self._rest_unordered(self._unordered))
        while not self._over:
            begin = max(0, self._offset - 1)
            known = self._offset - begin
            size = self._page_size if self._left is None else min(self._page_size, self._left + known)
            page = yield from self._joined(begin, size)
            if not self._sorted(page):
                return (yield from self._rest_unordered(self._start_unordered()))
            rows = [row for row in page.rows if self._is_new(row)]
            self._offset = self._begin + len(page.rows)
            # A vendor that sends more than it was asked for has sent all.
            ends = len(page.rows) > size or len(page.rows) < (size if page.limit is None else min(size, page.limit))
            self._check_progress(page, bool(rows))
            if rows:
                self._last = self._value(rows[-1])
                rows = rows if self._left is None else rows[: self._left]
            if self._left is not None:
                self._left -= len(rows)
            self._over = ends or self._left == 0
            if rows:
                return rows
        return None

    def _joined(self, begin: int, size: int) -> Flow[Page]:
        """Return a page that leaves no gap after the last row."""
        step = 1
        while True:
            page = yield from self._fetch(begin, size)
            self.total = page.total if page.total is not None else self.total
            self._begin = begin
            if begin == 0 or self._last is None or (page.rows and not self._is_new(page.rows[0])):
                return page
            begin = max(0, begin - step)
            step *= 2

    def _check_progress(self, page: Page, fresh: bool) -> None:
        leads = self._value(page.rows[0]) if page.rows else None
        self._idle = 0 if fresh or leads is None or leads != self._leads else self._idle + 1
        self._leads = leads
        if self._idle >= IDLE_PAGES:
            raise AnswerError("the vendor sends the same page for every offset; the list cannot be read in pages")

    def _is_new(self, row: Row) -> bool:
        if self._last is None:
            return True
        value = self._value(row)
        return value < self._last if self._descending else value > self._last

    def _sorted(self, page: Page) -> bool:
        values = [self._value(row) for row in page.rows]
        pairs = pairwise(values)
        return all(before > after if self._descending else before < after for before, after in pairs)

    def _value(self, row: Row) -> int:
        value = row.get(self._key)
        if not isinstance(value, int):
            raise AnswerError(f'a row of the list has no whole number as "{self._key}"; read the list with sort_by=()')
        return value

    def _start_unordered(self) -> UnorderedPager:
        if self._last is not None:
            raise AnswerError(
                f'the vendor stopped to sort by "{self._key}" in the middle; read the list with sort_by=()'
            )
        self._unordered = UnorderedPager(self._fetch, self._key, page_size=self._page_size, limit=self._left)
        return self._unordered

    def _rest_unordered(self, pager: UnorderedPager) -> Flow[Sequence[Row] | None]:
        rows = yield from pager.next_page()
        self.total, self.shifted = pager.total, pager.shifted
        return rows

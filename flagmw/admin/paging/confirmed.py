"""Paging by links, with each page read again to notice rows that moved."""

from __future__ import annotations

import logging
from collections.abc import Hashable, Sequence
from typing import Any

import orjson

from flagmw.admin.errors import AnswerError
from flagmw.admin.flow.effects import Flow
from flagmw.admin.paging.page import FetchNext, Page, Row

# A list of ten million rows at the usual size of a page.
MAX_PAGES = 10_000
# So often the last two pages are read anew at most while they keep changing.
MAX_REPEATS = 5

logger = logging.getLogger("flagmw.admin")


class ConfirmedPager:
    """Read a list whose pages are counted by position and name the next one.

    A row that is deleted between two pages moves a later one over their border, where nobody reads it. So each page is
    read again after the next one: when it is as it was, nothing crossed the border. When it is not, what is new in it
    is returned, and the shift is counted and logged. Each row comes once. A list of one page takes one call.

    Args:
        fetch: returns the page at an address, the first one for None; an empty one for a page that is gone.
        key: a field that no two rows share, "" to compare whole rows.
        limit: how many rows to return at most, None for all.
    """

    def __init__(self, fetch: FetchNext, key: str = "id", *, limit: int | None = None) -> None:
        self._fetch, self._key, self._left = fetch, key, limit
        self._over = limit == 0
        self._at: str | None = None
        self._read_at: list[str | None] = []
        self._pages = 0
        self._last: Page | None = None
        self._seen: dict[Hashable, int] = {}
        self._visited: set[str] = set()
        self.total: int | None = None
        self.shifted = 0

    def next_page(self) -> Flow[Sequence[Row] | None]:
        """Return the next rows, None after the last."""
        while not self._over:
            page = yield from self._fetch(self._at)
            self._pages += 1
            repeats = self._repeats(page)
            rows = self._fresh(page)
            if self._last is not None:
                rows = [*(yield from self._confirmed(page, repeats)), *rows]
            self._last = page
            self._read_at.append(self._at)
            rows = rows if self._left is None else rows[: self._left]
            if self._left is not None:
                self._left -= len(rows)
            self._over = page.next is None or self._left == 0
            if page.next is not None and not self._over:
                self._follow(page.next)
            if rows:
                return rows
        return None

    def _confirmed(self, page: Page, repeats: bool) -> Flow[list[Row]]:
        """Return what the page before holds by now and has not been returned."""
        found: list[Row] = []
        shifted, count = repeats, 0
        while True:
            again = yield from self._fetch(self._read_at[-1])
            found += yield from self._rows_before(again)
            found += self._fresh(again)
            moved = self._last is None or self._ids(again) != self._ids(self._last)
            shifted, self._last = shifted or moved, again
            count += 1
            if page.next is not None or not (moved or repeats) or count >= MAX_REPEATS:
                break
            # Behind the last page nobody would notice that it was read in the middle of a change.
            after = yield from self._fetch(self._at)
            found += self._fresh(after)
            repeats, page = self._ids(after) != self._ids(page), after
        if shifted:
            self.shifted += 1
            logger.warning("the list changed while it was read: rows may be missing; read it again when nobody edits")
        return found

    def _rows_before(self, again: Page) -> Flow[list[Row]]:
        """Return new rows of the pages before *again*, where it begins with none that an earlier page had.

        Then more rows than a page has were deleted, and what followed may stand further in front by now.
        """
        found: list[Row] = []
        for address in reversed(self._read_at[:-1]):
            if again.rows and self._seen.get(self._identity(again.rows[0]), self._pages) < self._pages:
                break
            found += self._fresh(again)
            again = yield from self._fetch(address)
        return [*found, *self._fresh(again)]

    def _fresh(self, page: Page) -> list[Row]:
        rows = []
        for row in page.rows:
            identity = self._identity(row)
            if identity not in self._seen:
                self._seen[identity] = self._pages
                rows.append(row)
        return rows

    def _repeats(self, page: Page) -> bool:
        return any(self._identity(row) in self._seen for row in page.rows)

    def _ids(self, page: Page) -> list[Hashable]:
        return [self._identity(row) for row in page.rows]

    def _identity(self, row: Row) -> Hashable:
        value: Any = row.get(self._key) if self._key else None
        return value if isinstance(value, int | str) else orjson.dumps(row, option=orjson.OPT_SORT_KEYS)

    def _follow(self, address: str) -> None:
        if address in self._visited or self._pages >= MAX_PAGES:
            raise AnswerError("the list names a page twice as the next one, or has no end; it cannot be read in pages")
        self._visited.add(address)
        self._at = address

"""Offset paging in any other order: duplicates are removed, shifts are reported."""

from __future__ import annotations

import logging
from collections.abc import Hashable, Sequence

import orjson

from flagmw.admin.errors import AnswerError
from flagmw.admin.flow.effects import Flow
from flagmw.admin.paging.page import Fetch, Row

# So many pages in a row with nothing new come from a vendor that ignores the offset.
IDLE_PAGES = 5

logger = logging.getLogger("flagmw.admin")


class UnorderedPager:
    """Read a list in an order in which rows can move, a name's or a time's.

    Each page begins with the last row of the page before. When it does not, the list changed meanwhile and rows may
    have been missed: `shifted` counts that, and a warning is logged.

    Args:
        key: a field that no two rows share, "" to compare whole rows.
    """

    def __init__(self, fetch: Fetch, key: str = "", *, page_size: int = 1000, limit: int | None = None) -> None:
        self._fetch, self._key = fetch, key
        self._page_size, self._left = page_size, limit
        self._offset = 0
        self._last: Hashable = None
        self._seen: set[Hashable] = set()
        self._idle = 0
        self._over = limit == 0
        self.total: int | None = None
        self.shifted = 0

    def next_page(self) -> Flow[Sequence[Row] | None]:
        """Return the next rows, None after the last."""
        while not self._over:
            begin = max(0, self._offset - 1)
            known = self._offset - begin
            size = self._page_size if self._left is None else min(self._page_size, self._left + known)
            page = yield from self._fetch(begin, size)
            self.total = page.total if page.total is not None else self.total
            if self._offset and (not page.rows or self._identity(page.rows[0]) != self._last):
                self.shifted += 1
                logger.warning("the list changed while it was read: rows may be missing; sort by id to rule that out")
            rows = []
            for row in page.rows:
                identity = self._identity(row)
                if identity not in self._seen:
                    self._seen.add(identity)
                    rows.append(row)
            if page.rows:
                self._last = self._identity(page.rows[-1])
            self._offset = begin + len(page.rows)
            # A vendor that sends more than it was asked for has sent all.
            ends = len(page.rows) > size or len(page.rows) < (size if page.limit is None else min(size, page.limit))
            self._idle = 0 if rows else self._idle + 1
            if self._idle >= IDLE_PAGES and not ends:
                raise AnswerError("the vendor sends the same page for every offset; the list cannot be read in pages")
            rows = rows if self._left is None else rows[: self._left]
            if self._left is not None:
                self._left -= len(rows)
            self._over = ends or self._left == 0
            if rows:
                return rows
        return None

    def _identity(self, row: Row) -> Hashable:
        value = row.get(self._key) if self._key else None
        return (
            value
            if isinstance(value, Hashable) and value is not None
            else orjson.dumps(row, option=orjson.OPT_SORT_KEYS)
        )

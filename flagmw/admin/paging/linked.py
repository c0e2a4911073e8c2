"""Paging by the address of the next page, as in `meta.next`."""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import urljoin, urlsplit

from flagmw.admin.errors import AnswerError
from flagmw.admin.flow.effects import Flow
from flagmw.admin.paging.page import FetchNext, Row


class LinkedPager:
    """Read a list whose pages name the next one.

    An address on another host is refused: credentials go to the configured one only. An address that was read
    before ends the list with an error, since it would never end.

    Args:
        base_url: the first page's address; later ones may be relative to it.
    """

    def __init__(self, fetch: FetchNext, base_url: str, *, limit: int | None = None) -> None:
        self._fetch, self._url = fetch, base_url
        self._next: str | None = None
        self._visited: set[str] = set()
        self._left = limit
        self._over = limit == 0
        self.total: int | None = None
        self.shifted = 0

    def next_page(self) -> Flow[Sequence[Row] | None]:
        """Return the next rows, None after the last."""
        while not self._over:
            page = yield from self._fetch(self._next)
            self.total = page.total if page.total is not None else self.total
            rows = page.rows if self._left is None else page.rows[: self._left]
            if self._left is not None:
                self._left -= len(rows)
            self._over = page.next is None or self._left == 0
            if page.next is not None:
                self._next = self._checked(page.next)
            if rows:
                return rows
        return None

    def _checked(self, address: str) -> str:
        url = urljoin(self._url, address)
        here, there = urlsplit(self._url), urlsplit(url)
        if (here.scheme, here.netloc) != (there.scheme, there.netloc):
            raise AnswerError(f"the next page is said to be on {there.netloc}, another host; it is not followed")
        if url in self._visited:
            raise AnswerError("the list names a page twice as the next one; it would never end")
        self._visited.add(url)
        return url

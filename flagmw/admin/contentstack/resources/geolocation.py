"""Places that can be targeted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from flagmw.admin.contentstack.bodies import Place
from flagmw.admin.contentstack.resources.base import ContentstackResource, rows_of
from flagmw.admin.errors import AnswerError, InvalidError
from flagmw.admin.flow.effects import Flow
from flagmw.admin.flow.listing import Pager, listing
from flagmw.admin.flow.operation import M
from flagmw.admin.paging.page import Page
from flagmw.admin.paging.unordered import UnorderedPager

PAGE_SIZE = 100


class Geolocation(ContentstackResource[M]):
    """Regions (ISO 3166-2), countries (ISO 3166-1) and cities.

    The vendor does not publish the names of the parameters: `name`, `codes`, `skip` and `limit` are sent. When rows
    move between two pages, `shifted` of the iterator counts it. A vendor that ignores them sends all at once, and
    all come.
    """

    @listing
    def regions(
        self,
        *,
        name: str | None = None,
        codes: Sequence[str] = (),
        limit: int | None = None,
        page_size: int = PAGE_SIZE,
    ) -> Pager[Place]:
        """Iterate over regions whose name contains *name*, or that have one of *codes*."""
        return self._pager("geolocation.regions", name, codes, limit, page_size)

    @listing
    def countries(
        self,
        *,
        name: str | None = None,
        codes: Sequence[str] = (),
        limit: int | None = None,
        page_size: int = PAGE_SIZE,
    ) -> Pager[Place]:
        """Iterate over countries; arguments as of `regions`."""
        return self._pager("geolocation.countries", name, codes, limit, page_size)

    @listing
    def cities(
        self,
        *,
        name: str | None = None,
        codes: Sequence[str] = (),
        limit: int | None = None,
        page_size: int = PAGE_SIZE,
    ) -> Pager[Place]:
        """Iterate over cities; arguments as of `regions`."""
        return self._pager("geolocation.cities", name, codes, limit, page_size)

    def _pager(
        self, endpoint: str, name: str | None, codes: Sequence[str], limit: int | None, page_size: int
    ) -> Pager[Any]:
        if isinstance(codes, str):
            raise InvalidError("must be a list of codes", field="codes")
        for field, number in (("limit", limit), ("page_size", page_size)):
            if number is not None and (isinstance(number, bool) or not isinstance(number, int) or number < 0):
                raise InvalidError("must be a number that is not negative", field=field)
        query: list[tuple[str, str]] = [("name", name)] if name else []
        if codes:
            query.append(("codes", ",".join(codes)))

        def fetch(offset: int, rows: int) -> Flow[Page]:
            paged = [*query, ("skip", str(offset)), ("limit", str(rows))]
            answer: Any = yield from self._sent(self._planned(endpoint, query=paged), object)
            found = answer.get("items") if isinstance(answer, dict) else answer
            if not isinstance(found, list):
                raise AnswerError("the answer has no list; check base_url", operation=endpoint)
            total = answer.get("count") if isinstance(answer, dict) else None
            return Page(rows_of(found, endpoint), total if isinstance(total, int) else None)

        return UnorderedPager(fetch, "code", page_size=max(2, page_size), limit=limit)

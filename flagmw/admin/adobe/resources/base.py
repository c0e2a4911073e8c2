"""The base of all resources of the Admin API."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

from flagmw.admin.adobe.endpoints import ENDPOINTS
from flagmw.admin.adobe.filters import Filters, query_of
from flagmw.admin.adobe.wire import request_of
from flagmw.admin.errors import AmbiguousError, AnswerError
from flagmw.admin.flow.effects import Flow
from flagmw.admin.flow.operation import M, Resource
from flagmw.admin.http.exchange import Exchange
from flagmw.admin.http.request import ApiRequest
from flagmw.admin.paging.ordered import OrderedPager
from flagmw.admin.paging.page import Page
from flagmw.admin.paging.unordered import UnorderedPager

PAGE_SIZE = 1000


class AdobeClient(Protocol):
    """What a resource needs of its client."""

    exchange: Exchange
    root: str
    api_key: str


class AdobeResource(Resource[M]):
    """A group of methods of `AdobeAdmin` and `AsyncAdobeAdmin`."""

    _client: AdobeClient

    def _call(self, /, name: str, **parts: Any) -> Flow[Any]:
        """Send the request of an endpoint; in a dry run, end with it."""
        request = self._request(name, **parts)
        if self._planning:
            self._client.exchange.stop(request)
        return (yield from self._sent(request))

    def _read(self, /, name: str, **parts: Any) -> Flow[Any]:
        """Send a read that a method needs before it can write, also in a dry run."""
        return (yield from self._sent(self._request(name, **parts)))

    def _sent(self, request: ApiRequest) -> Flow[Any]:
        answer = yield from self._client.exchange.json(request)
        if not isinstance(answer, dict):
            if request.changes:
                text = f"it was accepted, but the answer has no content: read {request.path} to see what is there now"
                raise AmbiguousError(text, operation=request.operation)
            raise AnswerError("the answer is no JSON object; check base_url", operation=request.operation)
        return answer

    def _request(
        self,
        name: str,
        *,
        values: Mapping[str, object] | None = None,
        query: Sequence[tuple[str, str]] = (),
        body: Any = None,
        cost: int = 1,
    ) -> ApiRequest:
        client = self._client
        return request_of(
            ENDPOINTS[name], client.root, client.api_key, values=values, query=query, body=body, cost=cost
        )

    def _pager(
        self,
        name: str,
        *,
        filters: Mapping[str, Filters | None],
        sort_by: Iterable[str] | None,
        page_size: int,
        limit: int | None,
        values: Mapping[str, object] | None = None,
    ) -> Any:
        """Return the pager of a list.

        Sorted by its key by default; in any other order duplicates are removed and shifts reported.
        """
        endpoint = ENDPOINTS[name]
        ordered = endpoint.key == "id"
        fields = (sort_by,) if isinstance(sort_by, str) else None if sort_by is None else tuple(sort_by)
        if fields is None:
            fields = (endpoint.key,) if endpoint.key else ()
        query_of(dict(filters), sort_by=fields, limit=limit)  # refuses what is wrong before the first page is read

        def fetch(offset: int, rows: int) -> Flow[Page]:
            query = query_of(dict(filters), sort_by=fields, limit=rows, offset=offset)
            answer = yield from self._call(name, values=values, query=query)
            return page_of(answer, endpoint.collection, name)

        size = max(2, page_size)
        if ordered and fields in (("id",), ("-id",)):
            return OrderedPager(fetch, "id", descending=fields == ("-id",), page_size=size, limit=limit)
        return UnorderedPager(fetch, endpoint.key, page_size=size, limit=limit)


def page_of(answer: Mapping[str, Any], collection: str, name: str) -> Page:
    """Return the rows of a list's answer.

    Raises:
        AnswerError: there is no list of objects in it.
    """
    rows = answer.get(collection)
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise AnswerError(f'the answer has no list "{collection}"; check base_url and the version', operation=name)
    total, limit = answer.get("total"), answer.get("limit")
    return Page(rows, total if isinstance(total, int) else None, limit if isinstance(limit, int) else None)

"""The base of all resources of Monetate's APIs."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any, Protocol
from urllib.parse import parse_qsl, urlsplit

from flagmw.admin.errors import AmbiguousError, AnswerError, InvalidError, NotFoundError
from flagmw.admin.flow.effects import Flow
from flagmw.admin.flow.operation import M, Resource
from flagmw.admin.http.exchange import Exchange
from flagmw.admin.http.fault import clean
from flagmw.admin.http.request import ApiRequest
from flagmw.admin.monetate.wire import error_text, request_of
from flagmw.admin.paging.confirmed import ConfirmedPager
from flagmw.admin.paging.page import Page

PAGE_SIZE = 1000

logger = logging.getLogger("flagmw.admin")


class MonetateClient(Protocol):
    """What a resource needs of its client."""

    exchange: Exchange
    root: str
    retailer: str


class MonetateResource(Resource[M]):
    """A group of methods of `MonetateAdmin` and `AsyncMonetateAdmin`."""

    _client: MonetateClient

    def _request(self, /, name: str, **parts: Any) -> ApiRequest:
        return request_of(name, self._client.root, self._client.retailer, **parts)

    def _call(self, /, name: str, **parts: Any) -> Flow[Any]:
        """Send the request of an endpoint and return `data`; in a dry run, end with it."""
        request = self._request(name, **parts)
        if self._planning:
            self._client.exchange.stop(request)
        envelope = yield from self._envelope(request)
        return envelope["data"]

    def _envelope(self, request: ApiRequest) -> Flow[Mapping[str, Any]]:
        envelope = yield from self._client.exchange.json(request)
        return checked_envelope(envelope, request)

    def _one(self, /, name: str, **parts: Any) -> Flow[Any]:
        """Return the object that an endpoint answers with."""
        data = yield from self._call(name, **parts)
        if not isinstance(data, dict):
            raise AnswerError("the answer's data is no object; check base_url", operation=name)
        return data

    def _pager(
        self,
        name: str,
        *,
        limit: int | None,
        page_size: int | None = None,
        key: str = "id",
        query: Sequence[tuple[str, str]] = (),
        values: Mapping[str, object] | None = None,
    ) -> Any:
        """Return the pager of a list; lists of the Data API have pages, and no parameter for their size."""
        check_page(page_size, limit)
        given = [*query] if page_size is None else [*query, ("page_size", str(page_size))]

        def fetch(address: str | None) -> Flow[Page]:
            # Of the next page's address only the query is used: the token goes nowhere but to the configured host.
            pairs = given if address is None else parse_qsl(urlsplit(address).query, keep_blank_values=True)
            request = self._request(name, query=pairs, values=values)
            if self._planning:
                self._client.exchange.stop(request)
            try:
                envelope = yield from self._envelope(request)
            except NotFoundError:
                if address is None:
                    raise
                return Page(())  # a page behind the end, after rows were deleted
            return page_of(envelope, name)

        return ConfirmedPager(fetch, key, limit=limit)


def check_page(page_size: int | None, limit: int | None) -> None:
    """Refuse a size of pages that Monetate would silently lower.

    Raises:
        InvalidError: a number is out of its range.
    """
    whole = isinstance(page_size, int) and not isinstance(page_size, bool)
    if page_size is not None and not (whole and 1 <= page_size <= PAGE_SIZE):
        raise InvalidError(f"must be a whole number from 1 to {PAGE_SIZE}; Monetate sends no more", field="page_size")
    if limit is not None and (isinstance(limit, bool) or not isinstance(limit, int) or limit < 0):
        raise InvalidError("must be a whole number that is not negative, or None for all", field="limit")


def checked_envelope(envelope: Any, request: ApiRequest) -> Mapping[str, Any]:
    """Return an answer that has `meta` and `data`, with its warnings logged.

    Raises:
        AnswerError, AmbiguousError: it has not, or `meta` says that the call failed.
    """
    kind = AmbiguousError if request.changes else AnswerError
    if not isinstance(envelope, dict) or "data" not in envelope:
        text = "the answer has no meta and data; check base_url"
        text = f"it was accepted, but {text} and what is there now" if request.changes else text
        raise kind(text, operation=request.operation)
    meta = envelope.get("meta")
    meta = meta if isinstance(meta, dict) else {}
    code = meta.get("code")
    if isinstance(code, int) and not 200 <= code < 300:
        errors = meta.get("errors")
        says = "; ".join(filter(None, map(error_text, errors))) if isinstance(errors, list) else ""
        text = f"the answer came as a success and says that it failed with {code}; {clean(says)}"
        raise kind(text.rstrip("; "), operation=request.operation, status=code)
    warnings = meta.get("warnings")
    for warning in warnings if isinstance(warnings, list) else ():
        logger.warning("Monetate warns at %s: %s", request.operation, clean(error_text(warning)))
    return envelope


def page_of(envelope: Mapping[str, Any], name: str) -> Page:
    """Return the rows of a list's answer.

    Raises:
        AnswerError: there is no list of objects in it.
    """
    rows = envelope["data"]
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise AnswerError("the answer's data is no list of objects; check base_url", operation=name)
    meta = envelope.get("meta")
    following = meta.get("next") if isinstance(meta, dict) else None
    return Page(rows, next=following if isinstance(following, str) and following else None)

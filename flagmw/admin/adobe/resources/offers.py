"""Offers: content and JSON."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from flagmw.admin.adobe.bodies.content import JsonOffer, Offer, OfferRow
from flagmw.admin.adobe.checks.content import check_json_offer, check_offer
from flagmw.admin.adobe.filters import Filters, query_of
from flagmw.admin.adobe.resources.base import PAGE_SIZE, AdobeResource
from flagmw.admin.flow.effects import Flow
from flagmw.admin.flow.listing import Pager, listing
from flagmw.admin.flow.operation import M, operation


class Offers(AdobeResource[M]):
    """Offers of every kind."""

    @property
    def content(self) -> ContentOffers[M]:
        """Content offers: text or HTML."""
        return ContentOffers(self._client, planning=self._planning)

    @property
    def json(self) -> JsonOffers[M]:
        """JSON offers, which flags are made of."""
        return JsonOffers(self._client, planning=self._planning)

    @listing
    def list(
        self,
        /,
        *,
        limit: int | None = None,
        sort_by: Iterable[str] | None = None,
        page_size: int = PAGE_SIZE,
        id: Filters | None = None,
        name: Filters | None = None,
        type: Filters | None = None,
        workspace: Filters | None = None,
        modifiedAt: Filters | None = None,
        **others: Filters,
    ) -> Pager[OfferRow]:
        """Iterate over offers, page by page; arguments and promises as of `activities.list`."""
        filters = {"id": id, "name": name, "type": type, "workspace": workspace, "modifiedAt": modifiedAt, **others}
        pager: Pager[OfferRow] = self._pager(
            "offers.list", filters=filters, sort_by=sort_by, page_size=page_size, limit=limit
        )
        return pager

    @operation
    def page(
        self, /, *, limit: int | None = None, offset: int | None = None, sort_by: Iterable[str] = (), **filters: Filters
    ) -> Flow[dict[str, Any]]:
        """Return one page as the vendor answers it: `total`, `offset`, `limit`, `offers`."""
        query = query_of(dict(filters), sort_by=sort_by, limit=limit, offset=offset)
        page: dict[str, Any] = yield from self._call("offers.list", query=query)
        return page


class ContentOffers(AdobeResource[M]):
    """Content offers: text or HTML."""

    @operation
    def get(self, offer_id: int) -> Flow[Offer]:
        """Return an offer."""
        answer: Offer = yield from self._call("offers.content.get", values={"id": offer_id})
        return answer

    @operation
    def create(self, body: Offer) -> Flow[Offer]:
        """Create an offer and return it, with its id.

        Args:
            body: `name` (1 to 250 characters), `content` (text), `workspace` where there are several.
        """
        check_offer(body)
        answer: Offer = yield from self._call("offers.content.create", body=body)
        return answer

    @operation
    def update(self, offer_id: int, body: Offer) -> Flow[Offer]:
        """Replace an offer and return what it is now."""
        check_offer(body)
        answer: Offer = yield from self._call("offers.content.update", values={"id": offer_id}, body=body)
        return answer

    @operation
    def delete(self, offer_id: int) -> Flow[Offer]:
        """Delete an offer and return what it was."""
        answer: Offer = yield from self._call("offers.content.delete", values={"id": offer_id})
        return answer


class JsonOffers(AdobeResource[M]):
    """JSON offers; documented in the published OpenAPI description alone."""

    @operation
    def get(self, offer_id: int) -> Flow[JsonOffer]:
        """Return an offer."""
        answer: JsonOffer = yield from self._call("offers.json.get", values={"id": offer_id})
        return answer

    @operation
    def create(self, body: JsonOffer) -> Flow[JsonOffer]:
        """Create an offer and return it, with its id.

        Args:
            body: `name` (1 to 250 characters), `content` (any JSON), `workspace` where there are several.
        """
        check_json_offer(body)
        answer: JsonOffer = yield from self._call("offers.json.create", body=body)
        return answer

    @operation
    def update(self, offer_id: int, body: JsonOffer) -> Flow[JsonOffer]:
        """Replace an offer and return what it is now."""
        check_json_offer(body)
        answer: JsonOffer = yield from self._call("offers.json.update", values={"id": offer_id}, body=body)
        return answer

    @operation
    def delete(self, offer_id: int) -> Flow[JsonOffer]:
        """Delete an offer and return what it was."""
        answer: JsonOffer = yield from self._call("offers.json.delete", values={"id": offer_id})
        return answer

"""Audiences."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from flagmw.admin.adobe.bodies.content import Audience
from flagmw.admin.adobe.checks.content import check_audience
from flagmw.admin.adobe.checks.values import checked_name
from flagmw.admin.adobe.filters import Filters, query_of
from flagmw.admin.adobe.resources.base import PAGE_SIZE, AdobeResource
from flagmw.admin.adobe.rules.rule import Rule
from flagmw.admin.flow.effects import Flow
from flagmw.admin.flow.listing import Pager, listing
from flagmw.admin.flow.operation import M, operation


class Audiences(AdobeResource[M]):
    """Audiences: whom activities and experiences are for."""

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
        origin: Filters | None = None,
        workspace: Filters | None = None,
        modifiedAt: Filters | None = None,
        **others: Filters,
    ) -> Pager[Audience]:
        """Iterate over audiences without their rules; arguments and promises as of `activities.list`."""
        filters = {"id": id, "name": name, "origin": origin, "workspace": workspace, "modifiedAt": modifiedAt, **others}
        pager: Pager[Audience] = self._pager(
            "audiences.list", filters=filters, sort_by=sort_by, page_size=page_size, limit=limit
        )
        return pager

    @operation
    def page(
        self, /, *, limit: int | None = None, offset: int | None = None, sort_by: Iterable[str] = (), **filters: Filters
    ) -> Flow[dict[str, Any]]:
        """Return one page as the vendor answers it: `total`, `offset`, `limit`, `audiences`."""
        query = query_of(dict(filters), sort_by=sort_by, limit=limit, offset=offset)
        page: dict[str, Any] = yield from self._call("audiences.list", query=query)
        return page

    @operation
    def get(self, audience_id: int) -> Flow[Audience]:
        """Return an audience with its rule."""
        answer: Audience = yield from self._call("audiences.get", values={"id": audience_id})
        return answer

    @operation
    def create(self, body: Audience) -> Flow[Audience]:
        """Create an audience and return it, with its id.

        Args:
            body: `name` (unique, 1 to 255 characters), `description`, and `targetRule` or `audienceRule`: a rule made
                with `flagmw.admin.adobe.rules`, or JSON.
        """
        plain = _plain(body)
        check_audience(plain)
        answer: Audience = yield from self._call("audiences.create", body=plain)
        return answer

    @operation
    def update(self, audience_id: int, body: Audience) -> Flow[Audience]:
        """Replace an audience and return what it is now."""
        plain = _plain(body)
        check_audience(plain)
        answer: Audience = yield from self._call("audiences.update", values={"id": audience_id}, body=plain)
        return answer

    @operation
    def delete(self, audience_id: int) -> Flow[Audience]:
        """Delete an audience and return what it was."""
        answer: Audience = yield from self._call("audiences.delete", values={"id": audience_id})
        return answer

    @operation
    def move(self, audience_id: int, workspace: str) -> Flow[Audience]:
        """Move an audience to another workspace; documented in the published OpenAPI description alone."""
        body = {"id": audience_id, "workspace": checked_name(workspace, "workspace")}
        answer: Audience = yield from self._call("audiences.move", values={"id": audience_id}, body=body)
        return answer


def _plain(body: Audience) -> dict[str, Any]:
    """Return *body* with rules as JSON."""
    if not isinstance(body, dict):
        return body
    return {name: value.json() if isinstance(value, Rule) else value for name, value in body.items()}

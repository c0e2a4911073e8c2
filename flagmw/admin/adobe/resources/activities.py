"""Activities: lists, changes of single fields, the change log, the kinds."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from flagmw.admin.adobe.bodies.activity import ActivityDescription, ActivityRow, ActivityState
from flagmw.admin.adobe.bodies.report import Change
from flagmw.admin.adobe.checks.dates import check_order, checked_date
from flagmw.admin.adobe.checks.values import checked_name, checked_priority, checked_state
from flagmw.admin.adobe.filters import Filters, query_of
from flagmw.admin.adobe.resources.activity_kind import ActivityKind
from flagmw.admin.adobe.resources.base import PAGE_SIZE, AdobeResource
from flagmw.admin.adobe.resources.personalization import PersonalizationKind
from flagmw.admin.flow.effects import Flow
from flagmw.admin.flow.listing import Pager, listing
from flagmw.admin.flow.operation import M, operation


class Activities(AdobeResource[M]):
    """Activities of every kind, and what can be changed without knowing the kind."""

    @property
    def ab(self) -> ActivityKind[M]:
        """AB tests."""
        return ActivityKind(self._client, "ab", planning=self._planning)

    @property
    def xt(self) -> ActivityKind[M]:
        """Experience Targeting: each experience is for its own audiences."""
        return ActivityKind(self._client, "xt", planning=self._planning)

    @property
    def auto_allocate(self) -> ActivityKind[M]:
        """Auto-Allocate: AB tests that give the better experience more visitors."""
        return ActivityKind(self._client, "auto_allocate", planning=self._planning)

    @property
    def ap(self) -> PersonalizationKind[M]:
        """Automated Personalization, which Adobe's paths call "abt"."""
        return PersonalizationKind(self._client, planning=self._planning)

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
        state: Filters | None = None,
        priority: Filters | None = None,
        workspace: Filters | None = None,
        startsAt: Filters | None = None,
        endsAt: Filters | None = None,
        modifiedAt: Filters | None = None,
        thirdPartyId: Filters | None = None,
        **others: Filters,
    ) -> Pager[ActivityRow]:
        """Iterate over activities, page by page.

        In the default order every activity that is there throughout comes exactly once, whatever is added or deleted
        meanwhile. In another order duplicates are removed, and `shifted` counts when rows may be missing.

        Args:
            limit: how many to return at most; None for all.
            sort_by: fields in order of weight, "-name" for descending; by id when left out.
            page_size: rows per request.
            id: and the other fields: a value, several, `Not(value)`, or `Between(begin, end)` for times.
            others: any other field of a row, by its name in the answers.

        Raises:
            InvalidError: a filter or a number is wrong.
        """
        filters = {
            "id": id,
            "name": name,
            "type": type,
            "state": state,
            "priority": priority,
            "workspace": workspace,
            "startsAt": startsAt,
            "endsAt": endsAt,
            "modifiedAt": modifiedAt,
            "thirdPartyId": thirdPartyId,
            **others,
        }
        pager: Pager[ActivityRow] = self._pager(
            "activities.list", filters=filters, sort_by=sort_by, page_size=page_size, limit=limit
        )
        return pager

    @operation
    def page(
        self, /, *, limit: int | None = None, offset: int | None = None, sort_by: Iterable[str] = (), **filters: Filters
    ) -> Flow[dict[str, Any]]:
        """Return one page as the vendor answers it: `total`, `offset`, `limit`, `activities`.

        Args:
            filters: by the names of the fields in the answer; see `list`.
        """
        query = query_of(dict(filters), sort_by=sort_by, limit=limit, offset=offset)
        page: dict[str, Any] = yield from self._call("activities.list", query=query)
        return page

    @operation
    def set_name(self, activity_id: int, name: str) -> Flow[ActivityDescription]:
        """Rename an activity.

        Args:
            name: 1 to 250 characters.
        """
        body = {"name": checked_name(name)}
        return (yield from self._set("name", activity_id, body))

    @operation
    def set_state(self, activity_id: int, state: ActivityState) -> Flow[ActivityDescription]:
        """Set the state: "approved" (live within its schedule), "saved" (inactive), "deactivated" (archived)."""
        body = {"state": checked_state(state)}
        return (yield from self._set("state", activity_id, body))

    @operation
    def set_priority(self, activity_id: int, priority: int) -> Flow[ActivityDescription]:
        """Set the priority.

        Args:
            priority: 0 to 999, higher goes first; low, medium and high are 0, 5 and 10. More than these three needs
                the account's setting for fine-grained priorities.
        """
        # The documentation's sample sends it as text, and receives a number.
        body = {"priority": str(checked_priority(priority))}
        return (yield from self._set("priority", activity_id, body))

    @operation
    def set_schedule(
        self, activity_id: int, starts_at: str | datetime, ends_at: str | datetime
    ) -> Flow[ActivityDescription]:
        """Set when the activity begins and ends; the vendor needs both.

        Args:
            starts_at, ends_at: "2017-05-01T08:00:00+02:00", another documented form, or datetimes with a zone.
        """
        body = {"startsAt": checked_date(starts_at, "startsAt"), "endsAt": checked_date(ends_at, "endsAt")}
        check_order(body["startsAt"], body["endsAt"])
        return (yield from self._set("schedule", activity_id, body))

    @operation
    def pause(self, activity_id: int) -> Flow[ActivityDescription]:
        """Take an activity off the site; visitors get the default content."""
        return (yield from self._set("state", activity_id, {"state": "saved"}))

    @operation
    def activate(self, activity_id: int) -> Flow[ActivityDescription]:
        """Put an activity on the site, within its schedule."""
        return (yield from self._set("state", activity_id, {"state": "approved"}))

    @listing
    def changelog(self, activity_id: int, *, limit: int | None = None, page_size: int = PAGE_SIZE) -> Pager[Change]:
        """Iterate over the changes of an activity, as the vendor orders them: the latest first."""
        pager: Pager[Change] = self._pager(
            "activities.changelog",
            filters={},
            sort_by=None,
            page_size=page_size,
            limit=limit,
            values={"id": activity_id},
        )
        return pager

    def _set(self, field: str, activity_id: int, body: dict[str, Any]) -> Flow[ActivityDescription]:
        answer: ActivityDescription = yield from self._call(
            f"activities.set_{field}", values={"id": activity_id}, body=body
        )
        return answer

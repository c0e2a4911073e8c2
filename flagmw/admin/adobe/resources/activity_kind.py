"""AB, XT and Auto-Allocate activities."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from flagmw.admin.adobe.bodies.activity import Activity
from flagmw.admin.adobe.bodies.personalization import QALinks
from flagmw.admin.adobe.changes import cloned, with_experience, with_split
from flagmw.admin.adobe.checks.activity import check_activity
from flagmw.admin.adobe.checks.dates import with_text_dates
from flagmw.admin.adobe.checks.values import checked_name
from flagmw.admin.adobe.resources.base import AdobeResource
from flagmw.admin.adobe.resources.qa import qa_body
from flagmw.admin.flow.effects import Flow
from flagmw.admin.flow.operation import M, operation


class ActivityKind(AdobeResource[M]):
    """Activities of one kind.

    Every method that changes an activity reads it and sends the whole activity. A change that somebody else makes
    between the two calls is lost: the vendor offers no protection against that.
    """

    def __init__(self, client: Any, kind: str = "ab", *, planning: bool = False) -> None:
        super().__init__(client, planning=planning)
        self._kind = kind

    def planner(self) -> ActivityKind[M]:
        """Return the same resource for a dry run."""
        return ActivityKind(self._client, self._kind, planning=True)

    @operation
    def get(self, activity_id: int) -> Flow[Activity]:
        """Return an activity as it is now."""
        answer: Activity = yield from self._call(self._name("get"), values={"id": activity_id})
        return answer

    @operation
    def create(self, body: Activity, *, check: bool = True) -> Flow[Activity]:
        """Create an activity and return it, with its id.

        Args:
            body: the activity; unknown fields are sent as they are.
            check: whether it is checked first. Switch it off for what the checks do not know.

        Raises:
            InvalidError: the body is wrong; the field says where.
        """
        body = with_text_dates(body)
        if check:
            check_activity(body)
        answer: Activity = yield from self._call(self._name("create"), body=body)
        return answer

    @operation
    def update(self, activity_id: int, body: Activity, *, check: bool = True) -> Flow[Activity]:
        """Replace an activity and return what it is now.

        Args:
            body: the whole activity; what is left out is gone.
            check: as in `create`.
        """
        body = with_text_dates(body)
        if check:
            check_activity(body)
        answer: Activity = yield from self._call(self._name("update"), values={"id": activity_id}, body=body)
        return answer

    @operation
    def delete(self, activity_id: int) -> Flow[Activity]:
        """Delete an activity and return what it was; its state is "deleted"."""
        answer: Activity = yield from self._call(self._name("delete"), values={"id": activity_id})
        return answer

    @operation
    def split(self, activity: int | Activity, shares: Mapping[str | int, int]) -> Flow[Activity]:
        """Set which share of the visitors each experience gets.

        Args:
            activity: its id, or the activity.
            shares: percent by the name or local id of each experience; together 100. Experiences that are left out
                get none.
        """
        activity_id, body = yield from self._known(activity)
        return (yield from self._replaced(activity_id, with_split(body, shares)))

    @operation
    def add_experience(
        self,
        activity: int | Activity,
        name: str,
        offers: Mapping[str | int, int] | int = 0,
        *,
        audience_ids: Sequence[int] | None = None,
        shares: Mapping[str | int, int] | None = None,
    ) -> Flow[Activity]:
        """Add an experience to an activity.

        Args:
            activity: its id, or the activity.
            name: of the new experience.
            offers: the offer's id for each mbox, by the mbox's name or local id; one id for all; 0 for default content.
            audience_ids: whom it is for, in an XT activity.
            shares: the new split, as in `split`. Without it an AB activity is split evenly, if it has shares at all.
        """
        checked_name(name)
        activity_id, body = yield from self._known(activity)
        changed = with_experience(body, name, offers, audience_ids, shares)
        return (yield from self._replaced(activity_id, changed))

    @operation
    def clone(self, activity: int | Activity, name: str) -> Flow[Activity]:
        """Create a copy of an activity under another name; the copy is inactive ("saved")."""
        checked_name(name)
        _, body = yield from self._known(activity)
        answer: Activity = yield from self._call(self._name("create"), body=cloned(body, name))
        return answer

    @operation
    def qa_links(
        self,
        activity_id: int,
        url: str,
        *,
        current_activity_only: bool = False,
        true_audience_ids: Sequence[int] = (),
        false_audience_ids: Sequence[int] = (),
    ) -> Flow[QALinks]:
        """Return an address for each experience that shows it to whoever opens it.

        Args:
            url: the page to show.
            current_activity_only: whether all other activities are off for that visitor.
            true_audience_ids, false_audience_ids: audiences that count as matched, or as not matched.
        """
        body = qa_body(url, current_activity_only, true_audience_ids, false_audience_ids)
        answer: QALinks = yield from self._call(self._name("qa_links"), values={"id": activity_id}, body=body)
        return answer

    def _name(self, verb: str) -> str:
        return f"activities.{self._kind}.{verb}"

    def _known(self, activity: int | Activity) -> Flow[tuple[int, Activity]]:
        activity_id = activity if isinstance(activity, int) else activity.get("id", -1)
        body: Activity = yield from self._read(self._name("get"), values={"id": activity_id})
        return activity_id, body

    def _replaced(self, activity_id: int, body: Activity) -> Flow[Activity]:
        check_activity(body)
        answer: Activity = yield from self._call(self._name("update"), values={"id": activity_id}, body=body)
        return answer

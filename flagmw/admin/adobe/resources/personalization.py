"""Automated Personalization activities."""

from __future__ import annotations

from collections.abc import Sequence

from flagmw.admin.adobe.bodies.personalization import PersonalizationActivity, QALinks
from flagmw.admin.adobe.checks.activity import check_common
from flagmw.admin.adobe.checks.dates import with_text_dates
from flagmw.admin.adobe.resources.base import AdobeResource
from flagmw.admin.adobe.resources.qa import qa_body
from flagmw.admin.flow.effects import Flow
from flagmw.admin.flow.operation import M, operation


class PersonalizationKind(AdobeResource[M]):
    """Automated Personalization activities ("abt"); documented in the published OpenAPI description alone."""

    @operation
    def get(self, activity_id: int) -> Flow[PersonalizationActivity]:
        """Return an activity as it is now."""
        answer: PersonalizationActivity = yield from self._call("activities.ap.get", values={"id": activity_id})
        return answer

    @operation
    def create(self, body: PersonalizationActivity, *, check: bool = True) -> Flow[PersonalizationActivity]:
        """Create an activity and return it, with its id.

        Args:
            check: whether name, state, priority and dates are checked first.
        """
        body = with_text_dates(body)
        if check:
            check_common(body)
        answer: PersonalizationActivity = yield from self._call("activities.ap.create", body=body)
        return answer

    @operation
    def update(
        self, activity_id: int, body: PersonalizationActivity, *, check: bool = True
    ) -> Flow[PersonalizationActivity]:
        """Replace an activity and return what it is now."""
        body = with_text_dates(body)
        if check:
            check_common(body)
        answer: PersonalizationActivity = yield from self._call(
            "activities.ap.update", values={"id": activity_id}, body=body
        )
        return answer

    @operation
    def delete(self, activity_id: int) -> Flow[PersonalizationActivity]:
        """Delete an activity and return what it was."""
        answer: PersonalizationActivity = yield from self._call("activities.ap.delete", values={"id": activity_id})
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
        """Return an address for each combination of offers; arguments as for the other kinds."""
        body = qa_body(url, current_activity_only, true_audience_ids, false_audience_ids)
        answer: QALinks = yield from self._call("activities.ap.qa_links", values={"id": activity_id}, body=body)
        return answer

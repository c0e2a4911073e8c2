"""Reports of activities: performance and orders."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flagmw.admin.adobe.bodies.report import OrdersReport, PerformanceReport
from flagmw.admin.adobe.resources.base import AdobeResource
from flagmw.admin.flow.effects import Flow
from flagmw.admin.flow.operation import M, operation


class Reports(AdobeResource[M]):
    """Reports, by the kind of the activity."""

    @property
    def ab(self) -> ReportKind[M]:
        """Reports of AB tests, Auto-Allocate ones included."""
        return ReportKind(self._client, "ab", planning=self._planning)

    @property
    def xt(self) -> ReportKind[M]:
        """Reports of Experience Targeting."""
        return ReportKind(self._client, "xt", planning=self._planning)

    @property
    def ap(self) -> ReportKind[M]:
        """Reports of Automated Personalization."""
        return ReportKind(self._client, "ap", planning=self._planning)


class ReportKind(AdobeResource[M]):
    """Reports of activities of one kind."""

    def __init__(self, client: Any, kind: str = "ab", *, planning: bool = False) -> None:
        super().__init__(client, planning=planning)
        self._kind = kind

    def planner(self) -> ReportKind[M]:
        """Return the same resource for a dry run."""
        return ReportKind(self._client, self._kind, planning=True)

    @operation
    def performance(self, activity_id: int, *, parameters: Mapping[str, str] | None = None) -> Flow[PerformanceReport]:
        """Return each experience's entries and conversions, by visitors, visits, impressions, landings.

        Args:
            parameters: sent as the query; the vendor documents none, so that its defaults decide which time and
                environment are reported (`reportParameters` in the answer says which).
        """
        name = f"reports.{self._kind}.performance"
        query = list((parameters or {}).items())
        answer: PerformanceReport = yield from self._call(name, values={"id": activity_id}, query=query)
        return answer

    @operation
    def orders(self, activity_id: int, *, parameters: Mapping[str, str] | None = None) -> Flow[OrdersReport]:
        """Return the single orders that the activity's conversions are made of.

        Args:
            parameters: as in `performance`.
        """
        name = f"reports.{self._kind}.orders"
        query = list((parameters or {}).items())
        answer: OrdersReport = yield from self._call(name, values={"id": activity_id}, query=query)
        return answer

"""Reports and change logs of activities."""

from __future__ import annotations

from typing import Any, TypedDict


class ReportParameters(TypedDict, total=False):
    """What a report is about; `reportInterval` is "from/to"."""

    activityId: int
    environmentId: int
    conversionMetricLocalIds: list[int]
    reportInterval: str
    metricLocalIds: list[int]  # spec
    reportingAudienceLocalIds: list[int]  # spec


class MetricCounts(TypedDict, total=False):
    entries: int
    conversions: int


class CountsOf(TypedDict, total=False):
    totals: MetricCounts


class Totals(TypedDict, total=False):
    visitor: CountsOf
    visit: CountsOf
    impression: CountsOf
    landing: CountsOf


class ExperienceTotals(TypedDict, total=False):
    experienceLocalId: int
    totals: Totals


class Statistics(TypedDict, total=False):
    totals: Totals
    experiences: list[ExperienceTotals]


class ReportBody(TypedDict, total=False):
    statistics: Statistics


class ReportedMetric(TypedDict, total=False):
    name: str
    metricLocalId: int
    deletedAt: str


class ReportedExperience(TypedDict, total=False):
    name: str
    experienceLocalId: int
    deletedAt: str


class ReportedActivity(TypedDict, total=False):
    id: int
    thirdPartyId: str
    type: str
    state: str
    name: str
    priority: int
    modifiedAt: str
    metrics: list[ReportedMetric]
    experiences: list[ReportedExperience]


class PerformanceReport(TypedDict, total=False):
    reportParameters: ReportParameters
    activity: ReportedActivity
    report: ReportBody


class Order(TypedDict, total=False):
    """An order in the audit; AP activities have `decisionStackId` and `productIds` instead."""

    time: str
    experienceLocalId: int
    decisionStackId: int
    id: str
    total: float
    duplicate: bool
    outlier: bool
    productPurchasedIds: list[str]
    productIds: list[str]


class OrdersReport(TypedDict, total=False):
    reportParameters: ReportParameters
    activity: ReportedActivity
    orders: list[Order]


class NamedChange(TypedDict, total=False):
    previousValue: Any
    changedValue: Any


class Change(TypedDict, total=False):
    """One entry of a change log: what was changed is the field that is there."""

    modifiedAt: str
    reportDataReset: bool  # spec
    activityParameters: dict[str, NamedChange]
    modifiedOffer: dict[str, Any]
    activityLocationOfferChange: dict[str, Any]

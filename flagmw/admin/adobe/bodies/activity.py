"""Activities: AB test, Experience Targeting, Auto-Allocate, Automated Personalization.

Fields without a mark are in the documentation page; `# spec` marks those of the published OpenAPI description alone.
"""

from __future__ import annotations

from typing import Any, Literal, TypedDict

ActivityType = Literal["ab", "xt", "abt", "auto_allocate", "mvt", "recs"]
ActivityState = Literal["approved", "deactivated", "saved", "deleted"]
ActionType = Literal[
    "count_once",
    "count_landings",
    "always_convert",
    "restart_same_experience",
    "restart_random_experience",
    "restart_new_experience",
    "exclude_to_same_experience",
    "ban_from_campaign",
    "experience_frequency_capping",
]


class AutoAllocateTraffic(TypedDict, total=False):
    enabled: bool
    successEvaluationCriteria: Literal["conversion_rate", "rpv", "engagement"]


class Mbox(TypedDict, total=False):
    """A place of a page that content is served in."""

    locationLocalId: int
    name: str
    audienceIds: list[int]


class Selector(TypedDict, total=False):  # spec
    locationLocalId: int
    name: str
    selector: str
    audienceIds: list[int]
    selectorVersion: int
    viewLocalId: int


class Locations(TypedDict, total=False):
    mboxes: list[Mbox]
    selectors: list[Selector]  # spec


class OfferLocation(TypedDict, total=False):
    """Which offer is served where, in the form of the documentation page; offer 0 is the default content."""

    locationLocalId: int
    offerId: int


class OptionLocation(TypedDict, total=False):  # spec
    """Which option is served where, in the form of the OpenAPI description."""

    locationLocalId: int
    optionLocalId: int


class TemplateParameter(TypedDict, total=False):  # spec
    name: str
    value: str


class OfferTemplate(TypedDict, total=False):  # spec
    offerTemplateId: int
    templateParameters: list[TemplateParameter]


class Option(TypedDict, total=False):  # spec
    optionLocalId: int
    name: str
    offerId: int
    offerTemplates: list[OfferTemplate]


class Experience(TypedDict, total=False):
    """One of the things that visitors see.

    Either `offerLocations`, or `optionLocations` beside the activity's `options`: both forms are read and sent back
    as they came.
    """

    experienceLocalId: int
    name: str
    visitorPercentage: int
    audienceIds: list[int]
    offerLocations: list[OfferLocation]
    optionLocations: list[OptionLocation]  # spec


class ExperienceCondition(TypedDict, total=False):
    experienceLocalId: int
    maxVisitCount: int
    maxImpressionCount: int


class Conditions(TypedDict, total=False):
    maxVisitCount: int
    maxImpressionCount: int
    experiences: list[ExperienceCondition]


class MetricAction(TypedDict, total=False):
    """What happens when the metric's number grows; the page and the description spell the last field differently."""

    type: ActionType
    conditions: Conditions
    onConditionMetAction: ActionType
    onConditionsMetAction: ActionType  # spec


class MetricMbox(TypedDict, total=False):
    name: str
    successEvent: Literal["mbox_shown", "mbox_clicked"]
    audienceIds: list[int]


class Metric(TypedDict, total=False):
    metricLocalId: int
    name: str
    conversion: bool
    engagement: Literal["page_count", "score", "time_on_site", "none"]  # spec
    action: MetricAction
    mboxes: list[MetricMbox]
    clickTrackSelectors: list[dict[str, Any]]  # spec
    views: list[dict[str, Any]]  # spec
    analytics: Analytics  # spec


class EntryConstraintMbox(TypedDict, total=False):  # spec
    name: str
    audienceIds: list[int]


class EntryConstraint(TypedDict, total=False):
    """Who may enter the activity."""

    mboxes: list[EntryConstraintMbox]  # spec
    visitorPercentage: int


class ReportingAudience(TypedDict, total=False):
    reportingAudienceLocalId: int
    audienceId: int
    metricLocalId: int


class ReportSuites(TypedDict, total=False):  # spec
    companyName: str
    reportSuites: list[str]


class Analytics(TypedDict, total=False):
    reportSuite: str
    dataCollectionHost: str
    reportSuites: list[ReportSuites]  # spec


class ActivityCommon(TypedDict, total=False):
    """What every kind of activity has."""

    id: int
    thirdPartyId: str
    name: str
    state: ActivityState
    priority: int
    startsAt: str
    endsAt: str
    entryConstraint: EntryConstraint
    locations: Locations
    options: list[Option]  # spec
    reportingAudiences: list[ReportingAudience]
    reportingSource: Literal["target", "analytics", "customer_journey_analytics"]  # spec
    analytics: Analytics
    workspace: str
    propertyIds: list[int]
    modifiedAt: str
    createdAt: str  # spec
    modifiedByName: str  # spec
    platform: dict[str, Any]  # spec


class Activity(ActivityCommon, total=False):
    """An AB or XT activity, or an Auto-Allocate one."""

    autoAllocateTraffic: AutoAllocateTraffic
    applicationContext: dict[str, Any]  # spec
    views: list[dict[str, Any]]  # spec
    experiences: list[Experience]
    metrics: list[Metric]


class ActivityRow(TypedDict, total=False):
    """An activity in the list of activities."""

    id: int
    thirdPartyId: str
    type: ActivityType
    state: ActivityState
    name: str
    priority: int
    modifiedAt: str
    workspace: str
    startsAt: str  # spec
    endsAt: str  # spec
    propertyIds: list[int]  # spec
    createdAt: str  # spec
    modifiedByName: str  # spec
    reportingSource: str  # spec


class ActivityDescription(TypedDict, total=False):
    """What is returned after a change of name, state, priority or schedule; the changed field among others."""

    id: int
    thirdPartyId: str
    name: str
    state: ActivityState
    priority: int
    startsAt: str
    endsAt: str
    modifiedAt: str

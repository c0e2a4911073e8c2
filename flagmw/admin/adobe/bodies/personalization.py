"""Automated Personalization activities, as the OpenAPI description has them (version 2, "abt")."""

from __future__ import annotations

from typing import Literal, TypedDict

from flagmw.admin.adobe.bodies.activity import ActivityCommon, Analytics, MetricMbox


class LocationOption(TypedDict, total=False):
    locationLocalId: int
    optionLocalId: int


class ControlledExperience(TypedDict, total=False):
    experienceLocalId: int
    locationOptions: list[LocationOption]


class ControlExperience(TypedDict, total=False):
    """What the visitors see with whom the algorithm is compared."""

    visitorPercentage: int
    type: Literal["random", "default_content", "custom"]
    custom: ControlledExperience


class SegmentOption(TypedDict, total=False):
    optionLocalId: int
    segmentIds: list[str]


class LocationOptions(TypedDict, total=False):
    locationLocalId: int
    options: list[SegmentOption]


class ExcludedCombination(TypedDict, total=False):
    locationOptions: list[LocationOption]


class AutomaticExperiences(TypedDict, total=False):
    locationOptions: list[LocationOptions]
    excludeRepeatingOptions: bool
    manualExclusions: list[ExcludedCombination]


class SegmentExperience(TypedDict, total=False):
    experienceLocalId: int
    name: str
    locationOptions: list[LocationOption]
    segmentIds: list[int]


class ExplicitExperiences(TypedDict, total=False):
    optimizeByExperience: bool
    explicitExperiences: list[SegmentExperience]


class TargetedExperience(TypedDict, total=False):
    automatic: AutomaticExperiences
    explicit: ExplicitExperiences
    modelProvider: Literal["target", "custom_dsw"]


class OptionGroup(TypedDict, total=False):
    name: str
    optionGroupLocalId: int
    optionLocalIds: list[int]


class PersonalizationMetric(TypedDict, total=False):
    metricLocalId: int
    name: str
    conversion: bool
    engagement: Literal["page_count", "score", "time_on_site", "none"]
    optimizationCriteria: Literal["conversion_rate", "rpv", "aov", "none"]
    mboxes: list[MetricMbox]
    analytics: Analytics


class PersonalizationActivity(ActivityCommon, total=False):
    """An Automated Personalization activity."""

    controlExperience: ControlExperience
    targetedExperience: TargetedExperience
    optionGroups: list[OptionGroup]
    metrics: list[PersonalizationMetric]


class QALink(TypedDict, total=False):
    """An address that shows one experience, whoever opens it."""

    url: str
    experienceLocalId: int
    locationOptions: list[LocationOption]


class QALinks(TypedDict, total=False):
    qaModeExperiences: list[QALink]

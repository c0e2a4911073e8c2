"""Bodies of the Personalize Management API, as types."""

from __future__ import annotations

from typing import Any, Literal, TypedDict

Status = Literal["DRAFT", "ACTIVE", "PAUSED", "ARCHIVED"]
Kind = Literal["SEGMENTED", "AB_TEST"]
Joint = Literal["AND", "OR"]

# "__type" cannot be written in the body of a class: Python would put the class's name before it.
_Attributed = TypedDict("_Attributed", {"__type": Literal["CUSTOM", "PRESET"]}, total=False)
_OfKind = TypedDict("_OfKind", {"__type": Kind}, total=False)
_Varied = TypedDict("_Varied", {"__type": Literal["SegmentedVariant", "ABTestVariant"]}, total=False)
_Ranked = TypedDict("_Ranked", {"__type": Literal["Primary", "Secondary"]}, total=False)


class Stored(TypedDict, total=False):
    """What the vendor adds to everything that it stores."""

    uid: str
    project: str
    createdBy: str
    updatedBy: str
    createdAt: str
    updatedAt: str
    createdByUserName: str
    updatedByUserName: str


class Attribute(_Attributed, Stored, total=False):
    """Something that is known of visitors."""

    name: str
    key: str
    description: str


class Audience(Stored, total=False):
    """Rules by a name; `rules_from_json(audience["definition"])` reads them."""

    name: str
    description: str
    definition: dict[str, Any]
    slug: str
    source: str


class Event(Stored, total=False):
    """Something that visitors do; experiences count it."""

    key: str
    description: str


class Experience(_OfKind, Stored, total=False):
    """An experience, without what it shows; `latestVersion` is the uid of its newest version."""

    name: str
    description: str
    shortUid: str
    latestVersion: str
    status: Status
    tags: list[str]
    referredAudiences: list[str]
    referredLyticsAudiences: list[str]


class Chosen(TypedDict, total=False):
    """A choice of audiences."""

    audiences: list[str]
    lyticsAudiences: list[str]
    audienceCombinationType: Joint


class Variant(_Varied, Chosen, total=False):
    """A variant; without `shortUid` the vendor counts it as a new one."""

    name: str
    shortUid: str
    trafficDistribution: float
    target: dict[str, Any]


class Metric(_Ranked, total=False):
    """An event that decides (the primary one) or is counted beside it."""

    event: str
    name: str


class Targeting(TypedDict, total=False):
    """Who takes part in an A/B test."""

    audience: Chosen
    target: dict[str, Any]


class VersionInput(TypedDict, total=False):
    """A version as it is sent, whole."""

    status: Status
    variants: list[Variant]
    variantSplit: str
    metrics: list[Metric]
    targeting: Targeting


class Version(VersionInput, Stored, total=False):
    """A version as it is stored."""


class VariantCount(TypedDict, total=False):
    """Impressions and conversions of a variant; by inference from the vendor's text."""

    shortUid: str
    impressions: int
    conversions: int
    probabilityToBeBest: float


class Summary(TypedDict, total=False):
    """Impressions and conversions of a version; by inference from the vendor's text."""

    variants: list[VariantCount]
    leadingVariant: str | None
    winningVariant: str | None


class Interval(TypedDict, total=False):
    """An hour of a time series; `interval` is one of ISO 8601."""

    interval: str
    variants: list[VariantCount]


class TimeSeries(TypedDict, total=False):
    """Impressions and conversions by hour; by inference from the vendor's text."""

    interval: str
    series: list[Interval]


class Place(TypedDict, total=False):
    """A country, a region or a city that can be targeted; by inference from the vendor's text."""

    code: str
    name: str
    countryCode: str
    regionCode: str

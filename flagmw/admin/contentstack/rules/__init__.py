"""Audience rules as objects, which read and write the vendor's JSON."""

from flagmw.admin.contentstack.rules.attributes import (
    City,
    Country,
    Custom,
    DateAndTime,
    DeviceType,
    LyticsAudience,
    LyticsFlow,
    OperatingSystem,
    QueryParameter,
    Referrer,
    Region,
)
from flagmw.admin.contentstack.rules.reading import rules_from_json
from flagmw.admin.contentstack.rules.tree import Combination, Rule, all_of, any_of

__all__ = [
    "City",
    "Combination",
    "Country",
    "Custom",
    "DateAndTime",
    "DeviceType",
    "LyticsAudience",
    "LyticsFlow",
    "OperatingSystem",
    "QueryParameter",
    "Referrer",
    "Region",
    "Rule",
    "all_of",
    "any_of",
    "rules_from_json",
]

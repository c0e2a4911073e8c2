"""Model of a Contentstack Personalize project: attributes, events, audiences, experiences.

project -> experiences, in order of priority -> variants
        -> audiences -> rules
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from flagmw.exceptions import ConfigError

Kind = Literal["SEGMENTED", "AB_TEST"]
State = Literal["draft", "active", "paused"]
Combination = Literal["AND", "OR"]
Condition = Literal[
    "STRING_EQUALS", "CONTAINS_SUBSTRING", "HAS_ANY_VALUE", "IS_TRUE", "IS_FALSE", "NUMBER_LESS_THAN",
    "NUMBER_GREATER_THAN", "NUMBER_EQUAL_TO", "BETWEEN_TIME", "BEFORE_TIME", "AFTER_TIME", "IS_MEMBER_OF",
]  # fmt: skip

_PROJECT_UID = re.compile(r"[0-9a-f]{24}")
_SHORT_UID = re.compile(r"[0-9a-z]{1,8}")


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelRule:
    """One condition on a visitor.

    Attributes:
        attribute: a preset one (COUNTRY, REGION, CITY, DEVICE_TYPE, OPERATING_SYSTEM, QUERY_PARAMETERS, REFERRER,
            DATE_AND_TIME, LYTICS_AUDIENCE), or the key of a custom one.
        pointer: of QUERY_PARAMETERS, a JSON pointer such as "/utm_campaign"; the condition is on what it points to.
        invert: the opposite is wanted; then visitors without the attribute match too.
        condition: how the attribute is compared.
        value: what it is compared with.
        start: of the conditions on time, such as "2026-11-27T00:00:00" in UTC.
        end: of the conditions on time, such as "2026-11-27T00:00:00" in UTC.
        visitor_zone: whether start and end are in the visitor's time zone.
    """

    attribute: str
    condition: Condition
    value: str | int | float | None = None
    pointer: str | None = None
    start: str | None = None
    end: str | None = None
    invert: bool = False
    visitor_zone: bool = False

    def __post_init__(self) -> None:
        for name in ("start", "end"):
            try:
                datetime.fromisoformat(getattr(self, name) or "1970-01-01")
            except ValueError:
                raise ConfigError(f'{name}: write a time as "2026-11-27T00:00:00"') from None


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelAudience:
    """Rules by a name; one without rules matches nobody.

    Attributes:
        name: by which experiences refer to it.
        rules: its conditions; without any it matches nobody.
        combination: whether all rules must hold or one.
    """

    name: str
    rules: tuple[ModelRule, ...] = ()
    combination: Combination = "AND"


@dataclass(frozen=True, slots=True, kw_only=True)
class NestedAudience(ModelAudience):
    """An audience whose combination holds further ones, beside its rules."""

    groups: tuple[NestedAudience, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelVariant:
    """One variant of an experience.

    Attributes:
        traffic: its share of an A/B test, relative to its siblings.
        audiences: of a segmented experience, whose members get it.
        short_uid: its id in answers, the variant.
        name: its name.
        combination: whether a visitor must be in all `audiences` or in one.
    """

    short_uid: str
    name: str = ""
    traffic: float = 1.0
    audiences: tuple[str, ...] = ()
    combination: Combination = "OR"

    def __post_init__(self) -> None:
        _check_short_uid(self.short_uid)
        if self.traffic < 0:
            raise ConfigError("traffic must not be negative")


@dataclass(frozen=True, slots=True, kw_only=True)
class Experience:
    """An experience and its one live version.

    Attributes:
        version: another text deals an A/B test's visitors anew.
        targeting: of an A/B test, the audiences whose members take part; everybody where there are none.
        metrics: keys of the events that count as its conversions.
        short_uid: its id in answers, 1 to 8 characters.
        variants: an A/B test has two or more.
        name: its name.
        kind: a test, or variants by audience.
        state: only active ones decide.
        combination: whether a visitor must be in all audiences of `targeting` or in one.
        tags: a request may ask for the experiences with one of them.
    """

    short_uid: str
    variants: tuple[ModelVariant, ...]
    name: str = ""
    kind: Kind = "AB_TEST"
    state: State = "active"
    version: str = "1"
    targeting: tuple[str, ...] = ()
    combination: Combination = "AND"
    metrics: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        _check_short_uid(self.short_uid)
        _check_different("variants", [variant.short_uid for variant in self.variants])
        if self.kind == "AB_TEST":
            if len(self.variants) < 2 or sum(variant.traffic for variant in self.variants) <= 0:
                raise ConfigError("variants: an A/B test needs two, and a positive share of the traffic")
        elif not self.variants or not all(variant.audiences for variant in self.variants):
            raise ConfigError("variants: a segmented experience needs one, and each needs audiences")

    @property
    def audiences(self) -> set[str]:
        """The names of all audiences that it refers to."""
        return {*self.targeting, *(name for variant in self.variants for name in variant.audiences)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Project:
    """A project of the emulated service.

    Attributes:
        attributes: keys of the custom attributes; what is stored under another key is ignored.
        events: keys of the events; others are taken and count for nothing.
        experiences: in order of priority, the highest first.
        project_uid: 24 hex digits, in every request.
        audiences: what experiences name.
    """

    project_uid: str
    attributes: tuple[str, ...] = ()
    events: tuple[str, ...] = ()
    audiences: tuple[ModelAudience, ...] = ()
    experiences: tuple[Experience, ...] = ()

    def __post_init__(self) -> None:
        if not _PROJECT_UID.fullmatch(self.project_uid):
            raise ConfigError("project_uid: use 24 hex digits in lower case")
        names = [audience.name for audience in self.audiences]
        _check_different("audiences", names)
        _check_different("experiences", [experience.short_uid for experience in self.experiences])
        for experience in self.experiences:
            where = f"experiences: {experience.short_uid!r}"
            for missing in sorted(experience.audiences - set(names)):
                raise ConfigError(f"{where} names an audience that is not among audiences: {missing!r}")
            for missing in sorted(set(experience.metrics) - set(self.events)):
                raise ConfigError(f"{where} has a metric that is not among events: {missing!r}")

    def audience(self, name: str) -> ModelAudience:
        """Return the audience of this name, which has to be there."""
        return next(audience for audience in self.audiences if audience.name == name)

    def experience(self, short_uid: str) -> Experience | None:
        """Return the experience of this short uid; None when there is none."""
        return next((experience for experience in self.experiences if experience.short_uid == short_uid), None)


def _check_short_uid(short_uid: str) -> None:
    if not _SHORT_UID.fullmatch(short_uid):
        raise ConfigError(f"short_uid: use 1 to 8 digits and lower-case letters, not {short_uid!r}")


def _check_different(field: str, names: list[str]) -> None:
    if len(set(names)) != len(names):
        raise ConfigError(f"{field}: every name must be different")

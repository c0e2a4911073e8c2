"""Model of a Monetate account: experiences, audiences, variants.

    retailer -> experiences (component, slot, priority, segments) -> variants (label, content)

The control share of an experience is a fraction of 1; splits of variants are relative.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from flagmw.exceptions import ConfigError
from flagmw.sandbox.monetate_admin.settings import ManagementSettings
from flagmw.sandbox.segments import Segment

Action = Literal[
    "OmnichannelJson", "OmnichannelHtml", "OmnichannelRedirect", "VariantSelector", "OpenAction", "DataCollection",
]  # fmt: skip
ExperienceType = Literal[
    "Standard Test", "100% Experience", "Automated Personalization", "Dynamic Testing", "Majority Fit",
]  # fmt: skip
State = Literal["active", "paused", "archived"]

# A control of these types is an action of its own if the request asks for reporting.
TELLS_CONTROL = ("Automated Personalization", "Dynamic Testing")


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelVariant:
    """One variant of an experience.

    Attributes:
        label: what reports call it.
        split: its share relative to its siblings, of those who are not in the control.
        content: what its action carries: an object, a text of HTML, or the URL of a redirect.
        id: the vendor's id; numbered by position where omitted (0).
        preview: a token that shows this variant, also when the experience does not run.
    """

    label: str
    split: float = 1.0
    content: Any = None
    id: int = 0
    preview: str | None = None

    def __post_init__(self) -> None:
        if self.split < 0:
            raise ConfigError("split must not be negative")


@dataclass(frozen=True, slots=True, kw_only=True)
class Experience:
    """One experience: what it does, for whom, and where.

    Attributes:
        label: its reporting label, set when it went live; the name may change afterwards.
        priority: the lower the number, the earlier.
        control: the share of visitors that gets nothing and is counted as the control.
        managed: leave it to the caller to say when a visitor has seen it.
        segments: one of them must match (`data` are custom variables); none means everybody.
        id: the vendor's id.
        name: its name in the portal; made from the label where omitted.
        type: the kind of experience.
        action: the kind of its actions.
        component: the component whose content it is.
        slot: the slot of the page that it fills.
        state: only active ones decide.
        variants: at least one with a positive split.
        page_types: page types; one of them must be the page's.
        paths: paths; one of them must match, and may have `*`.
        languages: languages; one of them must be the visitor's, and stands for its regions too.
        tags: sent back with each of its decisions.
    """

    id: int
    label: str
    name: str = ""
    type: ExperienceType = "Standard Test"
    action: Action = "OmnichannelJson"
    component: str | None = None
    slot: str | None = None
    priority: int = 1
    control: float = 0.0
    managed: bool = False
    state: State = "active"
    variants: tuple[ModelVariant, ...] = ()
    segments: tuple[Segment, ...] = ()
    page_types: tuple[str, ...] = ()
    paths: tuple[str, ...] = ()
    languages: tuple[str, ...] = ()
    tags: tuple[str, ...] = ("Default",)

    def __post_init__(self) -> None:
        labels = [variant.label for variant in self.variants]
        if not labels or sum(variant.split for variant in self.variants) <= 0:
            raise ConfigError("variants: give at least one with a positive split")
        if len(set(labels)) != len(labels):
            raise ConfigError("variants: every label must be different")
        if not 0 <= self.control <= 1:
            raise ConfigError("control must be between 0 and 1")
        numbered = tuple(
            variant if variant.id else replace(variant, id=self.id * 100 + index)
            for index, variant in enumerate(self.variants, 1)
        )
        object.__setattr__(self, "variants", numbered)
        object.__setattr__(self, "name", self.name or self.label.replace("_", " "))

    @property
    def alias(self) -> str:
        """What a caller is likely to call it: its component, else its label."""
        return self.component or self.label


@dataclass(frozen=True, slots=True, kw_only=True)
class Retailer:
    """An account of the emulated engine.

    Attributes:
        retailer: its short name, in the path of every request.
        channel: account, instance and domain, with slashes between; requests must name this one.
        page_events: the keys of page events that exist; all where omitted.
        manage_impressions: heed the deprecated field of a request that leaves all its impressions to the caller.
        admin: how its management APIs behave.
        experiences: its experiences.
    """

    retailer: str
    channel: str
    experiences: tuple[Experience, ...] = ()
    page_events: tuple[str, ...] = ()
    manage_impressions: bool = True
    admin: ManagementSettings = field(default_factory=ManagementSettings)

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[A-Za-z0-9_.-]+", self.retailer):
            raise ConfigError("retailer: use letters, digits, dots, dashes and underscores")
        if not re.fullmatch(r"[^/\s]+/[^/\s]+/[^/\s]+", self.channel):
            raise ConfigError('channel must be "account/instance/domain"')
        for what, values in (
            ("id", [experience.id for experience in self.experiences]),
            ("label", [experience.label for experience in self.experiences]),
        ):
            if len(set(values)) != len(values):
                raise ConfigError(f"experiences: the same {what} is used twice")


@dataclass(frozen=True, slots=True, kw_only=True)
class Situation:
    """The visitor and the page, from the context events of one request."""

    page_type: str | None = None
    path: str = ""
    url: str = ""
    language: str = ""
    user_agent: str = ""
    ip: str = ""
    referer: str = ""
    variables: Mapping[str, Any] = field(default_factory=dict)

"""Model of an Adobe Target account: activities, mboxes, experiences, audiences.

account -> activities (mbox, audience, properties) -> experiences (share, offer)
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

import orjson

from flagmw.exceptions import ConfigError
from flagmw.sandbox.adobe_admin.settings import AdminSettings

if TYPE_CHECKING:
    from flagmw.sandbox.adobe.decide import Asking

OfferType = Literal["json", "html", "redirect", "dynamic", "actions", "default"]

UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
TOKENS = ("activity.id", "activity.name", "experience.id", "experience.name", "option.id", "option.name")


@dataclass(frozen=True, slots=True, kw_only=True)
class Experience:
    """One experience of an activity.

    Attributes:
        share: how much of the activity's traffic it gets, relative to its siblings.
        type: of its offer; "default" leaves the page as it is.
        content: of the offer; JSON text for "json" and "actions".
        id: numbered by position from 0 where omitted (-1), as the product does.
        name: the variant.
    """

    name: str
    share: float = 1.0
    type: OfferType = "json"
    content: str = "{}"
    id: int = -1

    def __post_init__(self) -> None:
        if self.share < 0:
            raise ConfigError("share must not be negative")
        if self.type in ("json", "actions"):
            try:
                orjson.loads(self.content)
            except orjson.JSONDecodeError as error:
                raise ConfigError(f"content: not JSON ({error})") from None

    def parsed(self) -> Any:
        """Return the content as an answer has it."""
        return orjson.loads(self.content) if self.type in ("json", "actions") else self.content


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelActivity:
    """An A/B test, or experience targeting, at one mbox.

    Attributes:
        mbox: where it runs; the global mbox ("target-global-mbox") for the page's load.
        kind: "ab", or "xt" for experience targeting.
        parameters: values that the mbox's parameters must have.
        browsers: browsers ("chrome", "firefox", ...) of which one must be the visitor's.
        countries: country codes of which one must be the visitor's.
        properties: tokens of the properties it belongs to; of all where omitted.
        id: numbered by position where omitted (0).
        on_device: whether the rules for on-device decisioning have it.
        name: shown in reports and answers.
        experiences: at least one with a positive share.
    """

    name: str
    mbox: str
    experiences: tuple[Experience, ...]
    kind: Literal["ab", "xt"] = "ab"
    parameters: Mapping[str, str] = field(default_factory=dict)
    browsers: tuple[str, ...] = ()
    countries: tuple[str, ...] = ()
    properties: tuple[str, ...] = ()
    id: int = 0
    on_device: bool = True

    def __post_init__(self) -> None:
        if not self.experiences or sum(experience.share for experience in self.experiences) <= 0:
            raise ConfigError("experiences: give at least one with a positive share")
        numbered = tuple(
            experience if experience.id >= 0 else replace(experience, id=index)
            for index, experience in enumerate(self.experiences)
        )
        object.__setattr__(self, "experiences", numbered)
        if len({experience.id for experience in numbered}) != len(numbered):
            raise ConfigError("experiences: the same id is used twice")

    @property
    def running(self) -> bool:
        """True when it is on; what the scenario has is."""
        return True

    def open_to(self, asking: Asking) -> bool:
        """True when it takes a visitor, beside its properties, parameters, browsers and countries."""
        return True

    def chosen(self, asking: Asking, place: float) -> list[Experience]:
        """Return the experience at a place of the allocation, none where there is none."""
        return [one for one, low, high in self.bounds() if low <= place < high]

    def bounds(self) -> list[tuple[Experience, float, float]]:
        """Return each experience with its part of the allocation: from, and up to and without, in percent."""
        total, at = sum(experience.share for experience in self.experiences), 0.0
        bounds = []
        for experience in self.experiences:
            end = at + experience.share
            bounds.append((experience, round(100 * at / total, 2), round(100 * end / total, 2)))
            at = end
        return bounds


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetAccount:
    """An account of the emulated service.

    Attributes:
        client: the client code.
        properties: the tokens of its properties; without any, tokens count for nothing.
        clicks: mboxes whose answers bring a token for clicks.
        response_tokens: which of them answers tell; those of the product's usual choice where omitted.
        edge_hints: send clients to an edge cluster, by `edgeHost` and the suffix of the tntId.
        cluster: that cluster's number.
        latency_ms: how long each answer takes.
        max_per_session: requests of one session at once; a further one is answered 420.
        admin: how its management APIs behave.
        org_id: the organisation; requests that name it in place of the client reach this account too.
        activities: its activities, the most important first.
    """

    client: str
    org_id: str | None = None
    activities: tuple[ModelActivity, ...] = ()
    properties: tuple[str, ...] = ()
    clicks: tuple[str, ...] = ()
    response_tokens: tuple[str, ...] = TOKENS
    edge_hints: bool = True
    cluster: int = 35
    latency_ms: int = 0
    max_per_session: int = 100
    admin: AdminSettings = field(default_factory=AdminSettings)

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[A-Za-z0-9-]{1,63}", self.client):
            raise ConfigError("client: use letters, digits and dashes")
        for token in self.properties:
            if not UUID.fullmatch(token):
                raise ConfigError(f"properties: {token!r} is no UUID")
        numbered = tuple(
            activity if activity.id else replace(activity, id=302_740 + index)
            for index, activity in enumerate(self.activities)
        )
        object.__setattr__(self, "activities", numbered)
        if len({activity.id for activity in numbered}) != len(numbered):
            raise ConfigError("activities: the same id is used twice")

    def previewed(self, token: str, place: int) -> list[ModelActivity]:
        """Return the activity at *place* of a preview, counted from 1."""
        return [self.activities[place - 1]] if 1 <= place <= len(self.activities) else []

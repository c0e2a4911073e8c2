"""Decisions of the emulated Adobe Target, and its rules for on-device decisions.

Both forms are made here, side by side, so that they cannot drift apart: a condition in Python, and the same one in
JsonLogic. Source of the rules' form: Adobe Target developer guide, "On-device decisioning".
"""

from __future__ import annotations

import base64
import hmac
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from flagmw.sandbox.adobe.hash import allocation
from flagmw.sandbox.adobe.model import Experience, ModelActivity, TargetAccount
from flagmw.sandbox.adobe.request import GLOBAL_MBOX

_SECRET = b"flagmw sandbox event tokens"
_BROWSERS = (
    ("edge", re.compile(r"Edg(e|A|iOS)?/")),
    ("safari", re.compile(r"Version/\d.*Safari/")),
    ("chrome", re.compile(r"Chrome/")),
    ("firefox", re.compile(r"Firefox/")),
)


@dataclass(frozen=True, slots=True)
class Asking:
    """Who asks, as far as decisions depend on it."""

    visitor: str
    parameters: Mapping[str, str]
    browser: str
    country: str
    property_token: str | None
    facts: Mapping[str, Mapping[str, str]] = field(default_factory=dict)


def browser_of(user_agent: str) -> str:
    """Return the browser's name in lower case."""
    return next((name for name, pattern in _BROWSERS if pattern.search(user_agent)), "unknown")


def decide(account: TargetAccount, mbox: str, asking: Asking) -> list[tuple[ModelActivity, Experience]]:
    """Return the activities of *asking* at *mbox*: the first that takes them, all of them for the page's load."""
    if account.properties and asking.property_token not in account.properties:
        return []
    chosen = []
    for activity in account.activities:
        if activity.mbox == mbox and _takes(activity, asking):
            place = allocation(account.client, activity.id, asking.visitor)
            chosen += [(activity, experience) for experience in activity.chosen(asking, place)]
    return chosen if mbox == GLOBAL_MBOX else chosen[:1]


def _takes(activity: ModelActivity, asking: Asking) -> bool:
    return (
        (not activity.properties or asking.property_token in activity.properties)
        and all(asking.parameters.get(name) == value for name, value in activity.parameters.items())
        and (not activity.browsers or asking.browser in activity.browsers)
        and (not activity.countries or asking.country in activity.countries)
        and activity.open_to(asking)
    )


def tokens_of(activity: ModelActivity, experience: Experience) -> dict[str, Any]:
    """Return all response tokens of an experience, ids as numbers."""
    return {
        "activity.id": activity.id,
        "activity.name": activity.name,
        "activity.type": activity.kind,
        "experience.id": experience.id,
        "experience.name": experience.name,
        "option.id": experience.id + 2,
        "option.name": f"Offer{experience.id + 2}",
        "location.name": activity.mbox,
    }


def option(account: TargetAccount, activity: ModelActivity, experience: Experience, kind: str | None) -> dict[str, Any]:
    """Return an option of an answer; *kind* "display" adds the token that tells of its display later."""
    offered: dict[str, Any] = {}
    if experience.type != "default":
        offered = {"type": experience.type, "content": experience.parsed()}
    tokens_by_name = tokens_of(activity, experience)
    tokens = {name: str(tokens_by_name[name]) for name in account.response_tokens if name in tokens_by_name}
    if tokens:
        offered["responseTokens"] = tokens
    if kind is not None:
        offered["eventToken"] = event_token(account, activity, experience, kind)
    return offered


def event_token(account: TargetAccount, activity: ModelActivity, experience: Experience, kind: str) -> str:
    """Return the opaque token of one experience's displays or clicks."""
    payload = orjson.dumps([account.client, activity.id, experience.id, kind])
    return base64.urlsafe_b64encode(payload + hmac.digest(_SECRET, payload, "sha256")[:12]).decode()


def opened(account: TargetAccount, token: str, kind: str) -> tuple[ModelActivity, Experience] | None:
    """Return the display that *token* counts, None when it is not of this account or kind."""
    try:
        raw = base64.urlsafe_b64decode(token.encode())
        payload, tag = raw[:-12], raw[-12:]
        if not hmac.compare_digest(tag, hmac.digest(_SECRET, payload, "sha256")[:12]):
            return None
        client, activity_id, experience_id, made_for = orjson.loads(payload)
    except ValueError:
        return None
    if (client, made_for) != (account.client, kind):
        return None
    return next(
        (
            (activity, experience)
            for activity in account.activities
            for experience in activity.experiences
            if (activity.id, experience.id) == (activity_id, experience_id)
        ),
        None,
    )


def artifact(account: TargetAccount, property_token: str | None) -> dict[str, Any]:
    """Return the rules for on-device decisions of one property, or of none."""
    activities = [
        activity
        for activity in account.activities
        if activity.running and (not activity.properties or property_token in activity.properties)
    ]
    by_mbox: dict[str, list[dict[str, Any]]] = {}
    for activity in activities:
        if activity.on_device:
            by_mbox.setdefault(activity.mbox, []).extend(_rules(account, activity))
    remote = {activity.mbox for activity in activities if not activity.on_device}
    return {
        "version": "1.0.0",
        "globalMbox": GLOBAL_MBOX,
        "geoTargetingEnabled": any(activity.countries for activity in activities),
        "responseTokens": list(account.response_tokens),
        "remoteMboxes": sorted(remote),
        "localMboxes": sorted(by_mbox.keys() - remote),
        "remoteViews": [],
        "localViews": [],
        "meta": {"clientCode": account.client, "environment": "production", "generatedAt": "2026-01-01T00:00:00.000Z"},
        "rules": {"mboxes": by_mbox, "views": {}},
    }


def _rules(account: TargetAccount, activity: ModelActivity) -> Iterator[dict[str, Any]]:
    audience = list(_audience(activity))
    for experience, low, high in activity.bounds():
        place: dict[str, Any] = {"var": "allocation"}
        metrics = [{"type": "display", "eventToken": event_token(account, activity, experience, "display")}]
        if activity.mbox in account.clicks:
            metrics.append({"type": "click", "eventToken": event_token(account, activity, experience, "click")})
        offered = option(account, activity, experience, "display")
        offered.pop("responseTokens", None)
        yield {
            "ruleKey": str(activity.id),
            "activityId": activity.id,
            "propertyTokens": list(activity.properties),
            "seed": None,
            # Adobe's Node client cannot do without a list of audiences, be it empty.
            "meta": {**tokens_of(activity, experience), "audience.ids": []},
            "condition": {"and": [{"<=": [low, place]}, {"<": [place, high]}, *audience]},
            "consequence": {"name": activity.mbox, "options": [offered], "metrics": metrics},
        }


def _audience(activity: ModelActivity) -> Iterator[dict[str, Any]]:
    for name, value in activity.parameters.items():
        yield {"==": [value, {"var": f"mbox.{name}"}]}
    if activity.browsers:
        yield {"in": [{"var": "user.browserType"}, list(activity.browsers)]}
    if activity.countries:
        yield {"in": [{"var": "geo.country"}, list(activity.countries)]}

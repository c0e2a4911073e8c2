"""Match of audiences and visitors. Pure.

Source: the rule grammar of the Personalize Management API. What it leaves open is decided here: an attribute that is
missing matches nothing, before the rule is inverted; texts of places and devices are compared in capitals.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, tzinfo
from typing import Any
from urllib.parse import parse_qsl, urlsplit
from zoneinfo import ZoneInfo

from flagmw.sandbox.contentstack.model import Combination, ModelAudience, ModelRule, NestedAudience, Project

_FOLDED = frozenset({"COUNTRY", "REGION", "DEVICE_TYPE", "OPERATING_SYSTEM"})

# The addresses set aside for documentation (RFC 5737) stand for three places; private ones are nowhere.
_PLACES = {
    "192.0.2.0/24": ("DE", "DE-BE", "Berlin"),
    "198.51.100.0/24": ("US", "US-CA", "San Francisco"),
    "203.0.113.0/24": ("AU", "AU-NSW", "Sydney"),
}
_ZONES = {"DE-BE": "Europe/Berlin", "US-CA": "America/Los_Angeles", "AU-NSW": "Australia/Sydney"}
_SYSTEMS = (("iOS", "iPhone|iPad"), ("Android", "Android"), ("Windows", "Windows"), ("MacOS", "Mac OS|Macintosh"))


@dataclass(frozen=True, slots=True)
class AudienceFacts:
    """The facts of one request that audiences can test; *attributes* are the stored ones and those of the request."""

    page_url: str = ""
    referrer: str = ""
    user_agent: str = ""
    ip: str = ""
    now: float = 0.0
    attributes: Mapping[str, Any] = field(default_factory=dict)


def in_audiences(project: Project, names: Sequence[str], combination: Combination, facts: AudienceFacts) -> bool:
    """True when the visitor is in all or in any of the audiences; in none if there are none."""
    matched = [_matches(project.audience(name), facts) for name in names]
    return bool(matched) and (all(matched) if combination == "AND" else any(matched))


def _matches(audience: ModelAudience, facts: AudienceFacts) -> bool:
    matched = [_holds(rule, _value(rule, facts), facts) is not rule.invert for rule in audience.rules]
    if isinstance(audience, NestedAudience):
        matched += [_matches(group, facts) for group in audience.groups]
    return bool(matched) and (all(matched) if audience.combination == "AND" else any(matched))


def _value(rule: ModelRule, facts: AudienceFacts) -> Any:
    """Return the attribute that *rule* is about; None where it is missing."""
    place = _place(facts.ip)
    query = dict(parse_qsl(urlsplit(facts.page_url).query))
    presets: dict[str, Any] = {
        "COUNTRY": place[0],
        "REGION": place[1],
        "CITY": place[2],
        "DEVICE_TYPE": _device(facts.user_agent),
        "OPERATING_SYSTEM": next((name for name, sign in _SYSTEMS if re.search(sign, facts.user_agent)), None),
        "QUERY_PARAMETERS": query.get(_unescaped(rule.pointer)) if rule.pointer else query or None,
        "REFERRER": facts.referrer or None,
        "DATE_AND_TIME": facts.now,
        "LYTICS_AUDIENCE": facts.attributes.get("__lytics_audiences"),
    }
    if rule.attribute in presets:
        return presets[rule.attribute]
    # A pointer leads nowhere in an attribute, which is a text, a number or a boolean.
    return None if rule.pointer else facts.attributes.get(rule.attribute)


def _holds(rule: ModelRule, value: Any, facts: AudienceFacts) -> bool:
    if value is None:
        return False
    wanted = "" if rule.value is None else str(rule.value)
    text = str(value).lower() if isinstance(value, bool) else str(value)
    match rule.condition:
        case "STRING_EQUALS":
            return text.upper() == wanted.upper() if rule.attribute in _FOLDED else text == wanted
        case "CONTAINS_SUBSTRING":
            return wanted in text
        case "HAS_ANY_VALUE":
            return text != ""
        case "IS_TRUE" | "IS_FALSE":
            return text == ("true" if rule.condition == "IS_TRUE" else "false")
        case "IS_MEMBER_OF":
            return wanted in text.strip("|").split("|")
        case "BETWEEN_TIME" | "BEFORE_TIME" | "AFTER_TIME":
            return _in_time(rule, facts)
    number, limit = _number(value), _number(rule.value)
    if number is None or limit is None:
        return False
    if rule.condition == "NUMBER_EQUAL_TO":
        return number == limit
    return number < limit if rule.condition == "NUMBER_LESS_THAN" else number > limit


def _in_time(rule: ModelRule, facts: AudienceFacts) -> bool:
    region = _place(facts.ip)[1] if rule.visitor_zone else None
    zone = UTC if region is None else ZoneInfo(_ZONES[region])
    after = rule.condition == "BEFORE_TIME" or facts.now > _time(rule.start, zone)
    before = rule.condition == "AFTER_TIME" or facts.now < _time(rule.end, zone)
    return after and before


def _time(text: str | None, zone: tzinfo) -> float:
    return datetime.fromisoformat(text or "1970-01-01").replace(tzinfo=zone).timestamp()


def _unescaped(pointer: str) -> str:
    return pointer.removeprefix("/").replace("~1", "/").replace("~0", "~")


def _number(value: Any) -> float | None:
    try:
        return None if isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        return None


def _place(ip: str) -> tuple[str | None, str | None, str | None]:
    try:
        address = ipaddress.ip_address(ip)
    except ValueError:
        return None, None, None
    return next((place for net, place in _PLACES.items() if address in ipaddress.ip_network(net)), (None, None, None))


def _device(user_agent: str) -> str | None:
    if not user_agent:
        return None
    if re.search("iPad|Tablet", user_agent):
        return "TABLET"
    return "MOBILE" if re.search("Mobi|iPhone", user_agent) else "DESKTOP"

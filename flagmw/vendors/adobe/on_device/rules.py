"""Rules of on-device decisioning, compiled once from the artifact.

Source: Adobe Target developer guide, "On-device decisioning", and the rules file itself: for each mbox a list of rules,
each with a condition in JsonLogic (jsonlogic.com) and its consequence; the first rule whose condition holds counts.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from flagmw.codes import ErrorCode
from flagmw.exceptions import ConfigError, ProtocolError
from flagmw.types import Visit
from flagmw.vendors.adobe.decide import variant_of
from flagmw.vendors.adobe.on_device.facts import situation
from flagmw.vendors.adobe.on_device.logic import Condition, LogicError, compiled
from flagmw.vendors.adobe.request import PAGE_LOAD, Facts
from flagmw.vendors.adobe.response import AnsweredMbox, read_mbox
from flagmw.vendors.common.values import objects_in

MAJOR_VERSION = "1"
MAX_RULES = 10_000

_ALLOCATION = "allocation"
# The form of one step of a path in a condition.
_ACTIVITY = re.compile(r"a[A-Za-z0-9_-]{1,64}")
_EVERYTHING = frozenset(
    {"user", "page", "referring", "mbox", "geo", "current_timestamp", "current_time", "current_day"}
)


@dataclass(frozen=True, slots=True)
class _Rule:
    key: str
    activity: str
    condition: Condition
    consequence: AnsweredMbox


class Rules:
    """One account's rules, compiled.

    Args:
        document: the artifact.
        property_token: the property whose rules count besides those of no property.
        vendor: the name that variants carry.

    Raises:
        ProtocolError: *document* is not an artifact of a known version.
    """

    def __init__(self, document: Any, client: str, property_token: str | None, vendor: str) -> None:
        if not isinstance(document, dict) or str(document.get("version", "")).partition(".")[0] != MAJOR_VERSION:
            raise ProtocolError(ErrorCode.SHAPE)
        listed = document.get("rules")
        by_mbox = listed.get("mboxes") if isinstance(listed, dict) else None
        if not isinstance(by_mbox, dict):
            raise ProtocolError(ErrorCode.SHAPE)
        self._client, self._vendor = client, vendor
        self._global = str(document.get("globalMbox") or PAGE_LOAD)
        self._allocation = libraries()
        self._wanted: frozenset[str] = frozenset()
        self._response_tokens = _text_set(document.get("responseTokens"))
        budget = MAX_RULES
        self._rules: dict[str, tuple[_Rule, ...]] = {}
        for name, rules in by_mbox.items():
            listed_rules = objects_in(rules)[:budget]
            budget -= len(listed_rules)
            wanted = [rule for rule in listed_rules if _in_property(rule, property_token)]
            self._rules[name] = tuple(filter(None, (self._compiled(name, rule) for rule in wanted)))
        self._local = _text_set(document.get("localMboxes")) - _text_set(document.get("remoteMboxes"))

    def know(self, asked: Iterable[str]) -> bool:
        """Say whether the rules cover all mboxes *asked*."""
        return all((self._global if name == PAGE_LOAD else name) in self._local for name in asked)

    def decide(self, visit: Visit, given: Facts, visitor: str, asked: Iterable[str]) -> list[AnsweredMbox]:
        """Return the mboxes *asked* by the rules, for the visitor with this id."""
        asked = tuple(asked)
        rules = {name: self._rules.get(self._global if name == PAGE_LOAD else name, ()) for name in asked}
        activities = {rule.activity for listed in rules.values() for rule in listed}
        places = {activity: self._allocation(self._client, activity[1:], visitor) for activity in activities}
        facts = {**situation(visit, given, self._wanted), _ALLOCATION: places}
        return [self._mbox(name, rules[name], facts) for name in asked]

    def _mbox(self, name: str, rules: Iterable[_Rule], facts: Mapping[str, Any]) -> AnsweredMbox:
        """Return the consequence of the first rule that holds; for the page's load, of the first of each rule key."""
        if name != PAGE_LOAD:
            return next((rule.consequence for rule in rules if rule.condition.holds(facts)), None) or AnsweredMbox(
                name, ()
            )
        held: dict[str, AnsweredMbox] = {}
        for rule in rules:
            if rule.key not in held and rule.condition.holds(facts):
                held[rule.key] = rule.consequence
        consequences = list(held.values())
        if not consequences:
            return AnsweredMbox(name, ())
        together = tuple(offer for mbox in consequences for offer in mbox.offers)
        return replace(consequences[0], name=name, offers=together, variant=None)

    def _compiled(self, name: str, rule: Mapping[str, Any]) -> _Rule | None:
        meta, consequence = rule.get("meta"), rule.get("consequence")
        if not isinstance(meta, dict) or not isinstance(consequence, dict):
            return None
        # Beside the visit's own facts, each activity has a place for its visitors. One document then serves all rules.
        activity = f"a{meta.get('activity.id')}"
        if not _ACTIVITY.fullmatch(activity):
            return None
        try:
            condition = compiled(_placed(rule.get("condition"), activity))
        except (LogicError, RecursionError):
            return None
        self._wanted |= _EVERYTHING if condition.reads is None else condition.reads
        mbox = read_mbox(name, self._as_answer(consequence, meta))
        mbox = replace(mbox, variant=variant_of(mbox, self._vendor))
        return _Rule(str(rule.get("ruleKey")), activity, condition, mbox)

    def _as_answer(self, consequence: Mapping[str, Any], meta: Mapping[str, Any]) -> dict[str, Any]:
        """Return *consequence* with the tokens that an answer of the service has."""
        known = {name: value for name, value in meta.items() if name in self._response_tokens or name in _ALWAYS}
        tokens = {**known, "activity.decisioningMethod": "on-device"}
        options, metrics = objects_in(consequence.get("options")), objects_in(consequence.get("metrics"))
        displays = [metric.get("eventToken") if metric.get("type") == "display" else None for metric in metrics]
        # An option without a token has the token of the metric in the same place.
        displays += [None] * len(options)
        complete = [
            {"eventToken": token, **{name: value for name, value in option.items() if value is not None}}
            for option, token in zip(options, displays, strict=False)
        ]
        return {**consequence, "options": [{**option, "responseTokens": tokens} for option in complete]}


# The rules have these for every experience, whatever tokens are on in Target: they name the variants.
_ALWAYS = frozenset({"activity.id", "activity.name", "activity.type", "experience.id", "experience.name"})


def _text_set(value: Any) -> frozenset[str]:
    return frozenset(name for name in value if isinstance(name, str)) if isinstance(value, list) else frozenset()


def _in_property(rule: Mapping[str, Any], token: str | None) -> bool:
    tokens = rule.get("propertyTokens")
    return not tokens or (isinstance(tokens, list) and token in tokens)


def _placed(condition: Any, activity: str) -> Any:
    """Return *condition* with the allocation of *activity* where it asks for the allocation."""
    if isinstance(condition, list):
        return [_placed(part, activity) for part in condition]
    if not isinstance(condition, dict):
        return condition
    asked = condition.get("var")
    if (asked[0] if isinstance(asked, list) and asked else asked) == _ALLOCATION:
        return {"var": f"{_ALLOCATION}.{activity}"}
    return {operator: _placed(part, activity) for operator, part in condition.items()}


def libraries() -> Any:
    """Return the allocation, whose hash is imported only if used.

    Raises:
        ConfigError: the hash is not installed.
    """
    try:
        from flagmw.vendors.adobe.on_device.allocation import allocation
    except ImportError:
        raise ConfigError("on-device decisioning needs its extra: pip install 'flagmw[adobe]'") from None
    return allocation

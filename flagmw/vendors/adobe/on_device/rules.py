"""The rules of on-device decisioning: read once from the artifact, then decide visits without any call.

Source: Adobe Target developer guide, "On-device decisioning", and the rules file itself: for each mbox a list of rules,
each with a condition in JsonLogic (jsonlogic.com) and the consequence for visitors it holds for; the first that
holds counts.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import orjson

from flagmw.codes import ErrorCode
from flagmw.exceptions import ConfigError, ProtocolError
from flagmw.types import Visit
from flagmw.vendors.adobe.on_device.facts import situation
from flagmw.vendors.adobe.request import PAGE_LOAD, Facts
from flagmw.vendors.adobe.response import Box, box, dicts, variant

MAJOR_VERSION = "1"
MAX_RULES = 10_000
# What one condition may cost, in steps of the evaluator; real ones take some dozens.
BUDGET = 10_000

_ALLOCATION = "allocation"
# What can be one step of a path in a condition.
_ACTIVITY = re.compile(r"a[A-Za-z0-9_-]{1,64}")
_EVERYTHING = frozenset({"user", "page", "referring", "mbox", "geo", "current_timestamp"})


@dataclass(frozen=True, slots=True)
class _Rule:
    key: str
    activity: str
    condition: Any
    consequence: Box


class Rules:
    """One account's rules, compiled.

    Args:
        document: the artifact.
        property_token: the property whose rules count besides those of no property.
        vendor: the name that variants carry.

    Raises:
        ProtocolError: *document* is no artifact of a version that is understood.
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
        self._engine, self._handle, self._allocation = libraries()
        self._wanted: frozenset[str] = frozenset()
        self._told = _names(document.get("responseTokens"))
        budget = MAX_RULES
        self._rules: dict[str, tuple[_Rule, ...]] = {}
        for name, rules in by_mbox.items():
            taken = [rule for rule in rules if isinstance(rule, dict)][:budget] if isinstance(rules, list) else []
            budget -= len(taken)
            here = [rule for rule in taken if _in_property(rule, property_token)]
            self._rules[name] = tuple(filter(None, (self._compiled(name, rule) for rule in here)))
        self._local = _names(document.get("localMboxes")) - _names(document.get("remoteMboxes"))

    def know(self, asked: Iterable[str]) -> bool:
        """Say whether all of the mboxes *asked* can be decided here."""
        return all((self._global if name == PAGE_LOAD else name) in self._local for name in asked)

    def decide(self, visit: Visit, given: Facts, visitor: str, asked: Iterable[str]) -> list[Box]:
        """Return what the rules say of the mboxes *asked*, for the visitor with this id."""
        asked = tuple(asked)
        rules = {name: self._rules.get(self._global if name == PAGE_LOAD else name, ()) for name in asked}
        activities = {rule.activity for each in rules.values() for rule in each}
        places = {activity: self._allocation(self._client, activity[1:], visitor) for activity in activities}
        facts = {**situation(visit, given, self._wanted), _ALLOCATION: places}
        handle = self._handle(orjson.dumps(facts).decode())
        return [self._box(name, rules[name], handle) for name in asked]

    def _box(self, name: str, rules: Iterable[_Rule], facts: Any) -> Box:
        """Return the first rule's consequence that holds; for the page's load, one of each rule key, together."""
        if name != PAGE_LOAD:
            return next((rule.consequence for rule in rules if self._holds(rule, facts)), None) or Box(name, ())
        held: dict[str, Box] = {}
        for rule in rules:
            if rule.key not in held and self._holds(rule, facts):
                held[rule.key] = rule.consequence
        found = list(held.values())
        if not found:
            return Box(name, ())
        together = tuple(offer for each in found for offer in each.offers)
        return replace(found[0], name=name, offers=together, variant=None)

    def _holds(self, rule: _Rule, facts: Any) -> bool:
        try:
            return bool(rule.condition.evaluate_data(facts))
        except Exception:  # of a library: what it cannot work out does not hold
            return False

    def _compiled(self, name: str, rule: Mapping[str, Any]) -> _Rule | None:
        meta, consequence = rule.get("meta"), rule.get("consequence")
        if not isinstance(meta, dict) or not isinstance(consequence, dict):
            return None
        # Beside the visit's own facts, each activity has a place for its visitors. One document then serves all rules.
        activity = f"a{meta.get('activity.id')}"
        if not _ACTIVITY.fullmatch(activity):
            return None
        try:
            condition = self._engine.compile(_placed(rule.get("condition"), activity))
            said = condition.facts()
        except Exception:
            return None
        reads = {path[0] for path in said["reads"] if path} if said["reads_complete"] else _EVERYTHING
        self._wanted |= frozenset(reads)
        said_of = box(name, self._told_of(consequence, meta))
        made = replace(said_of, variant=variant(said_of, self._vendor))
        return _Rule(str(rule.get("ruleKey")), activity, condition, made)

    def _told_of(self, consequence: Mapping[str, Any], meta: Mapping[str, Any]) -> dict[str, Any]:
        """Return *consequence* with what an answer of the service would tell besides."""
        known = {name: value for name, value in meta.items() if name in self._told or name in _ALWAYS}
        tokens = {**known, "activity.decisioningMethod": "on-device"}
        options, metrics = dicts(consequence.get("options")), dicts(consequence.get("metrics"))
        displays = [one.get("eventToken") if one.get("type") == "display" else None for one in metrics]
        # Where an option has no token of its own, the metric in the same place has it.
        displays += [None] * len(options)
        told = [
            {"eventToken": token, **{name: value for name, value in one.items() if value is not None}}
            for one, token in zip(options, displays, strict=False)
        ]
        return {**consequence, "options": [{**one, "responseTokens": tokens} for one in told]}


# The rules tell these of every experience, whatever tokens are switched on: they are what variants are called by.
_ALWAYS = frozenset({"activity.id", "activity.name", "activity.type", "experience.id", "experience.name"})


def _names(value: Any) -> frozenset[str]:
    return frozenset(one for one in value if isinstance(one, str)) if isinstance(value, list) else frozenset()


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
    """Return the evaluator, what holds its documents, and the allocation; loaded only where they are used.

    Raises:
        ConfigError: they are not installed.
    """
    try:
        from datalogic_py import DataHandle, Engine

        from flagmw.vendors.adobe.on_device.allocation import allocation
    except ImportError:
        raise ConfigError("on-device decisioning needs its extra: pip install 'flagmw[adobe]'") from None
    return Engine(families=[], config={"ops_budget": BUDGET}), DataHandle, allocation

"""Audience definitions: from the vendor's JSON to rules of the decision side, and back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast, get_args

from flagmw.exceptions import ConfigError
from flagmw.sandbox.contentstack.model import Condition, ModelAudience, ModelRule, NestedAudience
from flagmw.sandbox.contentstack_admin.errors import ApiError, invalid

PRESETS = (
    *("COUNTRY", "REGION", "CITY", "DEVICE_TYPE", "OPERATING_SYSTEM", "QUERY_PARAMETERS", "REFERRER"),
    "DATE_AND_TIME",
)
_CONDITIONS = {*get_args(Condition), "JSON_MATCH", "IS_IN_FLOW_STATE"}
_STRINGS = {"STRING_EQUALS", "CONTAINS_SUBSTRING"}
MAX_DEPTH = 20


def rules_of(raw: object, keys: Mapping[str, str], name: str = "", depth: int = 1) -> NestedAudience:
    """Return *raw* as rules.

    Args:
        keys: of custom attributes by their uid.

    Raises:
        ApiError: it is no definition.
    """
    node = raw if isinstance(raw, dict) else {}
    if node.get("__type", "RuleCombination") != "RuleCombination" or depth > MAX_DEPTH:
        raise _bad("NOT_VALID_ENUM", "__type must be RuleCombination, not nested deeper than 20")
    if node.get("combinationType") not in ("AND", "OR"):
        raise _bad("NOT_VALID_ENUM", "combinationType must be AND or OR")
    inner = node.get("rules")
    if not isinstance(inner, list):
        raise _bad("RULES_NOT_ARRAY", "rules must be an array")
    rules, groups = [], []
    for one in inner:
        kind = one.get("__type") if isinstance(one, dict) else None
        if kind == "RuleCombination":
            groups.append(rules_of(one, keys, depth=depth + 1))
        elif kind == "Rule":
            rules.append(_rule(one, keys))
        else:
            raise _bad("NOT_VALID_ENUM", "__type must be Rule or RuleCombination")
    return NestedAudience(name=name, rules=tuple(rules), combination=node["combinationType"], groups=tuple(groups))


def check_rules(audience: NestedAudience, most: int) -> None:
    """Refuse an audience with more than *most* rules at all depths.

    Raises:
        ApiError: it has more.
    """
    if _counted(audience) > most:
        raise _bad("TOO_MANY_RULES", f"at most {most} rules")


def _counted(audience: NestedAudience) -> int:
    return len(audience.rules) + sum(_counted(group) for group in audience.groups)


def _rule(node: dict[str, Any], keys: Mapping[str, str]) -> ModelRule:
    attribute = node.get("attribute") if isinstance(node.get("attribute"), dict) else {}
    kind, ref = (attribute or {}).get("__type"), (attribute or {}).get("ref")
    if kind == "PresetAttributeReference" and ref in PRESETS:
        key = str(ref)
    elif kind == "CustomAttributeReference" and isinstance(ref, str):
        # An attribute that was deleted is nobody's.
        key = keys.get(ref, "\0")
    elif kind == "LyticsAttributeReference" and ref in ("LYTICS_AUDIENCE", "LYTICS_FLOW_STATE"):
        key = str(ref)
    else:
        raise _bad("NOT_VALID_ENUM", "attribute must refer to a preset, custom or Lytics attribute")
    condition, options = node.get("attributeMatchCondition"), node.get("attributeMatchOptions")
    pointer, invert = None, node.get("invertCondition", False) is True
    if condition == "JSON_MATCH":
        outer = options if isinstance(options, dict) else {}
        pointer = outer.get("pointer")
        if not isinstance(pointer, str) or not pointer.startswith("/"):
            raise _bad("POINTER_REQUIRED", "valid matchOptions is required for JSON_MATCH condition")
        invert = invert is not (outer.get("invertCondition", False) is True)
        condition, options = outer.get("matchCondition"), outer.get("matchOptions")
    given = options if isinstance(options, dict) else {}
    _check(condition, given)
    if condition == "IS_IN_FLOW_STATE":
        # Nobody is in a flow here.
        return ModelRule(attribute="\0", condition="HAS_ANY_VALUE", invert=invert)
    try:
        return ModelRule(
            attribute=key,
            condition=cast(Condition, condition),
            value=given.get("value"),
            pointer=pointer,
            start=given.get("startTime"),
            end=given.get("endTime"),
            invert=invert,
            visitor_zone=given.get("useVisitorTimezone", False) is True,
        )
    except (ConfigError, TypeError):
        raise _bad("INVALID_DATE", "startTime and endTime must be ISO 8601") from None


def _check(condition: object, options: Mapping[str, Any]) -> None:
    if not isinstance(condition, str) or condition not in _CONDITIONS or condition == "JSON_MATCH":
        raise _bad("NOT_VALID_ENUM", "attributeMatchCondition is unknown")
    value = options.get("value")
    wanted = {
        **dict.fromkeys(_STRINGS | {"IS_MEMBER_OF"}, isinstance(value, str)),
        **dict.fromkeys(
            ("NUMBER_LESS_THAN", "NUMBER_GREATER_THAN", "NUMBER_EQUAL_TO"),
            isinstance(value, int | float) and not isinstance(value, bool),
        ),
    }
    if not wanted.get(condition, True):
        raise _bad("MATCH_OPTIONS_REQUIRED", f"valid matchOptions is required for {condition} condition")


def definition_of(audience: ModelAudience, uids: Mapping[str, str]) -> dict[str, Any]:
    """Return the vendor's JSON of a scenario's audience.

    Args:
        uids: of custom attributes by their key.
    """
    return {
        "__type": "RuleCombination",
        "combinationType": audience.combination,
        "rules": [_json(rule, uids) for rule in audience.rules],
    }


def _json(rule: ModelRule, uids: Mapping[str, str]) -> dict[str, Any]:
    if rule.attribute in PRESETS:
        attribute = {"__type": "PresetAttributeReference", "ref": rule.attribute}
    elif rule.attribute == "LYTICS_AUDIENCE":
        attribute = {"__type": "LyticsAttributeReference", "ref": rule.attribute}
    else:
        attribute = {"__type": "CustomAttributeReference", "ref": uids.get(rule.attribute, "0" * 24)}
    condition: str = rule.condition
    options = _options(rule)
    if rule.pointer:
        inner = {"matchCondition": condition, **({} if options is None else {"matchOptions": options})}
        options = {"__type": "JSONMatchOptions", "pointer": rule.pointer, **inner, "invertCondition": False}
        condition = "JSON_MATCH"
    return {
        "__type": "Rule",
        "attribute": attribute,
        "attributeMatchCondition": condition,
        **({} if options is None else {"attributeMatchOptions": options}),
        "invertCondition": rule.invert,
    }


def _options(rule: ModelRule) -> dict[str, Any] | None:
    if rule.condition in _STRINGS:
        return {"__type": "StringMatchOptions", "value": str(rule.value or "")}
    if rule.condition == "IS_MEMBER_OF":
        return {"__type": "AudienceMatchOptions", "value": str(rule.value or "")}
    if rule.condition.startswith("NUMBER_"):
        return {"__type": "NumberMatchOptions", "value": rule.value}
    if rule.condition.endswith("_TIME"):
        times = {"startTime": rule.start, "endTime": rule.end}
        given = {name: text for name, text in times.items() if text is not None}
        return {"__type": "DateTimeMatchOptions", **given, "useVisitorTimezone": rule.visitor_zone}
    return None


def _bad(code: str, message: str) -> ApiError:
    return invalid("definition", code, message)

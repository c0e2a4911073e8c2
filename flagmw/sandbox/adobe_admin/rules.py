"""Rules of audiences: their checks and their evaluation.

The documentation shows profile, geo and page attributes, `equals` and `matches`, and `and`. The other words are by
inference from its text.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from flagmw.sandbox.adobe_admin.errors import invalid

MAX_DEPTH = 20
JOINTS = ("and", "or", "not")
Facts = Mapping[str, Mapping[str, str]]
"""What is known of a visitor: attributes by kind ("profile", "geo", "page", "mbox", ...)."""
Audiences = Callable[[int], Mapping[str, Any] | None]

_OPERATORS: dict[str, Callable[[str, str], bool]] = {
    "equals": lambda had, wanted: had == wanted,
    "matches": lambda had, wanted: had.casefold() == wanted.casefold(),
    "contains": lambda had, wanted: wanted.casefold() in had.casefold(),
    "startsWith": lambda had, wanted: had.casefold().startswith(wanted.casefold()),
    "endsWith": lambda had, wanted: had.casefold().endswith(wanted.casefold()),
    "lessThan": lambda had, wanted: _less(had, wanted),
    "greaterThan": lambda had, wanted: _less(wanted, had),
}
_NEGATIVE = {"notEquals": "equals", "notMatches": "matches", "doesNotContain": "contains", "notContains": "contains"}


def check_rule(rule: Any, field: str, *, audiences: bool, depth: int = 0) -> None:
    """Refuse a rule that the API would not take.

    Args:
        audiences: whether it is a rule on audiences, not on visitors.

    Raises:
        ApiError: it is none.
    """
    if depth > MAX_DEPTH:
        raise invalid(field, f"is nested deeper than {MAX_DEPTH}")
    if isinstance(rule, list) and rule and depth == 0:
        rule = {"and": rule}
    if not isinstance(rule, dict) or not rule:
        raise invalid(field, "must be a rule")
    joints = [key for key in JOINTS if key in rule]
    if joints:
        inner = rule[joints[0]]
        if len(rule) != 1 or not isinstance(inner, list) or not inner or (joints[0] == "not" and len(inner) != 1):
            raise invalid(field, f"{joints[0]} must stand alone with a list of rules")
        for number, one in enumerate(inner):
            check_rule(one, f"{field}.{joints[0]}[{number}]", audiences=audiences, depth=depth + 1)
    elif audiences:
        if set(rule) != {"audienceId"} or not isinstance(rule["audienceId"], int):
            raise invalid(field, "must name an audienceId")
    else:
        _parts(rule, field)


def holds(rule: Any, facts: Facts, audience_of: Audiences, depth: int = 0) -> bool:
    """True when *rule* holds; one that goes in circles through audiences does not."""
    if depth > 2 * MAX_DEPTH:
        return False
    if isinstance(rule, list):
        rule = {"and": rule}
    for joint, joined in (("and", all), ("or", any)):
        if joint in rule:
            return joined(holds(one, facts, audience_of, depth + 1) for one in rule[joint])
    if "not" in rule:
        return not holds(rule["not"][0], facts, audience_of, depth + 1)
    if "audienceId" in rule:
        return member(rule["audienceId"], facts, audience_of, depth + 1)
    kind, name, operator, values = _parts(rule, "rule")
    had = facts.get(kind, {}).get(name)
    if operator in _NEGATIVE:
        return had is None or not any(_OPERATORS[_NEGATIVE[operator]](had, str(value)) for value in values)
    return had is not None and any(_OPERATORS[operator](had, str(value)) for value in values)


def member(audience_id: int, facts: Facts, audience_of: Audiences, depth: int = 0) -> bool:
    """True when a visitor is in an audience; nobody is in one that is not there."""
    audience = audience_of(audience_id)
    if audience is None:
        return False
    rule = audience.get("targetRule", audience.get("audienceRule"))
    return rule is not None and holds(rule, facts, audience_of, depth)


def _parts(rule: Mapping[str, Any], field: str) -> tuple[str, str, str, list[Any]]:
    """Return kind, attribute, operator and values of a condition."""
    names = [key for key, value in rule.items() if isinstance(value, str)]
    lists = [key for key, value in rule.items() if isinstance(value, list)]
    if len(rule) != 2 or len(names) != 1 or len(lists) != 1 or not rule[lists[0]]:
        raise invalid(field, "must be an attribute and an operator with values")
    if lists[0] not in _OPERATORS and lists[0] not in _NEGATIVE:
        raise invalid(field, f"{lists[0]} is no operator")
    return names[0], rule[names[0]].removeprefix("profile."), lists[0], rule[lists[0]]


def _less(left: str, right: str) -> bool:
    try:
        return float(left) < float(right)
    except ValueError:
        return False

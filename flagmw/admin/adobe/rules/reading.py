"""Rules out of the vendor's JSON."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from flagmw.admin.adobe.rules.audience import AudienceRule, _AudienceInverted, _AudienceJoined, audience
from flagmw.admin.adobe.rules.target import TargetRule, _TargetInverted, _TargetJoined, attribute
from flagmw.admin.errors import InvalidError

R = TypeVar("R", TargetRule, AudienceRule)
MAX_DEPTH = 20


def target_rule(document: Any) -> TargetRule:
    """Return the rule that *document*, a `targetRule`, holds; `rule.json()` is equal to it.

    Raises:
        InvalidError: it is none that this module knows.
    """
    return _read(document, "targetRule", _condition, _TargetJoined, _TargetInverted, 0)


def audience_rule(document: Any) -> AudienceRule:
    """Return the rule that *document*, an `audienceRule`, holds.

    Raises:
        InvalidError: it is none that this module knows.
    """
    return _read(document, "audienceRule", _membership, _AudienceJoined, _AudienceInverted, 0)


def _read(
    document: Any, field: str, leaf: Callable[[Mapping[str, Any], str], R], joined: Any, inverted: Any, depth: int
) -> R:
    if not isinstance(document, Mapping):
        raise InvalidError(f"must be an object, got {type(document).__name__}", field=field)
    if depth > MAX_DEPTH:
        raise InvalidError(f"is nested deeper than {MAX_DEPTH}", field=field)
    joints = [key for key in ("and", "or", "not") if key in document]
    if not joints:
        return leaf(document, field)
    joint = joints[0]
    inner = document[joint]
    if len(document) != 1 or not isinstance(inner, list) or not inner:
        raise InvalidError(f'"{joint}" must stand alone, with a list of rules', field=field)
    rules = [
        _read(one, f"{field}.{joint}[{number}]", leaf, joined, inverted, depth + 1) for number, one in enumerate(inner)
    ]
    if joint == "not":
        if len(rules) != 1:
            raise InvalidError('"not" takes one rule', field=field)
        return inverted(rules[0])  # type: ignore[no-any-return]
    return joined(joint, tuple(rules))  # type: ignore[no-any-return]


def _condition(document: Mapping[str, Any], field: str) -> TargetRule:
    names = [key for key, value in document.items() if isinstance(value, str)]
    lists = [key for key, value in document.items() if isinstance(value, list)]
    if len(document) != 2 or len(names) != 1 or len(lists) != 1:
        raise InvalidError('must be one attribute and one operator: {"profile": "a", "equals": ["b"]}', field=field)
    return attribute(names[0], document[names[0]]).compare(lists[0], *document[lists[0]])


def _membership(document: Mapping[str, Any], field: str) -> AudienceRule:
    if set(document) != {"audienceId"}:
        raise InvalidError('must be {"audienceId": 123}', field=field)
    return audience(document["audienceId"])

"""Rules out of the vendor's JSON."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from flagmw.admin.contentstack.rules.match import NUMBER, TEXT, TIME, Match
from flagmw.admin.contentstack.rules.tree import MAX_DEPTH, Combination, Node, Rule
from flagmw.admin.errors import InvalidError

T = TypeVar("T")

# Which options a condition has; one that is not listed has none.
_TYPES = {
    **dict.fromkeys(TEXT, "StringMatchOptions"),
    **dict.fromkeys(NUMBER, "NumberMatchOptions"),
    **dict.fromkeys(TIME, "DateTimeMatchOptions"),
    "JSON_MATCH": "JSONMatchOptions",
    "IS_MEMBER_OF": "AudienceMatchOptions",
    "IS_IN_FLOW_STATE": "FlowStateMatchOptions",
}
_FIELDS = {
    "StringMatchOptions": {"value"},
    "NumberMatchOptions": {"value"},
    "AudienceMatchOptions": {"value"},
    "DateTimeMatchOptions": {"startTime", "endTime", "useVisitorTimezone"},
    "JSONMatchOptions": {"pointer", "matchCondition", "matchOptions", "invertCondition"},
    "FlowStateMatchOptions": {"flowId", "flowState"},
}


def rules_from_json(document: Mapping[str, Any]) -> Combination:
    """Return the rules of an audience's `definition`.

    Raises:
        InvalidError: it is no definition; `field` says where.
    """
    node = _node(document, "definition", 1, top=True)
    if not isinstance(node, Combination):
        raise InvalidError("must be a RuleCombination", field="definition")
    return node


def _node(raw: object, field: str, depth: int, *, top: bool = False) -> Node:
    node = _object(raw, field)
    if depth > MAX_DEPTH:
        raise InvalidError(f"is nested deeper than {MAX_DEPTH}", field=field)
    # Some callers leave the type of the outermost combination out.
    kind = node.get("__type", "RuleCombination" if top else None)
    if kind == "RuleCombination":
        _only(node, {"__type", "combinationType", "rules"}, field)
        rules = node.get("rules")
        if not isinstance(rules, list):
            raise InvalidError("must be a list", field=f"{field}.rules")
        inner = tuple(_node(one, f"{field}.rules[{number}]", depth + 1) for number, one in enumerate(rules))
        return _placed(field, lambda: Combination(node.get("combinationType"), inner))  # type: ignore[arg-type]
    if kind == "Rule":
        _only(
            node,
            {"__type", "attribute", "attributeMatchCondition", "attributeMatchOptions", "invertCondition"},
            field,
        )
        attribute = _object(node.get("attribute"), f"{field}.attribute")
        _only(attribute, {"__type", "ref"}, f"{field}.attribute")
        match = _match(node.get("attributeMatchCondition"), node.get("attributeMatchOptions"), field)
        origin, ref = attribute.get("__type"), attribute.get("ref")
        return _placed(field, lambda: Rule(origin, _hashable(ref), match, node.get("invertCondition", False)))  # type: ignore[arg-type]
    raise InvalidError(f'__type is {kind!r}; it must be "Rule" or "RuleCombination"', field=field)


def _match(condition: object, raw: object, field: str) -> Match:
    if not isinstance(condition, str):
        raise InvalidError("attributeMatchCondition is missing", field=field)
    wanted = _TYPES.get(condition)
    options: Mapping[str, Any] = {} if raw is None else _object(raw, f"{field}.attributeMatchOptions")
    if options and options.get("__type") != wanted:
        raise InvalidError(
            f"{condition} takes {wanted or 'no options'}, not {options.get('__type')!r}",
            field=f"{field}.attributeMatchOptions",
        )
    if wanted is not None:
        _only(options, {"__type", *_FIELDS[wanted]}, f"{field}.attributeMatchOptions")
    if wanted == "JSONMatchOptions":
        inner = _match(options.get("matchCondition"), options.get("matchOptions"), f"{field}.attributeMatchOptions")
        return _placed(
            field,
            lambda: Match(
                condition=condition,
                pointer=options.get("pointer"),
                inner=inner,
                invert_inner=options.get("invertCondition", False),
            ),
        )
    flow = (options.get("flowId"), options.get("flowState")) if wanted == "FlowStateMatchOptions" else None
    return _placed(
        field,
        lambda: Match(
            condition=condition,
            value=options.get("value"),
            start=options.get("startTime"),
            end=options.get("endTime"),
            visitor_zone=options.get("useVisitorTimezone", False),
            flow=flow,  # type: ignore[arg-type]
        ),
    )


def _placed(field: str, build: Callable[[], T]) -> T:
    """Return what *build* makes; its refusal names the place."""
    try:
        return build()
    except InvalidError as error:
        raise InvalidError(str(error.args[0]).removeprefix("rule: "), field=field) from None


def _object(raw: object, field: str) -> Mapping[str, Any]:
    if not isinstance(raw, Mapping):
        raise InvalidError(f"must be an object, not {type(raw).__name__}", field=field)
    return raw


def _hashable(value: object) -> object:
    return value if isinstance(value, str) else repr(value)


def _only(node: Mapping[str, Any], known: set[str], field: str) -> None:
    unknown = sorted(set(node) - known)
    if unknown:
        raise InvalidError(f"{unknown[0]!r} is unknown", field=field)

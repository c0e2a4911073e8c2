"""Requests to the management side by hand, and checks by its description."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from tests.sandbox.contentstack_admin.conftest import Box

COUNTRY = {"__type": "PresetAttributeReference", "ref": "COUNTRY"}
IN_US, IN_GERMANY = {"x-forwarded-for": "198.51.100.7"}, {"x-forwarded-for": "192.0.2.7"}


def done(box: Box, method: str, path: str, body: Any = None) -> Any:
    """Return the answer's body of a call that succeeds."""
    answer = box.raw(method, path, body)
    assert answer.status_code < 300, answer.text
    return answer.json() if answer.content else None


def refused(box: Box, method: str, path: str, body: Any = None, *, field: str, code: str) -> None:
    """Check that a call is refused for one field."""
    answer = box.raw(method, path, body)
    assert answer.status_code == 400, answer.text
    assert [one["code"] for one in answer.json()["errors"][field]] == [code]


def rule(attribute: Mapping[str, str], condition: str, options: Any = None, *, invert: bool = False) -> dict[str, Any]:
    more = {} if options is None else {"attributeMatchOptions": options}
    what = {"attribute": attribute, "attributeMatchCondition": condition, "invertCondition": invert}
    return {"__type": "Rule", **what, **more}


def text(value: str) -> dict[str, str]:
    return {"__type": "StringMatchOptions", "value": value}


def combined(*rules: Any, by: str = "AND") -> dict[str, Any]:
    return {"__type": "RuleCombination", "combinationType": by, "rules": [*rules]}


def audience(box: Box, name: str, *rules: Any) -> str:
    """Create an audience, and return its uid."""
    uid: str = done(box, "POST", "/audiences", {"name": name, "definition": combined(*rules)})["uid"]
    return uid


def shares(*names: str, **more: Any) -> dict[str, Any]:
    """Return the body of an A/B test's version in equal parts."""
    part = 100 // len(names)
    variants = [{"__type": "ABTestVariant", "name": name, "trafficDistribution": part} for name in names]
    return {"status": "ACTIVE", "variants": variants, "variantSplit": "EQUALLY_SPLIT", **more}


def segment(name: str, *audiences: str, **more: Any) -> dict[str, Any]:
    given = {"audiences": [*audiences], "audienceCombinationType": "OR", **more}
    return {"__type": "SegmentedVariant", "name": name, **given}


def active(box: Box, kind: str, body: dict[str, Any], name: str = "Test") -> dict[str, Any]:
    """Create an experience with an active version, and return it."""
    made = done(box, "POST", "/experiences", {"name": name, "__type": kind})
    done(box, "PUT", f"/experiences/{made['uid']}/versions/{made['latestVersion']}", {"status": "ACTIVE", **body})
    found: dict[str, Any] = done(box, "GET", f"/experiences/{made['uid']}")
    return found


def problems(document: Mapping[str, Any], schema: Mapping[str, Any], value: Any, where: str = "$") -> list[str]:
    """Return where *value* differs from *schema* of the description *document*, or goes beyond it."""
    if "$ref" in schema:
        name = str(schema["$ref"]).rpartition("/")[2]
        return problems(document, document["components"]["schemas"][name], value, where)
    if "anyOf" in schema:
        tried = [problems(document, one, value, where) for one in schema["anyOf"]]
        return [] if [] in tried else min(tried, key=len)
    if "const" in schema:
        return [] if value == schema["const"] else [f"{where} is {value!r}"]
    types = schema.get("type", [])
    types = [types] if isinstance(types, str) else types
    kinds: dict[str, Any] = {
        "string": str, "integer": int, "number": int | float, "boolean": bool, "array": list, "object": dict,
        "null": type(None),
    }  # fmt: skip
    if types and not any(isinstance(value, kinds[one]) for one in types):
        return [f"{where} is {value!r}, not {types}"]
    found = []
    if "enum" in schema and value not in schema["enum"]:
        found.append(f"{where} is {value!r}")
    if "pattern" in schema and not re.search(schema["pattern"], value):
        found.append(f"{where} is {value!r}, not {schema['pattern']}")
    if isinstance(value, dict):
        found += [f"{where} has no {name}" for name in schema.get("required", ()) if name not in value]
        for name, one in value.items():
            inner = schema.get("properties", {}).get(name, schema.get("additionalProperties"))
            if inner is None:
                found.append(f"{where}.{name} is not described")
            else:
                found += problems(document, inner, one, f"{where}.{name}")
    if isinstance(value, list):
        for number, one in enumerate(value):
            found += problems(document, schema["items"], one, f"{where}[{number}]")
    return found

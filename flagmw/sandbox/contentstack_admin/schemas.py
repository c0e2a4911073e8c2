"""Schemas of what the emulated Management API takes and answers."""

from __future__ import annotations

from typing import Any, get_args

from flagmw.sandbox.contentstack.model import Condition
from flagmw.sandbox.contentstack_admin.definitions import PRESETS
from flagmw.sandbox.contentstack_admin.versions import SPLITS

Schema = dict[str, Any]
TEXT: Schema = {"type": "string"}
_UID: Schema = {"type": "string", "pattern": "^[0-9a-f]{24}$"}
_SHORT: Schema = {"type": "string", "pattern": "^[0-9a-z]{1,8}$"}
_FLAG: Schema = {"type": "boolean"}
_COUNT: Schema = {"type": "integer", "minimum": 0}
_MAYBE: Schema = {"type": ["string", "null"]}
_STAMP: Schema = {"type": "string", "format": "date-time"}


def ref(name: str) -> Schema:
    """Return a reference to a schema by its name."""
    return {"$ref": f"#/components/schemas/{name}"}


def _enum(*values: str) -> Schema:
    return {"type": "string", "enum": [*values]}


def _array(items: Schema) -> Schema:
    return {"type": "array", "items": items}


def _object(required: str = "", /, **properties: Schema) -> Schema:
    schema: Schema = {"type": "object", "properties": properties}
    return {**schema, "required": required.split()} if required else schema


def _typed(kind: str, required: str = "", /, **properties: Schema) -> Schema:
    return _object(f"__type {required}".strip(), **{"__type": {"const": kind}, **properties})


_OWN: Schema = {
    **{"uid": _UID, "project": _UID},
    **dict.fromkeys(("createdBy", "updatedBy"), TEXT),
    **dict.fromkeys(("createdAt", "updatedAt"), _STAMP),
}


def _kept(required: str, /, **properties: Schema) -> Schema:
    """Return the schema of something that has a uid of its own."""
    return _object(" ".join([*_OWN, required]), **_OWN, **properties)


_NAMED: Schema = {"name": TEXT, "key": TEXT, "description": TEXT}
_CONDITIONS = (*get_args(Condition), "IS_IN_FLOW_STATE")
_OPTIONS = ("StringMatchOptions", "NumberMatchOptions", "DateTimeMatchOptions", "AudienceMatchOptions")
_NESTED = ("FlowStateMatchOptions", "JSONMatchOptions")
_AUDIENCES: Schema = {
    "audiences": _array(_UID),
    "lyticsAudiences": _array({"type": "string", "pattern": "^[0-9a-f]{32}$"}),
    "audienceCombinationType": _enum("AND", "OR"),
}
_EXPERIENCE: Schema = {
    "name": TEXT,
    "description": TEXT,
    "__type": _enum("SEGMENTED", "AB_TEST"),
    "tags": _array({"type": "string", "pattern": "^[A-Za-z0-9_:-]{1,32}$"}),
}
_VERSION: Schema = {
    "variants": _array({"anyOf": [ref("SegmentedVariant"), ref("ABTestVariant")]}),
    "variantSplit": _enum(*SPLITS),
    "metrics": _array(ref("Metric")),
    "targeting": _object("", audience=_object("", **_AUDIENCES), target=ref("RuleCombination")),
}
_COUNTED = _object(
    "shortUid impressions",
    shortUid=_SHORT,
    impressions=_COUNT,
    conversions=_COUNT,
    probabilityToBeBest={"type": "number", "minimum": 0, "maximum": 1},
)

SCHEMAS: dict[str, Schema] = {
    "AttributeInput": _object("name key", **_NAMED),
    # A preset attribute belongs to no project.
    "Attribute": _object(
        "uid name key __type", **_NAMED, **_OWN, **{"__type": _enum("CUSTOM", "PRESET")}
    ),
    "EventInput": _object("key", key=TEXT, description=TEXT),
    "Event": _kept("key", key=TEXT, description=TEXT),
    "AudienceInput": _object("name definition", name=TEXT, description=TEXT, definition=ref("RuleCombination")),
    "Audience": _kept("name definition", name=TEXT, description=TEXT, definition=ref("RuleCombination")),
    "RuleCombination": _object(
        "combinationType rules",
        **{
            "__type": {"const": "RuleCombination"},
            "combinationType": _enum("AND", "OR"),
            "rules": _array({"anyOf": [ref("Rule"), ref("RuleCombination")]}),
        },
    ),
    "Rule": _typed(
        "Rule", "attribute attributeMatchCondition",
        attribute={"anyOf": [ref("PresetReference"), ref("CustomReference"), ref("LyticsReference")]},
        attributeMatchCondition=_enum(*_CONDITIONS, "JSON_MATCH"),
        attributeMatchOptions={"anyOf": [ref(name) for name in (*_OPTIONS, *_NESTED)]},
        invertCondition=_FLAG,
    ),
    "PresetReference": _typed("PresetAttributeReference", "ref", ref=_enum(*PRESETS)),
    "CustomReference": _typed("CustomAttributeReference", "ref", ref=_UID),
    "LyticsReference": _typed("LyticsAttributeReference", "ref", ref=_enum("LYTICS_AUDIENCE", "LYTICS_FLOW_STATE")),
    "StringMatchOptions": _typed("StringMatchOptions", "value", value=TEXT),
    "NumberMatchOptions": _typed("NumberMatchOptions", "value", value={"type": "number"}),
    "AudienceMatchOptions": _typed("AudienceMatchOptions", "value", value=TEXT),
    "FlowStateMatchOptions": _typed("FlowStateMatchOptions", "flowId flowState", flowId=TEXT, flowState=TEXT),
    "DateTimeMatchOptions": _typed("DateTimeMatchOptions", startTime=TEXT, endTime=TEXT, useVisitorTimezone=_FLAG),
    "JSONMatchOptions": _typed(
        "JSONMatchOptions", "pointer matchCondition",
        pointer={"type": "string", "pattern": "^/"}, matchCondition=_enum(*_CONDITIONS),
        matchOptions={"anyOf": [ref(name) for name in _OPTIONS]}, invertCondition=_FLAG,
    ),
    "ExperienceInput": _object("name __type", **_EXPERIENCE),
    "ExperienceChange": _object("name", **_EXPERIENCE),
    "Experience": _kept(
        "name __type shortUid latestVersion status tags referredAudiences", **_EXPERIENCE, shortUid=_SHORT,
        latestVersion=_UID, status=ref("Status"), referredAudiences=_array(_UID),
        _cms=_object("", variantGroup=TEXT, variants={"type": "object", "additionalProperties": TEXT}),
    ),
    "Status": _enum("DRAFT", "ACTIVE", "PAUSED", "ARCHIVED"),
    "VersionInput": _object("status variants", **_VERSION, status=_enum("DRAFT", "ACTIVE")),
    "VersionChange": _object("status variants", **_VERSION, status=_enum("DRAFT", "ACTIVE", "PAUSED")),
    "Version": _kept("status variants", **_VERSION, status=ref("Status")),
    "SegmentedVariant": _typed(
        "SegmentedVariant", "name", name=TEXT, shortUid=_SHORT, target=ref("RuleCombination"), **_AUDIENCES
    ),
    "ABTestVariant": _typed(
        "ABTestVariant", "name trafficDistribution", name=TEXT, shortUid=_SHORT,
        trafficDistribution={"type": "number", "minimum": 0, "maximum": 100},
    ),
    "Metric": _object("__type event", **{"__type": _enum("Primary", "Secondary"), "event": _UID, "name": TEXT}),
    "Priority": _object("priorityOrder", priorityOrder=_array(_UID)),
    "Summary": _object("variants", variants=_array(_COUNTED), leadingVariant=_MAYBE, winningVariant=_MAYBE),
    "TimeSeries": _object(
        "interval series", interval={"const": "PT1H"},
        series=_array(_object("interval variants", interval=TEXT, variants=_array(_COUNTED))),
    ),
    "Place": _object("code name", code=TEXT, name=TEXT, countryCode=TEXT, regionCode=TEXT),
    "FieldError": _object("code message", code=TEXT, message=TEXT),
    "Error": {
        "anyOf": [
            _object("errors", errors={"type": "object", "additionalProperties": _array(ref("FieldError"))}),
            _object("message", statusCode=_COUNT, error=TEXT, message=TEXT),
        ]
    },
}  # fmt: skip

"""Schemas of what the emulated management APIs take and answer."""

from __future__ import annotations

from typing import Any

Schema = dict[str, Any]
_TEXT: Schema = {"type": "string"}
_NUMBER: Schema = {"type": "integer"}
_ANY: Schema = {}
_IDS: Schema = {"type": "array", "items": _NUMBER}


def _object(required: str = "", /, **properties: Schema) -> Schema:
    schema: Schema = {"type": "object", "properties": properties}
    return {**schema, "required": required.split()} if required else schema


def _array(items: Schema) -> Schema:
    return {"type": "array", "items": items}


def _ref(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


def listed(collection: str, row: str) -> Schema:
    """Return the schema of a page of rows."""
    pages = {"total": _NUMBER, "offset": _NUMBER, "limit": _NUMBER, collection: _array(_ref(row))}
    return _object(f"total offset limit {collection}", **pages)


_STATE: Schema = {"type": "string", "enum": ["approved", "saved", "deactivated", "deleted"]}
_RULE: Schema = {"type": ["object", "array"]}
_COUNTS = _object(totals=_object("entries conversions", entries=_NUMBER, conversions=_NUMBER))
_TOTALS = _object(
    "visitor visit impression landing", visitor=_COUNTS, visit=_COUNTS, impression=_COUNTS, landing=_COUNTS
)
_CHANNEL: Schema = {"type": "string", "enum": ["web", "mobile", "email", "other"]}
_DATES = {"startsAt": _TEXT, "endsAt": _TEXT, "modifiedAt": _TEXT}
_OFFER = {"id": _NUMBER, "name": _TEXT, "workspace": _TEXT, "modifiedAt": _TEXT}
_REPORTED = _object(
    "id type name state priority metrics experiences",
    id=_NUMBER, thirdPartyId=_TEXT, type=_TEXT, state=_TEXT, name=_TEXT, priority=_NUMBER, modifiedAt=_TEXT,
    metrics=_array(_object("name metricLocalId", name=_TEXT, metricLocalId=_NUMBER)),
    experiences=_array(_object("name experienceLocalId", name=_TEXT, experienceLocalId=_NUMBER, deletedAt=_TEXT)),
)  # fmt: skip
_PARAMETERS = _object(
    "activityId environmentId reportInterval",
    activityId=_NUMBER, environmentId=_NUMBER, conversionMetricLocalIds=_IDS, reportInterval=_TEXT,
)  # fmt: skip

SCHEMAS: dict[str, Schema] = {
    "ActivityRow": _object(
        "id type state name priority modifiedAt",
        id=_NUMBER, thirdPartyId=_TEXT, type=_TEXT, state=_STATE, name=_TEXT, priority=_NUMBER, workspace=_TEXT,
        propertyIds=_IDS, **_DATES,
    ),
    "Activity": _object(
        "name",
        id=_NUMBER, thirdPartyId=_TEXT, name=_TEXT, state=_STATE, priority=_ANY, workspace=_TEXT, propertyIds=_IDS,
        locations={"type": "object"}, experiences=_array({"type": "object"}), metrics=_array({"type": "object"}),
        options=_array({"type": "object"}), entryConstraint={"type": "object"}, **_DATES,
    ),
    "ActivityName": _object("name", id=_NUMBER, name=_TEXT, modifiedAt=_TEXT),
    "ActivityState": _object("state", id=_NUMBER, state=_STATE, modifiedAt=_TEXT),
    "ActivityPriority": _object("priority", id=_NUMBER, priority={"type": ["integer", "string"]}, modifiedAt=_TEXT),
    "ActivitySchedule": _object(id=_NUMBER, **_DATES),
    "Change": _object(
        "modifiedAt",
        modifiedAt=_TEXT, activityParameters={"type": "object"}, modifiedOffer={"type": "object"},
        activityLocationOfferChange={"type": "object"},
    ),
    "OfferRow": _object("id name type modifiedAt", type=_TEXT, **_OFFER),
    "Offer": _object("name content", content=_TEXT, **_OFFER),
    "JsonOffer": _object("name content", content=_ANY, **_OFFER),
    "Audience": _object(
        id=_NUMBER, name=_TEXT, description=_TEXT, origin=_TEXT, targetRule=_RULE, audienceRule=_RULE, workspace=_TEXT,
        modifiedAt=_TEXT,
    ),
    "Property": _object(
        "name channel",
        id=_NUMBER, name=_TEXT, description=_TEXT, channel=_CHANNEL,
        segmentId=_NUMBER, workspaces=_array(_TEXT), token=_TEXT, modifiedAt=_TEXT,
    ),
    "PerformanceReport": _object(
        "reportParameters activity report",
        reportParameters=_PARAMETERS, activity=_REPORTED,
        report=_object(
            "statistics",
            statistics=_object(
                "totals experiences",
                totals=_TOTALS,
                experiences=_array(_object("experienceLocalId totals", experienceLocalId=_NUMBER, totals=_TOTALS)),
            ),
        ),
    ),
    "OrdersReport": _object(
        "reportParameters activity orders",
        reportParameters=_PARAMETERS, activity=_REPORTED,
        orders=_array(
            _object(
                "time id total",
                time=_TEXT, id=_TEXT, total={"type": "number"}, experienceLocalId=_NUMBER, decisionStackId=_NUMBER,
                duplicate={"type": "boolean"}, outlier={"type": "boolean"}, productPurchasedIds=_array(_TEXT),
                productIds=_array(_TEXT),
            )
        ),
    ),
    "Mbox": _object("name status lastRequestedAt", name=_TEXT, status=_TEXT, lastRequestedAt=_TEXT),
    "MboxParameters": _object(
        "name mboxParameters",
        name=_TEXT, mboxParameters=_array(_object("name parameterType", name=_TEXT, parameterType=_TEXT)),
    ),
    "ProfileAttributes": _object("mboxProfileAttributes", mboxProfileAttributes=_array(_TEXT)),
    "Environment": _object("id name", id=_NUMBER, name=_TEXT),
    "Batch": _object(
        "operations",
        operations=_array(
            _object(
                "operationId method relativeUrl",
                operationId={"type": "integer", "minimum": 0, "maximum": 255}, dependsOnOperationIds=_IDS, method=_TEXT,
                relativeUrl=_TEXT, headers=_array(_object("name", name=_TEXT, value=_TEXT)), body={"type": "object"},
            )
        ),
    ),
    "BatchResults": _object(
        "results",
        results=_array(
            _object(
                "operationId skipped",
                operationId=_NUMBER, skipped={"type": "boolean"}, statusCode=_NUMBER,
                headers=_array(_object(name=_TEXT, value=_TEXT)), body={"type": ["string", "object"]},
            )
        ),
    ),
    "AccessToken": _object(
        "accessToken tokenType scope expiresIn", accessToken=_TEXT, tokenType=_TEXT, scope=_TEXT, expiresIn=_NUMBER
    ),
    "ResponseToken": _object(
        "token", id=_NUMBER, token=_TEXT, name=_TEXT, type=_TEXT, active={"type": "boolean"},
        deletable={"type": "boolean"}, modifiedAt=_TEXT,
    ),
    "ResponseTokens": _object("responseTokens", responseTokens=_array(_ref("ResponseToken"))),
    "QARequest": _object("url", url=_TEXT, currentActivityOnly={"type": "boolean"}),
    "QALinks": _object(
        "qaModeExperiences",
        qaModeExperiences=_array(_object("url", url=_TEXT, experienceLocalId=_NUMBER)),
    ),
    "Profile": _object(
        "client visitorId modifiedAt profileAttributes",
        client=_TEXT, visitorId=_TEXT, modifiedAt=_TEXT,
        profileAttributes={"type": "object", "additionalProperties": _object("value", value=_TEXT, modifiedAt=_TEXT)},
    ),
    "ProfileError": _object("status message", status=_NUMBER, message=_TEXT),
    "Token": _object(
        "access_token token_type expires_in", access_token=_TEXT, token_type=_TEXT, expires_in=_NUMBER
    ),
    "TokenError": _object("error", error=_TEXT, error_description=_TEXT),
    "GatewayError": _object("error_code message", error_code=_TEXT, message=_TEXT),
    "ErrorResponse": _object(
        "httpStatus requestId requestTime errors",
        httpStatus=_NUMBER, requestId=_TEXT, requestTime=_TEXT,
        errors=_array(_object("errorCode message", errorCode=_TEXT, message=_TEXT, meta={"type": "object"})),
    ),
}  # fmt: skip

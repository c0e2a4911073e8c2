"""An OpenAPI 3.1 description of the emulated Management API."""

from __future__ import annotations

import re
from typing import Any

from flagmw.sandbox.contentstack_admin.schemas import SCHEMAS, TEXT, ref
from flagmw.sandbox.contentstack_admin.table import ENDPOINTS, Endpoint

Document = dict[str, Any]
_DATE: Document = {"type": "string", "description": "ISO 8601"}
_NUMBER: Document = {"type": "integer", "minimum": 0}
_QUERY = {"version": TEXT, "start": _DATE, "end": _DATE, "name": TEXT, "codes": TEXT, "skip": _NUMBER, "limit": _NUMBER}
_REFUSALS = {
    400: "The body or the query is wrong.",
    401: "No token, or a wrong one.",
    403: "The token lacks the scope.",
    404: "There is none.",
    429: "More calls in a second than the organisation has.",
}
# Where the vendor says nothing: the sandbox's choice.
CHOSEN = (
    "The vendor does not publish the names of query parameters of analytics and geolocation, the fields of analytics, "
    "of places and of the priority, or most codes of errors: those are choices of the sandbox."
)


def description(url: str) -> Document:
    """Return the description.

    Args:
        url: where the API is reached.
    """
    paths: dict[str, Document] = {}
    for endpoint in ENDPOINTS:
        paths.setdefault(endpoint.path, {})[endpoint.method.lower()] = _operation(endpoint)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "flagmw sandbox: Contentstack Personalize Management API",
            "version": "1.0.0",
            "description": f"What the sandbox emulates. {CHOSEN}",
        },
        "servers": [{"url": url}],
        "paths": paths,
        "components": {
            "schemas": SCHEMAS,
            "securitySchemes": {
                "authtoken": {"type": "apiKey", "in": "header", "name": "authtoken"},
                "oauth": {"type": "http", "scheme": "bearer"},
            },
        },
    }


def _operation(endpoint: Endpoint) -> Document:
    parameters = [
        {"name": name, "in": "path", "required": True, "schema": TEXT}
        for name in re.findall(r"\{(\w+)\}", endpoint.path)
    ]
    if endpoint.of_project:
        parameters.append({"name": "x-project-uid", "in": "header", "required": True, "schema": TEXT})
    parameters += [
        {"name": name, "in": "query", "required": name == "version", "schema": _QUERY[name]} for name in endpoint.query
    ]
    answer: Document = {"description": "Done."}
    if endpoint.answer:
        schema = ref(endpoint.answer)
        answer |= _content({"type": "array", "items": schema} if endpoint.listed else schema)
    refusals = {str(status): {"description": text, **_content(ref("Error"))} for status, text in _REFUSALS.items()}
    operation: Document = {
        "operationId": endpoint.name,
        "tags": [endpoint.path.split("/")[1]],
        "security": [{"authtoken": []}, {"oauth": [endpoint.scope]}],
        "parameters": parameters,
        "responses": {str(endpoint.status): answer, **refusals},
    }
    if endpoint.takes:
        operation["requestBody"] = {"required": True, **_content(ref(endpoint.takes))}
    return operation


def _content(schema: Document) -> Document:
    return {"content": {"application/json": {"schema": schema}}}

"""An OpenAPI 3.1 description of the emulated Management API."""

from __future__ import annotations

import re
from typing import Any

from flagmw.sandbox.contentstack_admin.table import ENDPOINTS, Endpoint

Document = dict[str, Any]
_TEXT: Document = {"type": "string"}


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
        "info": {"title": "flagmw sandbox: Contentstack Personalize Management API", "version": "1.0.0"},
        "servers": [{"url": url}],
        "security": [{"authtoken": []}, {"oauth": []}],
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
        {"name": name, "in": "path", "required": True, "schema": _TEXT}
        for name in re.findall(r"\{(\w+)\}", endpoint.path)
    ]
    if not endpoint.path.startswith("/geolocation"):
        parameters.append({"name": "x-project-uid", "in": "header", "required": True, "schema": _TEXT})
    if "/analytics/" in endpoint.path:
        parameters.append({"name": "version", "in": "query", "required": True, "schema": _TEXT})
    answer: Document = {"description": "Done."}
    if endpoint.answer:
        schema: Document = {"$ref": f"#/components/schemas/{endpoint.answer}"}
        answer["content"] = {
            "application/json": {"schema": {"type": "array", "items": schema} if endpoint.listed else schema}
        }
    errors = {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}
    operation: Document = {
        "operationId": endpoint.handler.__name__ if endpoint.handler.__name__ != "handler" else endpoint.path[1:],
        "parameters": parameters,
        "responses": {
            str(endpoint.status): answer,
            "default": {"description": "Refused.", "content": errors},
        },
    }
    if endpoint.method in ("POST", "PUT"):
        operation["requestBody"] = {"required": True, "content": {"application/json": {"schema": {"type": "object"}}}}
    return operation


def _object(required: str, **more: Document) -> Document:
    names = required.split()
    return {"type": "object", "required": names, "properties": {**dict.fromkeys(names, _TEXT), **more}}


_OWN = "uid project createdAt updatedAt createdBy updatedBy"
_ROWS: Document = {"type": "array", "items": {"type": "object"}}
SCHEMAS: Document = {
    "Attribute": _object("uid name key __type"),
    "Audience": _object(f"{_OWN} name definition", definition={"type": "object"}),
    "Experience": _object(f"{_OWN} name __type shortUid latestVersion"),
    "Version": _object(f"{_OWN} status variants", variants=_ROWS),
    "Event": _object(f"{_OWN} key"),
    "Priority": _object("priorityOrder", priorityOrder={"type": "array", "items": _TEXT}),
    "Summary": _object("variants", variants=_ROWS),
    "TimeSeries": _object("interval series", series=_ROWS),
    "Place": _object("code name"),
    "Error": {"type": "object"},
}

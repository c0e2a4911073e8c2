"""An OpenAPI 3.1 description of Monetate's emulated management APIs."""

from __future__ import annotations

import re
from typing import Any

from flagmw.sandbox.monetate_admin.call import Endpoint
from flagmw.sandbox.monetate_admin.settings import NAME
from flagmw.sandbox.monetate_admin.table import ENDPOINTS, ROOTS

Schema = dict[str, Any]
_TEXT: Schema = {"type": "string"}
_NUMBER: Schema = {"type": "integer"}
_FLAG: Schema = {"type": "boolean"}
_MAYBE: Schema = {"type": ["string", "null"]}
_ANY: Schema = {"type": "array", "items": {"type": "object"}}


def _object(required: str = "", /, **properties: Schema) -> Schema:
    schema: Schema = {"type": "object", "properties": properties}
    return {**schema, "required": required.split()} if required else schema


def _array(items: Schema) -> Schema:
    return {"type": "array", "items": items}


def _ref(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


_FIELDS: Schema = {"type": "object", "additionalProperties": _ref("Field")}
SCHEMAS: dict[str, Schema] = {
    "PageEvent": _object("id title", id=_NUMBER, title=_TEXT),
    "CustomTarget": _object(
        "id title", id=_NUMBER, title=_TEXT, description=_TEXT, is_identifier=_FLAG, collects_person_id=_FLAG
    ),
    "Variant": _object(
        "id experience_id experience_name split_name integration_type",
        id=_NUMBER, account_domain=_TEXT, experience_id=_NUMBER, experience_name=_TEXT, experience_type=_TEXT,
        split_name=_TEXT, split_description=_TEXT, preview_token=_TEXT,
        integration_type={"type": "string", "enum": ["js-tag", "engine-api", "email"]},
    ),
    "Experience": _object(
        "id experience_name status splits goals variant_splits",
        id=_NUMBER, account_domain=_TEXT, experience_name=_TEXT, experience_type=_TEXT, archived=_FLAG,
        create_time=_TEXT, start_time=_MAYBE, end_time=_MAYBE,
        status={"type": "string", "enum": ["active", "draft", "paused", "scheduled", "ended"]},
        splits=_array(_NUMBER), tags=_array(_TEXT),
        goals=_array(_object("key name", key=_TEXT, name=_TEXT, description=_TEXT)),
        variant_splits=_array(
            _object(
                "variant split", id=_NUMBER, variant=_TEXT, split={"type": "number"}, label=_TEXT, is_control=_FLAG
            )
        ),
        integration_type=_TEXT,
    ),
    "Account": _object(
        "id name channel", id=_NUMBER, type=_TEXT, kind=_TEXT, archived=_FLAG, channel=_TEXT, name=_TEXT,
        preview_url=_TEXT,
    ),
    "Rows": _object("schema_rows", schema_rows=_ANY, _sent_time=_TEXT),
    "Field": _object(
        "data_type",
        data_type={
            "type": "string",
            "enum": ["STRING", "MULTI_STRING", "NUMBER", "DATETIME", "BOOLEAN", "GOOGLE_PRODUCT_CATEGORY"],
        },
        required=_FLAG, identifier=_FLAG, unique_key=_FLAG, event_time=_FLAG,
    ),
    "Schema": _object(
        "name fields", id=_NUMBER, name={"type": "string", "pattern": f"^{NAME.pattern}$"}, type=_TEXT, fields=_FIELDS,
        named_identifier=_MAYBE, created_date=_TEXT, row_count=_NUMBER,
        last_file_upload={"type": ["object", "null"]}, usable_in_accounts=_ANY,
    ),
    "SchemaChange": _object(fields=_FIELDS, named_identifier=_TEXT),
    "SchemaType": _object("name fields", name=_TEXT, fields=_FIELDS),
    "FileUpload": _object(
        "status upload_time", status=_TEXT, upload_time=_TEXT, import_start_time=_TEXT, import_end_time=_TEXT,
        validation_errors=_array(_TEXT), validation_warnings=_array(_TEXT),
    ),
    "DefaultCatalog": _object(
        "account schema", account=_TEXT, schema=_TEXT, schema_name=_TEXT, account_domain=_TEXT, account_name=_TEXT
    ),
    "Token": _object(
        "token issued_at expires_in expires_at", token=_TEXT, issued_at={"type": "number"}, expires_in=_NUMBER,
        expires_at={"type": "number"},
    ),
}  # fmt: skip


def description(url: str) -> Schema:
    """Return the description.

    Args:
        url: where the sandbox is reached.
    """
    refresh = {
        "operationId": "refreshToken",
        "tags": ["Auth API"],
        "security": [{"proof": []}],
        "parameters": [{"name": "ttl", "in": "query", "schema": {**_NUMBER, "minimum": 600, "maximum": 43200}}],
        "responses": {"200": _json(_envelope(_ref("Token"))), "default": _json(_envelope(_object()))},
    }
    paths: dict[str, Schema] = {"/api/auth/v0/refresh/": {"get": refresh}}
    for endpoint in ENDPOINTS:
        path = f"{ROOTS[endpoint.api]}{endpoint.path}"
        paths.setdefault(path, {})[endpoint.method.lower()] = _operation(endpoint, path)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "flagmw sandbox: Monetate's Auth, Metadata and Data APIs",
            "version": "1.0.0",
            "description": "What the sandbox emulates, after Monetate's published descriptions.",
        },
        "servers": [{"url": url}],
        "security": [{"token": []}],
        "paths": paths,
        "components": {
            "schemas": SCHEMAS,
            "securitySchemes": {
                "token": {"type": "apiKey", "in": "header", "name": "Authorization", "description": "Token <token>"},
                "proof": {"type": "apiKey", "in": "header", "name": "Authorization", "description": "JWT <jwt>"},
            },
        },
    }


def _operation(endpoint: Endpoint, path: str) -> Schema:
    names = re.findall(r"\{(\w+)\}", path)
    parameters: list[Schema] = [
        {"name": name, "in": "path", "required": True, "schema": _NUMBER if name == "id" else _TEXT} for name in names
    ]
    wanted = [*endpoint.filters, *(("page", "page_size") if endpoint.lists else ())]
    parameters += [{"name": name, "in": "query", "schema": _TEXT} for name in wanted]
    one = _ref(endpoint.answer)
    answer = _envelope(_array(one) if endpoint.lists else one, pages=endpoint.lists)
    operation = {
        "operationId": endpoint.name,
        "tags": [f"{endpoint.api.capitalize()} API"],
        "parameters": parameters,
        "responses": {str(endpoint.status): _json(answer), "default": _json(_envelope(_object()))},
    }
    if endpoint.takes:
        content = _json(_ref(endpoint.takes))["content"]
        operation["requestBody"] = {"required": True, "content": content}
    return operation


def _envelope(data: Schema, *, pages: bool = False) -> Schema:
    meta = {"code": _NUMBER, "errors": _ANY, "warnings": _ANY}
    if pages:
        meta |= {"count": _NUMBER, "next": _MAYBE, "previous": _MAYBE}
    return _object("meta data", meta=_object("code errors warnings", **meta), data=data)


def _json(schema: Schema) -> Schema:
    return {"description": "See the schema.", "content": {"application/json": {"schema": schema}}}

"""An OpenAPI 3.1 description of the emulated management APIs."""

from __future__ import annotations

import re
from typing import Any

from flagmw.sandbox.adobe_admin.call import ApiRoute
from flagmw.sandbox.adobe_admin.schemas import SCHEMAS, listed
from flagmw.sandbox.adobe_admin.table import ENDPOINTS
from flagmw.sandbox.adobe_admin.versions import WITH_BODY

Document = dict[str, Any]
_LIST_PARAMETERS = ("limit", "offset", "sortBy")


def description(url: str) -> Document:
    """Return the description.

    Args:
        url: where the sandbox is reached.
    """
    paths: dict[str, Document] = {}
    for endpoint in ENDPOINTS:
        path = f"/{{tenant}}/target{endpoint.path}"
        paths.setdefault(path, {})[endpoint.method.lower()] = _operation(endpoint)
    paths.update(_others())
    schemas = {**SCHEMAS}
    for endpoint in ENDPOINTS:
        if endpoint.collection:
            schemas[f"{endpoint.answer}List"] = listed(endpoint.collection, endpoint.answer)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "flagmw sandbox: Adobe Target's Admin and Profile APIs",
            "version": "1.0.0",
            "description": "What the sandbox emulates. The version of an Admin resource is part of its media type.",
            # The descriptions of the other vendors' management APIs.
            "x-others": [f"{url}/openapi/monetate", f"{url}/openapi/contentstack"],
        },
        "servers": [{"url": url}],
        "security": [{"accessToken": [], "apiKey": []}],
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {
                "accessToken": {"type": "http", "scheme": "bearer"},
                "apiKey": {"type": "apiKey", "in": "header", "name": "X-Api-Key"},
            },
        },
    }


def _operation(endpoint: ApiRoute) -> Document:
    types = [f"application/vnd.adobe.target.v{version}+json" for version in endpoint.versions]
    answer = _ref(f"{endpoint.answer}List" if endpoint.collection else endpoint.answer)
    parameters = [_path("tenant", "string")]
    for name in re.findall(r"\{(\w+)\}", endpoint.path):
        parameters.append(_path(name, "integer" if name == "id" else "string"))
    if endpoint.collection:
        repeated = {"type": "array", "items": {"type": "string"}}
        parameters += [
            {"name": name, "in": "query", "schema": repeated if name == "sortBy" else {"type": "integer"}}
            for name in _LIST_PARAMETERS
        ]
    if endpoint.path == "/authentication/token":
        scopes = {"type": "string", "enum": ["profile_api", "debug_tools"]}
        parameters.append({"name": "scope", "in": "query", "required": True, "schema": scopes})
    operation: Document = {
        "operationId": endpoint.name,
        "tags": ["Admin API"],
        "parameters": parameters,
        "responses": {
            "201" if endpoint.creates else "200": {
                "description": "Done.",
                "content": {"application/json": {"schema": answer}},
            },
            "default": {
                "description": "Refused.",
                "content": {"application/json": {"schema": {"anyOf": [_ref("ErrorResponse"), _ref("GatewayError")]}}},
            },
        },
    }
    if endpoint.number:
        operation["x-documentation-number"] = endpoint.number
    if endpoint.method in WITH_BODY and endpoint.takes:
        operation["requestBody"] = {
            "required": True,
            "content": {type_: {"schema": _ref(endpoint.takes)} for type_ in types},
        }
    elif endpoint.method not in WITH_BODY:
        # OpenAPI has no parameter "Accept": the versions stand here.
        operation["x-accept"] = types
    return operation


def _others() -> dict[str, Document]:
    form = "application/x-www-form-urlencoded"
    xml = {"description": "The vendor's XML.", "content": {"text/xml": {"schema": {"type": "string"}}}}
    client, text = _path("client", "string"), {"type": "string"}
    profile = {
        "200": {"description": "The profile.", "content": {"application/json": {"schema": _ref("Profile")}}},
        "404": {"description": "There is none.", "content": {"application/json": {"schema": _ref("ProfileError")}}},
    }

    def token(name: str, fields: tuple[str, ...]) -> Document:
        schema = {"type": "object", "required": list(fields), "properties": dict.fromkeys(fields, text)}
        return {
            "post": {
                "operationId": name, "tags": ["Tokens"], "security": [],
                "requestBody": {"required": True, "content": {form: {"schema": schema}}},
                "responses": {
                    "200": {"description": "A token.", "content": {"application/json": {"schema": _ref("Token")}}},
                    "default": {
                        "description": "Refused.", "content": {"application/json": {"schema": _ref("TokenError")}}
                    },
                },
            }
        }  # fmt: skip

    def bulk(name: str) -> Document:
        body = {"required": True, "content": {form: {"schema": text}}}
        return {
            "post": {
                "operationId": name, "tags": ["Profile API"], "security": [], "parameters": [client],
                "requestBody": body, "responses": {"200": xml},
            }
        }  # fmt: skip

    def read(name: str, path: str) -> Document:
        parameters = [_path(path, "string"), {"name": "client", "in": "query", "required": True, "schema": text}]
        return {
            "get": {
                "operationId": name, "tags": ["Profile API"], "security": [], "parameters": parameters,
                "responses": profile,
            }
        }  # fmt: skip

    single = {"tags": ["Profile API"], "security": [], "parameters": [client], "responses": {"200": xml}}
    state = {
        "operationId": "bulkStatus", "tags": ["Profile API"], "security": [], "responses": {"200": xml},
        "parameters": [
            client,
            {"name": "batchId", "in": "query", "required": True, "schema": text},
            {"name": "showDetails", "in": "query", "schema": {"type": "boolean"}},
        ],
    }  # fmt: skip
    return {
        "/ims/token/v3": token("clientCredentials", ("grant_type", "client_id", "client_secret", "scope")),
        "/ims/exchange/jwt/": token("exchangeJwt", ("client_id", "client_secret", "jwt_token")),
        "/rest/v1/profiles/{tntId}": read("fetchProfile", "tntId"),
        "/rest/v1/profiles/thirdPartyId/{id}": read("fetchProfileByThirdPartyId", "id"),
        "/rest/v1/profiles/marketingCloudVisitorId/{id}": read("fetchProfileByEcid", "id"),
        "/m2/{client}/profile/update": {
            "get": {"operationId": "updateProfileByGet", **single},
            "post": {"operationId": "updateProfile", **single},
        },
        "/m2/{client}/profile/batchUpdate": bulk("bulkUpdateV1"),
        "/m2/{client}/v2/profile/batchUpdate": bulk("bulkUpdateV2"),
        "/m2/{client}/profile/batchStatus": {"get": state},
    }


def _path(name: str, type_: str) -> Document:
    return {"name": name, "in": "path", "required": True, "schema": {"type": type_}}


def _ref(name: str) -> Document:
    return {"$ref": f"#/components/schemas/{name}"}

"""Batches of the emulated Admin API."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from graphlib import CycleError, TopologicalSorter
from typing import Any
from urllib.parse import parse_qsl

import orjson

from flagmw.sandbox.adobe_admin.call import AdminCall
from flagmw.sandbox.adobe_admin.errors import ApiError, invalid
from flagmw.sandbox.adobe_admin.store import Document
from flagmw.sandbox.adobe_admin.versions import WITH_BODY, version_of

MAX_OPERATIONS = 256
MAX_HEADERS = 50
METHODS = frozenset({"GET", "POST", "PUT", "PATCH", "DELETE"})
_PLACEHOLDER = re.compile(r"\{operationIdResponse:(\d+)\}")
_VERSION = re.compile(r"/v(\d+)(/.*)")
_CONTENT_TYPE = [{"name": "Content-Type", "value": "application/json; charset=UTF-8"}]


def run(call: AdminCall) -> Document:
    """Carry out the operations of a batch, each after those that it depends on."""
    operations = _operations(call.body)
    done: dict[int, Document] = {}
    created_ids: dict[int, Any] = {}
    for number in _order(operations):
        operation = operations[number]
        if any(not 200 <= done[other].get("statusCode", 0) < 300 for other in _needed(operation)):
            done[number] = {"operationId": number, "skipped": True}
            continue
        status, document = _carried_out(call, operation, created_ids)
        if operation["method"] == "POST" and 200 <= status < 300:
            created_ids[number] = document.get("id")
        body: Any = document if call.settings.batch_bodies == "object" else orjson.dumps(document).decode()
        done[number] = {
            "operationId": number, "skipped": False, "statusCode": status, "headers": _CONTENT_TYPE, "body": body
        }  # fmt: skip
    return {"results": [done[number] for number in operations]}


def size(body: Mapping[str, Any]) -> int:
    """Return the number of calls that a batch counts for."""
    operations = body.get("operations")
    return max(1, len(operations)) if isinstance(operations, list) else 1


def _carried_out(call: AdminCall, operation: Document, created_ids: Mapping[int, Any]) -> tuple[int, Document]:
    method = operation["method"]
    url, _, query = _filled(operation["relativeUrl"], created_ids, whole=False).partition("?")
    headers = {header["name"].lower(): str(header.get("value", "")) for header in operation.get("headers") or ()}
    versioned = _VERSION.fullmatch(url)
    version, path = (int(versioned[1]), versioned[2]) if versioned else (version_of(method, headers), url)
    body = _filled(operation.get("body") or {}, created_ids) if method in WITH_BODY else {}
    try:
        if path.rstrip("/") == "/batch":
            raise ApiError(400, "Invalid.Value", "a batch cannot hold a batch")
        if not isinstance(body, dict):
            raise invalid("body", "must be an object")
        inner = replace(call, query=parse_qsl(query, keep_blank_values=True), body=body)
        served = call.serve(inner, method, path, version)
    except ApiError as error:
        return error.status, error.document(call.now)
    return served.status, served.document


def _filled(value: Any, created_ids: Mapping[int, Any], *, whole: bool = True) -> Any:
    """Return *value* with the ids of what earlier operations created; a number where it stands alone in a body."""
    if isinstance(value, str):
        alone = _PLACEHOLDER.fullmatch(value)
        if alone and whole:
            return created_ids.get(int(alone[1]))
        return _PLACEHOLDER.sub(lambda match: str(created_ids.get(int(match[1]))), value)
    if isinstance(value, dict):
        return {name: _filled(part, created_ids) for name, part in value.items()}
    return [_filled(part, created_ids) for part in value] if isinstance(value, list) else value


def _operations(body: Document) -> dict[int, Document]:
    given = body.get("operations")
    if not isinstance(given, list) or not given:
        raise invalid("operations", "must hold operations")
    if len(given) > MAX_OPERATIONS:
        raise invalid("operations", f"must hold at most {MAX_OPERATIONS}")
    operations: dict[int, Document] = {}
    for number, operation in enumerate(given):
        field = f"operations[{number}]"
        operation_id = operation.get("operationId") if isinstance(operation, dict) else None
        if (
            isinstance(operation_id, bool)
            or not isinstance(operation_id, int)
            or not 0 <= operation_id < MAX_OPERATIONS
            or operation_id in operations
        ):
            raise invalid(f"{field}.operationId", "must be a number from 0 to 255 that no other operation has")
        if not isinstance(operation.get("method"), str) or operation["method"] not in METHODS:
            raise invalid(f"{field}.method", "is no method")
        if not isinstance(operation.get("relativeUrl"), str) or not operation["relativeUrl"].startswith("/"):
            raise invalid(f"{field}.relativeUrl", "must begin with a slash")
        headers = operation.get("headers") or []
        good = isinstance(headers, list) and len(headers) <= MAX_HEADERS
        if not good or not all(isinstance(header, dict) and isinstance(header.get("name"), str) for header in headers):
            raise invalid(f"{field}.headers", f"must be at most {MAX_HEADERS} pairs of name and value")
        operations[operation_id] = operation
    for number, operation in enumerate(given):
        needed = operation.get("dependsOnOperationIds") or []
        ids = isinstance(needed, list) and all(
            isinstance(needed_id, int) and needed_id in operations for needed_id in needed
        )
        if not ids or len(set(needed)) != len(needed):
            raise invalid(f"operations[{number}].dependsOnOperationIds", "must be ids of other operations")
        for other in _referred(operation):
            if other not in operations or operations[other]["method"] != "POST":
                raise invalid(f"operations[{number}]", f"operation {other} creates nothing")
    return operations


def _order(operations: Mapping[int, Document]) -> list[int]:
    try:
        return list(
            TopologicalSorter({number: _needed(operation) for number, operation in operations.items()}).static_order()
        )
    except CycleError:
        raise invalid("operations", "the operations wait for each other") from None


def _needed(operation: Document) -> set[int]:
    return set(operation.get("dependsOnOperationIds") or ()) | _referred(operation)


def _referred(operation: Document) -> set[int]:
    return {int(match[1]) for match in _PLACEHOLDER.finditer(orjson.dumps(operation).decode())}

"""Checks of a batch before it is sent: ids, dependencies, placeholders."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from graphlib import CycleError, TopologicalSorter
from typing import Any

from flagmw.admin.adobe.checks.values import PLACEHOLDER
from flagmw.admin.errors import InvalidError

MAX_OPERATIONS = 256
MAX_HEADERS = 50
METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")
WITH_BODY = ("POST", "PUT", "PATCH")
_LIKE_PLACEHOLDER = re.compile(r"\{?\s*operationIdResponse", re.IGNORECASE)


def check_batch(operations: Sequence[Mapping[str, Any]]) -> None:
    """Check the operations of a batch.

    Raises:
        InvalidError: the vendor would refuse the batch, or skip or fail an operation; the text names the place.
    """
    if not operations:
        raise InvalidError("a batch needs at least one operation", field="operations")
    if len(operations) > MAX_OPERATIONS:
        text = f"{len(operations)} operations are too many; send at most {MAX_OPERATIONS} in one batch"
        raise InvalidError(text, field="operations")
    ids: dict[int, Mapping[str, Any]] = {}
    for number, operation in enumerate(operations):
        place = f"operations[{number}]"
        if not isinstance(operation, Mapping):
            raise InvalidError(f"must be an object, got {type(operation).__name__}", field=place)
        for name in ("headers", "dependsOnOperationIds"):
            if not isinstance(operation.get(name, ()), list | tuple):
                raise InvalidError("must be a list", field=f"{place}.{name}")
        own = operation.get("operationId")
        if isinstance(own, bool) or not isinstance(own, int) or not 0 <= own < MAX_OPERATIONS:
            raise InvalidError("must be a whole number from 0 to 255", field=f"{place}.operationId")
        if own in ids:
            raise InvalidError(f"{own} is used twice; give each its own", field=f"{place}.operationId")
        ids[own] = operation
    for number, operation in enumerate(operations):
        _check_operation(operation, f"operations[{number}]")
    before = _dependencies(operations, ids)
    for number, operation in enumerate(operations):
        _check_placeholders(operation, f"operations[{number}]", ids, before)


def _check_operation(operation: Mapping[str, Any], place: str) -> None:
    method, url = operation.get("method"), operation.get("relativeUrl")
    if method not in METHODS:
        raise InvalidError(f"must be one of {', '.join(METHODS)}", field=f"{place}.method")
    if not isinstance(url, str) or not re.match(r"/v\d+/", url):
        text = 'must begin with a slash and the version: "/v2/offers/content", without the tenant'
        raise InvalidError(text, field=f"{place}.relativeUrl")
    if not re.fullmatch(r"[!-~]+", url):
        raise InvalidError("must be percent-encoded", field=f"{place}.relativeUrl")
    if method not in WITH_BODY and operation.get("body"):
        raise InvalidError(f"is ignored with {method}; leave it out", field=f"{place}.body")
    headers = operation.get("headers", ())
    if len(headers) > MAX_HEADERS:
        raise InvalidError(f"has {len(headers)} headers; send at most {MAX_HEADERS}", field=f"{place}.headers")
    for index, header in enumerate(headers):
        name = header.get("name") if isinstance(header, Mapping) else None
        if not isinstance(name, str) or not re.fullmatch(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", name):
            raise InvalidError('must be {"name": ..., "value": ...}', field=f"{place}.headers[{index}]")


def _dependencies(operations: Sequence[Mapping[str, Any]], ids: Mapping[int, Any]) -> dict[int, set[int]]:
    """Return all that must be done before each operation, directly or not."""
    direct: dict[int, set[int]] = {}
    for number, operation in enumerate(operations):
        field = f"operations[{number}].dependsOnOperationIds"
        if "dependsOnOperationId" in operation:
            raise InvalidError("is not read; write dependsOnOperationIds, a list", field=field[:-1])
        needed = list(operation.get("dependsOnOperationIds", ()))
        for other in needed:
            if other not in ids:
                raise InvalidError(f"{other!r} is no operation of the batch", field=field)
            if other == operation["operationId"]:
                raise InvalidError("an operation cannot depend on itself", field=field)
        if len(set(needed)) < len(needed):
            raise InvalidError("names an operation twice", field=field)
        direct[operation["operationId"]] = set(needed)
    try:
        order = list(TopologicalSorter(direct).static_order())
    except CycleError as error:
        circle = " -> ".join(str(own) for own in reversed(error.args[1]))
        raise InvalidError(f"the operations wait for each other: {circle}", field="operations") from None
    before: dict[int, set[int]] = {}
    for own in order:
        before[own] = direct[own].union(*(before[other] for other in direct[own]))
    return before


def _check_placeholders(
    operation: Mapping[str, Any], place: str, ids: Mapping[int, Mapping[str, Any]], before: Mapping[int, set[int]]
) -> None:
    for field, text, allowed in _texts(operation, place):
        if not _LIKE_PLACEHOLDER.search(text):
            continue
        if not allowed:
            raise InvalidError("{operationIdResponse:N} stands in relativeUrl and in values of body only", field=field)
        rest = PLACEHOLDER.sub("", text)
        if _LIKE_PLACEHOLDER.search(rest):
            raise InvalidError("write it as {operationIdResponse:0}, with a number and no blanks", field=field)
        for found in PLACEHOLDER.finditer(text):
            other = int(found[1])
            if other not in ids:
                raise InvalidError(f"{other} is no operation of the batch", field=field)
            if ids[other].get("method") != "POST":
                raise InvalidError(f"operation {other} creates nothing; only a POST has an id to refer to", field=field)
            if other not in before[operation["operationId"]]:
                raise InvalidError(f"add {other} to dependsOnOperationIds", field=field)


def _texts(operation: Mapping[str, Any], place: str) -> Iterator[tuple[str, str, bool]]:
    """Yield every text of an operation: where it stands, the text, whether a placeholder may stand in it."""
    yield f"{place}.relativeUrl", operation["relativeUrl"], True
    for index, header in enumerate(operation.get("headers", ())):
        for name in ("name", "value"):
            yield f"{place}.headers[{index}].{name}", str(header.get(name, "")), False
    yield from _values(operation.get("body"), f"{place}.body")


def _values(value: Any, place: str) -> Iterator[tuple[str, str, bool]]:
    if isinstance(value, str):
        yield place, value, True
    elif isinstance(value, Mapping):
        for name, inner in value.items():
            yield f"{place}.{name}", str(name), False
            yield from _values(inner, f"{place}.{name}")
    elif isinstance(value, list | tuple):
        for number, inner in enumerate(value):
            yield from _values(inner, f"{place}[{number}]")

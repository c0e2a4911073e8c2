"""A batch that is put together call by call."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from flagmw.admin.adobe.batch.graph import check_batch
from flagmw.admin.adobe.checks.values import PLACEHOLDER
from flagmw.admin.errors import InvalidError
from flagmw.admin.http.planned import PlannedRequest

_VERSION = re.compile(r"application/vnd\.adobe\.target\.v(\d+)\+json")


@dataclass(frozen=True, slots=True)
class BatchOperation:
    """One call of a batch.

    Attributes:
        id: its number in the batch.
    """

    id: int
    document: Mapping[str, Any] = field(repr=False)

    @property
    def created_id(self) -> Any:
        """Return the placeholder of the id that this operation will create, for bodies and paths of others."""
        return f"{{operationIdResponse:{self.id}}}"


class Batch:
    """Calls that are sent together; each counts against the limit of calls.

    What an operation refers to by `created_id` it depends on by itself. `after` is for other orders.
    """

    def __init__(self) -> None:
        self._operations: list[BatchOperation] = []

    def __len__(self) -> int:
        return len(self._operations)

    def add(self, request: PlannedRequest, *, after: Iterable[BatchOperation] = ()) -> BatchOperation:
        """Add a call that a method of the client has planned: `admin.offers.content.create.request(...)`."""
        path = urlsplit(request.url)
        found = re.search(r"/target(/.*)", path.path)
        types = [value for name, value in request.headers.items() if name.lower() in ("accept", "content-type")]
        version = next((match[1] for value in types if (match := _VERSION.fullmatch(value))), None)
        if found is None or version is None:
            raise InvalidError("is no call of the Admin API that can stand in a batch", field="request")
        # Braces of a placeholder were percent-encoded as part of a path.
        url = found[1].replace("%7BoperationIdResponse%3A", "{operationIdResponse:").replace("%7D", "}")
        relative = f"/v{version}{url}{'?' + path.query if path.query else ''}"
        return self.add_call(request.method, relative, request.json(), after=after)

    def add_call(
        self,
        method: str,
        relative_url: str,
        body: Any = None,
        *,
        headers: Mapping[str, str] | None = None,
        after: Iterable[BatchOperation] = (),
    ) -> BatchOperation:
        """Add a call.

        Args:
            relative_url: with the version and without the tenant: "/v2/offers/content".
            body: JSON, for POST, PUT and PATCH.
            headers: by default `Content-Type: application/json`; the credentials are copied by the vendor.
        """
        document: dict[str, Any] = {
            "operationId": len(self._operations),
            "dependsOnOperationIds": sorted({one.id for one in after} | set(_referred(relative_url, body))),
            "method": method,
            "relativeUrl": relative_url,
            "headers": [
                {"name": name, "value": value}
                for name, value in (headers or {"Content-Type": "application/json"}).items()
            ],
        }
        if body is not None:
            document["body"] = body
        operation = BatchOperation(len(self._operations), document)
        self._operations.append(operation)
        return operation

    def json(self) -> dict[str, Any]:
        """Return the body of the request.

        Raises:
            InvalidError: the batch would be refused.
        """
        operations = [dict(operation.document) for operation in self._operations]
        check_batch(operations)
        return {"operations": operations}


def _referred(*values: Any) -> Iterable[int]:
    for value in values:
        if isinstance(value, str):
            yield from (int(found[1]) for found in PLACEHOLDER.finditer(value))
        elif isinstance(value, Mapping):
            yield from _referred(*value.values())
        elif isinstance(value, list | tuple):
            yield from _referred(*value)

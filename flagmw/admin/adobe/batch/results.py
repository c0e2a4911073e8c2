"""Results of the operations of a batch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from flagmw.admin.adobe.batch.builder import BatchOperation
from flagmw.admin.adobe.wire import fault_of
from flagmw.admin.errors import AdminError, AmbiguousError
from flagmw.admin.http.encoding import encoded
from flagmw.admin.http.fault import cleaned, error_of
from flagmw.admin.http.request import ApiRequest
from flagmw.exceptions import ProtocolError
from flagmw.types import Call, Reply
from flagmw.vendors.common.json import loads


@dataclass(frozen=True, slots=True)
class BatchResult:
    """The answer to one operation.

    Attributes:
        operation_id: its number.
        skipped: whether it was left out, because what it depends on failed or was left out.
        status: None when it was skipped.
        body: parsed JSON, text that is none, or None.
    """

    operation_id: int
    skipped: bool
    status: int | None
    headers: Mapping[str, str] = field(default_factory=dict)
    body: Any = None

    @property
    def ok(self) -> bool:
        """True when it was done."""
        return not self.skipped and self.status is not None and 200 <= self.status < 300

    @property
    def error(self) -> AdminError | None:
        """Return the error that the operation would have raised on its own; None for a success."""
        name = f"batch.run operation {self.operation_id}"
        if self.ok:
            return None
        if self.skipped or self.status is None:
            return AdminError("it was skipped: an operation on which it depends failed", operation=name)
        reply = Reply(status=self.status, headers=self.headers, body=encoded(self.body))
        request = ApiRequest(operation=name, template="", call=Call(method="POST", url="", headers={}))
        return error_of(request, reply, cleaned(fault_of(reply)), 60.0, (429, 503))


@dataclass(frozen=True, slots=True)
class BatchResults(Sequence[BatchResult]):
    """The answers of a batch, in the order of the operations' numbers."""

    results: tuple[BatchResult, ...]

    def __len__(self) -> int:
        return len(self.results)

    def __getitem__(self, index: Any) -> Any:
        return self.results[index]

    def __iter__(self) -> Iterator[BatchResult]:
        return iter(self.results)

    def of(self, operation: BatchOperation | int) -> BatchResult:
        """Return the answer to *operation*."""
        number = operation if isinstance(operation, int) else operation.id
        return next(result for result in self.results if result.operation_id == number)

    def raise_for_failures(self) -> None:
        """Raise the error of the first operation that was not done, if there is one."""
        for result in self.results:
            if result.error is not None:
                raise result.error


def results_of(answer: Mapping[str, Any], ids: Sequence[int]) -> BatchResults:
    """Return the results in *answer*, whose bodies are JSON or texts that hold JSON.

    Args:
        ids: the numbers of the operations that were sent.

    Raises:
        AmbiguousError: there is no answer to some of them.
    """
    rows = answer.get("results")
    found = {}
    for row in rows if isinstance(rows, list) else ():
        if isinstance(row, dict) and isinstance(row.get("operationId"), int):
            found[row["operationId"]] = _result(row)
    missing = [number for number in ids if number not in found]
    if missing:
        text = (
            f"the answer says nothing of operations {', '.join(map(str, missing[:10]))}: they may have been done or not"
        )
        raise AmbiguousError(text, operation="batch.run")
    return BatchResults(tuple(found[number] for number in sorted(found)))


def _result(row: Mapping[str, Any]) -> BatchResult:
    status, body = row.get("statusCode"), row.get("body")
    if isinstance(body, str):
        try:
            body = loads(body.encode()) if body else None
        except ProtocolError:
            pass  # a text that is no JSON, an error page for instance
    headers = {
        str(header.get("name", "")).lower(): str(header.get("value", ""))
        for header in row.get("headers") or ()
        if isinstance(header, dict)
    }
    return BatchResult(
        row["operationId"], row.get("skipped") is True, status if isinstance(status, int) else None, headers, body
    )

"""Batches of calls."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from flagmw.admin.adobe.batch.builder import Batch
from flagmw.admin.adobe.batch.graph import check_batch
from flagmw.admin.adobe.batch.results import BatchResults, results_of
from flagmw.admin.adobe.resources.base import AdobeResource
from flagmw.admin.flow.effects import Flow
from flagmw.admin.flow.operation import M, operation


class Batches(AdobeResource[M]):
    """Many calls in one request."""

    @operation
    def run(self, batch: Batch | Sequence[Mapping[str, Any]]) -> Flow[BatchResults]:
        """Send a batch and return what came of each of its operations; a failed operation raises nothing.

        Every operation counts against the limit of calls: a batch that is larger than the limit waits until nothing
        else is counted, and what is called after it waits until the batch is paid for.

        Args:
            batch: a `Batch`, or the vendor's list of operations.

        Raises:
            InvalidError: ids, dependencies or placeholders are wrong; nothing was sent.
        """
        if isinstance(batch, Batch):
            body = batch.json()
        else:
            check_batch(batch)
            body = {"operations": [_whole(operation) for operation in batch]}
        operations = body["operations"]
        answer = yield from self._call("batch.run", body=body, cost=len(operations))
        return results_of(answer, [operation["operationId"] for operation in operations])


def _whole(operation: Mapping[str, Any]) -> dict[str, Any]:
    """Return *operation* with the two lists that the current description requires."""
    default = [{"name": "Content-Type", "value": "application/json"}]
    return {"dependsOnOperationIds": [], "headers": default, **operation}

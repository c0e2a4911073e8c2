"""`flagmw adobe batch`: many calls in one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import typer

from flagmw.admin.adobe.batch.results import BatchResults
from flagmw.admin.adobe.client import AdobeAdmin
from flagmw.admin.errors import InvalidError
from flagmw.cli.admin.body import BodyArgument, json_from
from flagmw.cli.admin.exits import FAILED
from flagmw.cli.admin.output import Row
from flagmw.cli.admin.session import Session
from flagmw.cli.adobe.root import commands


@commands.command("batch", calls=["batch.run"], lists=True, destroys=True)
def batch(session: Session[AdobeAdmin], file: BodyArgument) -> None:
    """Run up to 256 calls in one: {"operations": [...]}. Exit code 1 when one of them was not done."""
    operations = _operations(json_from(file))
    deleted = [one.get("relativeUrl", "") for one in operations if str(one.get("method", "")).upper() == "DELETE"]
    if deleted:
        session.confirm(f"delete {len(deleted)} resources ({', '.join(map(str, deleted[:3]))} ...)")
    results: BatchResults = session.call(session.client.batch.run, operations)
    session.rows(_rows(results), ("operation", "status", "id", "error"))
    if not all(one.ok for one in results):
        raise typer.Exit(FAILED)


def _operations(document: Any) -> list[Mapping[str, Any]]:
    found = document.get("operations") if isinstance(document, dict) else document
    if not isinstance(found, list) or not all(isinstance(one, dict) for one in found):
        raise InvalidError('must hold {"operations": [{...}, ...]}, or the list alone', field="FILE")
    return found


def _rows(results: BatchResults) -> Iterator[Row]:
    for one in results:
        yield {
            "operation": one.operation_id,
            "status": "skipped" if one.skipped else one.status,
            "id": one.body.get("id") if isinstance(one.body, dict) else None,
            "error": None if one.error is None else str(one.error),
            "body": one.body,
        }

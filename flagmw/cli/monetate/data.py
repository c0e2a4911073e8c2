"""`flagmw monetate data`: records of datasets."""

from __future__ import annotations

import dataclasses
import sys
from contextlib import ExitStack
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import orjson
import typer

from flagmw.admin.errors import InvalidError
from flagmw.admin.monetate.client import MonetateAdmin
from flagmw.admin.monetate.datasets.parts import MAX_BYTES, MAX_ROWS, RecordResult
from flagmw.admin.monetate.datasets.upload import UpsertProgress, UpsertResult
from flagmw.cli.admin.exits import FAILED
from flagmw.cli.admin.progress import Steps
from flagmw.cli.admin.session import Session
from flagmw.cli.monetate.root import SchemaArgument, commands
from flagmw.cli.text import say, shown

data = commands.group("data", "Records of datasets.")

# A record that is not taken is reported on standard error; after so many the rest is counted.
SHOWN_REJECTIONS = 20


class RecordFormat(StrEnum):
    """What a file holds."""

    CSV = "csv"
    JSONL = "jsonl"


class Address(StrEnum):
    """A form of the address of single records."""

    PORTAL = "portal"
    ARTICLE = "article"


@data.command("upsert", calls=["data.upsert"], lists=True)
def upsert(
    session: Session[MonetateAdmin],
    schema: SchemaArgument,
    file: Annotated[str, typer.Argument(metavar="FILE", help="CSV or JSON lines, also as .gz; - for standard input.")],
    format: Annotated[RecordFormat | None, typer.Option(help="By the name's end when left out.")] = None,
    column: Annotated[
        list[str] | None, typer.Option(help="Name of a column, in order, of a CSV file without a header.")
    ] = None,
    no_check: Annotated[
        bool, typer.Option("--no-check", help="Send records that the schema was not read for.")
    ] = False,
    resend: Annotated[
        bool | None, typer.Option(help="Send a part again that may have been taken; by default with a unique key.")
    ] = None,
    sent_time: Annotated[str | None, typer.Option(help="When the records were made, ISO 8601.")] = None,
    journal: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Keeps what was sent: after a kill, the same command goes on.")
    ] = None,
    max_rows: Annotated[int, typer.Option(help="Of one call.")] = MAX_ROWS,
    max_bytes: Annotated[int, typer.Option(help="Of one call.")] = MAX_BYTES,
    results: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the result of every record to this file, as JSON lines.")
    ] = None,
) -> None:
    """Update records of a dataset, or create them. Exit code 1 when some were not taken."""
    if file == "-" and (format is None or sys.stdin is None):
        raise InvalidError("say what standard input holds: csv or jsonl", field="--format")
    source: Any = sys.stdin.buffer if file == "-" else Path(file)
    options: dict[str, Any] = {
        "format": None if format is None else format.value,
        "columns": column,
        "check": not no_check,
        "resend": resend,
        "sent_time": sent_time,
        "journal": journal,
        "max_rows": max_rows,
        "max_bytes": max_bytes,
    }
    if session.planning:
        session.call(session.client.data.upsert, schema, source, **options)
    with ExitStack() as stack:
        report = stack.enter_context(_Results(results))
        steps = stack.enter_context(Steps("reading"))
        result = session.client.data.upsert(
            schema, source, on_progress=lambda one: steps.say(_step(one)), on_record=report, **options
        )
    _print(session, result)
    if report.rejected > SHOWN_REJECTIONS and results is None:
        more = report.rejected - SHOWN_REJECTIONS
        session.note(f"{more} more records were not taken; --results FILE writes all of them down")
    if report.rejected:
        raise typer.Exit(FAILED)


@data.command("check", calls=["data.check"])
def check(
    session: Session[MonetateAdmin],
    schema: SchemaArgument,
    id: Annotated[str, typer.Argument(metavar="ID", help="A unique key, else an identifier.")],
    address: Annotated[Address, typer.Option(help="Which documented form of the address.")] = Address.PORTAL,
) -> None:
    """Show one record, to see by hand whether it arrived; Monetate forbids reading many this way."""
    session.show(session.call(session.client.data.check, schema, id, address=address.value))


class _Results:
    """Takes the result of every record: to a file, or the first that were not taken to standard error."""

    def __init__(self, path: Path | None) -> None:
        self._path, self.rejected = path, 0
        self._file: Any = None

    def __enter__(self) -> _Results:
        if self._path is not None:
            try:
                self._file = self._path.open("wb")
            except OSError as error:
                raise InvalidError(f"{self._path} cannot be written: {error.strerror}", field="--results") from None
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.close()

    def __call__(self, result: RecordResult) -> None:
        rejected = result.state == "rejected"
        self.rejected += rejected
        if self._file is not None:
            self._file.write(orjson.dumps(dataclasses.asdict(result)) + b"\n")
        elif rejected and self.rejected <= SHOWN_REJECTIONS:
            say(f"flagmw: record {result.row} {shown(result.reason)}", sys.stderr)


def _step(progress: UpsertProgress) -> str:
    what = {"sent": "sent", "skipped": "sent by an earlier run"}[progress.step]
    return f"part {progress.part} {what}; {progress.rows} records in {progress.parts} parts"


def _print(session: Session[MonetateAdmin], result: UpsertResult) -> None:
    tally = result.tally
    counts = {
        "rows": result.rows,
        "read": tally.read,
        "replaced": tally.replaced,
        "rejected": tally.rejected_count,
    }
    parts = [dataclasses.asdict(part) for part in result.parts]
    if session.as_json:
        session.show({**counts, "warnings": list(result.warnings), "parts": parts})
        return
    session.rows(parts, ("number", "rows", "bytes", "earlier", "maybe_twice"))
    session.note(", ".join(f"{name} {count}" for name, count in counts.items()))

"""`flagmw adobe profiles bulk`: many profiles from a file."""

from __future__ import annotations

import csv
import dataclasses
import sys
from contextlib import ExitStack
from enum import StrEnum
from operator import itemgetter
from pathlib import Path
from typing import Annotated, Any

import typer

from flagmw.admin.adobe.client import AdobeAdmin
from flagmw.admin.adobe.profiles.parts import MAX_BYTES, MAX_ROWS
from flagmw.admin.adobe.profiles.upload import BulkResult, Progress, SentPart
from flagmw.admin.bulk.sources import Rejected
from flagmw.admin.errors import InvalidError
from flagmw.cli.admin.exits import FAILED
from flagmw.cli.admin.output import Columns
from flagmw.cli.admin.progress import Steps
from flagmw.cli.admin.session import Session
from flagmw.cli.adobe.profiles import profiles
from flagmw.cli.text import say, shown

# A row that is not sent is reported on standard error; after so many the rest is counted.
SHOWN_REJECTIONS = 20


class IdKind(StrEnum):
    """What identifies a row."""

    PC_ID = "pcId"
    THIRD_PARTY_ID = "thirdPartyId"


class FileFormat(StrEnum):
    """What a file holds."""

    CSV = "csv"
    JSONL = "jsonl"
    BATCH = "batch"


@profiles.command("bulk", calls=["profiles.bulk_update"], lists=True)
def bulk(
    session: Session[AdobeAdmin],
    file: Annotated[
        str, typer.Argument(metavar="FILE", help="CSV, JSON lines or a batch, also as .gz; - for standard input.")
    ],
    id_kind: Annotated[
        IdKind | None, typer.Option(help="What identifies a row; the first column's name by default.")
    ] = None,
    id_column: Annotated[
        str | None, typer.Option(help="The column with the id; the one called like --id-kind by default.")
    ] = None,
    column: Annotated[
        list[str] | None, typer.Option(help="Name of a column, in order, of a CSV file without a header.")
    ] = None,
    format: Annotated[FileFormat | None, typer.Option(help="By the name's end when left out.")] = None,
    version: Annotated[int, typer.Option(min=1, max=2, help="2 creates profiles that are missing, 1 does not.")] = 2,
    send_repeats: Annotated[
        bool | None, typer.Option(help="Send rows whose id is in an earlier part, which they override with version 2.")
    ] = None,
    journal: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Keeps what was sent: after a kill, the same command goes on.")
    ] = None,
    max_rows: Annotated[int, typer.Option(help="Of one upload.")] = MAX_ROWS,
    max_bytes: Annotated[int, typer.Option(help="Of one upload.")] = MAX_BYTES,
    wait: Annotated[
        float, typer.Option(min=0, help="Seconds to follow the vendor's work after the last upload.")
    ] = 0.0,
    rejected: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write rows that cannot be sent to this CSV file.")
    ] = None,
) -> None:
    """Set attributes of many visitors. Exit code 1 when rows were not sent or an upload is stuck."""
    if file == "-" and (format is None or sys.stdin is None):
        raise InvalidError("say what standard input holds: csv, jsonl or batch", field="--format")
    source: Any = sys.stdin.buffer if file == "-" else Path(file)
    options: dict[str, Any] = {
        "id_kind": None if id_kind is None else id_kind.value,
        "id_column": id_column,
        "columns": column,
        "format": None if format is None else format.value,
        "version": version,
        "send_repeats": send_repeats,
        "journal": journal,
        "max_rows": max_rows,
        "max_bytes": max_bytes,
        "wait_s": wait,
    }
    if session.planning:
        session.call(session.client.profiles.bulk_update, source, **options)
    with ExitStack() as stack:
        steps = stack.enter_context(Steps("reading"))
        report = stack.enter_context(_Rejections(rejected))
        result = session.client.profiles.bulk_update(
            source, on_progress=lambda one: steps.say(_step(one)), on_rejected=report, **options
        )
    _print(session, result)
    if report.count > SHOWN_REJECTIONS and rejected is None:
        session.note(
            f"{report.count - SHOWN_REJECTIONS} more rows were not sent; --rejected FILE writes all of them down"
        )
    stuck = any(part.status is not None and part.status.state == "stuck" for part in result.parts)
    if report.count or stuck:
        raise typer.Exit(FAILED)


class _Rejections:
    """Takes the rows that are not sent: to a file, or the first of them to standard error."""

    def __init__(self, path: Path | None) -> None:
        self._path, self.count = path, 0
        self._file: Any = None

    def __enter__(self) -> _Rejections:
        if self._path is not None:
            try:
                self._file = self._path.open("w", encoding="utf-8", newline="")
            except OSError as error:
                raise InvalidError(f"{self._path} cannot be written: {error.strerror}", field="--rejected") from None
            self._writer = csv.writer(self._file, lineterminator="\n")
            self._writer.writerow(["row", "reason"])
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.close()

    def __call__(self, row: Rejected) -> None:
        self.count += 1
        if self._file is not None:
            self._writer.writerow([row.row, row.reason])
        elif self.count <= SHOWN_REJECTIONS:
            say(f"flagmw: row {row.row} {shown(row.reason)}", sys.stderr)


def _step(progress: Progress) -> str:
    what = {"sent": "sent", "skipped": "sent by an earlier run", "status": "asked for its state"}[progress.step]
    return f"part {progress.part} {what}; {progress.rows} rows in {progress.parts} parts, {progress.bytes >> 10} KiB"


def _print(session: Session[AdobeAdmin], result: BulkResult) -> None:
    tally = result.tally
    counts = {
        "rows": result.rows,
        "read": tally.read,
        "merged": tally.merged,
        "empty": tally.empty,
        "large": tally.large,
        "rejected": tally.rejected_count,
    }
    parts = [_part(part) for part in result.parts]
    if session.as_json:
        session.show({**counts, "forgotten": tally.forgotten, "parts": parts})
        return
    columns: Columns = {
        **{name: itemgetter(name) for name in ("number", "rows", "bytes", "earlier", "maybe_twice")},
        "state": lambda row: (row.get("status") or {}).get("state") or row.get("trouble"),
    }
    session.rows(parts, columns)
    session.note(", ".join(f"{name} {count}" for name, count in counts.items()))


def _part(part: SentPart) -> dict[str, Any]:
    found = dataclasses.asdict(part)
    if part.status is not None:
        found["status"] = {name: value for name, value in found["status"].items() if value not in (None, ())}
    return {name: value for name, value in found.items() if value is not None}

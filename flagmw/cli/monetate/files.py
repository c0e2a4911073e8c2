"""`flagmw monetate data upload`: a dataset's file by SFTP."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated, Literal

import typer

from flagmw.admin.errors import InvalidError
from flagmw.admin.monetate.client import MonetateAdmin
from flagmw.admin.monetate.sftp.dataset_files import check_file
from flagmw.cli.admin.progress import Steps
from flagmw.cli.admin.session import Session
from flagmw.cli.monetate.connect import connect_sftp
from flagmw.cli.monetate.data import data


@data.command("upload", calls=["schemas.get"], plans=False, destroys=True)
def upload(
    session: Session[MonetateAdmin],
    file: Annotated[Path, typer.Argument(metavar="FILE", help="CSV or TSV with a header, also as .gz or .zip.")],
    full: Annotated[bool, typer.Option("--full", help="Replace the dataset by the file.")] = False,
    partial: Annotated[bool, typer.Option("--partial", help="Add and update rows.")] = False,
    schema: Annotated[
        str | None, typer.Option(help="The dataset's name; its structure is read and the file checked against it.")
    ] = None,
    dataset_id: Annotated[
        int | None, typer.Option(help="The dataset's id, where its structure is not to be read.")
    ] = None,
    check_only: Annotated[bool, typer.Option("--check-only", help="Read the file through and send nothing.")] = False,
) -> None:
    """Check a file and send it by SFTP. The platform's wizard for uploads has no API; this is its counterpart."""
    if full == partial:
        raise InvalidError("give one of --full and --partial", field="--full")
    if (schema is None) == (dataset_id is None):
        raise InvalidError("give one of --schema and --dataset-id", field="--schema")
    identifier, fields, own = None, None, dataset_id
    if schema is not None:
        structure = session.client.schemas.get(schema)
        own, known = structure.get("id"), structure.get("fields") or {}
        fields = list(known) or None
        identifier = next((name for name, one in known.items() if one.get("identifier")), None)
        if not structure.get("named_identifier"):
            session.note("the dataset cannot be used until its Identifier Name is set: schemas set-identifier")
    if not isinstance(own, int):
        raise InvalidError("the schema names no id of the dataset; give it by --dataset-id", field="--dataset-id")
    with Steps("checking") as steps:
        checked = check_file(
            file, own, identifier=identifier, fields=fields, on_rows=lambda rows: steps.say(f"{rows:,} rows checked")
        )
    mode: Literal["full", "partial"] = "full" if full else "partial"
    shown = {**dataclasses.asdict(checked), "path": str(checked.path), "columns": list(checked.columns), "mode": mode}
    if not check_only:
        sftp = connect_sftp(session.settings)
        if full:
            session.confirm(f"replace the whole dataset {schema or own} by {checked.rows} rows of {file.name}")
        with Steps("sending") as steps:
            shown["sent_to"] = sftp.upload(
                checked, mode, on_bytes=lambda done, size: steps.say(f"{done >> 10} of {size >> 10} KiB sent")
            )
    if not checked.compared:
        session.note("there are more than five million rows; their identifiers were not all compared")
    session.show(shown)

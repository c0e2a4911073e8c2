"""`flagmw monetate schemas`, `schema-types`, `uploads` and `default-catalogs`."""

from __future__ import annotations

from typing import Annotated

import typer

from flagmw.admin.monetate.client import MonetateAdmin
from flagmw.cli.admin.body import BodyArgument, object_from
from flagmw.cli.admin.command import LimitOption
from flagmw.cli.admin.output import Columns
from flagmw.cli.admin.session import Session
from flagmw.cli.monetate.root import SchemaArgument, commands

schemas = commands.group("schemas", "Structures of datasets.")
schema_types = commands.group("schema-types", "Kinds of schemas.")
uploads = commands.group("uploads", "Files that came by SFTP or by the platform's wizard.")
default_catalogs = commands.group("default-catalogs", "Product catalogs that accounts use by default.")

RowCountOption = Annotated[bool, typer.Option("--row-count", help="With how many records can be used.")]
LatestOption = Annotated[bool, typer.Option("--latest-upload", help="With the last file.")]


@schemas.command("list", calls=["schemas.list"], lists=True)
def list_schemas(
    session: Session[MonetateAdmin],
    row_count: RowCountOption = False,
    latest_upload: LatestOption = False,
    usable: Annotated[bool, typer.Option("--usable", help="With the accounts in which they can be used.")] = False,
    limit: LimitOption = None,
) -> None:
    """List datasets. One without an Identifier Name cannot be used."""
    options = {"row_count": row_count, "latest_upload": latest_upload, "usable_in_accounts": usable, "limit": limit}
    columns: Columns = {
        "id": lambda row: row.get("id"),
        "name": lambda row: row.get("name"),
        "type": lambda row: row.get("type"),
        "fields": lambda row: len(row.get("fields") or ()),
        "named_identifier": lambda row: row.get("named_identifier") or "(none: cannot be used)",
        **({"row_count": lambda row: row.get("row_count")} if row_count else {}),
        **({"latest_upload": lambda row: row.get("last_file_upload")} if latest_upload else {}),
        **({"usable_in_accounts": lambda row: row.get("usable_in_accounts")} if usable else {}),
    }
    session.rows(session.call(session.client.schemas.list, **options), columns)


@schemas.command("get", calls=["schemas.get"])
def get_schema(
    session: Session[MonetateAdmin],
    schema: SchemaArgument,
    row_count: RowCountOption = False,
    latest_upload: LatestOption = False,
) -> None:
    """Show the structure of a dataset."""
    session.show(session.call(session.client.schemas.get, schema, row_count=row_count, latest_upload=latest_upload))


@schemas.command("create", calls=["schemas.create"])
def create_schema(session: Session[MonetateAdmin], file: BodyArgument) -> None:
    """Create a dataset from JSON: name, fields, type, named_identifier. Monetate recommends its wizard instead."""
    session.show(session.call(session.client.schemas.create, object_from(file)))


@schemas.command("add-fields", calls=["schemas.add_fields"])
def add_fields(session: Session[MonetateAdmin], schema: SchemaArgument, file: BodyArgument) -> None:
    """Add columns to a dataset from JSON: names with their data_type."""
    session.show(session.call(session.client.schemas.add_fields, schema, object_from(file)))


@schemas.command("set-identifier", calls=["schemas.set_identifier"])
def set_identifier(
    session: Session[MonetateAdmin],
    schema: SchemaArgument,
    name: Annotated[str, typer.Argument(metavar="NAME", help="Letters, digits and underscores.")],
) -> None:
    """Set the Identifier Name of a dataset."""
    session.show(session.call(session.client.schemas.set_identifier, schema, name))


@schema_types.command("list", calls=["schema_types.list"], lists=True)
def list_schema_types(session: Session[MonetateAdmin], limit: LimitOption = None) -> None:
    """List the kinds of schemas."""
    session.rows(session.call(session.client.schema_types.list, limit=limit), ("name", "fields"))


@schema_types.command("get", calls=["schema_types.get"])
def get_schema_type(session: Session[MonetateAdmin], name: Annotated[str, typer.Argument(metavar="NAME")]) -> None:
    """Show a kind of schema."""
    session.show(session.call(session.client.schema_types.get, name))


@uploads.command("list", calls=["uploads.list"], lists=True)
def list_uploads(session: Session[MonetateAdmin], schema: SchemaArgument, limit: LimitOption = None) -> None:
    """List the files of a dataset, newest first."""
    rows = session.call(session.client.uploads.list, schema, limit=limit)
    session.rows(rows, ("status", "upload_time", "import_end_time", "validation_errors", "validation_warnings"))


@default_catalogs.command("list", calls=["default_catalogs.list"], lists=True)
def list_default_catalogs(session: Session[MonetateAdmin], limit: LimitOption = None) -> None:
    """List accounts and their catalogs."""
    rows = session.call(session.client.default_catalogs.list, limit=limit)
    session.rows(rows, ("account", "account_name", "account_domain", "schema", "schema_name"))


@default_catalogs.command("set", calls=["default_catalogs.set"])
def set_default_catalog(
    session: Session[MonetateAdmin],
    account: Annotated[str, typer.Argument(metavar="ACCOUNT", help="The account's id.")],
    schema: Annotated[str, typer.Argument(metavar="SCHEMA", help="The id of the catalog's schema.")],
) -> None:
    """Set the catalog of an account."""
    session.show(session.call(session.client.default_catalogs.set, account, schema))

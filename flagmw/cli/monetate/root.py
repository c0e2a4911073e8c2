"""The group `flagmw monetate`, and the arguments that several of its commands have."""

from __future__ import annotations

from typing import Annotated

import typer

from flagmw.cli.admin.command import Commands
from flagmw.cli.monetate.connect import SETTINGS, VENDOR, connect

app = typer.Typer(no_args_is_help=True)
commands = Commands(VENDOR, SETTINGS, connect, app)

IdArgument = Annotated[int, typer.Argument(metavar="ID")]
SchemaArgument = Annotated[str, typer.Argument(metavar="SCHEMA", help="The dataset's name.")]
NameOption = Annotated[str | None, typer.Option(help="A part of the experience's name, in any case.")]
PageSizeOption = Annotated[int, typer.Option(min=1, max=1000, help="Rows of one call.")]

"""The group `flagmw contentstack`, and the arguments that several of its commands have."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from flagmw.cli.admin.command import Commands
from flagmw.cli.contentstack.connect import SETTINGS, VENDOR, connect

app = typer.Typer(no_args_is_help=True)
commands = Commands(VENDOR, SETTINGS, connect, app)

UidArgument = Annotated[str, typer.Argument(metavar="UID", help="24 hex digits.")]
ExperienceArgument = Annotated[str, typer.Argument(metavar="EXPERIENCE", help="Uid of the experience.")]
VersionArgument = Annotated[str, typer.Argument(metavar="VERSION", help="Uid of the version.")]
NameArgument = Annotated[str, typer.Argument(metavar="NAME")]
DescriptionOption = Annotated[str | None, typer.Option(help="For people.")]


class Combination(StrEnum):
    """How several audiences go together."""

    AND = "AND"
    OR = "OR"

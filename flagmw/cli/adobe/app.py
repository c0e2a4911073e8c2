"""The commands of `flagmw adobe`."""

from __future__ import annotations

import typer

from flagmw.admin.adobe.client import AdobeAdmin
from flagmw.cli.admin.command import Commands, LimitOption
from flagmw.cli.admin.session import Session
from flagmw.cli.adobe.connect import SETTINGS, VENDOR, connect

app = typer.Typer(no_args_is_help=True)
commands = Commands(VENDOR, SETTINGS, connect, app)


@commands.command("environments", calls=["environments.list"], lists=True)
def environments(session: Session[AdobeAdmin], limit: LimitOption = None) -> None:
    """List environments (host groups)."""
    session.rows(session.call(session.client.environments.list, limit=limit), ("id", "name"))

"""`flagmw shadow report`: compare shadow vendors with the served decisions."""

from __future__ import annotations

import os
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from flagmw._shadow import report_file
from flagmw.cli.common import AppOption, ConfigOption, JsonOption
from flagmw.cli.source import flagmw_of, located, surroundings
from flagmw.cli.table import print_table
from flagmw.cli.text import say, say_json, shown
from flagmw.config.sources import read_file

VARIABLE = "FLAGMW_SHADOW_REPORT"
NOTHING, WRONG = 1, 2

app = typer.Typer(no_args_is_help=True, help="Vendors that are asked after the page, and compared with it.")


@app.callback()
def _shadow() -> None:
    """Keep `report` a command of its own name, as long as it is the only one."""


@app.command()
def report(
    file: Annotated[
        Path | None, typer.Argument(help="The file that shadow_report= names; that of the configuration if left out.")
    ] = None,
    config: ConfigOption = None,
    app_path: AppOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show what shadow vendors would have served, alias by alias. Exit code 1 when none was asked so far."""
    try:
        document = report_file.read(file or _configured(config, app_path))
    except (OSError, ValueError) as error:
        say(f"flagmw: no report: {shown(getattr(error, 'strerror', None) or error)}", sys.stderr)
        raise typer.Exit(WRONG) from None
    if as_json:
        say_json(document)
    else:
        _print(document)
    if not any(figures["asked"] for figures in document["vendors"].values()):
        raise typer.Exit(NOTHING)


def _configured(config: Path | None, app: str | None) -> Path:
    """Return the report's file as the configuration names it.

    Raises:
        ValueError: it names none.
    """
    if app is not None or (config is None and surroundings() is not None):
        file: object = flagmw_of(config, app, {}).config.shadow_report
    else:
        # The file alone: a machine that reads reports need not be able to make the vendors.
        path = located(config)
        file = os.environ.get(VARIABLE) or (read_file(path, "flagmw").get("shadow_report") if path else None)
    if not isinstance(file, str | Path):
        raise ValueError('name its file, or set shadow_report="..." in the configuration')
    return Path(file)


def _print(document: dict[str, Any]) -> None:
    since, until = (f"{datetime.fromtimestamp(document[end], UTC):%Y-%m-%d %H:%M:%S}" for end in ("since", "until"))
    say(f"{since} to {until} (UTC)")
    for vendor, figures in document["vendors"].items():
        failed = ", ".join(f"{code} {count}" for code, count in sorted(figures["failed"].items())) or "none"
        rows = [
            (
                *(alias, row["same"], row["differs"], row["missing"]),
                ", ".join(f"{pair['served']} -> {pair['shadow']} ({pair['count']})" for pair in row["pairs"]),
            )
            for alias, row in sorted(figures["aliases"].items(), key=lambda item: (-item[1]["differs"], item[0]))
        ]
        title = f"{vendor}: asked {figures['asked']} times; failures: {failed}"
        print_table(("alias", "same", "differs", "missing", "served -> shadow"), rows, title)

"""Options, runtime and errors that the commands share."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated, Any, NoReturn

try:
    import typer
except ImportError as error:
    raise ImportError(
        "the flagmw command needs its extra: pip install 'flagmw[cli]'; to manage vendors, 'flagmw[cli,admin]'"
    ) from error

from flagmw.cli.text import say, shown
from flagmw.config.config import FILE_VARIABLE
from flagmw.runtime import Flagmw
from flagmw.types import DecisionNote
from flagmw.vendors.webtrends.vendor import Webtrends

FAILED, WRONG = 1, 2

ConfigOption = Annotated[
    Path | None,
    typer.Option(
        "--config", "-c", help=f"TOML file with the options; else ${FILE_VARIABLE}, flagmw.toml, pyproject.toml."
    ),
]
SandboxOption = Annotated[
    str | None,
    typer.Option("--sandbox", metavar="URL", help="Ask the sandbox at this address, with its sample account."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]

_PLACES = (Path("flagmw.toml"), Path("pyproject.toml"))

SAMPLE_ACCOUNT = 2490593
SAMPLE_TOKEN = "7a32f9364bd1ea68668a0e50bd815e79109a03720951"  # noqa: S105 - printed in the vendor's public guide
SAMPLE_URL = "https://www.mysite.com"


class Runtime:
    """A `Flagmw` for one command, closed at its end; `failed` says whether a vendor failed to decide."""

    def __init__(self, config: Path | None, sandbox: str | None, *, debug: bool = True) -> None:
        self.failed = False
        if sandbox is not None:
            # The sandbox's own account; an unencrypted address beyond this machine is refused like any other.
            base_url = sandbox.rstrip("/") + "/ots/api/rest-1.2"
            vendor = Webtrends(SAMPLE_ACCOUNT, SAMPLE_TOKEN, SAMPLE_URL, base_url=base_url)
            self._fm = Flagmw(vendors=[vendor], debug=True, client_ip="full", on_decision=self._note)
            return
        config_path = located(config)
        if config_path is None:
            fail("no configuration: write flagmw.toml, name one with --config, or use --sandbox http://127.0.0.1:8765")
        options: dict[str, Any] = {"debug": True} if debug else {}
        self._fm = Flagmw.from_mapping({**options, "on_decision": self._note}, file=config_path)
        if not self._fm.config.vendors:
            fail(f"{config_path} configures no vendors")

    @property
    def unstarted(self) -> Flagmw:
        return self._fm

    def __enter__(self) -> Flagmw:
        self._fm.start()  # loading libraries is no part of the one decision's time
        return self._fm

    def __exit__(self, *_: object) -> None:
        self._fm.close(1.0)

    def _note(self, note: DecisionNote) -> None:
        self.failed = self.failed or note.error is not None


def located(config: Path | None) -> Path | None:
    """Return the configuration file that is meant; None when there is none."""
    named = config or os.environ.get(FILE_VARIABLE)
    return Path(named) if named else next((path for path in _PLACES if path.is_file()), None)


def configured(config: Path | None, **options: Any) -> Flagmw:
    """Return the unstarted `Flagmw` of the configuration; *options* are options of the command's."""
    config_path = located(config)
    if config_path is None:
        fail("no configuration: write flagmw.toml, or name one with --config")
    fm = Flagmw.from_mapping(options, file=config_path)
    if not fm.config.vendors:
        fail(f"{config_path} configures no vendors")
    return fm


def fail(message: str) -> NoReturn:
    say(f"flagmw: {shown(message)}", sys.stderr)
    raise typer.Exit(WRONG)

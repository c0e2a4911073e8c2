"""Options, runtime and errors that the commands share."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any, NoReturn

try:
    import typer
except ImportError as error:
    raise ImportError(
        "the flagmw command needs its extra: pip install 'flagmw[cli]'; to manage vendors, 'flagmw[cli,admin]'"
    ) from error

from flagmw.cli.source import flagmw_of
from flagmw.cli.text import say, shown
from flagmw.config.config import FILE_VARIABLE
from flagmw.runtime import Flagmw, examined
from flagmw.types import DecisionNote
from flagmw.vendors.webtrends.vendor import Webtrends

FAILED, WRONG = 1, 2

ConfigOption = Annotated[
    Path | None,
    typer.Option(
        "--config", "-c", help=f"TOML file with the options; else ${FILE_VARIABLE}, flagmw.toml, pyproject.toml."
    ),
]
AppOption = Annotated[
    str | None,
    typer.Option(
        "--app", metavar="MODULE:NAME", help="The application's Flagmw, its options, or a function that returns either."
    ),
]
SandboxOption = Annotated[
    str | None,
    typer.Option("--sandbox", metavar="URL", help="Ask the sandbox at this address, with its sample account."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]

SAMPLE_ACCOUNT = 2490593
SAMPLE_TOKEN = "7a32f9364bd1ea68668a0e50bd815e79109a03720951"  # noqa: S105 - printed in the vendor's public guide
SAMPLE_URL = "https://www.mysite.com"


class Runtime:
    """A `Flagmw` for one command, closed at its end; `failed` says whether a vendor failed to decide."""

    def __init__(self, config: Path | None, sandbox: str | None, app: str | None, *, debug: bool = True) -> None:
        self.failed = False
        if sandbox is not None:
            if app is not None or config is not None:
                fail("--sandbox has an account of its own: leave out --config and --app")
            # The sandbox's own account; an unencrypted address beyond this machine is refused like any other.
            base_url = sandbox.rstrip("/") + "/ots/api/rest-1.2"
            vendor = Webtrends(SAMPLE_ACCOUNT, SAMPLE_TOKEN, SAMPLE_URL, base_url=base_url)
            fm = Flagmw.from_mapping({"vendors": [vendor], "client_ip": "full"}, environ={})
        else:
            fm = flagmw_of(config, app, {}, cure=", or use --sandbox http://127.0.0.1:8765")
        self._fm = examined(fm, self._note) if debug else fm

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


def configured(config: Path | None, app: str | None, **options: Any) -> Flagmw:
    """Return the unstarted `Flagmw` that is meant; *options* are options of the command's."""
    return flagmw_of(config, app, options)


def fail(message: str) -> NoReturn:
    say(f"flagmw: {shown(message)}", sys.stderr)
    raise typer.Exit(WRONG)

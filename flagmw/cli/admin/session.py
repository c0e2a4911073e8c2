"""One run of a management command: its client, its output, its safeguards."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import typer

from flagmw.admin.http.notes import CallNote
from flagmw.cli.admin.exits import FAILED, stop
from flagmw.cli.admin.output import Columns, Row, print_document, print_planned, print_rows
from flagmw.cli.admin.settings import Settings
from flagmw.cli.text import say, shown

C = TypeVar("C")


@dataclass(frozen=True)
class Connection:
    """How a vendor is reached; a vendor's `connect` makes its client of it.

    Attributes:
        settings: credentials and addresses from environment and file.
        sandbox: the address of a sandbox, whose sample account is used then.
        base_url: instead of the vendor's own address.
        timeout_s, max_wait_s: of a call, in seconds.
        on_call: the client's option of this name.
    """

    settings: Settings
    sandbox: str | None = None
    base_url: str | None = None
    timeout_s: float = 60.0
    max_wait_s: float = 90.0
    on_call: Callable[[CallNote], object] | None = None


class Session(Generic[C]):
    """What a management command works with.

    Args:
        connect: makes the client, a context manager; called when the command first needs it.
        settings: reads the settings, for commands that need more than the client.
    """

    def __init__(
        self,
        connect: Callable[[], Any],
        settings: Callable[[], Settings],
        *,
        as_json: bool = False,
        as_csv: bool = False,
        dry_run: bool = False,
        curl: bool = False,
        yes: bool = False,
    ) -> None:
        self._connect, self._settings, self._stack = connect, settings, ExitStack()
        self._client: Any = None
        self.as_json, self.as_csv, self.planning = as_json, as_csv, dry_run or curl
        self._curl, self._yes = curl, yes

    @property
    def client(self) -> C:
        """Return the vendor's client."""
        if self._client is None:
            self._client = self._stack.enter_context(self._connect())
        client: C = self._client
        return client

    @property
    def settings(self) -> Settings:
        """Return the settings."""
        return self._settings()

    def close(self) -> None:
        """Close the client's connections."""
        self._stack.close()

    def call(self, method: Any, /, *args: Any, **options: Any) -> Any:
        """Call a method of the client and return its result; a dry run prints the request and ends the command."""
        if self.planning:
            print_planned(method.request(*args, **options), as_json=self.as_json, curl=self._curl)
            raise typer.Exit
        return method(*args, **options)

    def show(self, document: Any) -> None:
        """Print one object."""
        print_document(document, as_json=self.as_json)

    def rows(self, rows: Iterable[Row], columns: Columns) -> None:
        """Print a list.

        Args:
            columns: of the table and of CSV: fields, or titles with functions of a row; JSON has every field.
        """
        print_rows(rows, columns, as_json=self.as_json, as_csv=self.as_csv)

    def note(self, text: str) -> None:
        """Say something beside the result, on standard error."""
        say(f"flagmw: {shown(text)}", sys.stderr)

    def confirm(self, what: str) -> None:
        """Ask before something is destroyed; a dry run and --yes need no question.

        Args:
            what: "delete activity 12": what the command is about to do.
        """
        if self.planning or self._yes:
            return
        if not all(stream is not None and stream.isatty() for stream in (sys.stdin, sys.stderr)):
            stop(f"add --yes to {what}: a confirmation needs a terminal; nothing was changed")
        say(f"{what[:1].upper()}{shown(what[1:])}? [y/N]", sys.stderr)
        if sys.stdin.readline().strip().lower() not in ("y", "yes"):
            stop("nothing was changed", FAILED)

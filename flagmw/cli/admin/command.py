"""Commands of a vendor's management, with the options that all of them have."""

from __future__ import annotations

import inspect
import math
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import typer

from flagmw.admin.http.notes import CallNote
from flagmw.cli.admin.exits import explained, stop, warnings_shown
from flagmw.cli.admin.session import Connection, Session
from flagmw.cli.admin.settings import Settings
from flagmw.cli.lazy import add_lazily
from flagmw.cli.text import say, shown

OUTPUT, REACH = "Output", "Connection"

Function = Callable[..., None]


def _connection_options(
    credentials: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="TOML file with the credentials; only you may read it.", rich_help_panel=REACH
        ),
    ] = None,
    sandbox: Annotated[
        str | None,
        typer.Option(metavar="URL", help="Use the sandbox at this address and its account.", rich_help_panel=REACH),
    ] = None,
    base_url: Annotated[
        str | None, typer.Option(metavar="URL", help="Instead of the vendor's address.", rich_help_panel=REACH)
    ] = None,
    timeout: Annotated[
        float, typer.Option(min=0.1, help="Seconds that a call may take.", rich_help_panel=REACH)
    ] = 60.0,
    max_wait: Annotated[
        float,
        typer.Option(min=0.0, help="Seconds to wait for the vendor's limit of calls.", rich_help_panel=REACH),
    ] = 90.0,
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Print every call to standard error.", rich_help_panel=REACH)
    ] = False,
) -> None:
    """Options of every command that calls the vendor."""


def _output_options(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.", rich_help_panel=OUTPUT)] = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV.", rich_help_panel=OUTPUT)] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the request instead of sending it.", rich_help_panel=OUTPUT)
    ] = False,
    curl: Annotated[
        bool,
        typer.Option("--curl", help="Print the request as a command, secrets masked.", rich_help_panel=OUTPUT),
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Options of output and safeguards; which of them a command has depends on what it does."""


LimitOption = Annotated[int | None, typer.Option(min=1, help="How many rows at most; all if left out.")]


@dataclass(frozen=True)
class Registered:
    """A command.

    Attributes:
        words: how it is typed, "flagmw adobe activities get".
        calls: the client's methods that it calls, with the options that make it call each: "--kind xt", or "".
        function: what runs; its first argument is the session.
        typed: what typer is given, with the shared options.
    """

    words: str
    calls: Mapping[str, str]
    function: Function
    typed: Function


class Commands:
    """The commands of one vendor.

    Args:
        vendor: "adobe": the first word after `flagmw`, and the name of settings.
        settings: every setting of credentials file and environment, with its description.
        connect: makes the vendor's client: `connect(connection, **options)`. Its keyword arguments, with their
            annotations for typer, become options of every command.
        app: the group that the commands are added to.
    """

    def __init__(self, vendor: str, settings: Mapping[str, str], connect: Callable[..., Any], app: typer.Typer) -> None:
        self.vendor, self.settings, self.app = vendor, settings, app
        self._connect = connect
        self._registered: list[Registered] = []
        self._words = f"flagmw {vendor}"

    @property
    def shared(self) -> Mapping[str, inspect.Parameter]:
        """Return the options that commands have beside those of their own, by name."""
        functions = ((_output_options, 0), (self._connect, 1), (_connection_options, 0))
        return {one.name: one for function, skip in functions for one in list(parameters_of(function))[skip:]}

    @property
    def registered(self) -> Sequence[Registered]:
        """Return every command that was made."""
        return self._registered

    def group(self, name: str, help: str) -> Commands:
        """Return a group of further commands: `flagmw adobe offers ...`."""
        app = typer.Typer(no_args_is_help=True)
        add_lazily(self.app, name, lambda: app, help)
        group = Commands(self.vendor, self.settings, self._connect, app)
        group._registered, group._words = self._registered, f"{self._words} {name}"
        return group

    def command(
        self,
        name: str,
        *,
        calls: Mapping[str, str] | Sequence[str] = (),
        lists: bool = False,
        destroys: bool = False,
        plans: bool = True,
    ) -> Callable[[Function], Function]:
        """Make a command of a function whose first argument is a `Session`.

        Args:
            calls: the client's methods that it calls, for the documentation: "activities.ab.get"; where options
                decide which one, the options by method.
            lists: whether it prints rows, so that there is --csv.
            destroys: whether it destroys something: there is --yes, and the function calls `session.confirm`.
            plans: whether it can print its request instead of sending it.
        """

        def decorate(function: Function) -> Function:
            by_options = dict(calls) if isinstance(calls, Mapping) else dict.fromkeys(calls, "")
            left_out = {
                *(() if lists else ("as_csv",)),
                *(() if destroys else ("yes",)),
                *(() if plans else ("dry_run", "curl")),
            }
            typed = self._typed(function, left_out)
            self._registered.append(Registered(f"{self._words} {name}", by_options, function, typed))
            self.app.command(name)(typed)
            return function

        return decorate

    def _typed(self, function: Function, left_out: set[str]) -> Function:
        """Return what typer is given: *function* with the shared options instead of a session."""
        of_function = list(parameters_of(function))[1:]
        of_vendor = list(parameters_of(self._connect))[1:]
        of_reach = list(parameters_of(_connection_options))
        of_output = [one for one in parameters_of(_output_options) if one.name not in left_out]

        def run(**given: Any) -> None:
            def chosen(parameters: list[inspect.Parameter]) -> dict[str, Any]:
                return {one.name: given[one.name] for one in parameters if one.name in given}

            output, reach, options = chosen(of_output), chosen(of_reach), chosen(of_vendor)
            for name, value in {**reach, **options}.items():
                # "$URL" of a variable that is not set must not mean the vendor's own address.
                if value == "" or (isinstance(value, float) and math.isnan(value)):
                    stop(f"--{name.replace('_', '-')} has no value; give one or leave it out")
            if output.get("as_json") and output.get("as_csv"):
                stop("--json and --csv exclude each other; choose one")
            with explained(), warnings_shown():
                session: Session[Any] = Session(
                    lambda: self._connect(self._connection(**reach), **options),
                    lambda: self._connection(**reach).settings,
                    **output,
                )
                try:
                    function(session, **chosen(of_function))
                finally:
                    session.close()

        parameters = [*of_function, *of_output, *of_vendor, *of_reach]
        run.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
            [one.replace(kind=inspect.Parameter.KEYWORD_ONLY) for one in parameters]
        )
        run.__annotations__ = {one.name: one.annotation for one in parameters}
        run.__name__, run.__doc__ = function.__name__, function.__doc__
        return run

    def _connection(
        self,
        credentials: Path | None,
        sandbox: str | None,
        base_url: str | None,
        timeout: float,
        max_wait: float,
        verbose: bool,
    ) -> Connection:
        return Connection(
            settings=Settings(self.vendor, self.settings, file=credentials),
            sandbox=None if sandbox is None else sandbox.rstrip("/"),
            base_url=base_url,
            timeout_s=timeout,
            max_wait_s=max_wait,
            on_call=_print_call if verbose else None,
        )


def parameters_of(function: Callable[..., Any]) -> Iterator[inspect.Parameter]:
    """Yield the parameters of *function* with their annotations resolved."""
    hints = get_type_hints(function, include_extras=True)
    for one in inspect.signature(function).parameters.values():
        yield one.replace(annotation=hints.get(one.name, Any))


def _print_call(note: CallNote) -> None:
    answer = note.error if note.status is None else note.status
    say(shown(f"flagmw: {note.method} {note.url} {answer} {note.elapsed_s * 1000:.0f} ms"), sys.stderr)

"""Groups of commands that are made when they are first used."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any, ClassVar

import typer
from typer.core import TyperGroup
from typer.main import get_group


class LazyGroup(TyperGroup):
    """A group whose commands are made when one of them, or the group's help, is asked for."""

    load: ClassVar[Callable[[], typer.Typer]]
    made: ClassVar[TyperGroup | None] = None

    @classmethod
    def whole(cls) -> TyperGroup:
        """Return the group with its commands."""
        if cls.made is None:
            cls.made = get_group(cls.load())
        return cls.made

    def list_commands(self, ctx: Any) -> list[str]:
        """Return the names of the commands."""
        return self.whole().list_commands(ctx)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Return a command, None where there is none of this name."""
        return self.whole().get_command(ctx, cmd_name)


def add_module(app: typer.Typer, name: str, source: str, help: str) -> None:
    """Add the commands of a module, which is imported when they are needed.

    Args:
        source: the module, which has an `app`.
        help: one line for the list of commands.
    """

    def load() -> typer.Typer:
        found: typer.Typer = import_module(source).app
        return found

    add_lazily(app, name, load, help)


def add_lazily(app: typer.Typer, name: str, load: Callable[[], typer.Typer], help: str) -> None:
    """Add the group that *load* returns to *app*; typer takes a while for each command that it makes."""
    group = type("Group", (LazyGroup,), {"load": staticmethod(load)})
    app.add_typer(typer.Typer(cls=group, help=help, no_args_is_help=True), name=name)
